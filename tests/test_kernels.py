"""Kernels: measured windows, published curves, and their gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from conftest import mexican_hat, settings, trains

from snn_plasticity import (
    Coincidence,
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    Pair,
    PairSTDP,
    SymmetricSTDP,
    TripletSTDP,
    Window,
)
from snn_plasticity.kernels.named_kernels import kernel_of


def pair_change(kernel, lag, steps=260):
    """Total f of one pre and one post spike, t_post − t_pre = lag, measured through a trace that never decays."""
    config = EligibilityConfig(kernel=kernel, tau_e=math.inf, clamp_range=None)
    module = EligibilityTraceModule(1, 1, config)
    for t in range(steps):
        pre, post = (torch.tensor([[float(t == when)]], dtype=torch.float64) for when in (120, 120 + lag))
        e = module.update(pre, post)
    return float(e)


@pytest.mark.parametrize("lag", (1, 2, 5, 10, 20, 50, 100))
def test_pair_window_is_bi_and_poo_shaped(lag):
    kernel = PairSTDP(tau_plus=16.8, tau_minus=33.7, a_plus=0.9, a_minus=0.5)
    assert pair_change(kernel, lag) == pytest.approx(0.9 * math.exp(-lag / 16.8), abs=1e-12)
    assert pair_change(kernel, -lag) == pytest.approx(-0.5 * math.exp(-lag / 33.7), abs=1e-12)


@pytest.mark.parametrize(("coincidence", "change"), [("causal", 0.9), ("both", 0.9 - 0.5), ("none", 0.0)])
def test_a_pair_in_one_step_counts_as_the_convention_says(coincidence, change):
    kernel = PairSTDP(a_plus=0.9, a_minus=0.5, convention=Convention(coincidence=coincidence))
    assert pair_change(kernel, 0) == pytest.approx(change, abs=1e-12)


@pytest.mark.parametrize("lag", (-30, -3, 0, 3, 30))
def test_symmetric_window_is_positive_on_both_sides(lag):
    kernel = SymmetricSTDP(tau_plus=10.0, tau_minus=20.0, a_plus=0.3, a_minus=0.7)
    expected = 0.3 * math.exp(-lag / 10.0) if lag >= 0 else 0.7 * math.exp(lag / 20.0)
    assert pair_change(kernel, lag) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lag", range(-11, 12))
def test_window_gives_its_own_curve_within_the_span_and_nothing_beyond(lag):
    change = pair_change(Window(mexican_hat, span=9.0), lag)
    assert change == pytest.approx(mexican_hat(lag) if abs(lag) <= 9 else 0.0, abs=1e-12)


def test_window_of_the_pair_curve_is_pair_stdp():
    def curve(dt):
        return 0.8 * math.exp(-dt / 7.0) if dt >= 0 else -1.1 * math.exp(dt / 11.0)

    pre, post = trains(40, 2, 3, seed=1), trains(40, 2, 2, seed=2)
    named = EligibilityTraceModule(3, 2, settings("stdp_pair"))
    own = EligibilityTraceModule(3, 2, settings(Window(curve, span=40.0)))
    for p, q in zip(pre, post, strict=True):
        torch.testing.assert_close(own.update(p, q), named.update(p, q), rtol=1e-12, atol=1e-12)


SJOSTROM = {0.1: (-0.04, -0.29), 10: (0.14, -0.41), 20: (0.29, -0.34), 40: (0.53, 0.56), 50: (0.56, 0.75)}
ERRORS = {0.1: (0.05, 0.08), 10: (0.10, 0.11), 20: (0.14, 0.10), 40: (0.11, 0.32), 50: (0.26, 0.19)}


def pairing_protocol(kernel, frequency, lag, pairings=60):
    """Weight change of 60 pre-post pairings at one frequency, t_post − t_pre = lag ms."""
    period = round(1000 / frequency)
    pre_times = {50 + i * period for i in range(pairings)}
    post_times = {t + lag for t in pre_times}
    config = EligibilityConfig(kernel=kernel, tau_e=math.inf, clamp_range=None)
    module = EligibilityTraceModule(1, 1, config)
    events = sorted(pre_times | post_times)
    for before, now in zip([0, *events[:-1]], events, strict=True):
        silent = torch.zeros(1, 1, dtype=torch.float64)
        if now - before > 1:  # decay of a silent stretch, in one long step
            module.observe(silent, silent, dt=float(now - before - 1))
        spikes = [torch.tensor([[float(now in times)]], dtype=torch.float64) for times in (pre_times, post_times)]
        e = module.update(*spikes)
    return float(e)


def test_minimal_triplet_rule_reproduces_the_frequency_dependence_that_the_pair_rule_cannot():
    """Sjöström, Turrigiano & Nelson 2001, with the parameters of Pfister & Gerstner 2006 (minimal, all-to-all)."""
    exact = Convention(coincidence="none")
    triplet = TripletSTDP(16.8, 33.7, 0.0, 7.1e-3, tau_y=114.0, a3_plus=6.5e-3, convention=exact)
    pair = PairSTDP(16.8, 33.7, 6.5e-3, 7.1e-3, convention=exact)
    chi = {}
    for name, kernel in {"triplet": triplet, "pair": pair}.items():
        deviations = [
            (pairing_protocol(kernel, frequency, sign * 10) - SJOSTROM[frequency][i]) / ERRORS[frequency][i]
            for frequency in SJOSTROM
            for i, sign in enumerate((1, -1))
        ]
        chi[name] = sum(d * d for d in deviations)
    assert chi["triplet"] < 5.0
    assert chi["pair"] > 100.0


@dataclass(frozen=True)
class OnlyPotentiation:
    """A user's kernel: a frozen dataclass with `init` and `step`, written outside the library."""

    gain: float = 2.0

    def init(self, pre, post):
        return torch.zeros_like(pre)

    def step(self, pre, post, state, dt=1.0):
        seen = state + pre
        return Coincidence((Pair(self.gain * post, seen),)), seen


