"""PlasticityLearner: watches the synapses of a model and changes their weights when a modulator comes.

    Δw = lr · gate · e

This is the one place where the two streams meet: eligibility from the spikes, the gate from the signals. Weights change
in `step`, never during the forward pass, so that a later `backward()` stays legal.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor

from ._changes import addressed, all_or_nothing, by_name, changes_of, landings_of, require_connections
from ._checks import Signal, require_callable, require_choice, require_flag, require_kind, require_number
from ._host_hooks import HostHooks, require_hooks
from ._learner_state import forget, read_learner
from ._loss_aims import Aim, Reads, loss_of, require_one
from ._loss_changes import changes_by_loss, readers_of_eligibility, readers_of_gradients, trace_of_loss
from ._optimizers import OptimizerWatch, hybrid_weights
from ._saved import FORMAT
from ._silence import Silence, Step
from ._untracked import untracked
from .connection import Connection
from .diagnose import Diagnosis, diagnose
from .diagnostics import PlasticityTrace, layer_trace, plasticity_trace
from .explain import Explanation, explain
from .neuromodulation import NeuromodulatoryGate
from .plasticity.three_factor import Landing
from .record import Record
from .record.settings import read_settings
from .signals import GateSignals
from .third_factor import AnyOutput, LayerFactors, PlainOutput, ThirdFactor, batch_of, factor_tensor

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["PlasticityLearner"]

Scope = Literal["episode", "eligibility", "neuromodulators", "all"]
Given = Signal | Mapping[str, Signal] | None  # a modulator as it is, one for each layer, or signals by name
Names = Collection[str] | None
SCOPES = ("episode", "eligibility", "neuromodulators", "all")


class PlasticityLearner:
    """The learning side of a model, beside the model as an optimizer is.

    Args:
        connections: the weights that learn.
        gate: turns signals into the third factor; None is a gate with default settings.
        hooks: the hooks that feed the connections.
        reduce: applied to every Δw before it lands, for instance an all-reduce over ranks.

    Built by `attach`. As a context manager it removes its hooks at the end.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        gate: NeuromodulatoryGate | None = None,
        *,
        hooks: Sequence[HostHooks] = (),
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.connections = by_name(connections)
        gate = NeuromodulatoryGate() if gate is None else gate
        require_kind("gate", gate, NeuromodulatoryGate, "NeuromodulatoryGate(NeuromodConfig(...)), or None.")
        self.third_factor = ThirdFactor(gate)
        require_hooks(hooks)
        if reduce is not None:
            require_callable("reduce", reduce, "from a Δw to a tensor of its shape, or None")
        self.hooks, self.reduce = list(hooks), reduce
        self.enabled, self._lr_scale, self.silence = True, 1.0, Silence()
        self._optimizers: OptimizerWatch | None = None
        self.recorder: Record | None = None  # what is told of every step

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
        return batch_of((), self.connections.values()).size

    @overload
    def step(
        self, modulator: Given = None, *, loss: Tensor | None = None, error: Tensor | None = None,
        target: Tensor | None = None, reads: Reads | None = None, layers: Names = None,
        return_details: Literal[False] = False, **signals: Unpack[GateSignals],
    ) -> None: ...  # fmt: skip
    @overload
    def step(
        self, modulator: Given = None, *, loss: Tensor | None = None, error: Tensor | None = None,
        target: Tensor | None = None, reads: Reads | None = None, layers: Names = None,
        return_details: Literal[True], **signals: Unpack[GateSignals],
    ) -> PlasticityTrace: ...  # fmt: skip
    @overload
    def step(
        self, modulator: Given = None, *, loss: Tensor | None = None, error: Tensor | None = None,
        target: Tensor | None = None, reads: Reads | None = None, layers: Names = None,
        return_details: bool, **signals: Unpack[GateSignals],
    ) -> PlasticityTrace | None: ...  # fmt: skip
    def step(
        self, modulator: Given = None, *, loss: Tensor | None = None, error: Tensor | None = None,
        target: Tensor | None = None, reads: Reads | None = None, layers: Names = None,
        return_details: bool = False, **signals: Unpack[GateSignals],
    ) -> PlasticityTrace | None:  # fmt: skip
        """The third factor arrives: every plastic weight changes by lr · gate · e.

        Args:
            modulator: the third factor itself, a number or a tensor (), (B,) or (B, N_post), for a convolution also
                (B, C, *places), shaped like its output or like the neurons that hear it; one for each layer, by the
                names of connections, as {"fc1": L1, "conv1": L2}; or signals by name.
            loss: instead of a modulator, a loss of what the steps since the last one gave, for connections whose kernel
                reads its gradient (`PlasticityConfig.online`): Δw = −lr · Σ_t Σ_b δ_t ⊗ x̄_t.
            error: instead of a loss, y − y* of the readout, (B, n_out), averaged over samples: a positive one brings
                its output down. y is the sum of what the last layer of the model gave since the last step (the spikes
                of the neuron behind it, or its own output where none is); (T, B, n_out) is one for each of these steps.
            target: instead of an error, y* likewise, for half the squared error; or one class for each sample, whole
                numbers (B,), for the cross-entropy of softmax(y).
            reads: for these, "spikes" (the default), or "membrane" of the readout's neuron.
            layers: the connections that hear it; None is all, or those that the modulator names.
            return_details: return a `PlasticityTrace`, in mode "auxiliary_loss" with the loss in it.
            signals: named signals for the gate (reward, td_error, novelty, urgency, patience, …), each a number,
                (), (B,) or (B, 1).

        A step that changes nothing says why, once for each reason, as a `PlasticityWarning`.

        Raises:
            TypeError: neither modulator nor signals, or both; mode "auxiliary_loss", whose loss would be thrown away.
            ValueError: shapes that do not fit, NaN, unknown names.
            RuntimeError: a layer, a neuron or a weight is no longer what was attached to.
            Whatever is raised, also by `reduce` or bounds of one's own: nothing is changed then.
        """
        if layers is None and (modulator is None or type(modulator) is Tensor):
            chosen = list(self.connections.values())
        else:
            chosen, modulator = addressed(self.connections, layers, modulator)
        details = return_details if type(return_details) is bool else require_flag("return_details", return_details)
        if loss is not None or error is not None or target is not None or reads is not None:
            aim = require_one(Aim(loss, error, target, reads), modulator, signals)
            return self._follow(readers_of_gradients(chosen, layers), aim, details)
        for connection in chosen:
            if connection.config.three_factor.mode == "auxiliary_loss" and not details:
                raise TypeError(
                    f"{connection.name}: mode is 'auxiliary_loss', and step would throw the loss away; call "
                    "learner.loss(...) for it, or step(..., return_details=True). Nothing was changed."
                )
        return self._learn(chosen, modulator, signals, layers, details)[1]

    def loss(self, modulator: Given = None, *, layers: Names = None, **signals: Unpack[GateSignals]) -> Tensor:
        """A step of a learner of mode "auxiliary_loss": the scalar whose gradient is −Δw, for you to add to a loss.

        It is zero, and so is its gradient, before the turn of every weight has come (`update_frequency`).

        Args:
            modulator, layers, signals: as in `step`.

        Raises:
            TypeError, ValueError, RuntimeError: as `step`; also where no layer has this mode. Nothing is changed then.

        >>> from torch import nn
        >>> from snn_plasticity import PlasticityConfig, ThreeFactorConfig
        >>> config = PlasticityConfig(three_factor=ThreeFactorConfig(mode="auxiliary_loss", lr=0.1))
        >>> layer = nn.Linear(1, 1)
        >>> connection = Connection("fc", layer, config=config)
        >>> connection.observe(torch.ones(1, 1), torch.ones(1, 1))
        >>> PlasticityLearner([connection]).loss(2.0).backward()
        >>> layer.weight.grad
        tensor([[-0.2000]])
        """
        chosen, modulator = addressed(self.connections, layers, modulator)
        modes = {connection.name: connection.config.three_factor.mode for connection in chosen}
        waiting = [connection for connection in chosen if modes[connection.name] == "auxiliary_loss"]
        if not waiting:
            raise ValueError(
                f"learner.loss needs a layer of mode 'auxiliary_loss'; the modes are {modes}. Call learner.step(...), "
                "or set ThreeFactorConfig(mode='auxiliary_loss'). Nothing was changed."
            )
        loss = self._learn(chosen, modulator, signals, layers, False)[0]
        return (0.0 * waiting[0].weight).sum() if loss is None else loss

    def _learn(
        self, chosen: list[Connection], modulator: Given, signals: Mapping[str, Any], layers: Names, details: bool
    ) -> tuple[Tensor | None, PlasticityTrace | None]:
        """One step: work out everything that can be refused, then change; the loss and the trace, if there are any."""
        self._check(chosen)
        recorder = self.recorder
        if recorder is not None:
            recorder.before(chosen)
        batch = batch_of(chosen, self.connections.values())
        output = self.third_factor.compute(modulator, signals, batch)
        named = isinstance(modulator, Mapping) and type(modulator) is not LayerFactors
        given = (*modulator, *signals) if named else signals if modulator is None else None  # type: ignore
        if not details and self._land_at_once(chosen, output, given, batch.size):
            if recorder is not None:
                recorder.after(chosen, output, self._lr_scale)
            return None, None
        chosen = readers_of_eligibility(chosen, layers)
        output = output.settled() if isinstance(output, PlainOutput) else output
        with all_or_nothing(chosen, safe=details or self.reduce is not None):
            changes, landings = changes_of(chosen, output.factor, self._lr_scale, self.reduce)
            met = [(c, c.eligibility) for c in chosen if c.traces.batch_size is not None] if details else ()
        self.third_factor.keep(output)
        step = Step(chosen, given, output.factor, changes, set(), self._lr_scale, self.reduce is not None)
        loss = self._land(step, landings)
        if recorder is not None:
            recorder.after(chosen, output, self._lr_scale, changes)
        if not details:
            return loss, None
        seen = {c.name: layer_trace(c.weight, e, changes.get(c.name)) for c, e in met if e is not None}
        return loss, plasticity_trace(output.modulators, factor_tensor(output.factor), seen, loss)

    def _follow(self, chosen: list[Connection], aim: Aim, details: bool) -> PlasticityTrace | None:
        """One step down a loss, in the same manner."""
        self._check(chosen)
        if self.recorder is not None:
            self.recorder.before(chosen)
        with all_or_nothing(chosen, safe=True):
            for one in self.hooks:
                one.settle()
            loss, everyone = loss_of(aim, chosen), self.connections.values()
            found = changes_by_loss(loss, chosen, everyone, self._lr_scale, whole=loss is not aim.loss)
            changes, landings = landings_of(found, self.reduce)
        self._land(Step(chosen, None, -1.0, changes, set(), self._lr_scale, self.reduce is not None), landings)
        for connection in chosen:
            connection.noted.clear()
        if self.recorder is not None:
            self.recorder.after(chosen, None, self._lr_scale, changes)
        return trace_of_loss(loss, chosen, changes) if details else None

    def _land(self, step: Step, landings: Sequence[Landing]) -> Tensor | None:
        """Change what is to be changed, and say why nothing moved; the sum of the losses among the changes."""
        looks, losses = self.silence.looks, []
        for landing in landings:
            if looks and landing.value.is_cpu and not landing.moves():
                step.unmoved.add(id(landing.weight))
            if landing.into == "loss":
                losses.append(landing.value)
            elif landing.into == "grad" and self._optimizers is None:
                self._optimizers = OptimizerWatch(self, hybrid_weights)
            landing.land()
        gate = self.third_factor.gate
        self.silence.after(step, gate, hooks=self.hooks, enabled=self.enabled, looks=looks)
        return sum(losses[1:], losses[0]) if losses else None

    def _land_at_once(
        self, chosen: list[Connection], output: AnyOutput, given: Collection[str] | None, size: int | None
    ) -> bool:
        """The rest of a step in which all is as usual: every weight changes at once, and nothing is looked at.

        False, and nothing, where anything is other than usual, or would be refused.
        """
        silence = self.silence
        if self.reduce is not None or not silence.opened or silence.steps >= silence.next_look:
            return False
        if len(chosen) > 1 and len({id(connection.weight) for connection in chosen}) < len(chosen):
            return False
        for connection in chosen:
            if connection.activity.seen != connection.met:
                break
        else:
            return False  # nothing was observed, of which there may be something to say
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            with untracked(chosen[0].weight):
                return self._land_at_once(chosen, output, given, size)
        factor, landings = output.factor, []
        each = factor.numbers(size) if isinstance(factor, LayerFactors) else None
        if isinstance(factor, Tensor) and factor.is_cpu and (factor.dim() == 0 or (size == 1 and factor.numel() == 1)):
            factor = factor.item()
        for connection in chosen:
            heard = factor if each is None else each[connection.name]
            landing = connection.landing_at_once(heard, self._lr_scale)  # type: ignore[arg-type]
            if landing is None:
                return False
            landings.append(landing)
        for landing in landings:
            landing.weight.add_(landing.value) if landing.into == "sum" else landing.land()
        for connection in chosen:
            connection.meet()
            connection.met, connection.met_in_eval = connection.activity.seen, connection.seen_in_eval
        self.third_factor.keep(output)
        silence.steps += 1
        silence.signals_given.update(given or ())
        return True

    def reset(self, mask: Tensor | None = None, scope: Scope = "episode") -> None:
        """Forget, between episodes or sequences.

        Args:
            mask: boolean (B,): those samples only.
            scope: "episode": eligibility and modulator levels, while the reward baseline goes on learning;
                "eligibility"; "neuromodulators": levels and reward baseline; "all": as new.

        Raises:
            ValueError: an unknown scope, or a mask that does not fit.
        """
        require_choice("scope", scope, SCOPES)
        connections = list(self.connections.values())
        forget(connections, self.third_factor, mask, scope)
        if self.recorder is not None:
            self.recorder.was_reset()
        if mask is None:
            for one in self.hooks:
                one.reset()
            if scope == "all":
                for connection in connections:
                    connection.discard_pending()

    def check(self, connections: Collection[Connection] | None = None) -> None:
        """Refuse to go on where what was attached to is no longer there.

        Raises:
            RuntimeError: a layer or neuron was replaced or lost its hook, or a weight is pruned, parametrized, sharded,
                offloaded or of another shape.
        """
        if connections is not None:
            require_connections(connections, "As list(learner.connections.values()).")
        self._check(self.connections.values() if connections is None else connections)

    def _check(self, chosen: Collection[Connection]) -> None:
        """As `check`, of connections that are some."""
        for one in self.hooks:
            lost = one.why_lost(chosen)
            if lost is not None:
                raise RuntimeError(
                    f"{lost}: this learner would learn nothing more from it. Call learner.remove(), then attach to the "
                    "model as it is now. Nothing was changed."
                )
        for connection in chosen:
            if not connection.has_known_weight():
                connection.check_weight(lambda c=connection: [m for one in self.hooks for m in one.around(c)])

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
        silence, check = self.silence, lambda connection: self.check([connection])
        told = {"steps": silence.steps, "signals_given": silence.signals_given, "lr_scale": self.lr_scale}
        all_of_them = list(self.connections.values())
        return diagnose(all_of_them, self.third_factor, hooks=self.hooks, enabled=self.enabled, check=check, **told)

    def record(
        self, *, layers: Names = None, steps: int = 10_000, every: int = 1, samples: Sequence[int] | None = None,
        synapses: Mapping[str, Sequence[tuple[int, ...]]] | None = None, weights: int = 0,
    ) -> Record:  # fmt: skip
        """Keep what the learner does from now on: spikes of both sides of its layers, e, Δw, weights, third factors.

        Nothing is changed by it. A learner has one record at a time, which `record.stop()` ends.

        Args:
            layers: names of connections; None: all.
            steps: how many observed steps, and how many learner steps, are kept: the latest.
            every: e and the mean |Δw| are looked at in every so manieth learner step.
            samples: which samples of a batch are kept, as indices; None: all.
            synapses: for each connection, weights of which e, Δw and w are kept, as indices (post, pre) into its
                weight; by default the four largest, and four that are spread over it.
            weights: keep the whole weight at every so manieth learner step; 0: only at the beginning and the end.

        Raises:
            TypeError, ValueError: names of no connection, counts below 1, samples or synapses that are not there.
            RuntimeError: it is recorded already.
            MemoryError: that would take more than is free.
        """
        asked = read_settings(self.connections, layers, steps, every, samples, synapses, weights)
        return Record(self, asked)

    def explain(self, layer: str, *index: int, since: int | None = None, until: int | None = None) -> Explanation:
        """Why a weight moved, as the record that runs has kept it: every spike pair × trace × gate; it adds up.

        Args:
            layer: name of a connection.
            index: of the weight, as (post, pre): one of `record.synapses[layer]`.
            since, until: the interval, in observed steps of the connection since the record began; None: all of it.

        Raises:
            TypeError, ValueError: nothing is recorded, or not this; a change that is no sum of spike pairs.

        >>> from torch import nn
        >>> connection = Connection("fc", nn.Linear(1, 1))
        >>> learner = PlasticityLearner([connection])
        >>> record = learner.record()
        >>> connection.observe(torch.ones(1, 1), torch.ones(1, 1))
        >>> learner.step(1.0)
        >>> learner.explain("fc", 0, 0).by_step()
        {1: 0.001}
        """
        return explain(self.recorder, layer, *index, since=since, until=until)

    @contextmanager
    def paused(self) -> Iterator[PlasticityLearner]:
        """Within it, nothing is observed: for validation, exports and dry runs."""
        before, self.enabled = self.enabled, False
        if self.recorder is not None:
            self.recorder.happened("paused")
        try:
            yield self
        finally:
            self.enabled = before
            if self.recorder is not None:
                self.recorder.happened("resumed")

    def remove(self) -> None:
        """Take all hooks off the model, which is then as it was (its weights as they have become); a record ends."""
        if self.recorder is not None:
            self.recorder.stop()
        for one in self.hooks:
            one.remove()
        self.hooks.clear()
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
        lr_scale, commits = read_learner(state, self.connections, self.third_factor)

        def commit() -> None:
            for one in commits:
                one()
            self.lr_scale = lr_scale
            if self.recorder is not None:
                self.recorder.happened("loaded")

        return commit

    def __deepcopy__(self, memo: dict[int, Any]) -> PlasticityLearner:
        """Beside a copy of the model, as in `copy.deepcopy((model, learner))`, a learner that watches that copy."""
        copied = memo[id(self)] = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(copied, name, copy.deepcopy(value, memo))
        for one in copied.hooks:
            one.bind(copied)
        return copied

    def __enter__(self) -> PlasticityLearner:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        lines = "\n".join(f"  {connection!r}" for connection in self.connections.values())
        return f"PlasticityLearner(\n{lines}\n  gate: {self.gate.extra_repr()}\n)"
