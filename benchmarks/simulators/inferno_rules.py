"""Inferno's MSTDPET; its monitors are called directly, without the forward pass that would call them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from players import StepByStep
from trains import Rule, Trains


class Cell(NamedTuple):
    """Synapses, the neurons behind them, both as a layer, and what trains them."""

    connection: Any
    neurons: Any
    layer: Any
    trainer: Any
    monitors: Any


def _population(n_neurons: int, batch_size: int):
    """Neurons that fire what `next_spikes` holds, whatever they receive."""
    from inferno.neural import Neuron

    class Replay(Neuron):
        dt, batchsz, count, shape = 1.0, batch_size, n_neurons, (n_neurons,)
        batchedshape = (batch_size, n_neurons)
        voltage = refrac = spike = next_spikes = torch.zeros(batch_size, n_neurons)

        def clear(self):
            self.spike = torch.zeros_like(self.spike)

        def forward(self, inputs):
            self.spike = self.next_spikes
            return self.spike

    return Replay()


def cell_of(trains: Trains, rule: Rule, trace_mode: str = "cumulative") -> Cell:
    """A dense layer that `MSTDPET` trains; its weights are zero."""
    from inferno.learn import MSTDPET
    from inferno.neural import DeltaCurrent, LinearDense, Serial

    size = trains.size
    synapse = DeltaCurrent.partialconstructor(1.0)
    connection = LinearDense((size.n_pre,), (size.n_post,), 1.0, synapse=synapse, batch_size=size.batch)
    connection.updater = connection.defaultupdater()
    connection.weight.data.zero_()
    neurons = _population(size.n_post, size.batch)
    layer = Serial(connection, neurons)
    taus = {"tc_pre": rule.tau_plus, "tc_post": rule.tau_minus, "tc_eligibility": rule.tau_e}
    trainer = MSTDPET(lr_post=rule.a_plus, lr_pre=-rule.a_minus, trace_mode=trace_mode, **taus)
    return Cell(connection, neurons, layer, trainer, trainer.register_cell("synapses", layer.cell).monitors)


def mstdpet(trains: Trains, rule: Rule) -> StepByStep:
    """`MSTDPET`: two eligibilities, one for each order of spikes; the batch is summed."""
    cell = cell_of(trains, rule)
    connection, trainer, monitors = cell.connection, cell.trainer, cell.monitors

    @torch.no_grad()
    def step(pre, post, reward):
        for name, spikes in (("trace_post", post), ("spike_post", post), ("trace_pre", pre), ("spike_pre", pre)):
            monitors[name].reducer(spikes)
        monitors["elig_post"].reducer(monitors["trace_pre"].latest, monitors["spike_post"].latest)
        monitors["elig_pre"].reducer(monitors["trace_post"].latest, monitors["spike_pre"].latest)
        trainer(reward, scale=rule.lr)
        connection.update()

    player = StepByStep(trains, step, lambda: connection.weight.detach().numpy())
    player.kept = cell  # the trainer holds its cells by weak references
    return player
