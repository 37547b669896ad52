"""Condition: what decides whether the next batch trains the large net, and how conditions combine.

    a & b        both hold          a | b        either does          ~a        it does not

Any function of a history that returns a bool is a condition; `When(function)` gives it the operators too.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import MOST, require_callable
from .history import Ask, History, decide
from .said import require_history


class Condition:
    """A condition that can be combined with others by &, | and ~."""

    def __call__(self, history: History) -> bool:
        """Whether the next batch trains the large net."""
        raise NotImplementedError

    def __and__(self, other: Ask) -> Condition:
        return _Both(self, other)

    def __or__(self, other: Ask) -> Condition:
        return _Either(self, other)

    def __invert__(self) -> Condition:
        return _Not(self)

    def __rand__(self, other: Ask) -> Condition:
        return _Both(When(other), self)

    def __ror__(self, other: Ask) -> Condition:
        return _Either(When(other), self)


@dataclass(frozen=True, repr=False)
class _Both(Condition):
    first: Ask
    second: Ask

    def __call__(self, history: History) -> bool:
        return decide(self.first, history) and decide(self.second, history)

    def __repr__(self) -> str:
        return f"({self.first!r} & {self.second!r})"


@dataclass(frozen=True, repr=False)
class _Either(Condition):
    first: Ask
    second: Ask

    def __call__(self, history: History) -> bool:
        return decide(self.first, history) or decide(self.second, history)

    def __repr__(self) -> str:
        return f"({self.first!r} | {self.second!r})"


@dataclass(frozen=True, repr=False)
class _Not(Condition):
    inner: Ask

    def __call__(self, history: History) -> bool:
        return not decide(self.inner, history)

    def __repr__(self) -> str:
        return f"~{self.inner!r}"


@dataclass(frozen=True)
class When(Condition):
    """A function of your own, with the operators of a condition."""

    function: Ask

    def __post_init__(self) -> None:
        require_callable("When.function", self.function, "from a History to True or False")

    def __call__(self, history: History) -> bool:
        """What the function says."""
        require_history(history)
        return self.function(history)


def at_least(condition: Condition, field: str, low: int) -> None:
    """Refuse a setting that is no whole number from `low` upwards.

    Raises:
        ValueError: which setting, and what it is.
    """
    value = getattr(condition, field)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= MOST:
        raise ValueError(f"{type(condition).__name__}.{field} = {value!r}; expected a whole number >= {low}.")
