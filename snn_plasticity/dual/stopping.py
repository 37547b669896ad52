"""When a run ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..checks import require_choice, require_kind
from ..config.validation import require_count, require_number
from .report import DualReport, Point


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a net has not become better for `patience` validations in a row.

    Args:
        patience: validations to wait.
        net: whose, "base" or "motivated".
        by: "accuracy" or "loss".
        min_delta: what counts as better.
    """

    patience: int = 5
    net: str = "motivated"
    by: str = "accuracy"
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require_choice("net", self.net, ("base", "motivated"))
        require_choice("by", self.by, ("accuracy", "loss"))
        require_count(self, "patience")
        require_number(self, "min_delta", 0.0)

    def __call__(self, curve: list[Point]) -> bool:
        """Whether it is time; read off the curve alone, so that a resumed run stops where it would have."""
        for point in require_kind("curve", curve, (list, tuple), "As report.curve."):  # type: ignore[attr-defined]
            require_kind("A member of curve", point, Point, "As from trainer.validate(...).")
        best, since = -float("inf"), 0
        for point in curve:
            score = point.score(self.net)
            value = score.accuracy if self.by == "accuracy" else -score.loss
            best, since = (value, 0) if value > best + self.min_delta else (best, since + 1)
        return since >= self.patience


class Until(NamedTuple):
    """Limits of one `fit`."""

    max_steps: int | None
    max_macs: int | None
    early: EarlyStopping | None

    def reached(self, report: DualReport, macs: int) -> bool:
        """Whether one of them is reached."""
        steps = self.max_steps is not None and report.history.step >= self.max_steps
        spent = self.max_macs is not None and macs >= self.max_macs
        return steps or spent or (self.early is not None and self.early(report.curve))
