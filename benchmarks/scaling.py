"""How the time of a step grows with neurons, density, steps and samples, and how near it is to what a machine can do.

    python benchmarks/scaling.py [--quick] [--json PATH]

The limit is measured in the same run. A dense fold is a matrix product, 2 N² B operations per step, as fast as
`torch.mm` multiplies; a sparse fold adds a row of N entries for each spike, ρ N² B additions per step, as fast as
`torch.sum` adds up what lies in the cache: the lesser of the two are the sums. Besides, trains must be read once, e be
read and written once in a window, and a change be written. The figure is benchmarks/figures/scaling.png.
"""

from __future__ import annotations

from typing import NamedTuple

import crossover
import ours
import results
import scaling_figure
import trains as spikes
from command import parser
from limits import Limits, measure_limits, measure_passes
from players import Player
from timing import in_turns, one_thread
from tqdm import tqdm
from trains import Rule, Size

RULE = Rule()
WHERE, TIMES = ("varied", "N", "density", "T", "B"), ("plain", "e", "Δw", "sums", "limit: e", "Δw")
HEADER = (*WHERE, *TIMES, "of limit: e", "Δw", "of sums: e", "Δw")
TEXT = """## Scaling

µs of CPU time per step of the whole batch, N×N synapses: the plain path step by step, then e or Δw of a window; e is
carried from window to window, Δw is of windows that begin anew.
*Sums*: the lesser of the dense product (2 N² B operations) and the additions of a sparse one (ρ N² B). *Limit*: these,
and one pass over what must be read and written: trains read, e read and written, a change written; all at the speed of
plain torch calls on as much memory in the same run. *Of limit* is how much of that speed is reached, *of sums* how much
if memory cost nothing.

![Time per step](figures/scaling.png)
"""


class Point(NamedTuple):
    """Where it is measured."""

    varied: str
    n: int = 1000
    density: float = 0.05
    steps: int = 256
    batch: int = 1


class Measured(NamedTuple):
    """Seconds per step."""

    point: Point
    plain: float
    eligibility: float
    change: float
    sums: float  # the limits
    limit_of_e: float
    limit: float  # of the change


def points(quick: bool) -> list[Point]:
    """The four sweeps."""
    neurons = (100, 300, 1000) if quick else (100, 200, 500, 1000, 2000, 4000)
    densities = (0.01, 0.1) if quick else (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
    steps = (64, 256) if quick else (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    batches = (1, 4) if quick else (1, 2, 4, 8, 16, 32)
    return [
        *(Point("N", n=n) for n in neurons),
        *(Point("density", density=density) for density in densities),
        *(Point("T", steps=length) for length in steps),
        *(Point("B", batch=batch) for batch in batches),
    ]


def measure(point: Point, limits: Limits, rounds: int, seconds: float) -> Measured:
    """Plain path, eligibility and weight change of a window, taking turns."""
    trains = spikes.bernoulli(Size(point.n, point.n, point.batch), point.steps, point.density)
    players = {
        "plain": ours.eligibility_by_step(trains, RULE),
        "eligibility": ours.eligibility_of_window(trains, RULE),
        "change": ours.change_of_window(trains, RULE, anew=True),
    }
    turns = {name: _turn(player, seconds) for name, player in players.items()}
    sums, passes = limits.sums(point.n, point.density, point.batch), measure_passes(point.n, point.steps, point.batch)
    limit_of_e, limit = (
        sums + (passes.trains + result) / point.steps for result in (passes.eligibility, passes.change)
    )
    return Measured(point, **in_turns(turns, rounds), sums=sums, limit_of_e=limit_of_e, limit=limit)


def main() -> None:
    options = parser(__doc__).parse_args()
    quick = options.quick
    one_thread()
    limits = measure_limits()
    plan = points(quick)
    rounds, seconds = (3, 0.02) if quick else (5, 0.15)
    measured = [measure(point, limits, rounds, seconds) for point in tqdm(plan, desc="scaling")]
    found = crossover.report(quick)
    table = results.table(HEADER, [_cells(one) for one in measured])
    text = "\n\n".join([TEXT.strip(), results.machine(), str(limits), table, _growth(measured), found])
    print(text)
    if not quick:
        scaling_figure.draw(measured)
        results.write("scaling", text)
    results.write_json(options.json, "scaling", [one._asdict() | {"point": one.point._asdict()} for one in measured])


def _turn(player: Player, seconds: float):
    portions = max(1, round(seconds / (min(player.play(), player.play()) * player.portion)))
    return lambda: player.play(portions)


def _cells(one: Measured) -> list[str]:
    point, micro = one.point, results.micro
    where = [point.varied, str(point.n), f"{point.density:.1%}", str(point.steps), str(point.batch)]
    limits = (one.limit_of_e, one.limit, one.sums, one.sums)
    shares = [f"{limit / took:.0%}" for limit, took in zip(limits, (one.eligibility, one.change) * 2, strict=True)]
    return [*where, *(micro(seconds) for seconds in one[1:]), *shares]


def _growth(measured: list[Measured]) -> str:
    """Whether time is linear in T: the time of a step must not depend on how many there are."""
    long = [one.change for one in measured if one.point.varied == "T" and one.point.steps >= 64]
    return f"Linear in T: from 64 steps on, the slowest step takes {max(long) / min(long):.2f} times the fastest."


if __name__ == "__main__":
    main()
