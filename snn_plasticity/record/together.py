"""Learner steps of all layers, written down together, as long as each is like the one before.

Chosen weights before and after a step are copied by one compiled pass, from addresses that are looked at anew at every
step; what a step was is made of them when somebody asks. Numbers are packed: a record that held thousands of small
objects would cost more to keep than to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._compiled import loops_over_spikes, suits
from ..connection import Connection
from ..third_factor import PlainOutput

ROWS = 256  # learner steps of one piece of memory
SEEN = attrgetter("seen")

# what is kept of a step: whose it was, packed numbers, factor, rates, rooms, row, and `Heard` or what the gate gave
Told = tuple["StepsTogether", bytes, Any, list[float], np.ndarray, int, Any]


class Heard(NamedTuple):
    """Whose amounts of modulators are among the packed numbers, and of which precision they are."""

    sources: Any
    precision: str
    form: Struct


class StepsTogether:
    """Learner steps that all of these layers hear, and that land at once.

    Args:
        layers: what is kept of each.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)
        self._connections: list[Connection] = [layer.connection for layer in layers]
        self._activities = [connection.activity for connection in self._connections]
        weights = [connection.weight for connection in self._connections]
        self._watched = [
            (c, c.config, c.module._parameters, c.attribute, weight, weight.data_ptr())
            for c, weight in zip(self._connections, weights, strict=True)
        ]
        places = [w.data_ptr() + w.element_size() * layer.chosen.flat for w, layer in zip(weights, layers, strict=True)]
        self._places = np.concatenate(places)
        ends = np.cumsum([0, *map(len, places)]).tolist()
        self._columns = {id(layer): (k, slice(ends[k], ends[k + 1])) for k, layer in enumerate(layers)}
        self._kind, self._row, self._gather = weights[0].detach().numpy().dtype, ROWS, loops_over_spikes().gather
        self._rooms = np.zeros((0, 0), self._kind)
        self._memory = [weight.detach() for weight in weights]  # it stays, whatever becomes of the weight
        self._counts, self._heard = Struct(f"{2 + len(self.layers)}q"), Heard(None, "", Struct(""))
        self._scale: float | None = None  # what rates were last multiplied by
        self._rates: list[float] = []
        self.moved = False  # whether something is no longer where it was
        self.plan()

    def plan(self) -> None:
        """When the mean |Δw| is due, which is looked at layer by layer."""
        left = min(layer.norm_due - layer.count for layer in self.layers)
        self._due = self._activities[0].seen + left

    def before(self, chosen: Any, *, looked: bool) -> bool:
        """A `learner.step` begins; False, where it has to be written down layer by layer, or a weight has moved."""
        if chosen != self._connections or (looked and self._activities[0].seen >= self._due):
            return False
        for connection, config, parameters, attribute, weight, at in self._watched:
            if parameters.get(attribute) is not weight or weight.data_ptr() != at or connection.config is not config:
                self.moved = True
                return False
        if self._row >= ROWS:
            self._rooms, self._row = np.zeros((2 * ROWS, self._places.size), self._kind), 0
        self._gather(self._places, self._rooms, 2 * self._row)
        return True

    def after(self, order: int, number: int, factor: Any, lr_scale: float, output: Any) -> Told:
        """It has ended, and every weight has changed in its place."""
        row = self._row
        self._gather(self._places, self._rooms, 2 * row + 1)
        self._row = row + 1
        seen, step = map(SEEN, self._activities), output.step if type(output) is PlainOutput else None
        if step is not None and type(step.gain) is float:
            heard = self._heard
            if heard.sources is not output.sources or heard.precision != step.precision:
                form = Struct(f"{self._counts.format}{len(step.amounts)}d")
                heard = self._heard = Heard(output.sources, step.precision, form)
            numbers, output = heard.form.pack(order, number, *seen, *step.amounts), heard
        else:
            numbers = self._counts.pack(order, number, *seen)
        if lr_scale != self._scale:
            self._scale = lr_scale
            self._rates = [config.three_factor.lr * lr_scale for _, config, *_ in self._watched]
        return self, numbers, factor, self._rates, self._rooms, row, output

    def counts(self, numbers: bytes) -> tuple[int, int, list[int]]:
        """Order and number of a step, and what each activity had seen."""
        order, number, *seen = self._counts.unpack_from(numbers)
        return order, number, seen

    def weights_before(self) -> list[np.ndarray]:
        """Chosen weights of each layer as the step that has begun met them."""
        return [self._rooms[2 * self._row, columns].copy() for _, columns in self._columns.values()]

    def position(self, layer: object) -> tuple[int, slice] | None:
        """Which of the layers it is, and its columns; None where it is none of them."""
        return self._columns.get(id(layer))


def together(layers: Sequence[Any]) -> StepsTogether | None:
    """What writes steps of these layers together; None, where they have to be looked at one by one."""
    for layer in layers:
        connection, weight = layer.connection, layer.connection.module._parameters.get(layer.connection.attribute)
        three = connection.config.three_factor
        usual = three.mode == "online" and three.update_frequency == 1 and connection.samples is None
        if not usual or connection.post_side == "gradient" or connection._follower is not None or layer.chosen.lost:
            return None
        if weight is None or not suits(weight) or not weight.is_contiguous() or weight.shape != layer.begin.shape:
            return None
        if weight.dtype is not layers[0].begin.dtype:
            return None
    return StepsTogether(layers) if layers else None


def step_of(told: Told, layer: Any) -> tuple[Any, ...] | None:
    """What a `LearnerStep` of a layer holds; None, where the layer did not hear it."""
    whose, numbers, factor, rates, rooms, row, _ = told
    position = whose.position(layer)
    if position is None:
        return None
    (order, number, seen), (k, columns) = whose.counts(numbers), position
    before, after = rooms[2 * row, columns], rooms[2 * row + 1, columns]
    return seen[k] - layer.begun, order, number, factor, rates[k], before, after, None, None, None


def clock_of(told: Told) -> int:
    """Observed steps of the busiest layer before it."""
    whose, numbers, *_ = told
    return max(count - layer.begun for count, layer in zip(whose.counts(numbers)[2], whose.layers, strict=True))


def modulators_of(told: Told) -> dict[str, Tensor]:
    """What the gate released, (B,) each."""
    output = told[-1]
    if not isinstance(output, Heard):
        return output.settled().modulators
    amounts = output.form.unpack(told[1])[-len(output.sources) :]
    rows = torch.from_numpy(np.array(amounts, output.precision).reshape(-1, 1))
    return dict(zip(output.sources, rows.unbind(0), strict=True))
