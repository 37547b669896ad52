"""Norse's STDP, which has two factors and never makes a tensor per sample."""

from __future__ import annotations

import torch
from players import StepByStep
from trains import Rule, Trains


def stdp(trains: Trains, rule: Rule) -> StepByStep:
    """`stdp_step_linear`; its spike traces grow by dt/τ, so that its amplitudes are larger by τ."""
    from norse.torch.functional.stdp import STDPParameters, STDPState, stdp_step_linear

    size = trains.size
    eta = {"eta_plus": rule.lr * rule.a_plus * rule.tau_plus, "eta_minus": rule.lr * rule.a_minus * rule.tau_minus}
    taus = {"tau_pre_inv": 1.0 / rule.tau_plus, "tau_post_inv": 1.0 / rule.tau_minus}
    parameters = STDPParameters(a_pre=1.0, a_post=1.0, hardbound=False, **eta, **taus)
    weight = torch.zeros(size.n_post, size.n_pre)
    state = STDPState(torch.zeros(size.batch, size.n_pre), torch.zeros(size.batch, size.n_post))

    @torch.no_grad()
    def step(pre, post, reward):
        nonlocal weight, state
        weight, state = stdp_step_linear(pre, post, weight, state, parameters, dt=1.0)

    return StepByStep(trains, step, lambda: weight.numpy())
