"""What this machine can do at most, by plain torch calls: multiply, add what lies in its cache, pass over memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from timing import cpu_seconds

INNER, OUTER = 256, 1000  # steps and neurons of the product that stands for a fold
ROW = 1 << 16  # entries that are added up: 256 KiB of fp32


class Limits(NamedTuple):
    """Operations per second of a matrix product, and additions per second."""

    multiply: float
    add: float

    def sums(self, n: int, density: float, batch: int) -> float:
        """The least time in which a step can be folded: as a dense product, or by adding a row for each spike."""
        return min(2.0 * n * n * batch / self.multiply, density * n * n * batch / self.add)

    def __str__(self) -> str:
        return f"`torch.mm`: {self.multiply / 1e9:.0f} GFLOP/s; additions in the cache: {self.add / 1e9:.1f} G/s."


def measure_limits() -> Limits:
    """Both, one after the other."""
    left, right, out = torch.rand(OUTER, INNER), torch.rand(INNER, OUTER), torch.empty(OUTER, OUTER)
    product = _fastest(lambda: torch.mm(left, right, out=out))
    row = torch.rand(ROW)
    return Limits(2.0 * INNER * OUTER * OUTER / product, ROW / _fastest(row.sum))


class Passes(NamedTuple):
    """Seconds of one pass over memory."""

    trains: float  # reading all trains of a window
    eligibility: float  # reading e of all samples and writing it
    change: float  # writing a weight change


def measure_passes(n: int, steps: int, batch: int) -> Passes:
    """Passes over what a window of this size has to read and to write at least once."""
    trains, e, change = torch.rand(2, steps, batch, n), torch.rand(batch, n, n), torch.rand(n, n)
    works = trains.sum, lambda: e.mul_(0.999), change.zero_
    return Passes(*(_fastest(work, repeats=3, rounds=7) for work in works))


def _fastest(work: Callable[[], object], repeats: int = 50, rounds: int = 15) -> float:
    """Seconds of one call: the lower quartile of some rounds."""

    def several() -> None:
        for _ in range(repeats):
            work()

    several()
    return statistics.quantiles([cpu_seconds(several) for _ in range(rounds)], n=4)[0] / repeats
