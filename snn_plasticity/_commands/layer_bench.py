"""`bench`: how long a step of a layer takes on this machine, in the ways that the library takes, beside the plain one.

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

from ..config import EligibilityConfig
from ..plasticity import EligibilityTraceModule
from .spoken import opening, progress

SIZES = ((1, 100, 100), (1, 1000, 1000), (32, 784, 256), (32, 1000, 1000))  # batch, pre, post
SPIKE_RATE, ROUNDS = 0.05, 5
BENCH_CONFIG = EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_plus=0.01, a_minus=0.0105, clamp_range=None)


class Row(NamedTuple):
    """One size (batch, pre, post), and the seconds of a step in each way."""

    size: tuple[int, int, int]
    plain: float
    fold: float
    change: float


LAYER_SECONDS = 20.0  # of it all, more or less
THREE_WAYS = """How long one step of a layer takes, while 5 % of its neurons spike, in ways that give the same numbers:

  step by step    the eligibility of every synapse is brought up to date at every step: the plain way
  in windows      spikes wait, and many steps go into the eligibility at once: for rewards that come now and then
  changes alone   a reward at every step changes the weights straight from the spikes, and no eligibility is built

The library takes the fastest way that fits by itself; nothing has to be chosen.
"""


def bench(device: str) -> int:
    """Print how long a step takes at every size, and how many there are in a second."""
    opening("Times the learning of a layer on this machine, with one thread.", LAYER_SECONDS, device)
    print(THREE_WAYS)
    print(f"  {'one step of':<34}{'step by step':>14}{'in windows':>26}{'changes alone':>26}")
    for row in measure(device):
        faster = "".join(f"{f'{_ms(t)} ({row.plain / t:.0f}× faster)':>26}" for t in (row.fold, row.change))
        print(f"  {named(row.size):<34}{_ms(row.plain):>14}{faster}", flush=True)
    batch, pre, post = row.size
    print(
        f"\nIn a second, {pre} × {post} synapses with {batch} samples learn for {_count(1 / row.change)} steps "
        f"({_count(1 / row.plain)} the plain way)."
    )
    return 0


def named(size: tuple[int, int, int]) -> str:
    """A layer in words."""
    batch, pre, post = size
    return f"{pre} → {post} neurons, " + ("1 sample" if batch == 1 else f"{batch} samples")


def _ms(seconds: float) -> str:
    """A time in milliseconds, with two digits that say something."""
    return f"{1e3 * seconds:.2g} ms" if seconds < 0.1 else f"{1e3 * seconds:.0f} ms"


def _count(number: float) -> str:
    """A number with two digits that say something."""
    return f"{float(f'{number:.2g}'):,.0f}"


def measure(device: str = "cpu") -> Iterator[Row]:
    """A row for each size, on one thread; the plain path is timed on fewer steps where it is slow."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size in SIZES:
            progress(f"{named(size)} …")
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
    each = {name: median(times[name]) / taken for name, (taken, _) in contests.items()}
    return Row(size, each["plain"], each["fold"], each["change"])


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


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
