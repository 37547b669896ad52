"""What a contestant looks like: it plays trains, times itself, and shows the weight change it came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from timing import cpu_seconds
from trains import Trains


class Player(Protocol):
    """One rule on given trains."""

    portion: int  # steps that are played at once

    def play(self, portions: int = 1) -> float:
        """Go on for so many portions; CPU seconds per step."""
        ...

    def play_all(self) -> None:
        """Play the trains once, from first to last."""
        ...

    def change(self) -> np.ndarray:
        """Weight change since the start: (N_post, N_pre), or (E,) on edges."""
        ...


class StepByStep:
    """Calls `step(pre, post, reward)` once for every step of the trains, over and over: a portion is one step.

    Args:
        trains: what is played.
        step: the contestant.
        change: the weight change so far.
    """

    portion = 1

    def __init__(
        self,
        trains: Trains,
        step: Callable[[Any, Any, Any], object],
        change: Callable[[], np.ndarray],
    ) -> None:
        import torch  # not at the top: the environment of a simulator may have none

        arrays = (torch.from_numpy(array) for array in trains[:3])
        self.steps = list(zip(*arrays, strict=True))
        self.step, self.change, self.at = step, change, 0

    def play(self, portions: int = 1) -> float:
        """Go on for so many steps."""
        return cpu_seconds(lambda: self._advance(portions)) / portions

    def play_all(self) -> None:
        """Every step once."""
        self._advance(len(self.steps))

    def _advance(self, count: int) -> None:
        for _ in range(count):
            self.step(*self.steps[self.at])
            self.at = (self.at + 1) % len(self.steps)


class WholeWindow:
    """Calls `run(pre, post, reward)` with the whole trains (T, B, N), over and over: a portion is one window."""

    def __init__(
        self, trains: Trains, run: Callable[[Any, Any, Any], object], change: Callable[[], np.ndarray]
    ) -> None:
        import torch

        self.window = [torch.from_numpy(array) for array in trains[:3]]
        self.run, self.change, self.portion = run, change, len(trains.pre)

    def play(self, portions: int = 1) -> float:
        """Go on for so many windows."""
        return cpu_seconds(lambda: self._advance(portions)) / (portions * self.portion)

    def play_all(self) -> None:
        """One window."""
        self._advance(1)

    def _advance(self, count: int) -> None:
        for _ in range(count):
            self.run(*self.window)
