"""`python -m snn_plasticity bench`: how fast the traces are on this machine, beside the plain path and the matmul roof.

Every row interleaves its contestants (A B A B …), checks first that they agree, and quotes medians. A step is one
simulation step of the whole batch; 5 % of the neurons spike in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from .config import EligibilityConfig
from .plasticity import EligibilityTraceModule

SIZES = ((1, 100, 100), (1, 1000, 1000), (32, 784, 256), (32, 1000, 1000))  # batch, pre, post
SPIKE_RATE, ROUNDS = 0.05, 5
BENCH_CONFIG = EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_plus=0.01, a_minus=0.0105, clamp_range=None)


class Row(NamedTuple):
    """One size: µs per step of each contestant, and the share of the matmul roof that the dense count reaches."""

    size: tuple[int, int, int]
    plain: float
    fold: float
    change: float
    roof: float


def measure(device: str = "cpu", progress: Callable[[str], None] = lambda line: None) -> Iterator[Row]:
    """A row for each size, on one thread; the plain path is timed on fewer steps where it is slow."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size in SIZES:
            progress(f"batch {size[0]}, {size[1]} → {size[2]} …")
            yield _row(size, device)
    finally:
        torch.set_num_threads(threads)


def _row(size: tuple[int, int, int], device: str) -> Row:
    batch, n_pre, n_post = size
    steps, few = (256, 128) if batch == 1 else (128, 8)
    generator = torch.Generator().manual_seed(0)
    pre, post = (
        (torch.rand(steps, batch, n, generator=generator) < SPIKE_RATE).float().to(device) for n in (n_pre, n_post)
    )
    mod = torch.randn(steps, batch, generator=generator).to(device)
    plain, fold, change = (
        EligibilityTraceModule(n_pre, n_post, BENCH_CONFIG, path=path) for path in ("plain", "fold", "auto")
    )
    _agree(plain, fold, change, pre[:few], post[:few], mod[:few])
    contests = {
        "plain": (few, lambda: _step_by_step(plain, pre[:few], post[:few])),
        "fold": (steps, lambda: _reset(fold).update_window(pre, post)),
        "change": (steps, lambda: _reset(change).modulate_window(pre, post, mod)),
    }
    times = _interleaved({name: run for name, (_, run) in contests.items()}, device)
    each = {name: 1e6 * median(times[name]) / taken for name, (taken, _) in contests.items()}
    work = 2.0 * batch * n_pre * n_post  # flops of a dense product per step
    return Row(size, each["plain"], each["fold"], each["change"], work / (each["change"] * 1e-6) / _roof(device))


def _reset(module: EligibilityTraceModule) -> EligibilityTraceModule:
    module.reset()
    return module


def _step_by_step(module: EligibilityTraceModule, pre: Tensor, post: Tensor) -> None:
    module.reset()
    for now_pre, now_post in zip(pre, post, strict=True):
        module.observe(now_pre, now_post)


def _agree(
    plain: EligibilityTraceModule,
    fold: EligibilityTraceModule,
    change: EligibilityTraceModule,
    pre: Tensor,
    post: Tensor,
    mod: Tensor,
) -> None:
    """Refuse to time paths that do not give the same numbers."""
    expected = torch.zeros_like(change.rule.geometry.product(post[0], pre[0])[0])
    for now_pre, now_post, now in zip(pre, post, mod, strict=True):
        plain.observe(now_pre, now_post)
        expected = expected + plain.change(now)
    tolerance = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(change.modulate_window(pre, post, mod), expected, rtol=1e-4, atol=tolerance)
    torch.testing.assert_close(fold.update_window(pre, post), plain.eligibility, rtol=1e-4, atol=tolerance)


def _interleaved(runs: dict[str, Callable[[], object]], device: str) -> dict[str, list[float]]:
    """Seconds of each run, round by round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, run in runs.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def _roof(device: str) -> float:
    """Floating-point operations per second of a large matrix product here."""
    a, b = torch.randn(1024, 1024, device=device), torch.randn(1024, 1024, device=device)
    seconds = median(_interleaved({"mm": lambda: a @ b}, device)["mm"])
    return 2.0 * 1024**3 / seconds


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
