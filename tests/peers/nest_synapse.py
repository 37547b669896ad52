"""NEST's own `stdp_dopamine_synapse` on given spikes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

START = 4  # ms before the first step: relays and delays have to fill up


class Course(NamedTuple):
    """Eligibility c and weight of every synapse after every step, (T, N_post, N_pre)."""

    c: np.ndarray
    weight: np.ndarray


def _relays(nest, spikes, advance):
    """Neurons that fire at START + t − advance for every spike at step t."""
    relays = nest.Create("parrot_neuron", spikes.shape[1])
    for relay, train in zip(relays, spikes.T, strict=True):
        times = [float(t + START - advance - 1) for t in np.flatnonzero(train)]
        source = nest.Create("spike_generator", params={"spike_times": times})
        nest.Connect(source, relay, syn_spec={"delay": 1.0})
    return relays


def _synapses(nest, pre, post, dopamine, parameters, tau_minus):
    """Every pre relay onto every post relay.

    Post and dopamine spikes reach the synapse one delay late, so their relays fire a step early.
    """
    transmitter = nest.Create("volume_transmitter")
    nest.Connect(_relays(nest, dopamine[:, None], 1), transmitter, syn_spec={"delay": 1.0})
    sources, targets = _relays(nest, pre, 0), _relays(nest, post, 1)
    targets.tau_minus = tau_minus
    parameters = {"volume_transmitter": transmitter, "Wmin": -1e9, "Wmax": 1e9} | parameters
    nest.CopyModel("stdp_dopamine_synapse", "plastic", parameters)
    plastic = {"synapse_model": "plastic", "weight": 0.0, "delay": 1.0, "receptor_type": 1}
    nest.Connect(sources, targets, syn_spec=plastic)
    return [[nest.GetConnections(source, target) for source in sources] for target in targets]


def run(pre, post, *, tau_plus, tau_minus, tau_c, a_plus, a_minus, dopamine=None, tau_n=200.0, b=0.0):
    """One sample: pre (T, N_pre), post (T, N_post), dopamine spikes (T,).

    dw/dt = c (n − b), and every dopamine spike adds 1/tau_n to n.
    """
    import nest

    nest.ResetKernel()
    nest.resolution = 1.0
    nest.verbosity = nest.VerbosityLevel.ERROR
    dopamine = np.zeros(len(pre)) if dopamine is None else dopamine
    parameters = {"tau_plus": tau_plus, "A_plus": a_plus, "A_minus": a_minus}
    parameters |= {"tau_c": tau_c, "tau_n": tau_n, "b": b}
    synapses = _synapses(nest, pre, post, dopamine, parameters, tau_minus)
    nest.Simulate(START - 1.0)
    c, weight = [], []
    for _ in range(len(pre)):
        nest.Simulate(1.0)
        state = [[synapse.get(["c", "weight"]) for synapse in row] for row in synapses]
        c.append([[s["c"] for s in row] for row in state])
        weight.append([[s["weight"] for s in row] for row in state])
    return Course(np.array(c), np.array(weight))
