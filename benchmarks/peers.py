"""Simulators that learn on dense layers, one table."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import ours
import results
import trains as spikes
from contests import CONTESTS, SINGLE, SIZES, SMALL, Contest
from effort import Effort, Report, difference, disagreeing, take_turns
from elsewhere import Elsewhere
from players import Player
from tqdm import tqdm
from trains import Rule, Size, Trains

RULE = Rule()
HEADER = ("rule", "size", "its µs/step", "episode", "ratio", "asked", "going on", "ratio", "every step", "ratio")
HEADER = (*HEADER, "asked", "agreed to")
NOTE = """Ours, three ways. *Episode*: traces begin anew with a window of 256 steps, and its whole change is applied at
its end. *Going on*: the same, one window going on from the other, so that e is carried along. *Every step*: the weight
is current after every step, as it is in the others; beside a rule of two factors, which has no reward, a batch of ours
has one reward for all its samples then. They are called with constants for the factors of the weight, their cheapest
choice."""


class Line(NamedTuple):
    """What was measured of one rule at one size; seconds per step."""

    contest: Contest
    size: Size
    theirs: float
    episode: float
    going_on: float
    by_step: float
    difference: float

    def cells(self) -> list[str]:
        """A row of the table."""
        ours = (self.episode, self.going_on, self.by_step)
        cells = [cell for own in ours for cell in (results.micro(own), results.ratio(self.theirs / own))]
        cells.insert(2, str(self.contest.bars.get(self.size, "")))
        cells.append(str(self.contest.each_step.get(self.size, "")))
        return [self.contest.title, str(self.size), results.micro(self.theirs), *cells, f"{self.difference:.0e}"]


def report(effort: Effort, only: str, pythons: dict[str, str]) -> Report:
    """Every rule at every size, as far as its simulator is there."""
    sizes = (SMALL, SINGLE) if effort.quick else SIZES
    lines, skipped = [], {}
    plan = [(contest, size) for contest in CONTESTS for size in sizes if only.lower() in contest.title.lower()]
    for contest, size in tqdm(plan, desc="simulators"):
        python = pythons.get(contest.simulator)
        if python is None and find_spec(contest.simulator) is None:
            skipped[contest.simulator] = "not installed in this environment"
            continue
        try:
            lines.append(measure(contest, size, effort, python))
        except ImportError as error:
            skipped[contest.simulator] = f"cannot be imported: {error}"
    wrong = disagreeing((f"{line.contest.title} {line.size}", line.difference) for line in lines)
    return Report(_text(lines, skipped), wrong, [_row(line) for line in lines])


def measure(contest: Contest, size: Size, effort: Effort, python: str | None) -> Line:
    """First whether both agree, then how long each takes."""
    checked = effort.checked // (4 if size.batch > 1 else 1)
    trains = spikes.bernoulli(size, max(effort.window, checked))
    found = compare(contest, trains.first(checked), python)
    theirs = player_of(contest, trains, RULE, python)
    players = {
        "theirs": theirs,
        "episode": ours.change_of_window(trains, RULE, contest.convention, anew=True),
        "going_on": ours.change_of_window(trains, RULE, contest.convention),
        "by_step": ours.change_by_step(trains, RULE, contest.convention, one_for_all=_one_for_all(contest, size)),
    }
    return Line(contest, size, **take_turns(players, effort), difference=found)


def _one_for_all(contest: Contest, size: Size) -> bool:
    """Whether all samples have one reward in a step of ours."""
    return contest.factors == 2 and size.batch > 1


def compare(contest: Contest, trains: Trains, python: str | None) -> float:
    """The difference of both weight changes after the same trains."""
    rule = RULE
    if contest.factors == 2:
        rule, trains = RULE._replace(tau_e=1.0), trains._replace(reward=np.ones_like(trains.reward))
    theirs, own = player_of(contest, trains, rule, python), ours.change_of_window(trains, rule, contest.convention)
    for player in (theirs, own):
        player.play_all()
    return difference(own.change(), theirs.change())


def player_of(contest: Contest, trains: Trains, rule: Rule, python: str | None) -> Player:
    """The contestant, in this process or in its own."""
    if python is not None:
        return Elsewhere(python, contest.module, contest.function, trains, rule)
    return getattr(importlib.import_module(f"simulators.{contest.module}"), contest.function)(trains, rule)


def _row(line: Line) -> dict[str, object]:
    """A line for a file."""
    return line._asdict() | {"contest": line.contest.title, "size": str(line.size)}


def _text(lines: list[Line], skipped: dict[str, str]) -> str:
    seen = {line.contest.title: line.contest for line in lines}
    parts = [
        f"### Simulators\n\n{NOTE}",
        results.table(HEADER, [line.cells() for line in lines]),
        "What differs, and is set alike by the convention that both play:",
        "\n".join(f"- {contest.title}: {contest.differs}." for contest in seen.values()),
    ]
    parts += [f"Skipped: {', '.join(f'{name} ({reason})' for name, reason in skipped.items())}."] if skipped else []
    return "\n\n".join(parts)
