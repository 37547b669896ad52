"""How a net does on data that it does not learn from: its loss, and how many answers are right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .._checks import known_as, require_callable, shown
from ..notices import notice
from .accuracy import NO_SHARES, Answers, count_right
from .nets import explain_errors, preserve_rng

ACCURACY = "accuracy"


class Score(NamedTuple):
    """How a net does on data it does not learn from.

    Args:
        loss: mean over samples.
        accuracy: share of right answers, 0 .. 1; NaN where targets are no classes, or shapes do not tell.
        metric: mean over samples of what `metric=` returned; None without one.
        measure: what tables call `value`: "accuracy", or the name of the metric.
        answers: how many the accuracy is a share of; 0 where nobody knows.
    """

    loss: float
    accuracy: float
    metric: float | None = None
    measure: str = ACCURACY
    answers: int = 0

    @property
    def value(self) -> float:
        """What counts, the larger the better: the metric if there is one, else the accuracy."""
        return self.accuracy if self.metric is None else self.metric


class BatchScore(NamedTuple):
    """One batch: its weight, weighted sums, and what is known of its answers."""

    size: Tensor | int
    loss: Tensor | float
    metric: Tensor | float
    answers: Answers


class Scorer:
    """Scores what a net gives, batch by batch.

    Args:
        objective: the loss of the net, (output, target) -> scalar.
        metric: (output, target) -> number, the larger the better; None for the accuracy.

    Raises:
        TypeError: a metric that cannot be called.
    """

    def __init__(self, objective: Callable[..., Any], metric: Callable[..., Any] | None = None) -> None:
        if metric is not None:
            require_callable("metric", metric, "(output, target) -> number, the larger the better")
        self.objective, self.metric = objective, metric
        self._said: set[str] = set()

    def row(self, output: Any, target: Any) -> BatchScore:
        """Of one batch, where it lies; weighted by its answers, or by the numbers in its target."""
        answers = count_right(output, target, self.objective)
        numbers = numbers_in(target, output)
        if not numbers:
            return BatchScore(0, 0.0, 0.0, answers)
        size = numbers if answers.doubt else answers.labels
        metric = 0.0 if self.metric is None else size * _double(self.metric(output, target))
        return BatchScore(size, size * _double(self.objective(output, target)), metric, answers)

    def mean(self, rows: Sequence[BatchScore]) -> Score:
        """Of all batches; the only place that waits for the device, once."""
        if not rows:
            raise ValueError("The validation data hold no batch; expected at least one.")
        columns = [(r.size, r.loss, r.metric, r.answers.right, r.answers.labels, r.answers.largest) for r in rows]
        sizes, losses, metrics, right, labels, largest = zip(*_read(columns), strict=True)
        weight = sum(sizes) or float("nan")
        accuracy = sum(right) / sum(labels) if sum(labels) else float("nan")
        self._doubt(rows, accuracy, round(max(largest)) + 1)
        count = round(sum(labels))
        if self.metric is None:
            return Score(sum(losses) / weight, accuracy, answers=count)
        return Score(sum(losses) / weight, accuracy, sum(metrics) / weight, name_of(self.metric), count)

    def _doubt(self, rows: Sequence[BatchScore], accuracy: float, classes: int) -> None:
        """Say, once, why there is no accuracy, or why it may be none."""
        doubts = [row.answers.doubt for row in rows if row.answers.doubt]
        outputs = max(row.answers.outputs for row in rows)
        if doubts or accuracy != accuracy:
            why = doubts[0] if doubts else NO_SHARES
            self._say("unknown", f"The accuracy is not known and stands as NaN: {why}.")
        elif outputs >= 2 * classes and not outputs % classes:
            text = f"The net has {outputs} outputs and the targets name classes up to {classes - 1}; each output counts"
            self._say("population", f"{text} as one class. If several of them stand for a class, that is no accuracy.")

    def _say(self, kind: str, text: str) -> None:
        if self.metric is None and kind not in self._said:
            self._said.add(kind)
            notice(f"{text} Give the trainee metric=, a function (output, target) -> number.", stacklevel=6)


def evaluate(model: nn.Module, output: Callable[[Any], Any], scorer: Scorer, batches: Iterable[Any]) -> Score:
    """Mean loss, and share of right answers where targets are classes; the net is as it was."""
    if not isinstance(batches, Iterable) or isinstance(batches, (str, bytes, Mapping, Tensor)):
        raise TypeError(f"batches is {known_as(batches)}; expected a loader or a list of (x, target).")
    rows, modes = [], {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), preserve_rng():
            for batch in batches:

                def message(batch: Any = batch) -> str:
                    return f"The net cannot be evaluated on {shown(batch)}"

                with explain_errors(message, "batches (x, target) of its own kind"):
                    rows.append(scorer.row(*output(batch)))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return scorer.mean(rows)


def name_of(metric: Callable[..., Any]) -> str:
    """What tables call a metric."""
    inner = getattr(metric, "func", metric)
    name = getattr(inner, "__name__", type(inner).__name__)
    return "metric" if name == "<lambda>" else name


def numbers_in(*values: Any) -> int:
    """How many numbers the first tensor with an axis holds; 1 without any. As many as samples, times a constant."""
    sizes = (leaf.numel() for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.dim())
    return next(sizes, 1)


def _double(number: Any) -> Tensor:
    return torch.as_tensor(number, dtype=torch.float64).reshape(())


def _read(rows: list[tuple[Any, ...]]) -> list[tuple[float, ...]]:
    """Numbers and tensors () as numbers; those of a device are fetched together."""
    away = [v for row in rows for v in row if isinstance(v, Tensor)]
    places = {v.device for v in away}
    found = {p: iter(torch.stack([v.double() for v in away if v.device == p]).tolist()) for p in places}
    return [tuple(next(found[v.device]) if isinstance(v, Tensor) else float(v) for v in row) for row in rows]
