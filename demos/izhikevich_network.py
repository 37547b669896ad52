"""Norse's Izhikevich neurons on a sparse graph, one for each of several networks, and the synapses that learn.

    neurons     v' = 0.04 v² + 5 v + 140 − u + I,  u' = a (b v − u);  at 30 mV: v ← c, u ← u + d
    current     I = 13 (U[0, 1] − ½) + Σ w over the synapses whose neuron fired a millisecond ago
    traces      e, nearest-neighbour STDP of the edges, τ_e of one or two seconds; a spike takes 1 ms to arrive
    dopamine    DA, τ = 200 ms, above a tonic level of 0.002
    weights     w ← clamp(w + DA · e, 0, 4) for every 10 ms

800 excitatory neurons (regular spiking) and 200 inhibitory ones (fast spiking), each with 100 synapses: 100,000
edges, of which the 80,000 excitatory ones learn. Norse's step is one Euler step of `tau_inv · dt` milliseconds; it is
taken twice a millisecond, at half a millisecond each, as in the published program.
"""

from __future__ import annotations

import math

import torch
from norse.torch.functional.izhikevich import IzhikevichParameters, IzhikevichState, izhikevich_feed_forward_step
from torch import Tensor

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityConfig,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    SparseLinear,
    ThreeFactorConfig,
)

NEURONS, EXCITATORY, SYNAPSES = 1000, 800, 100
PLASTIC = EXCITATORY * SYNAPSES  # the synapses of excitatory neurons
THALAMUS = 13.0  # width of the random current
HALF = 0.0005  # seconds: half a millisecond
START, STRONGEST, INHIBITORY = 1.0, 4.0, -1.0  # mV
BLOCK = 20  # ms between two changes of the weights; 10 in the published program
RELEASED, TONIC = 0.5, 0.002  # dopamine of one reward, and without any
DOPAMINE = NeuromodConfig(da_scale=math.atanh(RELEASED), da_tau=200.0, da_baseline=TONIC, dt=float(BLOCK))


def wiring(generator: torch.Generator) -> Tensor:
    """The synapses as an edge list (2, 100000), sources above targets; those of excitatory neurons first.

    Each neuron has 100, anywhere, itself not excepted (as published); those of inhibitory neurons are on excitatory
    ones. Among the excitatory ones those onto the same neuron stand together: traces are read fastest so.
    """
    reach = [NEURONS] * EXCITATORY + [EXCITATORY] * (NEURONS - EXCITATORY)
    targets = torch.cat([torch.randperm(n, generator=generator)[:SYNAPSES] for n in reach])
    edges = torch.stack((torch.arange(NEURONS).repeat_interleave(SYNAPSES), targets))
    order = torch.argsort(targets[:PLASTIC], stable=True)
    return torch.cat((edges[:, :PLASTIC][:, order], edges[:, PLASTIC:]), dim=1)


def stdp(tau_e: float) -> EligibilityConfig:
    """The published rule, with eligibilities of `tau_e` ms."""
    return EligibilityConfig(
        kernel="stdp_pair",
        tau_e=tau_e,
        a_plus=0.1,
        a_minus=0.15 / 0.95,  # the program reads the post trace a millisecond earlier
        clamp_range=None,
        convention=Convention.preset("izhikevich2007"),
    )


def learning(tau_e: float) -> PlasticityConfig:
    """STDP, and changes of Δw = DA · e for every 10 ms."""
    bounded = ThreeFactorConfig(lr=BLOCK / 10, weight_clamp=None, weight_bounds=(0.0, STRONGEST))
    return PlasticityConfig(stdp(tau_e), three_factor=bounded)


def neurons() -> IzhikevichParameters:
    """Regular spiking and fast spiking, in one layer."""
    excitatory = torch.arange(NEURONS) < EXCITATORY
    a, d = torch.where(excitatory, 0.02, 0.1), torch.where(excitatory, 8.0, 2.0)
    return IzhikevichParameters(a=a, b=0.2, c=-65.0, d=d, tau_inv=1000.0, method="heaviside")  # type: ignore[arg-type]


class Networks:
    """Networks of the same wiring, each with noise and weights of its own; one millisecond a step.

    Args:
        batch: how many.
        generator: of wiring and noise.
    """

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self.generator, self.parameters = generator, neurons()
        self.edges = wiring(generator)
        away = self.edges[:, PLASTIC:] - torch.tensor([[EXCITATORY], [0]])
        self.excitatory = SparseLinear(EXCITATORY, NEURONS, self.edges[:, :PLASTIC], bias=False, samples=batch)
        self.inhibitory = SparseLinear(NEURONS - EXCITATORY, NEURONS, away, bias=False)
        torch.nn.init.constant_(self.excitatory.weight, START)
        torch.nn.init.constant_(self.inhibitory.weight, INHIBITORY)
        self.state = IzhikevichState(torch.full((batch, NEURONS), -65.0), torch.full((batch, NEURONS), -13.0))
        self.spikes = torch.zeros(batch, NEURONS)

    @property
    def plastic(self) -> Tensor:
        """The weights that learn, (B, 80000)."""
        return self.excitatory.weight.detach()

    @torch.no_grad()
    def step(self) -> Tensor:
        """Spikes (B, N) of the next millisecond."""
        current = THALAMUS * (torch.rand(self.spikes.shape, generator=self.generator) - 0.5)
        current += self.excitatory(self.spikes[:, :EXCITATORY]) + self.inhibitory(self.spikes[:, EXCITATORY:])
        first, state = izhikevich_feed_forward_step(current, self.state, self.parameters, dt=HALF)
        second, self.state = izhikevich_feed_forward_step(current, state, self.parameters, dt=HALF)
        self.spikes = first + second  # never both: half a millisecond after a spike v is near its reset
        return self.spikes


class Learning:
    """The excitatory synapses of the networks learn, a block of milliseconds at a time.

    Args:
        networks: whose weights change. tau_e: time constant of the eligibilities, ms.
    """

    def __init__(self, networks: Networks, tau_e: float) -> None:
        self.synapses = Connection("excitatory", networks.excitatory, config=learning(tau_e))
        self.gate = NeuromodulatoryGate(DOPAMINE)
        self.learner = PlasticityLearner([self.synapses], self.gate)
        self.levels = self.gate.init(1)
        self.released, self.blocks = 0.0, 0

    def block(self, arriving: Tensor, spikes: Tensor, reward: float) -> None:
        """Traces past a block, (T, B, 800) and (T, B, 1000), and what dopamine makes of them.

        The first network meets dopamine when it comes; the others meet what there was of it on average so far.
        """
        self.synapses.observe_sequence(arriving, spikes, new_sequence=False)
        _, gain, self.levels = self.gate.step({"reward": reward}, self.levels)
        self.released, self.blocks = self.released + float(gain), self.blocks + 1
        met = torch.full((spikes.shape[1],), self.released / self.blocks)
        met[0] = gain
        self.learner.step(met)
