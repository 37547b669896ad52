"""Any input, any history, every path, clamps that bind or not: against sums over spikes written out in NumPy."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import torch
from conftest import CONVENTIONS, settings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from snn_plasticity import EligibilityConfig, EligibilityTraceModule
from snn_plasticity.layers import dense, spike_trains
from snn_plasticity.plasticity._engine import engine as running
from snn_plasticity.plasticity._engine import spikes as waiting
from snn_plasticity.plasticity._engine import state as states
from snn_plasticity.plasticity._engine import stepping

CLAMPS = (
    (-0.3, 0.4),
    (-1.0, 1.0),
    (-0.05, 3.0),
    (-3.0, 0.05),
    (0.0, 1.0),
    (-0.5, 0.0),
    (-float("inf"), 0.6),
    (-5.0, 5.0),
)
KERNELS = ("rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", "window")
PATHS = {"accumulating": ("plain", "fold", "auto"), "dutch": ("plain", "fold", "auto")}
KINDS = ("spikes", "counts", "graded", "signed", "small", "silent", "saturated", "tall and rare")


def activity(kind: str, steps: int, batch: int, n: int, seed: int) -> torch.Tensor:
    """Trains (T, B, N) of a kind."""
    g = torch.Generator().manual_seed(seed)
    shape = steps, batch, n
    spikes = (torch.rand(shape, generator=g) < 0.3).double()
    return {
        "spikes": lambda: spikes,
        "counts": lambda: torch.randint(0, 4, shape, generator=g).double() * spikes,
        "graded": lambda: 3.0 * torch.rand(shape, generator=g).double() * spikes,
        "signed": lambda: torch.randn(shape, generator=g).double(),
        "small": lambda: 0.01 * torch.rand(shape, generator=g).double(),
        "silent": lambda: torch.zeros(shape).double(),
        "saturated": lambda: torch.ones(shape).double(),
        "tall and rare": lambda: 10.0 * (torch.rand(shape, generator=g) < 0.03).double(),
    }[kind]()


def told(module: EligibilityTraceModule, pre: torch.Tensor, post: torch.Tensor, lengths: list[int]) -> list[np.ndarray]:
    """What e is after windows of some lengths, 1 for a single step."""
    seen, t = [], 0
    for length in lengths:
        if length == 1:
            module.observe(pre[t], post[t])
        else:
            module.observe_window(pre[t : t + length], post[t : t + length])
        t += length
        seen.append((t - 1, module.eligibility.clone().numpy()))
    return seen


def expected(pre: torch.Tensor, post: torch.Tensor, config: EligibilityConfig) -> np.ndarray:
    """Every e of the oracle, one step late where a modulator meets the step before."""
    e = brute_force.run(pre.numpy(), post.numpy(), config)[1]
    return np.concatenate((np.zeros_like(e[:1]), e[:-1])) if config.convention.lag else e


def _elsewhere(patch: pytest.MonkeyPatch) -> None:
    """As on a device whose values are not looked at: spikes wait as the numbers that they are."""
    patch.setattr(spike_trains, "_readable", lambda trains: False)


def _small(patch: pytest.MonkeyPatch) -> None:
    """Make the sizes from which fast ways are taken so small that short stories meet them all."""
    for module, name, value in (
        (running, "MIN_WINDOW", 7), (running, "MAX_WINDOW", 7), (running, "MAX_CLAMPED_WINDOW", 7),
        (states, "TABLE_ENTRIES", 70), (dense, "SMALL_POPULATION", 0), (spike_trains, "MIN_ENTRIES", 0),
        (stepping, "STEPWISE", (1, 1)), (waiting, "PENDING_BYTES", 40), (waiting, "BLOCK_STEPS", (2, 5)),
        (waiting, "BLOCK_BYTES", 40),
    ):  # fmt: skip
        patch.setattr(module, name, value)


@effort(deadline=None, max_examples=150)
@given(
    kernel=st.sampled_from(KERNELS),
    trace=st.sampled_from(("accumulating", "dutch", "replacing", "dutch_active")),
    convention=st.sampled_from(CONVENTIONS),
    clamp=st.sampled_from(CLAMPS),
    kinds=st.tuples(*[st.sampled_from(KINDS)] * 2),
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    taus=st.tuples(*[st.sampled_from((1.2, 2.0, 15.0, 500.0))] * 2),
    path=st.sampled_from(("plain", "fold", "auto", "rows")),
    small=st.booleans(),
    elsewhere=st.booleans(),
)
def test_whatever_comes_in(kernel, trace, convention, clamp, kinds, seed, lengths, taus, path, small, elsewhere):
    linear = trace in PATHS
    path = path if path in ("plain", "auto") or (path == "fold") is linear else "auto"
    pre, post = (activity(kind, sum(lengths), 2, n, seed + n) for kind, n in zip(kinds, (3, 4), strict=True))
    config = settings(kernel, trace, convention, clamp_range=clamp, tau_e=taus[0], stdp_tau_minus=taus[1])
    with pytest.MonkeyPatch.context() as patch:
        _small(patch) if small else None
        _elsewhere(patch) if elsewhere else None
        seen = told(EligibilityTraceModule(3, 4, config, path=path), pre, post, lengths)
    e = expected(pre, post, config)
    for t, answer in seen:
        np.testing.assert_allclose(answer, e[t], rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(e).max())))


class Oracle:
    """What a story must answer: a modulator's change is that of the e of its step, summed over whoever waits."""

    def __init__(self, pre: torch.Tensor, post: torch.Tensor, config: EligibilityConfig) -> None:
        self.pre, self.post, self.config = pre.clone(), post.clone(), config
        self.t, self.waiting = 0, 0.0
        self._look()

    def _look(self) -> None:
        e = expected(self.pre, self.post, self.config)
        self.e = np.concatenate((np.zeros_like(e[:1]), e))  # e[t] is that after t steps

    def change(self, mod: np.ndarray, at: int | None = None) -> np.ndarray:
        e = self.e[self.t if at is None else at]
        return (np.reshape(mod, mod.shape + (1,) * (3 - mod.ndim)) * e).mean(0)

    def forget(self, mask: torch.Tensor) -> None:
        self.pre[: self.t, mask], self.post[: self.t, mask] = 0.0, 0.0  # silence is a fresh start to these kernels
        self._look()