def test_a_kernel_of_ones_own_needs_no_edit():
    pre, post = trains(10, 2, 3, seed=1), trains(10, 2, 2, seed=2)
    module = EligibilityTraceModule(
        3, 2, EligibilityConfig(kernel=OnlyPotentiation(), tau_e=math.inf, clamp_range=None)
    )
    for p, q in zip(pre, post, strict=True):
        e = module.update(p, q)
    counts = pre.cumsum(0)
    torch.testing.assert_close(e, 2.0 * torch.einsum("tbo,tbi->boi", post, counts))


def total_f(kernel, pre, post):
    """Everything a kernel says about a run, summed."""
    state, total = kernel.init(pre[0], post[0]), 0.0
    for p, q in zip(pre, post, strict=True):
        (ltp, ltd), state = kernel.step(p, q, state)
        for sign, pairs in ((1.0, ltp), (-1.0, ltd)):
            for pair in pairs:
                total = total + sign * torch.einsum("bo,bi->oi", pair.post, pair.pre)
    return total


@pytest.mark.parametrize("make", (PairSTDP, SymmetricSTDP, TripletSTDP))
def test_kernels_are_differentiable_in_every_constant(make):
    pre, post = trains(8, 2, 3, seed=1), trains(8, 2, 2, seed=2)
    constants = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (7.0, 11.0, 0.8, 1.1)]
    assert torch.autograd.gradcheck(lambda *c: total_f(make(*c), pre, post), constants)


@pytest.mark.parametrize("name", ("rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", "window"))
def test_kernels_work_under_vmap_and_compile(name):
    kernel = kernel_of(settings(name))
    pre, post = trains(5, 4, 2, 3, seed=1), trains(5, 4, 2, 2, seed=2)
    mapped = torch.func.vmap(lambda p, q: total_f(kernel, p, q), in_dims=1)(pre, post)
    torch.testing.assert_close(mapped, torch.stack([total_f(kernel, pre[:, i], post[:, i]) for i in range(4)]))


@pytest.mark.parametrize(
    ("curve", "span", "word"),
    [(None, 5.0, "function"), (math.exp, 0.5, "span"), (lambda dt: math.nan, 5.0, "NaN"), (math.exp, -1.0, "span")],
)
def test_bad_windows_are_refused(curve, span, word):
    with pytest.raises(ValueError, match=word):
        Window(curve, span)


def test_a_window_refuses_another_step_length():
    module = EligibilityTraceModule(1, 1, EligibilityConfig(kernel=Window(mexican_hat, span=9.0)))
    with pytest.raises(ValueError, match="dt = 1"):
        module.update(torch.ones(1, 1), torch.ones(1, 1), dt=0.5)
