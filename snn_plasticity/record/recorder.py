"""Writes down what a learner does, while it does it: nothing is changed by that, and as little as may be worked out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from .._checks import known_as, require_kind
from ..connection import Connection
from ..third_factor import AnyOutput, LayerFactors, PlainOutput
from .choice import choose
from .layer import LayerRecorder, Orders
from .settings import RecordSettings
from .together import StepsTogether, Told, clock_of, together
from .watched import WatchedActivity

AGAIN = 16  # learner steps after which it is tried again to write them down together


class Recorded(Protocol):
    """A learner, as far as it is recorded."""

    connections: dict[str, Connection]
    recorder: Any


class Recorder:
    """What a learner tells while it learns.

    Args:
        learner: whose steps are recorded, from now on.
        settings: how much is kept.
    """

    def __init__(self, learner: Recorded, settings: RecordSettings) -> None:
        require_kind("settings", settings, RecordSettings, "Call learner.record(...), which makes both.")
        if not isinstance(getattr(learner, "connections", None), dict):
            raise TypeError(f"learner is {known_as(learner)}; expected a learner. Call learner.record(...).")
        if learner.recorder is not None:
            raise RuntimeError(
                "The learner is recorded already; expected one record at a time. Call stop() on the one that runs "
                "(learner.recorder); what it kept stays. Nothing was changed."
            )
        self.settings, self.number, self.running = settings, 0, True
        self._learner: Recorded | None = learner
        self._layers: dict[str, LayerRecorder] = {}
        self._modulators: deque[tuple[Any, ...]] = deque(maxlen=settings.steps)  # what came when, or `Told`
        self._told: deque[Told] = deque(maxlen=settings.steps)
        self._orders, self._began, self._tried = Orders(), False, 0
        self._together: StepsTogether | None = None
        self._affect: deque[tuple[int, dict[str, Tensor]]] = deque(maxlen=settings.steps)
        self._resets: deque[int] = deque(maxlen=settings.steps)
        self._end: dict[str, Tensor] = {}
        names = list(learner.connections) if settings.layers is None else settings.layers
        for name in names:
            self._begin(learner.connections[name])
        learner.recorder = self

    def _begin(self, connection: Connection) -> None:
        settings, known = self.settings, self._layers.get(connection.name)
        if known is not None and known.connection is connection:
            return
        chosen = choose(connection, settings.synapses.get(connection.name))
        layer = LayerRecorder(
            connection, chosen, settings.steps, settings.samples, settings.most_bytes, settings.weights,
            self._orders, self._told,
        )  # fmt: skip
        self._together = None
        self._layers[connection.name] = layer
        connection.activity = WatchedActivity(connection.activity, layer, self._share)

    def _share(self, layer: LayerRecorder, pre: Tensor, steps: int) -> None:
        """The first input of a layer: where another one gave it, as its first spikes, it is kept once."""
        for other in self._layers.values():
            if other is not layer and other.spikes.ends_with(pre, steps):
                layer.share(other)
                return

    def take(self, connection: Connection) -> None:
        """A connection was made while the learner is recorded."""
        if self.settings.layers is None or connection.name in self.settings.layers:
            self._begin(connection)

    def stop(self) -> None:
        """Record no more; what was recorded stays."""
        if not self.running:
            return
        self.running = False
        for name, layer in self._layers.items():
            self._end[name] = layer.connection.weight.detach().clone()
            layer.let_go()
            activity = layer.connection.activity
            if isinstance(activity, WatchedActivity) and activity.layer is layer:
                layer.connection.activity = activity.plain()
        if self._learner is not None and self._learner.recorder is self:
            self._learner.recorder = None
        self._learner = None

    @property
    def recorded(self) -> Mapping[str, LayerRecorder]:
        """What is kept of each connection, by name."""
        return self._layers

    @property
    def clock(self) -> int:
        """Observed steps of the connection that has observed most."""
        return max((layer.count for layer in self._layers.values()), default=0)

    def before(self, chosen: Collection[Connection]) -> None:
        """A step of the learner begins."""
        looked = self.number % self.settings.every == 0
        self._began = self._together is not None and self._together.before(chosen, looked=looked)
        if self._began:
            return
        for connection in chosen:
            layer = self._layers.get(connection.name)
            if layer is not None:
                layer.before(looked=looked)

    def after(
        self,
        chosen: Collection[Connection],
        output: AnyOutput | None,
        lr_scale: float,
        changes: Mapping[str, Tensor] | None = None,
    ) -> None:
        """It has ended.

        Args:
            chosen: the connections that heard it.
            output: what the gate gave; None where a loss came instead.
            lr_scale: what learning rates were multiplied by.
            changes: Δw by connection, where these were worked out.
        """
        if self._began and self._after_together(output, lr_scale, changes):
            return
        factor, clock = None if output is None else output.factor, 0
        plain = type(output) is PlainOutput
        if not plain and factor is not None:
            factor = _copied(factor)
        each, number = type(factor) is LayerFactors, self.number
        for connection in chosen:
            layer = self._layers.get(connection.name)
            if layer is None or (output is not None and connection.post_side == "gradient"):
                continue
            heard = factor[connection.name] if each else factor  # type: ignore[index]
            layer.after(number, heard, lr_scale, None if changes is None else changes.get(connection.name))
            if layer.count > clock:
                clock = layer.count
        if plain:
            self._modulators.append((clock, output))
        elif output is not None and output.modulators:  # type: ignore[union-attr]
            self._modulators.append((clock, _clones(output.modulators)))  # type: ignore[union-attr]
        self.number = number + 1
        self._go_together(number)

    def _after_together(self, output: AnyOutput | None, lr_scale: float, changes: Any) -> bool:
        """The end of a step that began together; False, where it has to be written down layer by layer."""
        steps, self._began = self._together, False
        assert steps is not None
        if changes is None and output is not None and type(output.factor) is not LayerFactors:
            plain = type(output) is PlainOutput
            factor = output.factor if plain else _copied(output.factor)
            told = steps.after(next(self._orders), self.number, factor, lr_scale, output)
            self._told.append(told)
            if plain:
                self._modulators.append(told)
            elif output.modulators:  # type: ignore[union-attr]
                self._modulators.append((clock_of(told), _clones(output.modulators)))  # type: ignore
            self.number += 1
            return True
        for layer, before in zip(steps.layers, steps.weights_before(), strict=True):
            layer.found(before)
        return False

    def _go_together(self, number: int) -> None:
        """Learner steps are written down together from now on, if they can be."""
        steps, layers = self._together, list(self._layers.values())
        if steps is not None and not steps.moved:
            steps.plan()
        elif number >= self._tried and not self.settings.weights:
            self._together, self._tried = together(layers), number + AGAIN

    def felt(self, affect: Any, modulators: Mapping[str, Tensor]) -> None:
        """An affective loop has made a step of its learner."""
        names = ("valence", "arousal", "dominance", "mood")
        self._affect.append((self.clock, {name: getattr(affect, name).detach().clone() for name in names}))
        self._modulators.append((self.clock, _clones(modulators)))

    def was_reset(self) -> None:
        """`learner.reset` was called."""
        self._resets.append(self.clock)

    def happened(self, what: Any) -> None:
        """Something happened to all connections: "paused", "resumed", "loaded"."""
        for layer in self._layers.values():
            layer.happened(what)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a learner is not recorded."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (type(None), ())


def _copied(factor: Any) -> Any:
    if isinstance(factor, LayerFactors):
        return LayerFactors((name, _copied(one)) for name, one in factor.items())
    return factor.detach().clone() if isinstance(factor, Tensor) else factor


def _clones(modulators: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: level.detach().clone() for name, level in modulators.items()}
