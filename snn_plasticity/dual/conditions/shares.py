"""A share of the steps: those at which a signal is high, by its rank among its own last values.

    u = rank of the signal in its window, 0 .. 1        on where u >= 1 − share − owed / τ,    τ = 0.15 window
    owed ← owed + share − 1{motivated}, within ±τ, over the last 5 windows

A rank knows no unit, so any monotone transform of the signal recruits at the same steps. What is owed moves the
threshold: a signal that only rises, or only falls, or is constant would otherwise recruit always or never. It is what
adaptive conformal inference does for a quantile that drifts (Gibbs & Candès 2021). It counts all motivated steps,
whatever recruited them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ...notices import notice
from .history import History

BUDGET_WINDOWS = 5
SETTLING = 0.15


def rank(value: float, ordered: Sequence[float]) -> float:
    """Share of the sorted values that lie below, ties by half.

    >>> rank(2.0, [1.0, 2.0, 2.0, 3.0])
    0.5
    """
    return (bisect_left(ordered, value) + bisect_right(ordered, value)) / (2 * len(ordered))


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value among all of them."""
    ordered = sorted(values)
    return [rank(value, ordered) for value in values]


def joint_level(signals: Sequence[Sequence[float]]) -> list[float]:
    """How high all signals are at once: the least of their ranks, so that none drowns in another's unit."""
    return [min(levels) for levels in zip(*map(ranks, signals), strict=True)]


def within_share(
    level: Sequence[float], history: History, share: float, window: int, *, denied: bool = False, band: float = 0.0
) -> bool:
    """Whether the last of some values belongs to the share that is highest.

    Args:
        level: the last values, up to `window` of them, that of the step to be decided included.
        history: which steps were motivated.
        share: of the steps, as asked for.
        window: of the ranks.
        denied: whether it is the steps without the large net that are to be as many.
        band: hysteresis in units of rank; a step like the one before is easier by it, another one harder.
    """
    past, settling = history.motivated[-BUDGET_WINDOWS * window :], SETTLING * window
    was = bool(past) and past[-1] != denied
    threshold = 1.0 - share - owed(past, share, settling, denied=denied) / settling + (-band if was else band)
    return rank(level[-1], sorted(level)) >= threshold


def owed(motivated: Sequence[bool], share: float, limit: float, *, denied: bool = False) -> float:
    """How many steps behind the share it is, negative where ahead; what lies beyond the limit is forgiven.

    >>> owed([False] * 4, 0.5, 10.0), owed([False] * 400, 0.5, 10.0), owed([True] * 4, 0.5, 10.0)
    (2.0, 10.0, -2.0)
    """
    steps = (share - denied, share - (not denied))
    debt = 0.0
    for on in motivated:
        debt += steps[on]
        if debt > limit:
            debt = limit
        elif debt < -limit:
            debt = -limit
    return debt


def notice_constant(name: str, values: Sequence[float], window: int) -> None:
    """Say so, at one step, where a signal has been one and the same number for a whole window."""
    last = values[-window - 1 :]
    if len(values) < window or last[-1] != last[-window] or len(set(last[-window:])) > 1:
        return
    if len(values) == window or last[0] != last[-1]:
        notice(
            f"{name} has been {last[-1]!r} for {window} steps, so it tells no step from another, and the share that "
            "was asked for is reached without it. Return numbers that change from signals=..., or take Every(n).",
            stacklevel=5,
        )
