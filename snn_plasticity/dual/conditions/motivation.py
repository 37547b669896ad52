"""Motivation: conditions that what happened decides.

    LossDecrease(2) & ~Plateau()        Seeking() | Curiosity(0.9)

They look at losses, or at signals such as novelty or those of affect, and remember nothing themselves: the same history
gives the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt, tanh
from statistics import fmean, pstdev
from typing import Any, Literal, get_args

from ... import _checks as checks
from ..._checks import require_choice, require_kind
from ...config.validation import require_count_field, require_number_field
from .condition import Condition
from .history import History, require_history
from .minimum import ONE_IN_TWENTY, NeverStale
from .shares import joint_level, notice_constant, within_share

SEEKING_BAND = 0.1

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
class Plateau(NeverStale):
    """The loss has stopped falling: mean of the last `window` > (1 − tolerance) · mean of the `window` before.

    Args:
        window: losses in each mean; before there are two windows, it does not hold.
        tolerance: the smallest relative decrease that still counts as falling.
        on: "training", the loss of each step, or "validation", the base's loss at each validation, of which there are
            few: `Plateau(window=2, on="validation")`.
        at_least: a spread minimum of motivated steps, as in `AtLeast`; None: none.

    >>> Plateau(window=2)(History([1.0, 0.9, 0.95, 0.95]))
    True
    """

    window: int = 20
    tolerance: float = 0.02
    on: LossSource = "training"
    at_least: float | None = ONE_IN_TWENTY

    def __post_init__(self) -> None:
        require_count_field(self, "window", 1)
        require_number_field(self, "tolerance", 0.0)
        require_choice("Plateau.on", self.on, get_args(LossSource))
        self._require_minimum()

    def _holds(self, history: History, *, denied: bool) -> bool:
        last = history.losses[-2 * self.window :]
        if self.on == "validation":
            last = [point.base.loss for point in history.validations[-2 * self.window :]]
        if len(last) < 2 * self.window:
            return False
        return fmean(last[self.window :]) > (1.0 - self.tolerance) * fmean(last[: self.window])


@dataclass(frozen=True)
class Curiosity(NeverStale):
    """Something is new: a signal reaches a threshold, or is among the highest `share` of its last values.

    Args:
        threshold: compared with the last value of the signal; 0.5 where no share is asked for.
        signal: its name among those that the trainer's `signals` returns.
        share: of the steps that are to be motivated, in (0, 1]; any signal will do, in whatever unit, see `shares`.
        window: values among which the rank is taken, 10 or more.
        at_least: a spread minimum of motivated steps, as in `AtLeast`; None: none.

    Raises:
        ValueError: both a threshold and a share, a share below the minimum; when asked, a signal that was not measured.

    >>> from snn_plasticity.dual import replay
    >>> sum(replay(Curiosity(share=0.25), [0.0] * 400, {"novelty": [1e6 * (k * 0.618 % 1) for k in range(400)]}))
    100
    """

    threshold: float | None = None
    signal: str = "novelty"
    share: float | None = None
    window: int = 100
    at_least: float | None = ONE_IN_TWENTY

    def __post_init__(self) -> None:
        self._require_minimum()
        require_share(self, {"threshold": 0.5})
        require_kind("Curiosity.signal", self.signal, str, "The name of a signal, as 'novelty'.")

    def _holds(self, history: History, *, denied: bool) -> bool:
        values = _measured(history, self.signal)
        if self.share is None:
            assert self.threshold is not None
            return values[-1] >= self.threshold
        notice_constant(f"The signal {self.signal!r}", values, self.window)
        return within_share(values[-self.window :], history, self.share, self.window, denied=denied)


@dataclass(frozen=True)
class Seeking(NeverStale):
    """SEEKING: curious and expecting something good, with hysteresis.

        on   when curiosity >= on and anticipation >= on;    off  when either falls below `off`

    With a `share`, the threshold is a running quantile, see `shares`: of the lesser of both signals, each as a rank
    among its own last values. The step after a motivated one passes it more easily.

    Args:
        on, off: the two thresholds, 0.3 and 0.1 where no share is asked for; between them it stays as it was.
        curiosity, anticipation: names of the signals, for instance arousal and valence of an affective state.
        share: of the steps that are to be motivated, in (0, 1], in place of thresholds.
        window: values among which ranks are taken, 10 or more; with thresholds, how far back a crossing is looked for.
        at_least: a spread minimum of motivated steps, as in `AtLeast`; None: none.

    Raises:
        ValueError: off > on, both thresholds and a share, a share below the minimum; when asked, signals that were not
            measured, or not as often as each other.

    >>> up_and_down = [0.2, 0.6, 0.4, 0.1]
    >>> from snn_plasticity.dual import replay
    >>> replay(Seeking(on=0.5, off=0.3), [0.0] * 4, {"curiosity": up_and_down, "anticipation": [1.0] * 4})
    [False, True, True, False]

    Panksepp 1998, *Affective Neuroscience*; Acheli & Gaaloul 2026.
    """

    on: float | None = None
    off: float | None = None
    curiosity: str = "curiosity"
    anticipation: str = "anticipation"
    share: float | None = None
    window: int = 100
    at_least: float | None = ONE_IN_TWENTY

    def __post_init__(self) -> None:
        self._require_minimum()
        require_share(self, {"on": 0.3, "off": 0.1})
        for name in ("curiosity", "anticipation"):
            require_kind(f"Seeking.{name}", getattr(self, name), str, "The name of a signal.")
        if self.on is not None and self.off is not None and not self.off <= self.on:
            raise ValueError(f"Seeking: off = {self.off!r} and on = {self.on!r}; expected off <= on.")

    def _holds(self, history: History, *, denied: bool) -> bool:
        first, second = _measured(history, self.curiosity), _measured(history, self.anticipation)
        if len(first) != len(second):
            raise ValueError(f"{self.curiosity!r} and {self.anticipation!r} were not measured as often; expected both.")
        last = first[-self.window :], second[-self.window :]
        if self.share is None:
            return self._crossed([min(pair) for pair in zip(*last, strict=True)], history.motivated, denied=denied)
        for name, values in ((self.curiosity, first), (self.anticipation, second)):
            notice_constant(f"The signal {name!r}", values, self.window)
        return within_share(joint_level(last), history, self.share, self.window, denied=denied, band=SEEKING_BAND)

    def _crossed(self, levels: Sequence[float], motivated: Sequence[bool], *, denied: bool) -> bool:
        """The last time that either threshold was crossed decides; if that is long ago, what most steps since were."""
        assert self.on is not None and self.off is not None
        for level in reversed(levels):
            if level >= self.on:
                return True
            if level < self.off:
                return False
        since = motivated[-self.window :]
        return len(levels) == self.window and (sum(since) > len(since) / 2) != denied


def require_share(condition: Any, thresholds: Mapping[str, float]) -> None:
    """Thresholds or a share: both are refused, of neither the thresholds are as given here.

    Raises:
        ValueError: as said, or a share or window out of range.
    """
    what = type(condition).__name__
    given = [name for name in thresholds if getattr(condition, name) is not None]
    require_count_field(condition, "window", 10)
    if condition.share is None:
        for name, value in thresholds.items():
            if name not in given:
                object.__setattr__(condition, name, value)
            require_number_field(condition, name)
        return
    require_number_field(condition, "share", 0.0, 1.0, open_low=True)
    if given:
        raise ValueError(
            f"{what} has {' and '.join(given)} and share = {condition.share!r}; expected one or the other."
        )
    if condition.share < (condition.at_least or 0.0):
        raise ValueError(
            f"{what}: share = {condition.share!r} is less than at_least = {condition.at_least!r}; expected no less. "
            "Give a smaller at_least, or None."
        )


def _measured(history: History, name: str) -> Sequence[float]:
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
    half, mean = len(last) // 2, fmean(last)
    spread = sqrt(sum([(loss - mean) ** 2 for loss in last]) / len(last)) + 1e-12  # a constant loss: 0 / 1e-12
    surprise = tanh(abs(last[-1] - mean) / spread)
    progress = tanh((fmean(last[:half]) - fmean(last[half:])) / (2.0 * spread / sqrt(len(last))))
    return {"novelty": surprise, "curiosity": surprise, "anticipation": progress}
