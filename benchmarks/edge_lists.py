"""Lists of edges, all pairs and nearest pairs, from 10⁵ to 10⁷ synapses, beside Brian2.

    python benchmarks/edge_lists.py [--quick] [--json PATH] [--python brian2=/path/to/python] [--largest EDGES]

The same spikes are replayed in both, no neurons are simulated, and the weights are current every 10 or 100 ms. One
thread, CPU time, taking turns, medians. Before anything is timed the weights are compared: with Brian2's where it is
there, and at 10⁵ edges with those of the library's own plain path. 10⁷ edges need some 2 GB in each of the two.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NamedTuple

import ours
import results
import trains as spikes
from command import parser
from effort import FULL, QUICK, Effort, difference, disagreeing, take_turns
from elsewhere import Elsewhere
from players import Player
from timing import one_thread
from tqdm import tqdm
from trains import Rule, Trains

from snn_plasticity import Convention

PLAIN_UP_TO = 100_000
SIMULATORS = {
    "Brian2, Cython": {10: "cython_often", 100: "cython_event"},
    "Brian2, C++": {10: "standalone_often", 100: "standalone_event"},
}
HEADER = (
    "edges", "neurons", "rate", "weights change every", "pairs", "ours, µs/ms", "Brian2, Cython", "ratio",
    "Brian2, C++", "ratio", "asked", "agreed to",
)  # fmt: skip
TEXT = """## Edge lists

Populations with synapses onto themselves as a list of edges, steps of 1 ms: the same spikes replayed in both, no
neurons simulated, a reward every 10 or 100 ms and the weights current with it: ours as a `SparseLinear` and a learner's
`observe_sequence` and `step`, checks included. µs of CPU time per ms, learning only.
*Asked*: the most that it may be, and the aim.
"""


class Case(NamedTuple):
    """A population: neurons, synapses of each, spikes per second, steps of its trains and between two rewards."""

    neurons: int
    fan_out: int
    rate: float
    steps: int
    every: int = 10
    asked: dict[str, str] = {}

    @property
    def edges(self) -> int:
        """All its synapses."""
        return self.neurons * self.fan_out


_LARGE = dict.fromkeys(("all", "nearest"), "≤ 1,200 (aim 600)")
CASES = (
    Case(1000, 100, 1.3, 1000, asked={"nearest": "≤ 15 (aim 8)"}),
    Case(1000, 100, 10.0, 1000),
    Case(4000, 100, 1.3, 1000),
    Case(4200, 100, 1.3, 1000),  # beyond 4096 × 4096
    Case(10_000, 100, 5.0, 500),
    Case(9000, 1000, 5.0, 200, asked=_LARGE),
    Case(9000, 1000, 5.0, 200, every=100, asked=_LARGE),
    Case(10_000, 1000, 5.0, 200),
)


class Line(NamedTuple):
    """What was measured: seconds per step of each, and how far they differ."""

    case: Case
    pairing: str
    times: dict[str, float]
    differences: dict[str, float]

    def cells(self) -> list[str]:
        """A row of the table."""
        own, case = self.times["ours"], self.case
        cells = [
            f"{case.edges:,}",
            f"{case.neurons:,}",
            f"{case.rate:g} Hz",
            f"{case.every} ms",
            self.pairing,
            results.micro(own),
        ]
        for name in SIMULATORS:
            known = name in self.times
            cells += [results.micro(self.times[name]), results.ratio(self.times[name] / own)] if known else ["", ""]
        agreed = f"{max(self.differences.values()):.0e}" if self.differences else ""
        return [*cells, case.asked.get(self.pairing, ""), agreed]


def measure(case: Case, pairing: str, effort: Effort, python: str | None) -> Line:
    """First whether all agree on every weight, then how long each takes."""
    steps = min(case.steps, 200) if effort.quick else case.steps
    trains = spikes.recurrent(steps, case.every, case.neurons, case.fan_out, case.rate / 1000)
    rule = Rule(pairing=pairing)
    own = _ours(trains, rule, case.every)
    others: dict[str, Player] = {}
    if python is not None:
        names = list(SIMULATORS)[:1] if effort.quick else list(SIMULATORS)
        functions = {name: SIMULATORS[name][case.every] for name in names}
        others = {
            name: Elsewhere(python, "brian2_edges", function, trains, rule) for name, function in functions.items()
        }
    checked = dict(others)
    if case.edges <= PLAIN_UP_TO:
        checked["plain"] = _ours(trains, rule, case.every, path="plain")
    for player in (own, *checked.values()):
        player.play_all()
    differences = {name: difference(own.change(), player.change()) for name, player in checked.items()}
    times = take_turns({"ours": own} | others, effort)
    for other in others.values():
        other.close()  # type: ignore[attr-defined]
    return Line(case, pairing, times, differences)


def _ours(trains: Trains, rule: Rule, every: int, path: str = "auto") -> Player:
    convention = Convention(eligibility_decay="exponential", pairing=rule.pairing)
    return ours.WeightsOften(trains, rule, convention, every=every, path=path)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--python", metavar="brian2=PATH", help="the Python in which Brian2 is installed")
    arguments.add_argument("--largest", type=int, metavar="EDGES", help="none above; RESULTS.md is left as it is")
    options = arguments.parse_args()
    one_thread()
    python = (options.python or "").removeprefix("brian2=") or (sys.executable if find_spec("brian2") else None)
    effort = QUICK if options.quick else FULL
    largest = options.largest or (PLAIN_UP_TO if options.quick else max(case.edges for case in CASES))
    plan = [(case, pairing) for case in CASES if case.edges <= largest for pairing in ("all", "nearest")]
    lines = [measure(case, pairing, effort, python) for case, pairing in tqdm(plan, desc="edge lists")]
    missing = "" if python else "Brian2 is not installed here: its columns are empty."
    table = results.table(HEADER, [line.cells() for line in lines])
    text = "\n\n".join(filter(None, [TEXT.strip(), results.machine(), table, missing]))
    print(text)
    if not (options.quick or options.largest):
        results.write("edge_lists", text)
    flat = [line._asdict() | {"case": line.case._asdict() | {"edges": line.case.edges}} for line in lines]
    results.write_json(options.json, "edge_lists", flat)
    wrong = disagreeing(
        (f"{line.case.edges:,} {line.pairing} {name}", value)
        for line in lines
        for name, value in line.differences.items()
    )
    if wrong:
        sys.exit("These disagree, so that their ratios mean nothing: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
