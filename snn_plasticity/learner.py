"""PlasticityLearner: watches the synapses of a model and changes their weights when a modulator comes.

    Δw = lr · gate · e

This is the one place where the two streams meet: eligibility from the spikes, the gate from the signals. Weights change
in `step`, never during the forward pass, so that a later `backward()` stays legal.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .checks import (
    Signal,
    known_as,
    require_callable,
    require_choice,
    require_flag,
    require_kind,
    require_mask,
    require_number,
    shown,
)
from .connection import Connection
from .diagnose import Diagnosis, diagnose
from .diagnostics import PlasticityTrace, layer_trace, plasticity_trace
from .neuromodulation import NeuromodulatoryGate
from .optimizers import OptimizerWatch
from .plasticity.three_factor import Landing
from .saved import FORMAT, require_format, require_real_number
from .silence import Silence, Step
from .third_factor import ThirdFactor
from .untracked import untracked

SCOPES = ("episode", "eligibility", "neuromodulators", "all")


class Watcher(Protocol):
    """What feeds the connections from a host: hooks that can be removed, with calls that may be half done."""

    def bind(self, learner: PlasticityLearner) -> None:
        """Put the hooks on the model, on behalf of a learner."""
        ...

    def remove(self) -> None:
        """Take the hooks off the model."""
        ...

    def lost(self, connections: Collection[Connection]) -> str | None:
        """Why one of these connections hears nothing any more, if so."""
        ...

    def around(self, connection: Connection) -> list[nn.Module]:
        """The modules that a connection's weight is in."""
        ...

    def reset(self) -> None:
        """Drop half-done calls."""
        ...


