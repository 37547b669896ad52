"""Plain steps, folds and closed loops on a device, beside the same work as one first writes it, out of place.

Traffic and operations are the least that a step of each work needs, per step of the whole batch: what must be read and
written, and 2 N² B operations for a product over the batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from trains import Rule

from snn_plasticity import EligibilityConfig, EligibilityTraceModule

STEPS, DENSITY, RULE, FLOAT = 64, 0.05, Rule(), 4
GIBI = 1 << 30


class Size(NamedTuple):
    """Neurons on both sides, samples."""

    n: int
    batch: int


class Given(NamedTuple):
    """Trains (T, B, N) and rewards (T, B) on a device."""

    pre: Tensor
    post: Tensor
    reward: Tensor


class Player(NamedTuple):
    """Plays the steps from one to another, all at once or one by one, and shows what it came to."""

    play: Callable[[int, int], object]
    result: Callable[[], Tensor]
    whole: bool = False  # whether only the whole trains can be played


class Work(NamedTuple):
    """The same work twice; bytes and operations that one step of it needs at least."""

    name: str
    naive: Callable[[Given], Player]
    ours: Callable[[Given], Player]
    traffic: Callable[[Size], float]
    operations: Callable[[Size], float]


def given(size: Size, device: str) -> Given:
    """The same spikes everywhere: drawn on the CPU."""
    generator = torch.Generator().manual_seed(0)
    pre, post = (
        (torch.rand(STEPS, size.batch, size.n, generator=generator) < DENSITY).float().to(device) for _ in range(2)
    )
    return Given(pre, post, torch.randn(STEPS, size.batch, generator=generator).to(device))


class Naive:
    """x, y, e and the weight, every line of the equations as an operation, out of place."""

    def __init__(self, data: Given) -> None:
        _, batch, n = data.pre.shape
        self.data, self.x, self.y = data, data.pre.new_zeros(batch, n), data.pre.new_zeros(batch, n)
        self.e, self.w = data.pre.new_zeros(batch, n, n), data.pre.new_zeros(n, n)
        self.current = data.pre.new_zeros(batch, n)
        self.decay = math.exp(-1.0 / RULE.tau_plus)

    def traces(self, now: int) -> None:
        """A step of x, y and e."""
        pre, post = self.data.pre[now], self.data.post[now]
        self.x, before = self.decay * self.x + pre, self.decay * self.y
        self.y = before + post
        f = RULE.a_plus * post.unsqueeze(2) * self.x.unsqueeze(1)
        f = f - RULE.a_minus * before.unsqueeze(2) * pre.unsqueeze(1)
        self.e = (1.0 - 1.0 / RULE.tau_e) * self.e + f

    def of_each(self, now: int) -> None:
        """With a reward for each sample."""
        self.traces(now)
        self.w = self.w + RULE.lr * (self.data.reward[now].view(-1, 1, 1) * self.e).mean(0)

    def of_all(self, now: int) -> None:
        """With one reward for the batch."""
        self.traces(now)
        self.w = self.w + RULE.lr * (self.data.reward[now, 0] * self.e).mean(0)

    def forward(self, now: int) -> None:
        """The pass through the weight as it is now."""
        self.current = self.data.pre[now] @ self.w.T


def _naive(what: str, shown: str, *, forward: bool = False) -> Callable[[Given], Player]:
    def build(data: Given) -> Player:
        naive = Naive(data)

        def play(first: int, last: int) -> None:
            for now in range(first, last):
                if forward:
                    naive.forward(now)
                getattr(naive, what)(now)

        return Player(play, lambda: getattr(naive, shown))

    return build


def _traces(data: Given, path: str) -> EligibilityTraceModule:
    n = data.pre.shape[2]
    rule = EligibilityConfig(
        kernel="stdp_pair", tau_e=RULE.tau_e, a_plus=RULE.a_plus, a_minus=RULE.a_minus, clamp_range=None
    )
    return EligibilityTraceModule(n, n, rule, path=path)


def _plain(data: Given) -> Player:
    traces = _traces(data, "plain")

    def play(first: int, last: int) -> None:
        for now in range(first, last):
            traces.update(data.pre[now], data.post[now])

    return Player(play, lambda: _known(traces.eligibility))


def _window_of_e(data: Given) -> Player:
    traces = _traces(data, "auto")

    def play(first: int, last: int) -> None:
        traces.reset()
        traces.update_window(data.pre[first:last], data.post[first:last])

    return Player(play, lambda: _known(traces.eligibility), whole=True)


def _window_of_change(data: Given) -> Player:
    traces, n = _traces(data, "auto"), data.pre.shape[2]
    weight = data.pre.new_zeros(n, n)

    def play(first: int, last: int) -> None:
        traces.reset()
        window = slice(first, last)
        weight.add_(traces.modulate_window(data.pre[window], data.post[window], data.reward[window]), alpha=RULE.lr)

    return Player(play, lambda: weight, whole=True)


def _loop(path: str, *, each: bool) -> Callable[[Given], Player]:
    def build(data: Given) -> Player:
        traces, n = _traces(data, path), data.pre.shape[2]
        weight = data.pre.new_zeros(n, n)

        def play(first: int, last: int) -> None:
            for now in range(first, last):
                data.pre[now] @ weight.T
                traces.observe(data.pre[now], data.post[now])
                reward = data.reward[now] if each else data.reward[now, 0]
                weight.add_(traces.change(reward), alpha=RULE.lr)

        return Player(play, lambda: weight)

    return build


def _known(e: Tensor | None) -> Tensor:
    assert e is not None
    return e


def _matrix(size: Size) -> float:
    return FLOAT * size.n**2


def _product(size: Size) -> float:
    return 2.0 * size.n**2 * size.batch


def _read(size: Size) -> float:
    return 2.0 * FLOAT * size.n * size.batch  # spikes of both sides


WORKS = (
    Work("plain, e at every step", _naive("traces", "e"), _plain,
         lambda s: 2 * s.batch * _matrix(s), lambda s: 2 * _product(s)),
    Work("fold, e of a window", _naive("traces", "e"), _window_of_e,
         lambda s: _read(s) + s.batch * _matrix(s) / STEPS, _product),
    Work("fold, Δw, a reward each step", _naive("of_each", "w"), _window_of_change,
         lambda s: _read(s) + 2 * _matrix(s) / STEPS, _product),
    Work("closed loop, a reward for each sample", _naive("of_each", "w", forward=True), _loop("auto", each=True),
         lambda s: (2 * s.batch + 3) * _matrix(s), lambda s: 4 * _product(s)),
    Work("closed loop, one reward for all", _naive("of_all", "w", forward=True), _loop("shared", each=False),
         lambda s: 5 * _matrix(s), lambda s: 3 * _product(s)),
)  # fmt: skip


class Machine(NamedTuple):
    """What the device can do, measured: bytes per second of a copy, operations per second of a matrix product."""

    bandwidth: float
    matmul: float


def limits(device: str) -> Machine:
    """A large copy, and a product of large matrices in fp32."""
    entries, n = (GIBI // FLOAT, 8192) if device != "cpu" else (1 << 24, 1024)
    source, square = torch.ones(entries, device=device), torch.ones(n, n, device=device)
    target, product = torch.empty_like(source), torch.empty_like(square)
    copying = best(lambda: target.copy_(source), device)
    multiplying = best(lambda: torch.mm(square, square, out=product), device)
    return Machine(2 * FLOAT * entries / copying, 2.0 * n**3 / multiplying)


def best(work: Callable[[], object], device: str, times: int = 5) -> float:
    """Seconds of the fastest of some runs after one to warm up."""
    return min(seconds(work, device) for _ in range(times + 1))


def seconds(work: Callable[[], object], device: str) -> float:
    """Seconds until the device has done it."""
    _finish(device)
    begin = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - begin


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
