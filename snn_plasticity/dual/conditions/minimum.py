"""A spread minimum: the large net is recruited now and then whatever a condition says, so that it does not go stale."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from ..._checks import require_callable
from ...config.validation import require_number_field
from .condition import Condition, ConditionFn, decide, deny
from .history import History, require_history

ONE_IN_TWENTY = 1 / 20


def is_due(history: History, share: float | None) -> bool:
    """Whether none of the last n − 1 steps trained the large net, or the run is about to end; None is never due."""
    if share is None:
        return False
    n = int(1.0 / share + 1e-9)  # 1/0.1 is 10 and not 9, whichever way it was rounded
    left = history.steps_left()
    if 0 < left <= min(n, int(share * (history.step + left) + 1e-9)):
        return True
    return history.step >= n - 1 and not any(history.motivated[history.step - n + 1 :])


@dataclass(frozen=True)
class AtLeast(Condition):
    """A condition, and beside it a minimum: one step in n = ⌊1/share⌋, and a refresh in the end.

        AtLeast(Never(), 1/20)  is  Every(20) | LastSteps(20)        in a run of 400 steps or more

    The minimum is due when none of the last n − 1 steps was motivated. Where the end is known, see `LastSteps`, each of
    the last n steps is motivated; in short runs fewer, the share of all steps.

    `~` denies the condition and keeps the minimum: ~AtLeast(c, s) is AtLeast(~c, s). Within `&` the other condition has
    to agree as well; within `|` the minimum holds for the whole.

    Args:
        condition: any function of a `History` that returns a bool.
        share: of the steps, in (0, 1].

    Raises:
        TypeError, ValueError: a condition that cannot be called, a share out of range.

    >>> from snn_plasticity.dual import FromStep, replay
    >>> replay(AtLeast(FromStep(5), 1/3), [1.0] * 6)
    [False, False, True, False, False, True]
    """

    condition: ConditionFn
    share: float = ONE_IN_TWENTY

    def __post_init__(self) -> None:
        require_callable("AtLeast.condition", self.condition, "from a History to True or False")
        require_number_field(self, "share", 0.0, 1.0, open_low=True)

    def __call__(self, history: History) -> bool:
        """Whether the condition holds, or it is time."""
        require_history(history)
        return decide(self.condition, history) or is_due(history, self.share)

    def _denied(self, history: History) -> bool:
        """Whether the condition does not hold, or it is time."""
        return deny(self.condition, history) or is_due(history, self.share)


class NeverStale(Condition):
    """A condition with a minimum of its own, `at_least`; what it says apart from that, `_holds` says."""

    at_least: float | None

    def __call__(self, history: History) -> bool:
        """Whether it holds, or the minimum is due."""
        require_history(history)
        return self._holds(history, denied=False) or is_due(history, self.at_least)

    def _denied(self, history: History) -> bool:
        """Whether it does not hold, or the minimum is due."""
        require_history(history)
        return not self._holds(history, denied=True) or is_due(history, self.at_least)

    @abstractmethod
    def _holds(self, history: History, *, denied: bool) -> bool:
        """Without the minimum; `denied` where `~` asks."""

    def _require_minimum(self) -> None:
        if self.at_least is not None:
            require_number_field(self, "at_least", 0.0, 1.0, open_low=True)
