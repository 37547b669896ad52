"""Who is told of a run while it goes on: functions after each step, or callbacks for steps, validations and epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .._checks import known_as
from .._saved import UNCHANGED

if TYPE_CHECKING:
    from .report import StepResult, ValidationPoint
    from .trainer import DualModelTrainer


class Callback:
    """Is told of steps, validations and epochs, in this order, before a checkpoint is written; override what you need.

    An error in a callback ends the run behind the step that it was told of, which is kept; `fit` again goes on from
    there. What a callback remembers is saved with the run if it has `state_dict` and `load_state_dict`.

    >>> class Losses(Callback):
    ...     def after_validation(self, trainer, point):
    ...         print(point.step, round(point.base.loss, 3))
    """

    def after_step(self, trainer: DualModelTrainer, result: StepResult) -> None:
        """A step is over; `trainer.report.history` holds it already."""

    def after_validation(self, trainer: DualModelTrainer, point: ValidationPoint) -> None:
        """Both nets were scored, within `fit`."""

    def after_epoch(self, trainer: DualModelTrainer) -> None:
        """All batches were seen once more; `trainer.epoch` is the number of the next epoch."""


class _EachStep(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Any, Any], object]) -> None:
        self.function = function

    def after_step(self, trainer: DualModelTrainer, result: StepResult) -> None:
        self.function(trainer, result)


class Callbacks:
    """All callbacks of a run.

    Args:
        members: each a `Callback`, or a function (trainer, result) that is called after each step.

    Raises:
        TypeError: one that is neither.
    """

    def __init__(self, members: Iterable[Any]) -> None:
        if isinstance(members, (Callback, Tensor)) or not isinstance(members, Iterable):
            raise TypeError(f"callbacks is {known_as(members)}; expected a list of callbacks or functions.")
        self.given = list(members)
        for one in self.given:
            if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
                raise TypeError(
                    f"A member of callbacks is {known_as(one)}; expected a Callback, as Losses(), or a function "
                    "(trainer, result)."
                )
        self.members = [one if isinstance(one, Callback) else _EachStep(one) for one in self.given]

    def after_step(self, trainer: DualModelTrainer, result: StepResult) -> None:
        """Tell all of a step."""
        for one in self.members:
            one.after_step(trainer, result)

    def after_validation(self, trainer: DualModelTrainer, point: ValidationPoint) -> None:
        """Tell all of a validation."""
        for one in self.members:
            one.after_validation(trainer, point)

    def after_epoch(self, trainer: DualModelTrainer) -> None:
        """Tell all of an epoch."""
        for one in self.members:
            one.after_epoch(trainer)

    def state_dict(self) -> list[Any]:
        """What those that remember something remember, in their order."""
        return [one.state_dict() for one in self._stateful()]

    def load_state_dict(self, states: Sequence[Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            ValueError: there are not as many that remember something.
        """
        stateful = self._stateful()
        if len(states) != len(stateful):
            raise ValueError(
                f"The saved run has states of {len(states)} callbacks, and {len(stateful)} here remember something; "
                f"expected as many, in the same order. {UNCHANGED}"
            )
        for one, state in zip(stateful, states, strict=True):
            one.load_state_dict(state)

    def _stateful(self) -> list[Any]:
        return [one for one in self.given if hasattr(one, "state_dict")]
