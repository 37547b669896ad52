"""History: what conditions look at, one entry per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..._checks import known_as, require_count, require_flag, require_kind, require_number

if TYPE_CHECKING:
    from ..report import ValidationPoint

STEPS_LEFT = "steps_left"


@dataclass
class History:
    """What happened so far, one entry per step.

    Args:
        losses: of each batch, from the net that was trained on it (with `train_base_too`: the base's).
        motivated: which steps trained the large net.
        signals: named numbers, such as novelty; those of the step that is about to be decided are the last ones. `fit`
            adds `steps_left`, where the loader has a length.
        validations: how both nets did on data they do not learn from, and after how many steps.
    """

    losses: list[float] = field(default_factory=list)
    motivated: list[bool] = field(default_factory=list)
    signals: dict[str, list[float]] = field(default_factory=dict)
    validations: list[ValidationPoint] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Which step is decided next, counted from 0."""
        return len(self.losses)

    def is_among_last(self, n: int) -> bool:
        """Whether the step that is decided next is known to be one of the last n, by the signal `steps_left`."""
        n = require_count("n", n)
        return 0 < self.steps_left() <= n

    def note_steps_left(self, end: int | None) -> None:
        """Add to the signals of the step that is decided next how many there are before the end, if anybody knows."""
        end = None if end is None else require_count("end", end, 0)
        if end is not None or STEPS_LEFT in self.signals:
            left = 0 if end is None else max(0, end - self.step)
            self.signals.setdefault(STEPS_LEFT, [0.0] * self.step).append(float(left))

    def steps_left(self) -> int:
        """How many steps a fit has before it, the next one included; 0 where nobody knows."""
        left = self.signals.get(STEPS_LEFT, [])
        return int(left[-1]) if len(left) > self.step else 0

    def signal(self, name: str) -> Sequence[float]:
        """All values of a signal.

        Raises:
            ValueError: nothing of that name was measured.
        """
        if not isinstance(name, str) or name not in self.signals:
            known = ", ".join(self.signals) or "none"
            raise ValueError(
                f"The condition reads the signal {name!r}; measured are: {known}. "
                f"Give the trainer signals=..., a function that returns {{{name!r}: number}}."
            )
        return self.signals[name]

    def add_signals(self, values: Mapping[str, float]) -> None:
        """Append the signals of the step that is about to be decided, {name: number}."""
        values = require_kind("values", values, Mapping, "As {'novelty': 0.5}.")
        measured = {name: require_number(f"The signal {name!r}", value) for name, value in values.items()}
        for name, value in measured.items():
            self.signals.setdefault(name, []).append(float(value))

    def add_step(self, loss: float, motivated: bool) -> None:
        """Append a step that is over: its loss, and whether it trained the large net."""
        loss, motivated = require_number("loss", loss, infinite=True), require_flag("motivated", motivated)
        self.losses.append(loss)
        self.motivated.append(motivated)


def require_history(history: object) -> None:
    """Refuse what is no history of a run."""
    if not isinstance(history, History):
        raise TypeError(f"history is {known_as(history)}; expected a History, as trainer.report.history.")


def require_validations(name: str, points: object) -> Sequence[ValidationPoint]:
    """Refuse what are no validations of a run."""
    from ..report import ValidationPoint

    for point in require_kind(name, points, (list, tuple), "As report.curve."):  # type: ignore[attr-defined]
        require_kind(f"A member of {name}", point, ValidationPoint, "As from trainer.validate(...).")
    return points  # type: ignore[return-value]
