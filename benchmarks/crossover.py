"""From which density, train and population the library's faster ways are faster: sparse products."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from types import ModuleType

import results
import torch
from timing import cpu_seconds
from tqdm import tqdm

from snn_plasticity import EligibilityConfig, EligibilityTraceModule
from snn_plasticity.layers import dense
from snn_plasticity.layers.spike_trains import MAX_DENSITY, MIN_ENTRIES, SpikeTrains

DENSITIES = (0.01, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5)
SHAPES = ((64, 300), (64, 1000), (256, 300), (256, 1000), (256, 2000))  # rows of the train (steps × samples), N
SIZES = (8, 16, 32, 48, 64, 96, 128, 192, 256)
HEADER = ("trains, and table", "sparse is faster below a density of")
STEPS = 64
NARROW = (10, 20, 30, 50, 80, 100, 150, 200)  # neurons of the smaller population


def report(quick: bool) -> str:
    """Both crossovers as text."""
    shapes = SHAPES[:2] if quick else SHAPES
    rows = [(f"{steps}×{n}", _percent(density_of(steps, n))) for steps, n in tqdm(shapes, desc="crossover")]
    size = size_of(STEPS, 0.05)
    entries = "no size that was tried" if size is None else f"{STEPS * size} entries ({STEPS} steps × {size} neurons)"
    text = "Sparse or dense, `trains.T @ table`, the time to build the sparse matrix counted:"
    used = f"The library takes it below a density of {MAX_DENSITY:.0%}, for trains from {MIN_ENTRIES} entries on."
    end = f"At 5 %, sparse is faster for trains from {entries} on. {used}"
    sides = {"post": narrow_of(to=True, quick=quick), "pre": narrow_of(to=False, quick=quick)}
    found = " and ".join(f"{least or 'more than ' + str(NARROW[-1])} {side} neurons" for side, least in sides.items())
    narrow = (
        f"Between 1000 neurons and a few, the sparse product is faster from {found} on; the library: "
        f"{dense.SMALL_POPULATION}."
    )
    return "\n\n".join([text, results.table(HEADER, rows), end, narrow])


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
    return _from_here_on(SIZES, [_ratio(steps, n, density) > 1 for n in SIZES])


def _from_here_on(tried: Sequence[int], won: list[bool]) -> int | None:
    """The first of those after which all won."""
    lost = [i for i, one in enumerate(won) if not one]
    first = lost[-1] + 1 if lost else 0
    return tried[first] if first < len(tried) else None


def narrow_of(*, to: bool, quick: bool) -> int | None:
    """The size of the smaller population from which sparse stays faster, for the change of a window."""
    tried = NARROW[::3] if quick else NARROW
    won = [_advantage(dense, *((1000, n) if to else (n, 1000)), batch=8, steps=128) > 1 for n in tried]
    return _from_here_on(tried, won)


def _advantage(where: ModuleType, n_pre: int, n_post: int, *, batch: int, steps: int) -> float:
    """How many times faster the weight change of a window at 5 % is where no population counts as narrow."""
    generator = torch.Generator().manual_seed(0)
    pre, post = ((torch.rand(steps, batch, n, generator=generator) < 0.05).float() for n in (n_pre, n_post))
    mod = torch.randn(steps, batch, generator=generator)
    traces = EligibilityTraceModule(n_pre, n_post, EligibilityConfig(kernel="stdp_pair", clamp_range=None))

    def change() -> None:
        traces.reset()
        traces.modulate_window(pre, post, mod)

    used, times = where.SMALL_POPULATION, []
    try:
        for where.SMALL_POPULATION in (10**9, 0):
            times.append(_seconds(change))
    finally:
        where.SMALL_POPULATION = used
    return times[0] / times[1]


def _ratio(steps: int, n: int, density: float) -> float:
    """Dense time over sparse time."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.rand(steps, n, generator=generator) < density
    train = bits.float()
    table, out = torch.rand(steps, n, generator=generator), torch.zeros(n, n)

    def dense() -> None:
        out.addmm_(train.T, table, beta=0.9)

    def sparse() -> None:
        found = SpikeTrains(bits.unsqueeze(1), train.dtype).together.times(table)
        torch.add(found, out, alpha=0.9, out=out)

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
