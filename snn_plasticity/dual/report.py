"""DualReport: what a run did, step by step, and where it led."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..checks import require_kind, require_path
from .history import History
from .meter import Cost
from .said import explained
from .trainee import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """A validation: after how many steps and epochs, at what cost, and how both nets did."""

    step: int
    epoch: int
    macs: int
    synops: int
    seconds: float
    base: Score
    motivated: Score | None

    def score(self, net: str) -> Score:
        """Of one of the nets, "base" or "motivated"."""
        found = self.base if net == "base" else self.motivated
        if found is None:
            raise ValueError("There is no motivated net in this run.")
        return found


@dataclass
class DualReport:
    """A run so far.

    Args:
        history: losses, motivated steps and signals.
        costs: of each step, both nets together.
        curve: the validations.
        condition: what decided, in words.
        seconds: spent in steps.
    """

    history: History = field(default_factory=History)
    costs: list[Cost] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    condition: str = ""
    seconds: float = 0.0

    @property
    def cost(self) -> Cost:
        """All steps together."""
        return Cost(sum(c.macs for c in self.costs), sum(c.synops for c in self.costs))

    @property
    def share(self) -> float:
        """Share of motivated steps."""
        steps = self.history.motivated
        return sum(steps) / len(steps) if steps else 0.0

    def table(self) -> str:
        """The numbers, for people."""
        rows = [f"condition {self.condition}: {self.history.step} steps, {self.share:.0%} motivated"]
        rows.append(f"compute {self.cost.macs / 1e9:.4g} GMAC, {self.cost.synops / 1e9:.4g} G synaptic operations")
        rows.append("epoch   step   GMAC    base: loss  accuracy   motivated: loss  accuracy")
        for p in self.curve:
            large = "" if p.motivated is None else f"{p.motivated.loss:>17.4f} {p.motivated.accuracy:>9.3f}"
            rows.append(
                f"{p.epoch:>5} {p.step:>6} {p.macs / 1e9:>6.3g} {p.base.loss:>13.4f} {p.base.accuracy:>9.3f}{large}"
            )
        return "\n".join(rows)

    def figure(self, path: str | Path | None = None) -> Figure:
        """Losses with the motivated steps marked, validation, compute; written to `path` if one is given."""
        from .figure import run_figure

        figure = run_figure(self)
        if path is not None:
            figure.savefig(require_path("path", path, new=True), dpi=150)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        history = self.history
        return {
            "losses": list(history.losses),
            "motivated": list(history.motivated),
            "signals": {name: list(values) for name, values in history.signals.items()},
            "costs": [list(cost) for cost in self.costs],
            "curve": [[*p[:5], list(p.base), None if p.motivated is None else list(p.motivated)] for p in self.curve],
            "condition": self.condition,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DualReport:
        """The report that `to_dict` described."""
        values = require_kind("values", values, Mapping, "As from report.to_dict().")
        with explained("values is no saved report", "what report.to_dict() gave"):
            return cls._of(values)

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> DualReport:
        history = History(
            list(values["losses"]), list(values["motivated"]), {k: list(v) for k, v in values["signals"].items()}
        )
        curve = [Point._make([*p[:5], Score(*p[5]), p[6] and Score(*p[6])]) for p in values["curve"]]
        costs = [Cost(*cost) for cost in values["costs"]]
        return cls(history, costs, curve, values["condition"], values["seconds"])
