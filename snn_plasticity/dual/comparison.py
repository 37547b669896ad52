"""Comparison: a dual run beside the base alone and the large net alone, at equal steps and at equal compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..checks import require_choice, require_kind, require_path
from .report import DualReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """Mean over seeds and its standard error (NaN for one seed)."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of one value per seed."""
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        return cls(float(np.mean(values)), error)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}" if self.error == self.error else f"{self.mean:.3f}"


@dataclass(frozen=True)
class Comparison:
    """Runs with the same seeds, in the same order.

    Args:
        dual: of both nets.
        base_alone, large_alone: of one net each, validated often enough to read off their accuracy at the compute of
            the dual runs, and long enough to reach it.

    Raises:
        ValueError: not one run of each kind for every seed, or runs that were never validated.
    """

    dual: Sequence[DualReport]
    base_alone: Sequence[DualReport]
    large_alone: Sequence[DualReport]

    def __post_init__(self) -> None:
        for name in ("dual", "base_alone", "large_alone"):
            for run in require_kind(name, getattr(self, name), (list, tuple), "A list of reports."):
                require_kind(f"A member of {name}", run, DualReport, "As trainer.fit(...) returns.")
        numbers = [len(runs) for runs in (self.dual, self.base_alone, self.large_alone)]
        if not numbers[0] or len(set(numbers)) > 1:
            raise ValueError(f"There are {numbers} runs (dual, base, large); expected one of each for every seed.")
        if not all(run.curve for run in (*self.dual, *self.base_alone, *self.large_alone)):
            raise ValueError("A run was never validated; call fit(..., validation=batches).")

    @property
    def rows(self) -> dict[str, Estimate]:
        """What the table says, in numbers."""
        ends = [run.curve[-1] for run in self.dual]
        steps, macs = [end.step for end in ends], [end.macs for end in ends]
        equal_steps = {
            name: [at(run, "step", s) for run, s in zip(runs, steps, strict=True)] for name, runs in self._alone()
        }
        equal_macs = {
            name: [at(run, "macs", m) for run, m in zip(runs, macs, strict=True)] for name, runs in self._alone()
        }
        base, motivated = [e.base.accuracy for e in ends], [e.score("motivated").accuracy for e in ends]
        return {
            "base": Estimate.of(base),
            "base alone, equal steps": Estimate.of(equal_steps["base"]),
            "base alone, equal compute": Estimate.of(equal_macs["base"]),
            "motivated": Estimate.of(motivated),
            "large alone, equal steps": Estimate.of(equal_steps["large"]),
            "large alone, equal compute": Estimate.of(equal_macs["large"]),
            "base − base alone, equal steps": _difference(base, equal_steps["base"]),
            "motivated − large alone, equal compute": _difference(motivated, equal_macs["large"]),
            "share of motivated steps": Estimate.of([run.share for run in self.dual]),
        }

    def compute(self, unit: str = "macs") -> dict[str, Estimate]:
        """Billions of `unit` ("macs" or "synops") at the dual runs' number of steps."""
        require_choice("unit", unit, ("macs", "synops"))
        steps = [run.history.step for run in self.dual]
        runs = {"dual": self.dual, "base alone": self.base_alone, "large alone": self.large_alone}
        return {
            name: Estimate.of([spent(run, unit, s) / 1e9 for run, s in zip(some, steps, strict=True)])
            for name, some in runs.items()
        }

    def table(self) -> str:
        """Accuracies and the ledger, mean ± standard error."""
        rows = [f"{'accuracy, ' + str(len(self.dual)) + ' seeds':<42} mean ± s.e."]
        rows += [f"{name:<42} {value}" for name, value in self.rows.items()]
        for unit, said in (("macs", "10⁹ multiply-accumulates"), ("synops", "10⁹ synaptic operations")):
            ledger = self.compute(unit)
            text = ", ".join(f"{name} {value.mean:.3g}" for name, value in ledger.items())
            rows.append(f"{said:<42} {text}   (×{ledger['dual'].mean / ledger['large alone'].mean:.2f} of the large)")
        return "\n".join(rows)

    def figure(self, path: str | Path | None = None) -> Figure:
        """Learning curves, motivated steps, ledger, accuracy against compute; written to `path` if one is given."""
        from .figure import comparison_figure

        figure = comparison_figure(self)
        if path is not None:
            figure.savefig(require_path("path", path, new=True), dpi=150)
        return figure

    def _alone(self) -> list[tuple[str, Sequence[DualReport]]]:
        return [("base", self.base_alone), ("large", self.large_alone)]


def at(run: DualReport, axis: str, value: float, net: str = "base") -> float:
    """Accuracy of a run after so many "step" or "macs", between validations by a straight line.

    Raises:
        ValueError: it was not trained for as long.
    """
    where = [getattr(point, axis) for point in run.curve]
    if value > where[-1] * 1.02:
        raise ValueError(
            f"A run ends at {axis} = {where[-1]:.4g}, and its accuracy at {value:.4g} was asked for; train it longer."
        )
    return float(np.interp(value, where, [point.score(net).accuracy for point in run.curve]))


def spent(run: DualReport, unit: str, steps: int) -> int:
    """What the first `steps` of a run cost."""
    return sum(getattr(cost, unit) for cost in run.costs[:steps])


def _difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    return Estimate.of([x - y for x, y in zip(a, b, strict=True)])
