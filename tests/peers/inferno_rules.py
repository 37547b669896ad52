"""Inferno's own MSTDPET on given spikes."""

from __future__ import annotations

import numpy as np
import torch


def _replay(n_neurons, batch_size):
    """A population that fires what `next_spikes` holds, whatever it receives."""
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


def mstdpet(pre, post, signal, *, tau_plus, tau_minus, tau_e, a_plus, a_minus, trace_mode="cumulative"):
    """Weight change of every step, (T, N_post, N_pre), float32; signal (T, B), the batch is summed."""
    from inferno.learn import MSTDPET
    from inferno.neural import DeltaCurrent, LinearDense, Serial

    batch_size, n_pre, n_post = pre.shape[1], pre.shape[2], post.shape[2]
    synapse, neuron = DeltaCurrent.partialconstructor(1.0), _replay(n_post, batch_size)
    connection = LinearDense((n_pre,), (n_post,), 1.0, synapse=synapse, batch_size=batch_size)
    connection.updater = connection.defaultupdater()
    layer = Serial(connection, neuron)
    taus = {"tc_pre": tau_plus, "tc_post": tau_minus, "tc_eligibility": tau_e}
    trainer = MSTDPET(lr_post=a_plus, lr_pre=-a_minus, trace_mode=trace_mode, **taus)
    trainer.register_cell("synapses", layer.cell)
    changes = []
    for x, y, m in zip(*map(torch.tensor, (pre, post, signal)), strict=True):
        neuron.next_spikes = y.bool()
        layer(x.float())
        trainer(m.float())
        changes.append(connection.updater.weight.update(None).detach().numpy().copy())
        del connection.updater.weight
    return np.stack(changes)
