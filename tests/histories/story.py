"""What all histories share: drawing settings, inputs and events from a seed, playing, comparing, shrinking, telling.

A history is settings and a list of events, both drawn from one seed. An event is a name and a seed of its own, so that
it means the same whatever comes before it: a history that fails is cut down by leaving events out. Told once more, what
is left becomes a program of its own, with every number written out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Event = tuple[str, int]


class Mismatch(AssertionError):
    """The package and the reference differ."""


@dataclass
class Tally:
    """What was compared, how far apart it was (in units of the tolerance's scale), and what was refused."""

    events: int = 0
    comparisons: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def with_(self, other: Tally) -> Tally:
        """Both together."""
        worst = {kind: max(self.worst.get(kind, 0.0), other.worst.get(kind, 0.0)) for kind in self.worst | other.worst}
        counts = {what: self.counts.get(what, 0) + other.counts.get(what, 0) for what in self.counts | other.counts}
        return Tally(self.events + other.events, self.comparisons + other.comparisons, worst, counts)


class Player:
    """Plays one history on the package and on the reference.

    Args:
        seed: of the settings.
        telling: whether to write down a program.
    """

    HEAD: Sequence[str] = ()
    events: dict[str, float]

    def __init__(self, seed: int, tally: Tally | None = None, *, telling: bool = False) -> None:
        self.seed, self.tally, self.telling = seed, tally or Tally(), telling
        self.lines: list[str] = ["import torch", "from snn_plasticity import *", *self.HEAD]
        self.draw = random.Random(seed)
        self.rng = np.random.default_rng(0)
        self.scale: dict[str, float] = {}
        self.double = True
        self.rtol = 1e-9
        self.set_up()

    def set_up(self) -> None:
        """Settings, the package's side and the reference's side."""
        raise NotImplementedError

    def finish(self) -> None:
        """What is compared at the end."""

    def excused(self, error: Exception) -> bool:
        """Whether a history may end like this."""
        return False

    def play(self, event: Event) -> None:
        """One event, then a comparison."""
        name, seed = event
        if name not in self.events:
            raise ValueError(f"{name} is no event of {type(self).__name__}")
        self.rng = np.random.default_rng(seed)
        self.draw = random.Random(seed)
        self.tally.events += 1
        self.tally.count(f"event {name}")
        self.say(f"# {name}")
        getattr(self, name)()

    def say(self, line: str, *values: object) -> None:
        """A line of the program, with values in the places of {}."""
        if self.telling:
            self.lines.append(line.format(*map(self.spell, values)) if values else line)

    def spell(self, value: object) -> str:
        """A value as it can be pasted."""
        if isinstance(value, np.ndarray):
            return f"torch.tensor({value.tolist()}, dtype=torch.{'float64' if self.double else 'float32'})"
        return repr(value)

    def compare(
        self,
        what: str,
        got: torch.Tensor | float,
        wanted: np.ndarray | float,
        said: str = "...",
        *,
        least: float = 1e-3,
    ) -> None:
        """Equal up to the tolerance of the precision, relative to the largest such number of the history."""
        read = np.asarray(got.detach() if isinstance(got, torch.Tensor) else got, np.float64)
        wanted = np.asarray(wanted, np.float64)
        self.tally.comparisons += 1
        if self.telling:
            self.say(f"print({what!r}, {said}, 'expected', {numbers(wanted)})")
        if read.shape != wanted.shape:
            raise Mismatch(f"{what}: shape {read.shape}, expected {wanted.shape}")
        if not wanted.size:
            return
        least = least if self.double else max(least, 0.01)  # what is left of larger numbers that cancel
        scale = self.scale[what] = max(self.scale.get(what, least), float(np.abs(wanted).max()))
        error = float(np.abs(read - wanted).max()) / scale
        kind = what.split(" ")[0] + ("" if self.double else " (fp32)")
        if not error <= self.rtol:
            raise Mismatch(
                f"{what}: {error:.3g} of {scale:.3g}\n  got      {numbers(read)}\n  expected {numbers(wanted)}"
            )
        self.tally.worst[kind] = max(self.tally.worst.get(kind, 0.0), error)

    def same(self, what: str, got: object, wanted: object) -> None:
        """Counters and names: exactly equal."""
        self.tally.comparisons += 1
        if got != wanted:
            raise Mismatch(f"{what}: got {got!r}, expected {wanted!r}")

    def refused(self, what: str, call: Callable[[], Any]) -> None:
        """A call that must end in a sentence."""
        self.tally.comparisons += 1
        try:
            call()
        except (ValueError, TypeError):
            return
        raise Mismatch(f"{what} was accepted")

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        """Numbers in the precision of this history."""
        return torch.as_tensor(np.asarray(values), dtype=torch.float64 if self.double else torch.float32)

    def activity(self, shape: tuple[int, ...], kind: str) -> np.ndarray:
        """Spikes or rates of one kind."""
        return ACTIVITIES[kind](self.rng, shape)


def numbers(values: np.ndarray) -> str:
    """Numbers as they can be pasted."""
    return np.array2string(np.asarray(values), separator=",", threshold=100000, floatmode="unique").replace("\n", "")


ACTIVITIES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "spikes": lambda rng, shape: (rng.random(shape) < 0.35).astype(float),
    "sparse": lambda rng, shape: (rng.random(shape) < 0.06).astype(float),
    "silent": lambda rng, shape: np.zeros(shape),
    "saturated": lambda rng, shape: np.ones(shape),
    "counts": lambda rng, shape: rng.integers(0, 4, shape).astype(float),
    "graded": lambda rng, shape: np.round(rng.random(shape), 3) * (rng.random(shape) < 0.5),
    "signed": lambda rng, shape: rng.integers(-1, 2, shape).astype(float),
    "analogue": lambda rng, shape: np.round(3.0 * rng.standard_normal(shape), 3),
}


