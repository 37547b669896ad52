"""How much is measured: fully, or in less than a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from players import Player
from timing import in_turns


class Effort(NamedTuple):
    """Rounds, seconds of a turn, steps of a window, steps played before the clock starts."""

    rounds: int
    seconds: float
    window: int
    checked: int
    quick: bool = False


FULL = Effort(rounds=7, seconds=0.2, window=256, checked=96)
QUICK = Effort(rounds=3, seconds=0.03, window=256, checked=24, quick=True)
TOLERANCE = 1e-4


class Report(NamedTuple):
    """A part of the results, what in it disagrees, and its rows as they were measured."""

    text: str
    disagreements: list[str]
    rows: Sequence[Mapping[str, object]] = ()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest value."""
    largest = np.abs(theirs).max()
    return float(np.abs(ours - theirs).max() / largest) if largest > 0 else float("inf")


def disagreeing(differences: Iterable[tuple[str, float]]) -> list[str]:
    """The lines that differ by more than rounding."""
    return [f"{name} ({value:.0e})" for name, value in differences if not value <= TOLERANCE]


def take_turns(players: Mapping[str, Player], effort: Effort) -> dict[str, float]:
    """Median CPU seconds per step of every player; each fills about `effort.seconds` in its turn."""
    turns = {name: _turn(player, effort.seconds) for name, player in players.items()}
    return in_turns(turns, effort.rounds)


def _turn(player: Player, seconds: float) -> Callable[[], float]:
    once = min(player.play(), player.play()) * player.portion
    portions = max(1, round(seconds / max(once, 1e-6)))
    return lambda: player.play(portions)
