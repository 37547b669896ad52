"""Chance: the controls of every other condition. They draw by step and seed alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from ...config.validation import require_count_field, require_number_field
from .condition import Condition
from .history import History, require_history


@dataclass(frozen=True)
class RandomActivation(Condition):
    """Each step with probability p, whatever happens; every step has its own random number.

    Args:
        p: in 0 .. 1.
        seed: of the random numbers.
    """

    p: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_number_field(self, "p", 0.0, 1.0)
        require_count_field(self, "seed", 0)

    def __call__(self, history: History) -> bool:
        """Whether this step was drawn."""
        require_history(history)
        return random.Random(f"{self.seed}/{history.step}").random() < self.p


@dataclass(frozen=True)
class CountMatched(Condition):
    """Exactly `count` of the first `of` steps, drawn at random: the control that spends what another run spent.

    Args:
        count: how many steps train the large net, as `sum(report.history.motivated)` of the other run.
        of: among how many, as `report.history.step`.
        seed: of the draw.

    Raises:
        ValueError: more than there are.
    """

    count: int
    of: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "of", "seed"):
            require_count_field(self, name, 0)
        if not 0 <= self.count <= self.of:
            raise ValueError(f"CountMatched: {self.count} of {self.of} steps; expected 0 <= count <= of.")

    def __call__(self, history: History) -> bool:
        """Whether this step was drawn."""
        require_history(history)
        return history.step in _drawn(self.count, self.of, self.seed)


@lru_cache(maxsize=32)
def _drawn(count: int, of: int, seed: int) -> frozenset[int]:
    return frozenset(random.Random(f"{seed}").sample(range(of), count))
