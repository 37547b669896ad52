"""Keeps the books of a run: what each step costs, without counting each.

A step is counted where its kind is new: which net learns, shapes, which parameters take part. The multiply-accumulates
of later ones are known then. Spikes change from step to step: they are looked at after 0, 1, 2, 4, … and then every
64 steps of either sort. In between there are taken to be as many for each multiply-accumulate as in the step before,
until the next look draws a line. Where a kind is counted again and has changed, its work depends on the data, and every
step is counted from then on; with an optimizer that evaluates the loss as often as it likes, from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from ...notices import notice
from ..batches import BatchGroup
from ..nets import TrainableNet
from ..report import DualReport
from ..score import numbers_in
from .books import NETS, StepKind
from .meter import Cost, Meter
from .net_cost import cost_of_net

EVERY = 64  # steps between two looks at spikes


class Bookkeeper:
    """Writes the costs of steps into a report.

    Args:
        nets: whose steps are counted.
    """

    def __init__(self, nets: Sequence[TrainableNet]) -> None:
        self.nets, self._parameters = nets, [p for net in nets for p in net.model.parameters()]
        learner = any(net.learner is not None for net in nets)
        self._closures = any(getattr(net, "closure", False) for net in nets)
        self._meter = Meter(*(net.model for net in nets), learner=learner)
        self._names: dict[Any, str] = {}
        self._report: DualReport | None = None
        self._steps, self._last = [0, 0], [Cost(), Cost()]
        self._looked, self._held = [Cost(), Cost()], ([], [])

    def begin(self, report: DualReport, batch: Any, motivated: bool) -> AbstractContextManager[object]:
        """Within it, the step runs."""
        if report is not self._report or len(report.costs) != sum(self._steps):
            self._take_up(report)
        self._key = self._kind(batch, motivated)
        number = self._steps[motivated]
        known = self._key in report.books.kinds and not (self._closures or report.books.varies)
        events = _looks(number)
        self._counts, self._meter.events = events or not known, events
        return self._meter if self._counts else nullcontext()

    def end(self, report: DualReport, batch: Any, motivated: bool) -> Cost:
        """The step is over; its cost, which stands in the report."""
        kind, last = report.books.kinds.get(self._key), self._last[motivated]
        if not self._counts and kind is not None:
            cost = last.scaled(kind.macs)
        else:
            counted = self._meter.read()
            cost = counted if self._meter.events else last.scaled(counted.macs)
            if kind is None:
                kind = report.books.kinds[self._key] = StepKind(cost.macs, 0, _size(batch))
            elif kind.macs != cost.macs:
                self._notice(report, kind.macs, cost.macs)
                kind.macs = cost.macs
        kind.times += 1
        report.costs.append(cost)
        if _looks(self._steps[motivated]):
            self._draw_line(report, cost, self._held[motivated], self._looked[motivated])
        self._note(motivated, len(report.costs) - 1, cost)
        return cost

    def _draw_line(self, report: DualReport, cost: Cost, held: list[int], looked: Cost) -> None:
        """Spikes of the steps between two looks go from the one to the other."""
        for k, step in enumerate(held, 1):
            macs = report.costs[step].macs
            report.costs[step] = looked.scaled(macs).mixed(cost.scaled(macs), k / (len(held) + 1))

    def _note(self, motivated: bool, step: int, cost: Cost) -> None:
        if _looks(self._steps[motivated]):
            self._looked[motivated] = cost
            self._held[motivated].clear()
        else:
            self._held[motivated].append(step)
        self._steps[motivated] += 1
        self._last[motivated] = cost

    def drop(self) -> None:
        """The step did not happen."""
        self._meter.read()

    def look_at_nets(self, report: DualReport, batch: Any) -> None:
        """What each net costs by itself, once: `report.books.nets`."""
        for name, net in zip(NETS, self.nets, strict=False):
            if name not in report.books.nets and (found := cost_of_net(net, batch)) is not None:
                report.books.nets[name] = found

    def _take_up(self, report: DualReport) -> None:
        """Another report, or one that was loaded: the last cost of either sort stands in it."""
        self._report, self._steps, self._last = report, [0, 0], [Cost(), Cost()]
        self._looked, self._held = [Cost(), Cost()], ([], [])
        for step, (cost, motivated) in enumerate(zip(report.costs, report.history.motivated, strict=True)):
            self._note(motivated, step, cost)

    def _kind(self, batch: Any, motivated: bool) -> str:
        modes = [net.model.training for net in self.nets]
        key = (motivated, _shapes(batch), *modes, *[p.requires_grad for p in self._parameters])
        if key not in self._names:
            trained = "".join(str(int(flag)) for flag in key[2:])
            self._names[key] = f"{'motivated' if motivated else 'base'} {_shapes(batch)} {trained}"
        return self._names[key]

    def _notice(self, report: DualReport, before: int, now: int) -> None:
        said, report.books.varies = report.books.varies or self._closures, True
        if not said:
            notice(
                f"A step cost {now} multiply-accumulates, and an earlier one on the same shapes {before}: its work "
                "depends on the data. Every step is counted from now on, which takes longer.",
                stacklevel=4,
            )


def _looks(number: int) -> bool:
    """Whether spikes are looked at in this step of its sort."""
    return number % EVERY == 0 or (number < EVERY and number & (number - 1) == 0)


def _size(batch: Any) -> int:
    return sum(map(numbers_in, batch)) if isinstance(batch, BatchGroup) else numbers_in(batch)


def _shapes(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return (*batch.shape, batch.dtype)
    if isinstance(batch, (tuple, list)):
        return tuple([_shapes(part) for part in batch])
    if isinstance(batch, Mapping):
        return tuple([(name, _shapes(part)) for name, part in batch.items()])
    return type(batch).__name__
