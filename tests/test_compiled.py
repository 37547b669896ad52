"""Compiled loops against plain steps in torch: a step, a change, bounds; what they do not take is left to others."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from conftest import CONVENTIONS, settings, trains
from torch import nn

from snn_plasticity import EligibilityConfig, EligibilityTraceModule
from snn_plasticity.plasticity import Accumulating, HardBounds, PairSTDP, SoftBounds
from snn_plasticity.plasticity._engine import compiled

if not compiled.available():
    pytest.skip("numba is not installed", allow_module_level=True)

KINDS = (torch.float32, torch.float64)
KERNELS = ("rate", "stdp_pair", "stdp_symmetric")


def both(config: EligibilityConfig) -> tuple[EligibilityTraceModule, EligibilityTraceModule]:
    return EligibilityTraceModule(7, 5, config), EligibilityTraceModule(7, 5, config, path="plain")


def play(fast, plain, pre, post, mods, **tolerance):
    for now_pre, now_post, mod in zip(pre, post, mods, strict=True):
        for traces in (fast, plain):
            traces.observe(now_pre, now_post)
        torch.testing.assert_close(fast.change(mod), plain.change(mod), **tolerance)
    torch.testing.assert_close(fast.eligibility, plain.eligibility, **tolerance)


def some(kind=torch.float64, steps=40, batch=3, seed=0):
    pre, post = (trains(steps, batch, n, seed=seed + n, rate=0.3, dtype=kind) for n in (7, 5))
    return pre, post, torch.randn(steps, batch, dtype=kind, generator=torch.Generator().manual_seed(seed))


def count(monkeypatch) -> list[object]:
    """The steps that compiled loops take from now on."""
    taken, original = [], compiled.CompiledSteps.step
    monkeypatch.setattr(compiled.CompiledSteps, "step", lambda *a: (taken.append(a), original(*a))[1])
    return taken


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("trace", ("accumulating", "dutch"))
def test_a_reward_at_every_step(trace, kernel, kind, monkeypatch):
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if kind is torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    for clamp in (None, (-0.5, 0.6)):
        for convention in CONVENTIONS:
            taken = count(monkeypatch)
            config = settings(kernel, trace, convention, clamp_range=clamp)
            play(*both(config), *some(kind), **tolerance)
            assert taken


def test_what_is_graded_and_signed_and_what_lies_otherwise():
    pre, post, mods = some()
    pre, post = (side * (torch.rand_like(side) - 0.4) for side in (pre, post))
    scattered = pre.repeat(1, 1, 2)[..., ::2]
    fast, plain = both(settings("stdp_pair"))
    play(fast, plain, scattered, post, mods)
    play(fast, plain, pre.bool(), post.bool(), mods)
    play(fast, plain, pre, post, mods[:, :1].squeeze(1))


def test_nan_is_refused_and_nothing_has_changed():
    fast, _ = both(settings("stdp_pair"))
    pre, post, mods = some()
    for t in range(4):
        fast.observe(pre[t], post[t])
        fast.change(mods[t])
    before = copy.deepcopy(fast)
    for value in (float("nan"), float("inf")):
        broken = pre[4].clone()
        broken[1, 2] = value
        with pytest.raises(ValueError, match="pre holds 1 value"):
            fast.observe(broken, post[4])
    for traces in (fast, before):
        traces.observe(pre[4], post[4])
    assert torch.equal(fast.eligibility, before.eligibility)


def test_a_copy_goes_on_by_itself():
    pre, post, mods = some()
    fast, plain = both(settings("stdp_pair"))
    play(fast, plain, pre[:20], post[:20], mods[:20])
    other = copy.deepcopy(fast)
    play(fast, plain, pre[20:], post[20:], mods[20:])
    for t in range(20, 40):
        other.observe(pre[t], post[t])
        other.change(mods[t])
    assert torch.equal(other.eligibility, fast.eligibility)


@pytest.mark.parametrize("config", (settings("stdp_triplet"), settings("stdp_pair", "replacing")))
def test_what_no_loop_is_for(config, monkeypatch):
    taken = count(monkeypatch)
    play(*both(config), *some())
    assert not taken


def test_parameters_that_learn_are_left_to_torch():
    like = torch.zeros(1, 7), torch.zeros(1, 5)
    learned = PairSTDP(tau_plus=nn.Parameter(torch.tensor(11.0)))
    assert compiled.CompiledSteps.of(learned, Accumulating(), like) is None
    assert compiled.CompiledSteps.of(PairSTDP(), Accumulating(torch.tensor(20.0, requires_grad=True)), like) is None
    assert compiled.CompiledSteps.of(PairSTDP(), Accumulating(), like) is not None


BOUNDS = HardBounds(-1.0, 1.0), SoftBounds(-1.0, 1.0), SoftBounds(0.0, 1.0, 0.5, 2.0), SoftBounds(-0.5, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bounds", BOUNDS)
def test_bounds(bounds, kind):
    """Also of weights that are outside already, and of changes that are zero."""
    generator = torch.Generator().manual_seed(0)
    weight = 3.0 * torch.rand(50, 40, dtype=kind, generator=generator) - 1.5
    delta = torch.randn(50, 40, dtype=kind, generator=generator)
    delta[0] = 0.0
    tolerance = 1e-12 if kind is torch.float64 else 1e-6
    found = compiled.bounded(weight, delta, bounds)
    torch.testing.assert_close(found, bounds(weight, delta), rtol=tolerance, atol=tolerance)
    assert compiled.bounded(weight.T, delta.T, bounds) is None


def test_a_change_that_overflows_is_known_to():
    fast, _ = both(settings("rate", clamp_range=None))
    ones = torch.full((1, 7), 1e200, dtype=torch.float64), torch.full((1, 5), 1e100, dtype=torch.float64)
    for _ in range(3):
        fast.observe(*ones)
        fast.change(torch.ones(1, dtype=torch.float64))
    running = fast._running
    assert running.change_at_once(torch.full((1,), 1e100, dtype=torch.float64), 1.0) is None
    assert running.change_at_once(torch.ones(1, dtype=torch.float64), 1.0) is not None


def test_without_numba_nothing_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(compiled, "loops", lambda: None)
    taken = count(monkeypatch)
    play(*both(settings("stdp_pair")), *some())
    assert not taken