def palette(draw: random.Random, most: int, *, positive: bool = False) -> list[str]:
    """Kinds of activity of one history; `positive` where f = 0 by cancellation would be a matter of rounding."""
    kinds = [kind for kind in ACTIVITIES if not positive or kind not in ("signed", "analogue")]
    return draw.sample(kinds, min(most, draw.choice((1, 1, 2, 3))))


def mexican_hat(dt: float) -> float:
    """A curve with both signs on either side, and no symmetry."""
    return (1.0 - (dt / 3.0) ** 2) * math.exp(-((dt / 3.0) ** 2) / 2.0) - 0.02 * dt


def events_of(player: type[Player], seed: int) -> list[Event]:
    """The events of a history, of kinds that are drawn first: what never happens hides nothing of what does."""
    draw = random.Random(f"events {seed}")
    names = list(player.events)
    weights = [
        weight * draw.choice((0.0, 0.3, 1.0, 1.0, 3.0) if weight < 4 else (1.0, 3.0))
        for weight in player.events.values()
    ]
    return [(name, draw.getrandbits(32)) for name in draw.choices(names, weights, k=draw.randint(5, 25))]


def failure(player: type[Player], seed: int, events: Sequence[Event], tally: Tally | None = None):
    """Play a history; (events until the failure, what failed), or None."""
    played: list[Event] = []
    now = None
    try:
        now = player(seed, tally)
        for event in events:
            played.append(event)
            now.play(event)
        now.finish()
    except Exception as error:
        if now is not None and now.excused(error):
            now.tally.count("ended by a refusal")
            return None
        return played, error
    return None


def shrunk(player: type[Player], seed: int, events: list[Event]) -> list[Event]:
    """Leave out whatever the failure does not need."""
    i = len(events) - 1
    while i >= 0:
        fewer = events[:i] + events[i + 1 :]
        again = failure(player, seed, fewer)
        if again is not None:
            events = again[0]
            i = min(i, len(events))
        i -= 1
    return events


def told(player: type[Player], seed: int, events: Sequence[Event]) -> str:
    """The history as a program of its own, up to where it fails."""
    now = None
    try:
        now = player(seed, telling=True)
        for event in events:
            now.play(event)
        now.finish()
    except Exception as error:
        if now is None:
            return f"# {type(error).__name__}: {error}"
        now.lines.append(f"# {type(error).__name__}: {str(error)[:2000]}".replace("\n", "\n# "))
    return "\n".join(now.lines)
