"""Compiled loops against plain steps in torch: a step, a change, bounds; what they do not take is left to others."""

from __future__ import annotations

import copy
import dataclasses
import sys
from typing import NamedTuple

import pytest
import torch
from conftest import CONVENTIONS, settings, trains
from torch import nn

from snn_plasticity import (
    EligibilityConfig,
    EligibilityTraceModule,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    _compiled,
)
from snn_plasticity.connection import Connection
from snn_plasticity.kernels import Coincidence, Pair, PairSTDP
from snn_plasticity.plasticity import Accumulating, HardBounds, SoftBounds
from snn_plasticity.plasticity._engine import compiled, stepping

if not _compiled.available():
    pytest.skip("numba is not installed", allow_module_level=True)

KINDS = (torch.float32, torch.float64)
KERNELS = ("rate", "stdp_pair", "stdp_symmetric")
ORIGINAL = {name: getattr(compiled.CompiledSteps, name) for name in ("step", "join", "total", "landing")}
TOLERANCE = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-10, "atol": 1e-12}}


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


@pytest.fixture
def taken(monkeypatch) -> list[str]:
    """The steps that compiled loops take from now on, and the changes that came of them."""
    found: list[str] = []
    for name in ORIGINAL:

        def seen(*given, name=name, original=ORIGINAL[name]):
            done = original(*given)
            if done is not None and done is not False:
                found.append(name)
            return done

        monkeypatch.setattr(compiled.CompiledSteps, name, seen)
    return found


