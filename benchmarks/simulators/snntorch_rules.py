"""snnTorch's learning functions. It has no eligibility trace and takes no reward: those two lines are the user's."""

from __future__ import annotations

import math

import torch
from players import StepByStep
from torch import nn
from trains import Rule, Trains


def _synapse(trains: Trains) -> nn.Linear:
    synapse = nn.Linear(trains.size.n_pre, trains.size.n_post, bias=False)
    nn.init.zeros_(synapse.weight)
    return synapse


def _settings(rule: Rule) -> dict:
    factors = {"f_pre": lambda weight: rule.a_minus, "f_post": lambda weight: rule.a_plus}
    return {"tau_pre": rule.tau_plus, "tau_post": rule.tau_minus, **factors}


def mstdpet(trains: Trains, rule: Rule) -> StepByStep:
    """`mstdpet_linear_single_step` for one sample, `mstdp_linear_single_step` for a batch, and a trace by hand."""
    from snntorch.functional import stdp_learner

    single = trains.size.batch == 1
    correlate = getattr(stdp_learner, "mstdpet_linear_single_step" if single else "mstdp_linear_single_step")
    settings = _settings(rule) | ({"tau_trace": rule.tau_e} if single else {})
    synapse, decay = _synapse(trains), math.exp(-1.0 / rule.tau_e)
    x = y = e = None

    @torch.no_grad()
    def step(pre, post, reward):
        nonlocal x, y, e
        pre, post = (pre[0], post[0]) if single else (pre, post)
        x, y, f = correlate(synapse, pre, post, x, y, **settings)
        e = f if e is None else decay * e + f
        asked = reward * e if single else (reward.view(-1, 1, 1) * e).sum(0)
        synapse.weight.data.add_(asked, alpha=rule.lr)

    return StepByStep(trains, step, lambda: synapse.weight.detach().numpy())


def stdp(trains: Trains, rule: Rule) -> StepByStep:
    """`stdp_linear_single_step`: two factors, the batch is summed."""
    from snntorch.functional.stdp_learner import stdp_linear_single_step

    synapse, settings = _synapse(trains), _settings(rule)
    x = y = None

    @torch.no_grad()
    def step(pre, post, reward):
        nonlocal x, y
        x, y, f = stdp_linear_single_step(synapse, pre, post, x, y, **settings)
        synapse.weight.data.add_(f, alpha=rule.lr)

    return StepByStep(trains, step, lambda: synapse.weight.detach().numpy())
