"""SpikingJelly's own learners on given spikes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Replay(nn.Module):
    """A layer that fires what it is told."""

    def forward(self, spikes):
        """Spikes in, the same spikes out."""
        return spikes


def _learner(name, n_pre, n_post, taus):
    from spikingjelly.activation_based import learning

    synapse, neuron = nn.Linear(n_pre, n_post, bias=False, dtype=torch.float64), Replay()
    unweighted = {"f_pre": torch.ones_like, "f_post": torch.ones_like}
    return synapse, neuron, getattr(learning, name)("s", synapse, neuron, **taus, **unweighted)


def _play(name, pre, post, taus, steps):
    """Weight change of every step; `steps` are the positional arguments of each call of `learner.step`."""
    synapse, neuron, learner = _learner(name, pre.shape[-1], post.shape[-1], taus)
    changes = []
    for x, y, arguments in zip(torch.tensor(pre), torch.tensor(post), steps, strict=True):
        synapse(x)
        neuron(y)
        changes.append(learner.step(*arguments, on_grad=False).numpy())
    return np.stack(changes)


def mstdpet(pre, post, reward, *, tau_plus, tau_minus, tau_e):
    """Reward times eligibility trace, for one sample: pre (T, N_pre), post (T, N_post), reward (T,)."""
    taus = {"tau_pre": tau_plus, "tau_post": tau_minus, "tau_trace": tau_e}
    return _play("MSTDPETLearner", pre, post, taus, [(float(r),) for r in reward])


def mstdp(pre, post, reward, *, tau_plus, tau_minus):
    """Reward (T, B) times this correlation, without a trace of it; the batch is summed."""
    taus = {"tau_pre": tau_plus, "tau_post": tau_minus}
    return _play("MSTDPLearner", pre, post, taus, [(torch.tensor(r),) for r in reward])


def stdp(pre, post, *, tau_plus, tau_minus):
    """Plain STDP; the batch is summed."""
    return _play("STDPLearner", pre, post, {"tau_pre": tau_plus, "tau_post": tau_minus}, [()] * len(pre))