EVENTS = ("step", "window", "modulated", "change", "queue", "flush", "look", "forget", "load")


@effort(deadline=None, max_examples=150)
@given(
    kernel=st.sampled_from(KERNELS),
    trace=st.sampled_from(("accumulating", "dutch", "replacing")),
    convention=st.sampled_from(CONVENTIONS),
    clamp=st.sampled_from((*CLAMPS, None)),
    kinds=st.tuples(*[st.sampled_from(KINDS)] * 2),
    seed=st.integers(0, 10**6),
    story=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(1, 9)), min_size=2, max_size=12),
    path=st.sampled_from(("plain", "fold", "auto")),
    small=st.booleans(),
    elsewhere=st.booleans(),
)
def test_whatever_happens(kernel, trace, convention, clamp, kinds, seed, story, path, small, elsewhere):
    path = path if trace in PATHS else "auto"
    steps = sum(n for event, n in story if event in ("window", "modulated")) + sum(
        event == "step" for event, _ in story
    )
    pre, post = (activity(kind, steps + 1, 2, n, seed + n) for kind, n in zip(kinds, (3, 4), strict=True))
    config = settings(kernel, trace, convention, clamp_range=clamp)
    with pytest.MonkeyPatch.context() as patch:
        _small(patch) if small else None
        _elsewhere(patch) if elsewhere else None
        answers = list(_answers(story, pre, post, config, path, seed))
    for answer, right in answers:
        np.testing.assert_allclose(answer, right, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(right).max())))


def _answers(story, pre, post, config, path, seed):
    """Pairs of what the module answers and what it should."""
    oracle, module = Oracle(pre, post, config), EligibilityTraceModule(3, 4, config, path=path)
    module.observe(pre[0], post[0])
    oracle.t, g = 1, torch.Generator().manual_seed(seed)
    for event, n in [*story, ("flush", 0), ("look", 0)]:
        t, mods = oracle.t, torch.randn(max(n, 1), *((), (2,), (2, 4))[n % 3], generator=g, dtype=torch.float64)
        window = pre[t : t + n], post[t : t + n]
        if event == "step":
            module.observe(pre[t], post[t])
            oracle.t += 1
        elif event == "window":
            module.observe_window(*window)
            oracle.t += n
        elif event == "modulated":
            right = sum(oracle.change(mod.numpy(), t + 1 + k) for k, mod in enumerate(mods))
            yield module.modulate_window(*window, mods).numpy(), right
            oracle.t += n
        elif event == "change":
            yield module.change(mods[0]).numpy(), oracle.change(mods[0].numpy())
        elif event == "queue":
            module.queue(mods[0])
            oracle.waiting = oracle.waiting + oracle.change(mods[0].numpy())
        elif event == "flush":
            yield module.flush().numpy(), np.broadcast_to(oracle.waiting, (4, 3))
            oracle.waiting = 0.0
        elif event == "look":
            yield module.eligibility.clone().numpy(), oracle.e[t]
        elif event == "forget":
            mask = torch.tensor([n % 2 == 0, n % 3 == 0])
            module.reset(mask=mask)
            oracle.forget(mask)
        else:
            state, module = module.state_dict(), EligibilityTraceModule(3, 4, config, path=path)
            module.load_state_dict(state)
