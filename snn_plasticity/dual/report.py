"""What runs did and where they led: one run, and dual runs beside the base alone and the large net alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from .._checks import require_choice, require_kind, require_path
from .conditions.history import History
from .conditions.staleness import stale_sentence
from .ledger.books import Books
from .ledger.energy import Energy
from .ledger.meter import Cost, prefixed
from .nets import explain_errors
from .score import ACCURACY, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Unit = Literal["macs", "synops"]
LABELS: dict[Unit, str] = {"macs": "multiply-accumulates", "synops": "synaptic operations"}


class StepResult(NamedTuple):
    """One step: its loss, whether it was motivated, what it cost."""

    loss: float
    motivated: bool
    cost: Cost


class ValidationPoint(NamedTuple):
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
    """A run so far; `print(report.table())` and `report.figure("run.png")` show it.

    Args:
        history: losses, motivated steps and signals, one of each for each step.
        costs: of each step, both nets together.
        curve: the validations, in their order; conditions read them as `history.validations`.
        condition: what decided, in words.
        seconds: spent in steps, without validations.
        books: what each kind of step costs, and each net by itself.
    """

    history: History = field(default_factory=History)
    costs: list[Cost] = field(default_factory=list)
    curve: list[ValidationPoint] = field(default_factory=list)
    condition: str = ""
    seconds: float = 0.0
    books: Books = field(default_factory=Books)

    def __post_init__(self) -> None:
        require_kind("history", self.history, History, "As trainer.report.history.")
        if require_kind("curve", self.curve, list, "As from trainer.validate(...), one after the other."):
            self.history.validations = self.curve
        else:
            self.curve = self.history.validations

    @property
    def cost(self) -> Cost:
        """What all steps together cost."""
        return Cost(*(sum(counts) for counts in zip(*self.costs, strict=True)))

    @property
    def energy(self) -> Energy:
        """An estimate for all steps together; event-driven, of forward passes alone."""
        return Energy.of(self.cost)

    @property
    def alone(self) -> dict[str, int]:
        """Multiply-accumulates of "base" alone and "large" alone for the same steps, as far as they are known."""
        return self.books.alone(self.history.step)

    @property
    def share(self) -> float:
        """Share of the steps that trained the large net, 0 .. 1."""
        steps = self.history.motivated
        return sum(steps) / len(steps) if steps else 0.0

    @property
    def measure(self) -> str:
        """What the nets are scored by: "accuracy", or the name of the metric."""
        return self.curve[0].base.measure if self.curve else ACCURACY

    def table(self) -> str:
        """One line for each validation, as text, and a sentence where the large net has gone stale."""
        rows = [f"condition {self.condition}: {self.history.step} steps, {self.share:.0%} motivated"]
        rows += self._costs()
        name = f"{self.measure:>9}"
        width = len(name)
        rows.append(f"epoch   step      MAC    base: loss {name}   motivated: loss {name}")
        for p in self.curve:
            large = "" if p.motivated is None else f"{p.motivated.loss:>17.4f} {p.motivated.value:>{width}.3f}"
            rows.append(
                f"{p.epoch:>5} {p.step:>6} {prefixed(p.macs):>8} {p.base.loss:>13.4f} {p.base.value:>{width}.3f}{large}"
            )
        return "\n".join([*rows, *filter(None, [stale_sentence(self)])])

    def _costs(self) -> list[str]:
        """What it cost, what either net alone would have cost, and what each net costs by itself, as text."""
        cost, alone = self.cost, self.alone
        rows = [
            f"compute {cost}; {1e3 * self.seconds / max(self.history.step, 1):.3g} ms a step",
            f"energy of it, an estimate at 45 nm: {self.energy} (of forward passes alone)",
        ]
        if self.share or "motivated" in self.books.nets:
            words = [f"{name} alone {_beside(cost.macs, alone.get(name))}" for name in ("base", "large")]
            rows.append(f"the same steps with {', '.join(words)}")
        for name, net in self.books.nets.items():
            rows.append(f"one batch forward, {name}: {net.forward}; {1e3 * net.seconds:.3g} ms; {net.energy}")
        return rows

    def figure(self, path: str | Path | None = None) -> Figure:
        """Losses with the motivated steps marked, and the validations; written to `path` if one is given."""
        from .figure import run_figure

        figure = run_figure(self)
        if path is not None:
            figure.savefig(require_path("path", path, new=True), dpi=150)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON or a checkpoint."""
        history = self.history
        return {
            "losses": list(history.losses),
            "motivated": list(history.motivated),
            "signals": {name: list(values) for name, values in history.signals.items()},
            "costs": [list(cost) for cost in self.costs],
            "curve": [[*p[:5], list(p.base), None if p.motivated is None else list(p.motivated)] for p in self.curve],
            "condition": self.condition,
            "seconds": self.seconds,
            "books": self.books.to_dict(),
            "alone": self.alone,
            "energy": list(self.energy),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DualReport:
        """The report that `to_dict` described."""
        values = require_kind("values", values, Mapping, "As from report.to_dict().")
        with explain_errors("values is no saved report", "what report.to_dict() gave"):
            signals = {name: list(measured) for name, measured in values["signals"].items()}
            history = History(list(values["losses"]), list(values["motivated"]), signals)
            curve = [ValidationPoint._make([*p[:5], Score(*p[5]), p[6] and Score(*p[6])]) for p in values["curve"]]
            costs = [Cost(*cost) for cost in values["costs"]]
            books = Books.from_dict(values["books"]) if "books" in values else Books()
            return cls(history, costs, curve, values["condition"], values["seconds"], books)


def _beside(macs: int, other: int | None) -> str:
    if other is None:
        return "not known"
    return f"{prefixed(other)}MAC" + (f" (×{other / macs:.2f})" if macs else "")


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
    """Dual runs beside the base alone and the large net alone, one of each for every seed, in the same order.

    Args:
        dual: runs of both nets.
        base_alone, large_alone: runs of `DualModelTrainer(net)` with one net each, validated often enough to read off
            their accuracy at the compute of the dual runs, and long enough to reach it.

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
    def measure(self) -> str:
        """What the nets are compared by: the accuracy or metric; where no run knows it, the loss."""
        return judged_by((*self.dual, *self.base_alone, *self.large_alone))

    @property
    def rows(self) -> dict[str, Estimate]:
        """Scores at the end of the dual runs and of each net alone: {row of the table: mean and standard error}."""
        ends, measure = [run.curve[-1] for run in self.dual], self.measure
        equal_steps = {name: self._at_equal("step", runs) for name, runs in self._alone()}
        equal_macs = {name: self._at_equal("macs", runs) for name, runs in self._alone()}
        base = [value_of(end.base, measure) for end in ends]
        motivated = [value_of(end.score("motivated"), measure) for end in ends]
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

    def compute(self, unit: Unit = "macs") -> dict[str, Estimate]:
        """Billions of `unit` ("macs" or "synops") at the dual runs' number of steps."""
        require_choice("unit", unit, get_args(Unit))
        steps = [run.history.step for run in self.dual]
        runs = {"dual": self.dual, "base alone": self.base_alone, "large alone": self.large_alone}
        return {
            name: Estimate.of([cost_after(run, unit, s) / 1e9 for run, s in zip(some, steps, strict=True)])
            for name, some in runs.items()
        }

    def table(self) -> str:
        """Accuracies (mean ± standard error over seeds) and what was computed, as text."""
        rows = [f"{f'{self.measure}, {len(self.dual)} seeds':<42} mean ± s.e."]
        rows += [f"{name:<42} {value}" for name, value in self.rows.items()]
        for unit, label in LABELS.items():
            ledger = self.compute(unit)
            text, large = ", ".join(f"{name} {value.mean:.3g}" for name, value in ledger.items()), ledger["large alone"]
            share = f"   (×{ledger['dual'].mean / large.mean:.2f} of the large)" if large.mean else ""
            rows.append(f"{'10⁹ ' + label:<42} {text}{share}")
        return "\n".join(rows)

    def figure(self, path: str | Path | None = None) -> Figure:
        """Learning curves, motivated steps, ledger, accuracy against compute; written to `path` if one is given."""
        from .figure import comparison_figure

        figure = comparison_figure(self)
        if path is not None:
            figure.savefig(require_path("path", path, new=True), dpi=150)
        return figure

    def _at_equal(self, axis: str, runs: Sequence[DualReport]) -> list[float]:
        """Scores of other runs where the dual ones ended, in steps or in compute."""
        where = [getattr(run.curve[-1], axis) for run in self.dual]
        return [score_at(run, axis, value, self.measure) for run, value in zip(runs, where, strict=True)]

    def _alone(self) -> list[tuple[str, Sequence[DualReport]]]:
        return [("base", self.base_alone), ("large", self.large_alone)]


LOSS = "loss"


def judged_by(runs: Sequence[DualReport]) -> str:
    """The measure of these runs; "loss" where none of their scores has another value."""
    known = [p.base.value == p.base.value for run in runs for p in run.curve]
    return LOSS if known and not any(known) else runs[0].measure


def value_of(score: Score, measure: str) -> float:
    """What a score says by a measure, as from `judged_by`."""
    return score.loss if measure == LOSS else score.value


def score_at(run: DualReport, axis: str, value: float, measure: str = ACCURACY, net: str = "base") -> float:
    """Accuracy, or metric, of a run after so many "step" or "macs", between validations by a straight line.

    Raises:
        ValueError: it was not trained for as long.
    """
    where = [getattr(point, axis) for point in run.curve]
    if axis == "macs" and not where[-1]:  # nothing that is counted was computed
        return float("nan")
    if value > where[-1] * 1.02:  # runs of equal length differ a little in compute; np.interp holds the last value
        raise ValueError(
            f"A run ends at {axis} = {where[-1]:.4g}, and its score at {value:.4g} was asked for; train it longer."
        )
    return float(np.interp(value, where, [value_of(point.score(net), measure) for point in run.curve]))


def cost_after(run: DualReport, unit: Unit, steps: int) -> int:
    """What the first `steps` of a run cost."""
    return sum(getattr(cost, unit) for cost in run.costs[:steps])


def _difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    return Estimate.of([x - y for x, y in zip(a, b, strict=True)])
