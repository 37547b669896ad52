"""From which density, and from which size, a sparse product is faster than a dense one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import results
import torch
from timing import cpu_seconds
from tqdm import tqdm

from snn_plasticity.plasticity.sparse import DENSITY, SIZE, by_neuron

DENSITIES = (0.01, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5)
SHAPES = ((64, 300), (64, 1000), (256, 300), (256, 1000), (256, 2000))  # rows of the train (steps × samples), N
SIZES = (8, 16, 32, 48, 64, 96, 128, 192, 256)
HEADER = ("trains, and table", "sparse is faster below a density of")
STEPS = 64


def report(quick: bool) -> str:
    """Both crossovers as text."""
    shapes = SHAPES[:2] if quick else SHAPES
    rows = [(f"{steps}×{n}", _percent(density_of(steps, n))) for steps, n in tqdm(shapes, desc="crossover")]
    size = size_of(STEPS, 0.05)
    entries = "no size that was tried" if size is None else f"{STEPS * size} entries ({STEPS} steps × {size} neurons)"
    text = "Sparse or dense, `trains.T @ table`, the time to build the sparse matrix counted:"
    used = f"The library takes the sparse product below a density of {DENSITY:.0%}, for trains from {SIZE} entries on."
    end = f"At 5 %, sparse is faster for trains from {entries} on. {used}"
    return "\n\n".join([text, results.table(HEADER, rows), end])


def density_of(steps: int, n: int) -> float | None:
    """Where the two cost the same, between the densities that were tried."""
    last = None
    for density in DENSITIES:
        advantage = math.log(_ratio(steps, n, density))
        if advantage < 0:
            return density if last is None else _between(last, (density, advantage))
        last = (density, advantage)
    return None


def size_of(steps: int, density: float) -> int | None:
    """The smallest number of neurons from which sparse stays faster."""
    faster = [_ratio(steps, n, density) > 1 for n in SIZES]
    slow = [i for i, won in enumerate(faster) if not won]
    first = slow[-1] + 1 if slow else 0
    return SIZES[first] if first < len(SIZES) else None


def _ratio(steps: int, n: int, density: float) -> float:
    """Dense time over sparse time."""
    generator = torch.Generator().manual_seed(0)
    train = (torch.rand(steps, n, generator=generator) < density).float()
    table, out = torch.rand(steps, n, generator=generator), torch.zeros(n, n)

    def dense() -> None:
        out.addmm_(train.T, table, beta=0.9)

    def sparse() -> None:
        out.addmm_(by_neuron(train), table, beta=0.9)

    return _seconds(dense) / _seconds(sparse)


def _seconds(work: Callable[[], object], rounds: int = 9) -> float:
    work()
    once = max(cpu_seconds(work), 1e-6)
    repeats = max(1, round(0.004 / once))

    def several() -> None:
        for _ in range(repeats):
            work()

    return statistics.median(cpu_seconds(several) for _ in range(rounds)) / repeats


def _between(low: tuple[float, float], high: tuple[float, float]) -> float:
    """Log-linear between two densities, where the advantage crosses zero."""
    share = low[1] / (low[1] - high[1])
    return low[0] * (high[0] / low[0]) ** share


def _percent(density: float | None) -> str:
    return f"more than {DENSITIES[-1]:.0%}" if density is None else f"{density:.0%}"
