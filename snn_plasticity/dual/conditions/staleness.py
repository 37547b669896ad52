"""Whether the large net has gone stale: what it learnt at motivated steps was for a base that has moved on since."""

from __future__ import annotations

from math import isnan, sqrt
from typing import TYPE_CHECKING

from ...notices import notice
from ..score import ACCURACY

if TYPE_CHECKING:
    from ..report import DualReport


def say_if_stale(report: DualReport) -> None:
    """Warn where the large net has gone stale."""
    sentence = stale_sentence(report)
    if sentence is not None:
        notice(sentence, stacklevel=3)


def stale_sentence(report: DualReport) -> str | None:
    """What to say where the large net is below the small one at the last validation; None where it is not.

    Judged by what counts (accuracy, or the metric), and by the loss where that is no number. Accuracies that are within
    √(a₁(1 − a₁)/n + a₂(1 − a₂)/n) of each other, one standard error over n answers, are the same.
    """
    point = report.curve[-1] if report.curve else None
    if point is None or point.motivated is None or report.condition == "Never()":
        return None
    base, large, measure = point.base, point.motivated, report.measure
    small, big, sign = base.value, large.value, 1.0
    if isnan(small) or isnan(big):
        measure, small, big, sign = "loss", base.loss, large.loss, -1.0
    chance = _chance(small, big, base.answers) if measure == ACCURACY else 0.0
    if not sign * (small - big) > chance:
        return None
    motivated = report.history.motivated
    wait = next((k for k, on in enumerate(reversed(motivated)) if on), None)
    last = "never" if wait is None else f"in {sum(motivated)} of {len(motivated)} steps, the last time {wait + 1} ago"
    return (
        f"The large net is below the small one at the last validation: {measure} {big:.4g} against {small:.4g}. It was "
        f"recruited {last}, and what only it has is stale where the base has moved on since. Recruit it more evenly, "
        "as AtLeast(condition, 1/10), or longer in the end, as condition | LastSteps(40); or deploy the small net."
    )


def _chance(a: float, b: float, answers: int) -> float:
    """Standard error of the difference of two accuracies; 0 where it is not known of how many answers."""
    return sqrt((a * (1.0 - a) + b * (1.0 - b)) / answers) if answers else 0.0
