"""Motivation: conditions that what happened decides.

    LossDecrease(2) & ~Plateau()        Seeking() | Curiosity(0.9)

They look at losses, or at signals such as novelty or those of affect, and remember nothing themselves: the same history
gives the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt, tanh
from statistics import fmean, pstdev
from typing import Literal, get_args

from .. import _checks as checks
from .._checks import require_choice, require_kind
from ..config.validation import require_count_field, require_number_field
from .conditions import Condition
from .history import History, require_history

LossSource = Literal["training", "validation"]


@dataclass(frozen=True)
class LossDecrease(Condition):
    """The loss fell k times in a row: L(t−1) < L(t−2) < … < L(t−1−k).

    On noise without a trend this holds with probability 1/(k+1)!.

    Args:
        k: how many times in a row, 1 or more.

    Raises:
        ValueError: k is no such number.

    >>> LossDecrease(2)(History([1.0, 0.9, 0.8]))
    True

    Acheli & Gaaloul 2026 (arXiv 2602.21064).
    """

    k: int = 2

    def __post_init__(self) -> None:
        require_count_field(self, "k", 1)

    def __call__(self, history: History) -> bool:
        """Whether it fell."""
        require_history(history)
        last = history.losses[-self.k - 1 :]
        return len(last) == self.k + 1 and all(a > b for a, b in zip(last, last[1:], strict=False))


@dataclass(frozen=True)
class LossSpike(Condition):
    """The last loss stands out: L(t−1) > mean + factor · s.d. of the `window` losses before it.

    Args:
        factor: how many standard deviations above the mean.
        window: losses that say what is usual, 2 or more; before there are as many, it does not hold.
    """

    factor: float = 2.0
    window: int = 20

    def __post_init__(self) -> None:
        require_count_field(self, "window", 2)
        require_number_field(self, "factor")

    def __call__(self, history: History) -> bool:
        """Whether it does."""
        require_history(history)
        before = history.losses[-self.window - 1 : -1]
        return len(before) == self.window and history.losses[-1] > fmean(before) + self.factor * pstdev(before)


@dataclass(frozen=True)
class Plateau(Condition):
    """The loss has stopped falling: mean of the last `window` > (1 − tolerance) · mean of the `window` before.

    Args:
        window: losses in each mean; before there are two windows, it does not hold.
        tolerance: the smallest relative decrease that still counts as falling.
        on: "training", the loss of each step, or "validation", the base's loss at each validation, of which there are
            few: `Plateau(window=2, on="validation")`.

    >>> Plateau(window=2)(History([1.0, 0.9, 0.95, 0.95]))
    True
    """

    window: int = 20
    tolerance: float = 0.02
    on: LossSource = "training"

    def __post_init__(self) -> None:
        require_count_field(self, "window", 1)
        require_number_field(self, "tolerance", 0.0)
        require_choice("Plateau.on", self.on, get_args(LossSource))

    def __call__(self, history: History) -> bool:
        """Whether it has."""
        require_history(history)
        validated = self.on == "validation"
        losses = [point.base.loss for point in history.validations] if validated else history.losses
        last = losses[-2 * self.window :]
        if len(last) < 2 * self.window:
            return False
        return fmean(last[self.window :]) > (1.0 - self.tolerance) * fmean(last[: self.window])


@dataclass(frozen=True)
class Curiosity(Condition):
    """Something is new: the signal reaches the threshold.

    Args:
        threshold: compared with the last value of the signal.
        signal: its name among those that the trainer's `signals` returns.

    Raises:
        ValueError: when asked, a signal that was not measured.
    """

    threshold: float = 0.5
    signal: str = "novelty"

    def __post_init__(self) -> None:
        require_number_field(self, "threshold")
        require_kind("Curiosity.signal", self.signal, str, "The name of a signal, as 'novelty'.")

    def __call__(self, history: History) -> bool:
        """Whether it does now."""
        require_history(history)
        return _last_values(history, self.signal)[-1] >= self.threshold


@dataclass(frozen=True)
class Seeking(Condition):
    """SEEKING: curious and expecting something good, with hysteresis.

        on   when curiosity >= on and anticipation >= on;    off  when either falls below `off`

    Args:
        on, off: the two thresholds; between them it stays as it was.
        curiosity, anticipation: names of the signals, for instance arousal and valence of an affective state.

    Raises:
        ValueError: off > on; when asked, signals that were not measured, or not as often as each other.

    >>> up_and_down = [0.2, 0.6, 0.4, 0.1]
    >>> from snn_plasticity.dual import replay
    >>> replay(Seeking(on=0.5, off=0.3), [0.0] * 4, {"curiosity": up_and_down, "anticipation": [1.0] * 4})
    [False, True, True, False]

    Panksepp 1998, *Affective Neuroscience*; Acheli & Gaaloul 2026.
    """

    on: float = 0.3
    off: float = 0.1
    curiosity: str = "curiosity"
    anticipation: str = "anticipation"

    def __post_init__(self) -> None:
        for name in ("on", "off"):
            require_number_field(self, name)
        for name in ("curiosity", "anticipation"):
            require_kind(f"Seeking.{name}", getattr(self, name), str, "The name of a signal.")
        if not self.off <= self.on:
            raise ValueError(f"Seeking: off = {self.off!r} and on = {self.on!r}; expected off <= on.")

    def __call__(self, history: History) -> bool:
        """The last time that either threshold was crossed decides."""
        require_history(history)
        if len(history.signal(self.curiosity)) != len(history.signal(self.anticipation)):
            raise ValueError(f"{self.curiosity!r} and {self.anticipation!r} were not measured as often; expected both.")
        pairs = zip(reversed(history.signal(self.curiosity)), reversed(history.signal(self.anticipation)), strict=True)
        for level in (min(pair) for pair in pairs):
            if level >= self.on:
                return True
            if level < self.off:
                return False
        return False


def _last_values(history: History, name: str) -> Sequence[float]:
    """A signal that was measured at least once."""
    values = history.signal(name)
    if not values:
        raise ValueError(f"The signal {name!r} was not measured yet; expected a number for the step to be decided.")
    return values


def loss_signals(history: History, window: int = 20) -> dict[str, float]:
    """Curiosity and anticipation from the net's own prediction error, its loss.

        curiosity = tanh(|L(t−1) − mean| / s.d.)        surprise, in units of what is usual
        anticipation = tanh((earlier half − later half) / s.e.)    progress, which promises more of it

    Args:
        history: whose losses are read.
        window: how many of the last losses; with fewer than 4 of them all signals are 0.

    Returns:
        {"novelty", "curiosity", "anticipation"}: numbers in −1 .. 1; novelty is curiosity.

    >>> loss_signals(History([1.0, 0.8, 0.6, 0.4]))["anticipation"] > 0.9
    True
    """
    require_history(history)
    last = history.losses[-checks.require_count("window", window) :]
    if len(last) < 4:
        return {"novelty": 0.0, "curiosity": 0.0, "anticipation": 0.0}
    half, spread = len(last) // 2, pstdev(last) + 1e-12  # a constant loss is no surprise: 0 / 1e-12
    surprise = tanh(abs(last[-1] - fmean(last)) / spread)
    progress = tanh((fmean(last[:half]) - fmean(last[half:])) / (2.0 * spread / sqrt(len(last))))
    return {"novelty": surprise, "curiosity": surprise, "anticipation": progress}
