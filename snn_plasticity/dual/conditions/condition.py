"""Conditions: what decides whether the next batch trains the large net, and what they look at.

    a & b        both hold          a | b        either does          ~a        it does not

Any function of a `History` that returns a bool is a condition; `When(function)` gives it the operators too. Those of
the clock are here, those that what happened decides in `motivation`, those of chance in `chance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..._checks import array_of, require_callable, require_kind, shown
from ...config.validation import require_count_field
from .history import History, require_history, require_validations

if TYPE_CHECKING:
    from ..report import ValidationPoint

ConditionFn = Callable[[History], bool]


def decide(condition: ConditionFn, history: History) -> bool:
    """What a condition says.

    Raises:
        TypeError: it says something that is no bool.
    """
    require_callable("condition", condition, "from a History to True or False")
    try:
        answer = condition(history)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # from within the condition
        raise TypeError(f"{shown(condition)} cannot be asked ({error}); expected a function of one History.") from error
    if not isinstance(answer, bool):
        raise TypeError(
            f"{condition!r} returned {answer!r}, a {type(answer).__name__}, at step {history.step}; "
            "expected True or False. Write bool(...) around what it computes."
        )
    return answer


def deny(condition: ConditionFn, history: History) -> bool:
    """What `~condition` says; errors as `decide`."""
    return condition._denied(history) if isinstance(condition, Condition) else not decide(condition, history)


def replay(
    condition: ConditionFn,
    losses: Sequence[float],
    signals: Mapping[str, Sequence[float]] | None = None,
    validations: Sequence[ValidationPoint] = (),
) -> list[bool]:
    """What a condition would have said before each of the steps that were logged.

    Args:
        condition: a function of a `History`.
        losses: of each step, as `report.history.losses`.
        signals: {name: one value for each step}, as `report.history.signals`.
        validations: as `report.curve`; each is known from its step on.

    Returns:
        One bool for each step.

    Raises:
        ValueError: fewer values of a signal than losses.

    >>> from snn_plasticity.dual import LossDecrease
    >>> replay(LossDecrease(1), [3.0, 2.0, 2.5, 2.0])
    [False, False, True, False]
    """
    history = History()
    measured = require_kind("signals", {} if signals is None else signals, Mapping, "{name: values}.")
    losses = array_of("losses", losses).tolist()
    points = require_validations("validations", validations)
    for name, values in measured.items():
        if len(array_of(f"signals[{name!r}]", values)) < len(losses):
            raise ValueError(f"signals[{name!r}] has {len(values)} values for {len(losses)} losses; expected as many.")
    for step, loss in enumerate(losses):
        history.validations = [point for point in points if point.step <= step]
        history.add_signals({name: values[step] for name, values in measured.items()})
        history.add_step(loss, decide(condition, history))
    return history.motivated


class Condition:
    """A condition that can be combined with others by &, | and ~."""

    def __call__(self, history: History) -> bool:
        """Whether the next batch trains the large net."""
        raise NotImplementedError

    def _denied(self, history: History) -> bool:
        """What `~` says: the opposite, but for a minimum (`AtLeast`), which stands whatever else is denied."""
        return not decide(self, history)

    def __and__(self, other: ConditionFn) -> Condition:
        return _Both(self, other)

    def __or__(self, other: ConditionFn) -> Condition:
        return _Either(self, other)

    def __invert__(self) -> Condition:
        return _Not(self)

    def __rand__(self, other: ConditionFn) -> Condition:
        return _Both(When(other), self)

    def __ror__(self, other: ConditionFn) -> Condition:
        return _Either(When(other), self)


@dataclass(frozen=True, repr=False)
class _Both(Condition):
    first: ConditionFn
    second: ConditionFn

    def __call__(self, history: History) -> bool:
        return decide(self.first, history) and decide(self.second, history)

    def _denied(self, history: History) -> bool:
        return deny(self.first, history) or deny(self.second, history)

    def __repr__(self) -> str:
        return f"({self.first!r} & {self.second!r})"


@dataclass(frozen=True, repr=False)
class _Either(Condition):
    first: ConditionFn
    second: ConditionFn

    def __call__(self, history: History) -> bool:
        return decide(self.first, history) or decide(self.second, history)

    def _denied(self, history: History) -> bool:
        return deny(self.first, history) and deny(self.second, history)

    def __repr__(self) -> str:
        return f"({self.first!r} | {self.second!r})"


@dataclass(frozen=True, repr=False)
class _Not(Condition):
    inner: ConditionFn

    def __call__(self, history: History) -> bool:
        return deny(self.inner, history)

    def _denied(self, history: History) -> bool:
        return decide(self.inner, history)

    def __repr__(self) -> str:
        return f"~{self.inner!r}"


@dataclass(frozen=True)
class When(Condition):
    """A function of a `History` of your own, with the operators of a condition.

    >>> warm = When(lambda history: history.losses[-1:] < [0.5])
    >>> replay(warm & ~Every(2), [0.1, 0.2, 0.9, 0.1])
    [True, False, True, False]
    """

    function: ConditionFn

    def __post_init__(self) -> None:
        require_callable("When.function", self.function, "from a History to True or False")

    def __call__(self, history: History) -> bool:
        """What the function says."""
        require_history(history)
        return self.function(history)


@dataclass(frozen=True)
class Always(Condition):
    """Every step trains the large net."""

    def __call__(self, history: History) -> bool:
        """True."""
        require_history(history)
        return True


@dataclass(frozen=True)
class Never(Condition):
    """No step trains the large net: the base learns alone."""

    def __call__(self, history: History) -> bool:
        """False."""
        require_history(history)
        return False


@dataclass(frozen=True)
class Every(Condition):
    """Every n-th step.

    >>> replay(Every(3), [1.0] * 6)
    [False, False, True, False, False, True]
    """

    n: int

    def __post_init__(self) -> None:
        require_count_field(self, "n", 1)

    def __call__(self, history: History) -> bool:
        """Whether it is its turn."""
        require_history(history)
        return history.step % self.n == self.n - 1


@dataclass(frozen=True)
class FromStep(Condition):
    """From a step on, counted from 0: before it is a warm-up in which the base learns alone.

    >>> replay(FromStep(2), [1.0] * 4)
    [False, False, True, True]
    """

    step: int

    def __post_init__(self) -> None:
        require_count_field(self, "step", 0)

    def __call__(self, history: History) -> bool:
        """Whether the warm-up is over."""
        require_history(history)
        return history.step >= self.step


@dataclass(frozen=True)
class LastSteps(Condition):
    """The last n steps of a fit, as far as its end is known: a refresh of the large net before it is deployed.

    The end is that of all epochs; `fit` notes how far it is as the signal `steps_left`, where the loader has a length.
    `max_steps` and `max_macs` are pauses, and early stopping comes unforeseen: there is no refresh before them.
    Every second one of twice as many, `LastSteps(40) & Every(2)`, does the base less harm.

    >>> replay(LastSteps(2), [1.0] * 4, {"steps_left": [4, 3, 2, 1]})
    [False, False, True, True]
    """

    n: int = 20

    def __post_init__(self) -> None:
        require_count_field(self, "n", 1)

    def __call__(self, history: History) -> bool:
        """Whether it is one of them."""
        require_history(history)
        return history.is_among_last(self.n)