@pytest.mark.parametrize("clamp", (None, (-0.5, 0.6)))
@pytest.mark.parametrize("trace", ("accumulating", "dutch", "replacing"))
@pytest.mark.parametrize("kernel", KERNELS)
def test_windows_of_few_steps_go_one_by_one(kernel, trace, clamp, monkeypatch, taken):
    pre, post, mods = some(steps=70)
    for entries in (1, 1 << 17):
        monkeypatch.setattr(stepping, "SMALL_ENTRIES", entries)
        few, (fast, plain) = 4 if entries == 1 else 16, both(settings(kernel, trace, clamp_range=clamp))
        for start, stop in ((0, 1), (1, 3), (3, 3 + few), (3 + few, 4 + 2 * few), (4 + 2 * few, 70)):
            taken.clear()
            for module in (fast, plain):
                module.update_window(pre[start:stop], post[start:stop])
            assert taken.count("step") == (stop - start if stop - start <= few else 0)
            torch.testing.assert_close(fast.eligibility, plain.eligibility, **TOLERANCE[torch.float64])
        torch.testing.assert_close(fast.change(mods[0]), plain.change(mods[0]), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("trace", ("accumulating", "dutch"))
def test_a_reward_at_every_step(trace, kernel, kind, taken):
    for clamp in (None, (-0.5, 0.6)):
        for convention in CONVENTIONS[:: 1 if kind is torch.float64 else 5]:
            taken.clear()
            config = settings(kernel, trace, convention, clamp_range=clamp)
            play(*both(config), *some(kind), **TOLERANCE[kind])
            assert min(taken.count("step"), taken.count("total")) > 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trace", ("accumulating", "dutch", "replacing", "active"))
def test_kernels_that_say_their_products_themselves(trace, kind, taken):
    """One to four products, or none; three and four of a trace that is no sum are left to torch."""
    scope = {"dutch_scope": "active"} if trace == "active" else {}
    linear, trace = trace in ("accumulating", "dutch"), "dutch" if trace == "active" else trace
    for products in (1, 2, 3, 4):
        for clamp in (None, (-0.5, 0.6)):
            taken.clear()
            config = settings(Several(products), trace, clamp_range=clamp, **scope)
            play(*both(config), *some(kind), **TOLERANCE[kind])
            assert (taken.count("join") > 20) is (linear or products < 3)
    for kernel in ("stdp_triplet", "stdp_pair", "rate"):
        taken.clear()
        play(*both(settings(kernel, trace, **scope)), *some(kind), **TOLERANCE[kind])
        assert taken


class Several(NamedTuple):
    """A kernel of one's own: products of its spikes and of traces, some that potentiate and some that depress."""

    products: int

    def init(self, pre, post):
        return torch.zeros_like(pre), torch.zeros_like(post)

    def step(self, pre, post, state, dt=1.0):
        x, y = 0.8 * state[0] + pre, 0.7 * state[1] + post
        pairs = (Pair(post, x), Pair(y, pre), Pair(0.3 * y, x), Pair(0.2 * post, pre))[: self.products]
        pairs = () if not pre.any() else pairs
        return Coincidence(pairs[::2], pairs[1::2]), (x, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", (*KERNELS, "stdp_triplet"))
def test_one_modulator_for_the_batch(kernel, kind, taken):
    """The batch's sum alone, spikes few or many."""
    for rate in (0.05, 0.6):
        pre, post = (trains(40, 6, n, seed=n, rate=rate, dtype=kind) for n in (7, 5))
        config = settings(kernel, clamp_range=None)
        fast, plain = EligibilityTraceModule(7, 5, config, path="shared"), both(config)[1]
        taken.clear()
        for t in range(40):
            for traces in (fast, plain):
                traces.observe(pre[t], post[t])
            mod = torch.tensor(0.5 - t % 3, dtype=kind)
            torch.testing.assert_close(fast.change(mod), plain.change(mod), **TOLERANCE[kind])
        assert len(taken) > 30


@pytest.mark.parametrize("look", ("eligibility", "copy", "save", "go back", "reset", "window", "twice"))
def test_what_is_due_is_there_for_whoever_looks(look):
    """e waits for the modulator of its step; between a step and its modulator, all that reads or moves e sees it."""
    pre, post, mods = some()
    fast, plain = both(settings("stdp_pair", clamp_range=(-0.5, 0.6)))
    play(fast, plain, pre[:10], post[:10], mods[:10])
    for traces in (fast, plain):
        traces.observe(pre[10], post[10])
    assert fast._running.state.steps.due
    if look == "eligibility":
        torch.testing.assert_close(fast.eligibility, plain.eligibility)
    elif look == "copy":
        fast = copy.deepcopy(fast)
    elif look == "save":
        saved, fast = fast.get_extra_state(), both(fast.config)[0]
        fast.set_extra_state(saved)
    elif look == "go back":
        mark = fast.mark(safe=False)
        fast.change(mods[10])
        fast.go_back(mark)
    elif look == "reset":
        for traces in (fast, plain):
            traces.reset(mask=torch.tensor([True, False, True]))
    elif look == "window":
        for traces in (fast, plain):
            traces.observe_window(pre[11:15], post[11:15])
    else:
        for traces in (fast, plain):
            traces.observe(pre[11], post[11])
    torch.testing.assert_close(fast.change(mods[10]), plain.change(mods[10]))
    play(fast, plain, pre[15:], post[15:], mods[15:])


@pytest.mark.parametrize("kernel", (*KERNELS, "stdp_triplet"))
def test_a_modulator_that_comes_before_the_first_step(kernel):
    """e is there already, after a load or a window; no step has made room for its products."""
    pre, post, mods = some()
    fast, plain = both(settings(kernel))
    play(fast, plain, pre[:4], post[:4], mods[:4])
    saved, fast = fast.get_extra_state(), both(fast.config)[0]
    fast.set_extra_state(saved)
    torch.testing.assert_close(fast.change(mods[4]), plain.change(mods[4]))
    play(fast, plain, pre[5:9], post[5:9], mods[5:9])
    for traces in (fast, plain):
        traces.observe_window(pre[9:20], post[9:20])
    torch.testing.assert_close(fast.change(mods[20]), plain.change(mods[20]))
    play(fast, plain, pre[21:], post[21:], mods[21:])


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


def test_parameters_that_learn_are_left_to_torch():
    like = torch.zeros(1, 7), torch.zeros(1, 5)
    learned = PairSTDP(tau_plus=nn.Parameter(torch.tensor(11.0)))
    assert compiled.CompiledSteps.of(PairSTDP(), Accumulating(), like, False).pairs
    assert not compiled.CompiledSteps.of(learned, Accumulating(), like, False).pairs
    of_tensors = Accumulating(torch.tensor(20.0, requires_grad=True))
    assert compiled.CompiledSteps.of(PairSTDP(), of_tensors, like, False) is None


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
    of_ones_own = type("Own", (type(bounds),), {})(*dataclasses.astuple(bounds))
    assert compiled.bounded(weight, delta, of_ones_own) is None


def test_a_change_that_overflows_is_known_to():
    fast, _ = both(settings("rate", clamp_range=None))
    ones = torch.full((1, 7), 1e200, dtype=torch.float64), torch.full((1, 5), 1e100, dtype=torch.float64)
    for _ in range(3):
        fast.observe(*ones)
        fast.change(torch.ones(1, dtype=torch.float64))
    running = fast._running
    fast.observe(*ones)
    assert running.change_at_once(torch.full((1,), 1e100, dtype=torch.float64), 1.0) is None
    fast.change(torch.ones(1, dtype=torch.float64))
    fast.observe(*ones)
    assert running.change_at_once(torch.ones(1, dtype=torch.float64), 1.0) is not None


def test_spikes_with_a_gradient_are_observed(taken):
    pre, post, mods = some()
    play(*both(settings("stdp_pair")), pre.requires_grad_(), post, mods)
    assert taken


def test_without_numba_nothing_is_missing(monkeypatch, taken):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(_compiled, "available", lambda: False)
    monkeypatch.setattr(_compiled, "loops", lambda: None)
    play(*both(settings("stdp_pair")), *some())
    assert not taken


LANDINGS = {
    "free": {},
    "hard": {"weight_bounds": (-1.0, 1.0)},
    "soft": {"weight_bounds": (-1.0, 1.0), "soft_bounds": 1.0},
}


def replaced(layer, how, t):
    """The weight of a layer lies elsewhere, or otherwise, from now on; its values stay."""
    weight = layer.weight
    if how == "data":
        weight.data = weight.data.clone()
    elif how == "loaded":
        layer.load_state_dict({"weight": weight.detach().clone()}, assign=t % 2 == 0)
    elif how == "shared":
        layer.share_memory()
    elif how == "transposed":
        weight.data = weight.data.t().contiguous().t() if t % 2 else weight.data.contiguous()
    elif how == "precision":
        layer.to(torch.float32 if t % 2 else torch.float64)


@pytest.mark.parametrize("bounds", LANDINGS)
@pytest.mark.parametrize("how", ("stays", "data", "loaded", "shared", "transposed", "precision"))
def test_the_weight_that_is_there_changes(how, bounds, taken):
    """A loop is given addresses: of a weight that was replaced, moved or laid out anew, those of now."""
    (pre, post, mods), ends = some(), []
    three_factor = ThreeFactorConfig(lr=0.1, weight_clamp=(-0.2, 0.2), **LANDINGS[bounds])
    config = PlasticityConfig(settings("stdp_pair"), three_factor=three_factor)
    for path in ("auto", "plain"):
        torch.manual_seed(0)
        layer = nn.Linear(7, 5, bias=False, dtype=torch.float64)
        learner = PlasticityLearner([Connection("fc", layer, config=config, path=path)])
        for t in range(40):
            heard = pre[t].clone(), post[t].clone().t().contiguous().t()  # laid out otherwise
            learner.connections["fc"].observe(*heard)
            heard[0].fill_(7.0)  # what was heard is kept, whatever becomes of its memory
            if t % 5 == 4:
                replaced(layer, how, t // 5)
            before = layer.weight._version
            learner.step(mods[t])
            assert layer.weight._version > before
        ends.append(layer.weight.detach().double())
    assert taken.count("landing") > (15 if how in ("transposed", "precision") else 30)
    torch.testing.assert_close(*ends, **TOLERANCE[torch.float32 if how == "precision" else torch.float64])


def test_an_eligibility_that_is_moved_goes_on(taken):
    """`share_memory_` moves it to other addresses, and frees the old ones."""
    fast, plain = both(settings("stdp_pair"))
    pre, post, mods = some()
    play(fast, plain, pre[:20], post[:20], mods[:20])
    fast.eligibility.share_memory_()
    fast._running.state.kernel.x.share_memory_()
    play(fast, plain, pre[20:], post[20:], mods[20:])
    assert taken.count("total") > 30


def test_a_step_that_the_second_of_two_refuses_changes_nothing(taken):
    """The first has been worked out by then, in memory of its own."""
    pre, post, mods = some()
    three_factor = ThreeFactorConfig(lr=0.1, weight_clamp=None)
    config = PlasticityConfig(settings("rate", clamp_range=None), three_factor=three_factor)
    layers = [nn.Linear(7, 5, bias=False, dtype=torch.float64) for _ in range(2)]
    learner = PlasticityLearner([Connection(f"fc{k}", layer, config=config) for k, layer in enumerate(layers)])
    twin = EligibilityTraceModule(7, 5, config.eligibility, path="plain")
    first, second = learner.connections.values()
    for t in range(20):
        large = 1e150 if t == 19 else 1.0
        first.observe(pre[t], post[t])
        second.observe(large * torch.ones_like(pre[t]), large * torch.ones_like(post[t]))
        twin.observe(pre[t], post[t])
        if t < 19:
            learner.step(mods[t])
    kept, done = [layer.weight.detach().clone() for layer in layers], taken.count("landing")
    with pytest.raises(ValueError, match="fc1: Δw holds"):
        learner.step(1e15)
    assert taken.count("landing") == done + 1
    assert all(torch.equal(layer.weight, weight) for layer, weight in zip(layers, kept, strict=True))
    torch.testing.assert_close(first.eligibility, twin.eligibility, rtol=1e-10, atol=1e-12)
    learner.step(1e-3)
    assert all(not torch.equal(layer.weight, weight) for layer, weight in zip(layers, kept, strict=True))