class PlasticityLearner:
    """The learning side of a model, beside the model as an optimizer is.

    Args:
        connections: the weights that learn.
        gate: turns signals into the third factor; None is a gate with default settings.
        watchers: the hooks that feed the connections.
        reduce: applied to every Δw before it lands, for instance an all-reduce over ranks.

    Built by `attach`. As a context manager it removes its hooks at the end.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        gate: NeuromodulatoryGate | None = None,
        *,
        watchers: Sequence[Watcher] = (),
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        listed = require_kind("connections", connections, (list, tuple), "A list of Connection.")
        for connection in listed:  # type: ignore[attr-defined]
            require_kind("A member of connections", connection, Connection, "As Connection('fc1', layer).")
        self.connections = {connection.name: connection for connection in connections}
        if len(self.connections) != len(connections):
            names = ", ".join(connection.name for connection in connections)
            raise ValueError(f"connections are called {names}; expected a name of its own for each.")
        if gate is not None:
            require_kind("gate", gate, NeuromodulatoryGate, "NeuromodulatoryGate(NeuromodConfig(...)), or None.")
        self.third_factor = ThirdFactor(NeuromodulatoryGate() if gate is None else gate)
        require_kind("watchers", watchers, (list, tuple), "A list of what has remove() and reset().")
        for watcher in watchers:
            if not callable(getattr(watcher, "remove", None)) or not callable(getattr(watcher, "reset", None)):
                raise TypeError(f"watchers holds {known_as(watcher)}; expected what has remove() and reset().")
        if reduce is not None:
            require_callable("reduce", reduce, "from a Δw to a tensor of its shape, or None")
        self.watchers, self.reduce = list(watchers), reduce
        self.enabled, self._lr_scale = True, 1.0
        self.silence = Silence()
        self._optimizers: OptimizerWatch | None = None

    @property
    def lr_scale(self) -> float:
        """What every learning rate is multiplied by; NaN and infinity are refused."""
        return self._lr_scale

    @lr_scale.setter
    def lr_scale(self, scale: float) -> None:
        self._lr_scale = require_number("lr_scale", scale)

    @property
    def gate(self) -> NeuromodulatoryGate:
        """What turns signals into the third factor."""
        return self.third_factor.gate

    @property
    def batch_size(self) -> int | None:
        """Samples of the running sequence; None before anything was observed."""
        sizes = (connection.traces.batch_size for connection in self.connections.values())
        return next((size for size in sizes if size is not None), None)

    def step(
        self,
        modulator: Signal | Mapping[str, Signal] | None = None,
        *,
        layers: Collection[str] | None = None,
        return_details: bool = False,
        **signals: Signal,
    ) -> Tensor | PlasticityTrace | None:
        """The third factor arrives: every plastic weight changes by lr · gate · e.

        Args:
            modulator: the third factor itself, a number or a tensor (), (B,) or (B, N_post); or signals by name.
            layers: the connections that hear it; None is all.
            return_details: return a `PlasticityTrace`.
            signals: named signals for the gate (reward, td_error, novelty, urgency, patience, …), each a number,
                (), (B,) or (B, 1).

        A step that changes nothing says why, once for each reason, as a `PlasticityWarning`.

        Returns:
            None; with mode "auxiliary_loss" the loss; with `return_details` the trace of this step.

        Raises:
            TypeError: neither modulator nor signals, or both.
            ValueError: shapes that do not fit, NaN, unknown names.
            RuntimeError: a layer, a neuron or a weight is no longer what was attached to.
            Whatever is raised, also by `reduce` or bounds of one's own: nothing is changed then.
        """
        chosen, return_details = self._chosen(layers), require_flag("return_details", return_details)
        self.check(chosen)
        size = _common_batch(chosen)
        size = self.batch_size if size is None else size
        output = self.third_factor.compute(modulator, signals, size, self._device(), as_one=self._as_one)
        for connection in chosen:
            connection.check(output.factor)
        with _AllOrNothing(chosen, safe=return_details or self.reduce is not None):
            met = [(c, c.eligibility) for c in chosen if c.traces.batch_size is not None] if return_details else []
            changes, landings = self._change(chosen, output.factor)
        self.third_factor.keep(output)
        looked_at = landings if self.silence.looks else ()
        unmoved = {id(landing.weight) for landing in looked_at if landing.value.is_cpu and not landing.moves()}
        for landing in landings:
            landing.land()
        if self._optimizers is None and any(landing.into == "grad" for landing in landings):
            self._optimizers = OptimizerWatch(self, _hybrid_weights)
        losses = [landing.value for landing in landings if landing.into == "loss"]
        loss = sum(losses[1:], losses[0]) if losses else None
        given = (*modulator, *signals) if isinstance(modulator, Mapping) else signals if modulator is None else None
        self.silence.after(
            Step(chosen, given, output.factor, changes, unmoved, self.lr_scale, self.reduce is not None),
            self.gate, attached=bool(self.watchers), enabled=self.enabled,
        )  # fmt: skip
        if not return_details:
            return loss
        seen = {c.name: layer_trace(c.weight, e, changes.get(c.name)) for c, e in met if e is not None}
        return plasticity_trace(output.modulators, torch.as_tensor(output.factor), seen, loss)

    def reset(self, mask: Tensor | None = None, scope: str = "episode") -> None:
        """Forget, between episodes or sequences.

        Args:
            mask: boolean (B,): those samples only.
            scope: "episode": eligibility and modulator levels, while the reward baseline goes on learning;
                "eligibility"; "neuromodulators": levels and reward baseline; "all": as new.

        Raises:
            ValueError: an unknown scope, or a mask that does not fit.
        """
        require_choice("scope", scope, SCOPES)
        connections = [c for c in self.connections.values() if mask is None or c.traces.batch_size is not None]
        if mask is not None:
            require_mask(mask)
            for connection in connections:
                connection.check_reset(mask, traces=scope != "neuromodulators")
        kept = self.third_factor.kept
        if scope != "eligibility":
            size = None if mask is None else _common_batch(connections)
            baseline = scope == "episode"
            kept = self.third_factor.after_reset(mask, size, keep_baseline=baseline)
        if scope != "neuromodulators":
            with _AllOrNothing(connections, safe=False):
                for connection in connections:
                    connection.reset(mask)
        self.third_factor.kept = kept
        if mask is None:
            for watcher in self.watchers:
                watcher.reset()
            if scope == "all":
                for connection in connections:
                    connection.forget_asked()

    def check(self, connections: Collection[Connection] | None = None) -> None:
        """Refuse to go on where what was attached to is no longer there.

        Raises:
            RuntimeError: a layer or neuron was replaced or lost its hook, or a weight is pruned, parametrized, sharded,
                offloaded or of another shape.
        """
        if connections is not None:
            for connection in require_kind(
                "connections", connections, (list, tuple), "As list(learner.connections.values())."
            ):
                require_kind("A member of connections", connection, Connection, "As from learner.connections.")
        chosen = self.connections.values() if connections is None else connections
        for watcher in self.watchers:
            lost = watcher.lost(chosen)
            if lost is not None:
                raise RuntimeError(
                    f"{lost}: this learner would learn nothing more from it. Call learner.remove(), then attach to the "
                    "model as it is now. Nothing was changed."
                )
        for connection in chosen:
            connection.check_weight(lambda c=connection: [m for w in self.watchers for m in w.around(c)])

    def diagnose(self) -> Diagnosis:
        """How learning goes, at any time: what each layer sees, what a step changes, and what stands in the way.

        It reads the device and builds eligibilities, so ask now and then; nothing is changed by it.

        >>> from torch import nn
        >>> connection = Connection("fc", nn.Linear(2, 1))
        >>> learner = PlasticityLearner([connection])
        >>> connection.observe(torch.ones(1, 2), torch.zeros(1, 1))
        >>> learner.diagnose().layers["fc"].post_rate
        0.0
        """
        return diagnose(
            list(self.connections.values()), self.third_factor, steps=self.silence.steps, spoken=self.silence.spoken,
            lr_scale=self.lr_scale, attached=bool(self.watchers), enabled=self.enabled,
            check=lambda connection: self.check([connection]),
        )  # fmt: skip

    @contextmanager
    def paused(self) -> Iterator[PlasticityLearner]:
        """Within it, nothing is observed: for validation, exports and dry runs."""
        before, self.enabled = self.enabled, False
        try:
            yield self
        finally:
            self.enabled = before

    def remove(self) -> None:
        """Take all hooks off the model, which is then as it was (its weights as they have become)."""
        for watcher in self.watchers:
            watcher.remove()
        self.watchers.clear()
        if self._optimizers is not None:
            self._optimizers.remove()
        self.enabled = False

    def state_dict(self) -> dict[str, Any]:
        """Settings, eligibility, gate and pending updates, as plain values beside the model's own `state_dict`."""
        return {
            "format": FORMAT,
            "connections": {name: connection.state_dict() for name, connection in self.connections.items()},
            "third_factor": self.third_factor.state_dict(),
            "lr_scale": self.lr_scale,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, bit for bit; or refuse it, and nothing is changed.

        Raises:
            TypeError: no such state.
            ValueError: the state has another format, other connections, settings or shapes, a stranger, or NaN.
        """
        self.read_state(state)()

    def read_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Errors as in `load_state_dict`."""
        what = "The saved learner"
        require_format(what, state, ("connections", "third_factor", "lr_scale"))
        saved = state["connections"]
        found = sorted(map(str, saved)) if isinstance(saved, Mapping) else repr(saved)
        if not isinstance(saved, Mapping) or set(saved) != set(self.connections):
            raise ValueError(
                f"{what} has the connections {found}; this one has {sorted(self.connections)}. Attach to the "
                "same layers first; what is paired only in a forward pass is known after one, or with sample=."
            )
        lr_scale = require_real_number(f"{what}: lr_scale", state["lr_scale"])
        commits = [connection.read_state(saved[name]) for name, connection in self.connections.items()]
        device = next((connection.weight.device for connection in self.connections.values()), None)
        commits.append(self.third_factor.read_state(state["third_factor"], device))

        def commit() -> None:
            for one in commits:
                one()
            self.lr_scale = lr_scale

        return commit

    def __deepcopy__(self, memo: dict[int, Any]) -> PlasticityLearner:
        """Beside a copy of the model, as in `copy.deepcopy((model, learner))`, a learner that watches that copy."""
        copied = memo[id(self)] = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(copied, name, copy.deepcopy(value, memo))
        for watcher in copied.watchers:
            watcher.bind(copied)
        return copied

    def __enter__(self) -> PlasticityLearner:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        lines = "\n".join(f"  {connection!r}" for connection in self.connections.values())
        return f"PlasticityLearner(\n{lines}\n  gate: {self.gate.extra_repr()}\n)"

    @property
    def _as_one(self) -> bool:
        """Whether some connection can only hear what is the same for all samples."""
        return any(connection.traces.path == "shared" for connection in self.connections.values())

    def _chosen(self, layers: Collection[str] | None) -> list[Connection]:
        if layers is None:
            return list(self.connections.values())
        listed = isinstance(layers, (list, tuple, set, frozenset, dict))
        if not listed or not all(isinstance(name, str) and name in self.connections for name in layers):
            raise ValueError(f"layers = {shown(layers)}; expected a list of names among {', '.join(self.connections)}.")
        return [self.connections[name] for name in layers]

    def _change(self, chosen: Sequence[Connection], mod: float | Tensor) -> tuple[dict[str, Tensor], list[Landing]]:
        """Ask every connection; what each weight is to become, once, also where several connections share it."""
        due: dict[int, list[tuple[Connection, Tensor]]] = {}
        for connection in chosen:
            with untracked(connection.weight):
                asked = connection.ask(mod, self.lr_scale)
            if asked is not None:
                due.setdefault(id(connection.weight), []).append((connection, asked))
        changes, landings = {}, []
        for shared in due.values():
            first = shared[0][0]
            total = sum((asked for _, asked in shared[1:]), shared[0][1])
            delta = first.update.clamp_(total)
            delta = delta if self.reduce is None else self._reduced(first, delta)
            landings.append(first.landing(delta))
            changes |= {connection.name: delta for connection, _ in shared}
        return changes, landings

    def _reduced(self, connection: Connection, delta: Tensor) -> Tensor:
        """What `reduce` makes of a change."""
        assert self.reduce is not None
        reduced = self.reduce(delta)
        if not isinstance(reduced, Tensor):
            raise TypeError(
                f"{connection.name}: reduce returned {reduced!r}; expected the change as a tensor "
                f"{tuple(delta.shape)}. One that works in place returns it, too. Nothing was changed."
            )
        return reduced

    def _device(self) -> torch.device | None:
        devices = (connection.traces.device for connection in self.connections.values())
        return next((device for device in devices if device is not None), None)


class _AllOrNothing:
    """Within it, connections may change; where it is left by an error, they are as they were."""

    def __init__(self, connections: Sequence[Connection], *, safe: bool) -> None:
        self.marks = [(connection, connection.mark(safe=safe)) for connection in connections]

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            for connection, mark in self.marks:
                connection.go_back(mark)


def _common_batch(connections: Sequence[Connection]) -> int | None:
    """Samples that these connections have observed; None before any was.

    Raises:
        ValueError: they have observed batches of different sizes.
    """
    first: tuple[str, int] | None = None
    for connection in connections:
        size = connection.traces.batch_size
        if size is None or (first is not None and first[1] == size):
            continue
        if first is not None:
            raise ValueError(
                f"{first[0]} has observed a batch of {first[1]} and {connection.name} one of {size}; expected the "
                "same. Call learner.reset() before a batch of another size, or name those that are meant: "
                "step(..., layers=[...]). Nothing was changed."
            )
        first = connection.name, size
    return None if first is None else first[1]


def _hybrid_weights(learner: PlasticityLearner) -> dict[str, Tensor]:
    """The weights whose change is added to the gradient."""
    connections = learner.connections.values()
    return {c.name: c.weight for c in connections if c.config.three_factor.mode == "hybrid"}
