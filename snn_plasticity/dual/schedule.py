"""Schedule: conditions that the clock or chance decides, whatever happened: warm-ups, and the controls of motivation.

    LossDecrease(2) & After(100)        Seeking() | RandomActivation(0.05)

Same step and same seed, same answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from ..config.validation import require_number
from .condition import Condition, at_least
from .history import History
from .said import require_history


@dataclass(frozen=True)
class Always(Condition):
    """Every step trains the large net."""

    def __call__(self, history: History) -> bool:
        """True."""
        require_history(history)
        return True


@dataclass(frozen=True)
class Never(Condition):
    """No step does."""

    def __call__(self, history: History) -> bool:
        """False."""
        require_history(history)
        return False


@dataclass(frozen=True)
class RandomActivation(Condition):
    """Each step with probability p, whatever happens; every step has its own random number."""

    p: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_number(self, "p", 0.0, 1.0)
        at_least(self, "seed", 0)

    def __call__(self, history: History) -> bool:
        """The throw of this step."""
        require_history(history)
        return random.Random(f"{self.seed}/{history.step}").random() < self.p


@dataclass(frozen=True)
class CountMatched(Condition):
    """Exactly `count` of the first `of` steps, drawn at random: the control that spends what another run spent."""

    count: int
    of: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "of", "seed"):
            at_least(self, name, 0)
        if not 0 <= self.count <= self.of:
            raise ValueError(f"CountMatched: {self.count} of {self.of} steps; expected 0 <= count <= of.")

    def __call__(self, history: History) -> bool:
        """Whether this step was drawn."""
        require_history(history)
        return history.step in _drawn(self.count, self.of, self.seed)


@dataclass(frozen=True)
class Every(Condition):
    """Every n-th step."""

    n: int

    def __post_init__(self) -> None:
        at_least(self, "n", 1)

    def __call__(self, history: History) -> bool:
        """Whether it is its turn."""
        require_history(history)
        return history.step % self.n == self.n - 1


@dataclass(frozen=True)
class After(Condition):
    """From a step on: a warm-up in which the base learns alone."""

    step: int

    def __post_init__(self) -> None:
        at_least(self, "step", 0)

    def __call__(self, history: History) -> bool:
        """Whether the warm-up is over."""
        require_history(history)
        return history.step >= self.step


@lru_cache(maxsize=32)
def _drawn(count: int, of: int, seed: int) -> frozenset[int]:
    return frozenset(random.Random(f"{seed}").sample(range(of), count))
