"""This library beside its own plain path and beside code as one first writes it, one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import naive
import ours
import results
import shown
import trains as spikes
from contests import BATCH, SINGLE, Bar, Most
from effort import Effort, Report, difference, disagreeing, take_turns
from players import Player
from tqdm import tqdm
from trains import Rule, Size, Trains

RULE = Rule()
HEADER = ("work", "size", "beside", "its µs/step", "ours", "ratio", "asked", "agreed to")
CLAMP = 0.02  # binds now and then at 5 %
Build = Callable[[Trains, Rule], Player]


class Pairing(NamedTuple):
    """The same work done twice."""

    work: str
    beside: str
    theirs: Build
    ours: Build
    bars: Mapping[Size, Bar | Most] = {}
    rule: Rule = RULE


def _change(path: str) -> Build:
    return lambda trains, rule: ours.change_of_window(trains, rule, path=path, anew=True)


def _steps(trains: Trains, rule: Rule) -> Player:
    return ours.change_by_step(trains, rule, path="plain")


def _e(**kind: object) -> Build:
    return lambda trains, rule: ours.eligibility_of_window(trains, rule, **kind)


def _plain_e(**kind: object) -> Build:
    return lambda trains, rule: ours.eligibility_by_step(trains, rule, **kind)


def _preset(name: str, *, path: str) -> Build:
    return lambda trains, rule: ours.eligibility_of_preset(trains, shown.presets()[name].eligibility, path=path)


def _naive_e(**kind: object) -> Build:
    return lambda trains, rule: naive.eligibility(trains, rule, **kind)


_FOLD = {SINGLE: Bar(20, 50), BATCH: Bar(80, 200)}
_ROWS = {SINGLE: Bar(2, 3), BATCH: Bar(10, 14)}
_REPLACING, _CLAMPED = {"trace_type": "replacing"}, {"clamp": (-CLAMP, CLAMP)}
_FULL, _FIVE = RULE._replace(a_plus=1.0, a_minus=1.05), {"clamp": (-5.0, 5.0)}  # amplitudes of one, clamp ±5
_MOST = {SINGLE: Most(45, 30), BATCH: Most(1500, 900)}
NAIVE, PLAIN = "naive, out of place", "ours, plain, step by step"

PAIRINGS = (
    Pairing("Δw, a reward each step", NAIVE, naive.three_factor, _change("auto")),
    Pairing("Δw, a reward each step", PLAIN, _steps, _change("auto"), _FOLD),
    Pairing("e of every sample", NAIVE, _naive_e(), _e()),
    Pairing("e of every sample", PLAIN, _plain_e(), _e(), _FOLD),
    Pairing("closed loop, one reward for all", NAIVE, naive.closed_loop, ours.closed_loop, {BATCH: Bar(60, 100)}),
    Pairing("e, replacing", NAIVE, _naive_e(replacing=True), _e(**_REPLACING)),
    Pairing("e, replacing", PLAIN, _plain_e(**_REPLACING), _e(**_REPLACING), _ROWS),
    Pairing("e, clamp that binds", NAIVE, _naive_e(clamp=CLAMP), _e(**_CLAMPED)),
    Pairing("e, clamp that binds", PLAIN, _plain_e(**_CLAMPED), _e(**_CLAMPED), _ROWS),
    Pairing("e, clamp ±5, A = 1", PLAIN, _plain_e(**_FIVE), _e(**_FIVE), _MOST, _FULL),
    *(
        Pairing(f"e, {name}", PLAIN, _preset(name, path="plain"), _preset(name, path="auto"))
        for name in shown.presets()
    ),
)


class Line(NamedTuple):
    """What was measured; seconds per step."""

    pairing: Pairing
    size: Size
    theirs: float
    ours: float
    difference: float

    def cells(self) -> list[str]:
        """A row of the table."""
        work, beside, size = self.pairing.work, self.pairing.beside, str(self.size)
        times = [results.micro(self.theirs), results.micro(self.ours), results.ratio(self.theirs / self.ours)]
        return [work, size, beside, *times, str(self.pairing.bars.get(self.size, "")), f"{self.difference:.0e}"]


def report(effort: Effort, only: str, pythons: dict[str, str]) -> Report:
    """Every pairing, one sample and a batch."""
    sizes = (SINGLE,) if effort.quick else (SINGLE, BATCH)
    plan = [(pairing, size) for pairing in PAIRINGS for size in sizes]
    plan = [(pairing, size) for pairing, size in plan if only.lower() in f"{pairing.work} {pairing.beside}".lower()]
    lines = [measure(pairing, size, effort) for pairing, size in tqdm(plan, desc="own paths")]
    wrong = disagreeing((f"{line.pairing.work} {line.size}", line.difference) for line in lines)
    text = (
        "### Beside plain code\n\n*Closed loop*: each step has a forward pass with the weight that the last one left."
    )
    rows = [line._asdict() | {"pairing": line.pairing.work, "beside": line.pairing.beside} for line in lines]
    return Report(text + "\n\n" + results.table(HEADER, [line.cells() for line in lines]), wrong, rows)


def measure(pairing: Pairing, size: Size, effort: Effort) -> Line:
    """First whether both agree, then how long each takes."""
    checked = effort.checked // (4 if size.batch > 1 else 1)
    trains = spikes.bernoulli(size, max(effort.window, checked))
    theirs, own = (build(trains.first(checked), pairing.rule) for build in (pairing.theirs, pairing.ours))
    for player in (theirs, own):
        player.play_all()
    found = difference(own.change(), theirs.change())
    del theirs, own
    players = {"theirs": pairing.theirs(trains, pairing.rule), "ours": pairing.ours(trains, pairing.rule)}
    return Line(pairing, size, **take_turns(players, effort), difference=found)
