"""The third factor of a learner: a modulator as it is given, or signals through a gate that remembers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ._checks import Signal, as_modulator
from ._saved import (
    described,
    require_parts,
    require_saved_flag,
    require_saved_tensors,
    require_settings,
    require_tensor,
)
from ._untracked import casting_anywhere, untracked
from .neuromodulation import NeuromodState, NeuromodulatoryGate, for_batch, reset_samples
from .neuromodulation.gate import PlainStep
from .plasticity._engine.engine import RunningTraces
from .plasticity.eligibility import EligibilityTraceModule
from .signals import GATE

__all__ = ["ThirdFactor"]


class GateMemory(NamedTuple):
    """What is remembered from step to step: the state of the gate; None is as new.

    `loose`: whether a batch of any size may come next, as after a reset of all samples.
    """

    state: NeuromodState | None = None
    loose: bool = True


class LayerFactors(dict[str, float | Tensor]):
    """A third factor for each layer, by the names of connections."""

    def numbers(self, batch_size: int | None) -> LayerFactors:
        """The same, with a number for each tensor of one value on the CPU that all samples hear."""
        return LayerFactors(
            (name, one.item() if _is_number(one, batch_size) else one)  # type: ignore[union-attr]
            for name, one in self.items()
        )


def _is_number(factor: float | Tensor, batch_size: int | None) -> bool:
    one = isinstance(factor, Tensor) and factor.is_cpu and factor.numel() == 1
    return one and (not factor.dim() or batch_size == 1)  # type: ignore[union-attr]


Factor = float | Tensor | LayerFactors


class FactorRange:
    """The least and the greatest third factor that was looked at, of how many steps and values.

    Numbers are looked at in every step, tensors on the CPU after 4, 8, 16, … steps.
    """

    __slots__ = ("high", "low", "next_look", "steps", "values")

    def __init__(self) -> None:
        self.low, self.high, self.steps, self.values, self.next_look = float("inf"), float("-inf"), 0, 0, 4

    def widen(self, factor: Factor) -> None:
        """Look at one more."""
        each = list(factor.values()) if isinstance(factor, LayerFactors) else [factor]
        self.next_look = max(self.next_look, 2 * self.steps)
        for one in map(torch.as_tensor, each):
            if one.is_cpu and one.numel():
                low, high = one.aminmax()
                self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
                self.values += one.numel()


def factor_of(factor: Factor, name: str) -> float | Tensor:
    """What a connection hears."""
    return factor[name] if type(factor) is LayerFactors else factor  # type: ignore[return-value]


def factor_tensor(factor: Factor) -> Tensor:
    """A third factor as a tensor; of one for each layer, the mean over layers of their means, ()."""
    if not isinstance(factor, LayerFactors):
        return torch.as_tensor(factor)
    means = [torch.as_tensor(one, dtype=torch.float32).mean() for one in factor.values()]
    return torch.stack([mean.to(means[0].device) for mean in means]).mean()


class GateOutput(NamedTuple):
    """One step's modulators (B,) by name, the third factor, and what is remembered of it afterwards."""

    modulators: dict[str, Tensor]
    factor: Factor
    kept: GateMemory


class PlainOutput:
    """As `GateOutput`, without tensors: they are made where somebody reads them.

    Args:
        gate: whose it is. step: what the gate gave. state: the last one in tensors.
    """

    __slots__ = ("_gate", "_state", "factor", "step")

    def __init__(self, gate: NeuromodulatoryGate, step: PlainStep, state: NeuromodState) -> None:
        self._gate, self.step, self._state = gate, step, state
        self.factor = step.gain if type(step.gain) is float else torch.from_numpy(step.gain)

    @property
    def sources(self) -> dict[str, str]:
        """Which modulators there are, and the signal of each."""
        return self._gate.sources

    def settled(self) -> GateOutput:
        """The same in tensors."""
        with untracked(self._state.levels):
            modulators, gain, state = self._gate.tensors_of(self.step, self._state)
        return GateOutput(modulators, gain, GateMemory(state, loose=False))


AnyOutput = GateOutput | PlainOutput


def _each(modulators: LayerFactors) -> LayerFactors:
    """Every layer's modulator, checked and without a graph."""
    checked = LayerFactors()
    for name, value in modulators.items():
        try:
            one = as_modulator(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
        checked[name] = one.detach() if isinstance(one, Tensor) else one
    return checked


class Batch(NamedTuple):
    """What was observed: samples and device, None before anything was; whether somebody keeps only sums of samples."""

    size: int | None = None
    device: torch.device | None = None
    summed: bool = False


class Observing(Protocol):
    """A connection, as far as its batch is concerned."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def traces(self) -> EligibilityTraceModule:
        """Its eligibility."""
        ...

    @property
    def running(self) -> RunningTraces | None:
        """What runs of it, if anything does."""
        ...


def batch_of(chosen: Collection[Observing], others: Collection[Observing] = ()) -> Batch:
    """The batch that some connections have observed; where none of them has, that of the others.

    Raises:
        ValueError: the chosen ones have observed batches of different sizes.
    """
    size, device, summed, first = None, None, False, ""
    for connection in chosen:
        running = connection.running
        own = connection.traces.batch_size if running is None else running.batch_size
        summed = summed or (connection.traces if running is None else running).path == "shared"
        device = device if running is None or device is not None else running.like[0].device
        if own is not None and size is not None and own != size:
            raise ValueError(
                f"{first} has observed a batch of {size} and {connection.name} one of {own}; expected the same. Call "
                "learner.reset() before a batch of another size, or name those that are meant: "
                "step(..., layers=[...]). Nothing was changed."
            )
        if size is None and own is not None:
            size, first = own, connection.name
    for connection in others if len(chosen) < len(others) else ():
        traces = connection.traces
        size = traces.batch_size if size is None else size
        device = traces.device if device is None else device
        summed = summed or traces.path == "shared"
    return Batch(size, device, summed)


def _tracked(like: Tensor) -> bool:
    """Whether gradients, inference mode or autocast may have to be switched off for plain arithmetic."""
    on = torch.is_grad_enabled() or torch.is_inference_mode_enabled() or casting_anywhere()
    return on or not (like.is_cpu or like.is_cuda)


class ThirdFactor:
    """A gate with its state."""

    def __init__(self, gate: NeuromodulatoryGate) -> None:
        self.gate, self.met = gate, FactorRange()
        self._kept = GateMemory()
        self._last: GateOutput | None = None
        self._ahead: PlainOutput | None = None  # a later step, without tensors
        self._given = False  # whether any signals were given, even of a step that was refused afterwards

    @property
    def state(self) -> NeuromodState | None:
        """The state of the gate: None before any signals, and as new for one sample where none left anything behind."""
        return self.gate.init(1) if self._given and self.kept.state is None else self.kept.state

    @property
    def kept(self) -> GateMemory:
        """What is remembered from step to step."""
        if self._ahead is not None:
            self._settle(self._ahead)
        return self._kept

    @kept.setter
    def kept(self, kept: GateMemory) -> None:
        if self._ahead is not None:
            self._settle(self._ahead)
        self._kept = kept

    @property
    def last(self) -> GateOutput | None:
        """What the last step was told."""
        if self._ahead is not None:
            self._settle(self._ahead)
        return self._last

    def _settle(self, ahead: PlainOutput) -> None:
        """What the last step was told, and what is kept of it, in tensors."""
        self._last, self._ahead = ahead.settled(), None
        self._kept = self._last.kept

    def keep(self, output: AnyOutput) -> None:
        """A step was made of this."""
        met, factor = self.met, output.factor
        met.steps += 1
        if type(factor) is float and met.low <= factor <= met.high:
            met.values += 1
        elif type(factor) is float or met.steps >= met.next_look:
            met.widen(factor)
        if isinstance(output, PlainOutput):
            self._ahead = output
            return
        if isinstance(factor, Tensor) and factor.requires_grad:
            output = output._replace(factor=factor.detach())
        self._kept, self._last, self._ahead = output.kept, output, None

    def compute(
        self,
        modulator: Signal | Mapping[str, Signal] | None,
        signals: Mapping[str, Signal],
        batch: Batch,
    ) -> AnyOutput:
        """The third factor of a step, checked; nothing is stored yet.

        What all samples are told alike is one number where sums of samples are kept, as long as none differs from the
        others.

        Args:
            modulator, signals: as in `PlasticityLearner.step`; `LayerFactors` are a modulator for each layer.
            batch: what has been observed.

        Raises:
            TypeError: neither modulator nor signals, or both.
            ValueError: unknown names, NaN, shapes that do not fit.
        """
        if modulator is None and batch.size and signals and (batch.size == 1 or not batch.summed):
            plain = self._plainly(signals, batch.size)
            if plain is not None:
                return plain
        by_layer = type(modulator) is LayerFactors
        if isinstance(modulator, Mapping) and not by_layer:
            signals = {**modulator, **signals}
        elif modulator is not None:
            if signals:
                raise TypeError(
                    f"step got a modulator and the signals {', '.join(signals)}; expected one or the other."
                )
            return GateOutput({}, _each(modulator) if by_layer else as_modulator(modulator), self.kept)  # type: ignore
        if not signals:
            raise TypeError("step needs a third factor: a modulator, as step(1.0), or signals, as step(reward=r).")
        state, (batch_size, device, as_one) = self.kept.state, batch
        if batch_size is None:
            size = self._told_size(signals)
            like, told = torch.empty(0, device=device), signals
        else:
            size = 1 if as_one and batch_size and self._tells_all_alike(signals) else batch_size
            _, place, dtype = GATE.layout(signals)
            if state is not None:
                device, dtype = state.levels.device, torch.promote_types(dtype, state.levels.dtype)
            told = GATE.read(signals, size, device or place, dtype)
            like = told.like
            if size and state is not None and dtype is state.levels.dtype and not _tracked(like):
                fitting = state if len(state.levels) == size else self._for_batch(size) or state
                return self._output(*self.gate.stepped(told, fitting), batch_size if as_one and size == 1 else None)
        with untracked(like):
            if size == 0:
                return self._of_nobody(signals)
            if state is not None and size is not None and len(state.levels) != size:
                state = self._for_batch(size)
            modulators, factor, state = self.gate.step(told, state)
        return self._output(modulators, factor, state, batch_size if as_one and size == 1 else None)

    def _plainly(self, signals: Mapping[str, Signal], size: int) -> PlainOutput | None:
        """A step without tensors; None where they are needed, or something is to be refused."""
        state = self._kept.state
        if state is None or len(state.levels) != size or not self.gate.takes_numbers:
            return None
        kind = state.levels.dtype
        told: Any = GATE.numbers(signals, kind) if size == 1 else GATE.arrays(signals, size, kind)
        if told is None:
            return None
        before = self.gate.remembered(state) if self._ahead is None else self._ahead.step
        return None if before is None else PlainOutput(self.gate, self.gate.stepped_plain(told, before), state)

    def _output(
        self, modulators: dict[str, Tensor], factor: Tensor, state: NeuromodState, batch_size: int | None
    ) -> GateOutput:
        """What the gate gave, for each sample where `batch_size` are told the same."""
        if batch_size is not None:
            factor, modulators = factor[0], {name: level.expand(batch_size) for name, level in modulators.items()}
        self._given = True
        return GateOutput(modulators, factor, GateMemory(state, loose=False))

    def after_reset(self, mask: Tensor | None, batch_size: int | None, *, keep_baseline: bool) -> GateMemory:
        """What is left when the levels are forgotten, and what was learnt about reward, or not; nothing is stored yet.

        Args:
            mask: boolean (B,), the samples that forget; None: all do, and a batch of any size may come next.
            batch_size: of what has been observed; None: nothing yet.
            keep_baseline: whether the averages of reward stay.

        Raises:
            ValueError: a mask that does not fit.
        """
        if self.kept.state is None or (mask is None and not keep_baseline):
            return GateMemory() if mask is None else self.kept
        state = self.kept.state
        if mask is None:
            mask = torch.ones(len(state.levels), dtype=torch.bool, device=state.levels.device)
            return GateMemory(reset_samples(state, mask, keep_baseline=True), loose=True)
        if not len(mask):
            return self.kept
        if self.kept.loose or batch_size is not None:
            state = self._for_batch(len(mask))
            assert state is not None
        return self.kept._replace(state=reset_samples(state, mask, keep_baseline=keep_baseline))

    def state_dict(self) -> dict[str, Any]:
        """The gate's settings and parameters, and what is remembered, as plain tensors."""
        state = self.kept.state
        return {
            "settings": described(self.gate.config),
            "parameters": {name: value.detach().clone() for name, value in self.gate.state_dict().items()},
            "state": None if state is None else {name: leaf.detach().clone() for name, leaf in state._asdict().items()},
            "loose": self.kept.loose,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; errors as in `read_state`."""
        self.read_state(saved)()

    def read_state(self, saved: Mapping[str, Any], device: torch.device | None = None) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it, on a device. Nothing is changed before.

        Raises:
            TypeError, ValueError: other settings, shapes, a stranger, NaN.
        """
        what = "The saved gate"
        require_parts(what, saved, ("settings", "parameters", "state", "loose"))
        require_settings(what, saved["settings"], described(self.gate.config))
        parameters = require_saved_tensors(f"{what}: parameters", saved["parameters"], self.gate.state_dict())
        loose = require_saved_flag(f"{what}: loose", saved["loose"])
        state = None if saved["state"] is None else state_of(self.gate, saved["state"], device)

        def commit() -> None:
            self.gate.load_state_dict(parameters)
            self.kept = GateMemory(state, loose)

        return commit

    def _for_batch(self, batch_size: int | None) -> NeuromodState | None:
        """The state for a batch of another size: levels start anew, and no averages do.

        What a batch shares stays as it is; what each of its samples has averaged goes on from the mean over them. One
        sample stands for all.
        """
        state = self.kept.state
        if state is None or batch_size is None or len(state.levels) == batch_size:
            return state
        fresh = self.gate.init(batch_size, state.levels.device, state.levels.dtype)
        carried = for_batch(state, fresh)
        if len(state.levels) == 1:
            return carried._replace(levels=state.levels.expand_as(fresh.levels).clone())
        return carried

    def _told_size(self, signals: Mapping[str, Signal]) -> int | None:
        """For how many samples signals are before anything is observed; one stands for all that may come."""
        if not (self.kept.loose or self.kept.state is None or len(self.kept.state.levels) == 1):
            return None
        size = GATE.layout(signals)[0]
        return 1 if size is None and self.kept.loose and not self._learnt_alone else size

    @property
    def _learnt_alone(self) -> bool:
        """Whether samples have learnt something of their own about reward."""
        state = self.kept.state
        return state is not None and state.baseline.dim() > 1 and any(leaf.numel() for leaf in state[1:])

    def _tells_all_alike(self, signals: Mapping[str, Signal]) -> bool:
        """Whether every sample hears the same, and none remembers anything of its own."""
        if any(len(getattr(value, "shape", ())) or isinstance(value, (list, tuple)) for value in signals.values()):
            return False
        if self.kept.state is None or len(self.kept.state.levels) == 1:
            return True
        return not self._learnt_alone and not any(modulator.tau for modulator in self.gate.modulators)

    def _of_nobody(self, signals: Mapping[str, Signal]) -> GateOutput:
        """An empty batch: the names of what is told are looked at, and nothing is remembered."""
        modulators, factor, _ = self.gate.step(dict.fromkeys(signals, 0.0))
        return GateOutput({name: level[:0] for name, level in modulators.items()}, factor[:0], self.kept)


def state_of(gate: NeuromodulatoryGate, saved: Any, device: torch.device | None = None) -> NeuromodState:
    """The state of a gate from its parts by name, copied.

    Raises:
        TypeError, ValueError: a part is missing or strange, does not fit this gate, or holds NaN.
    """
    what = "The saved state of the gate"
    require_parts(what, saved, NeuromodState._fields)
    levels = require_tensor(f"{what}: levels", saved["levels"], (None, len(gate.modulators)))
    if levels.dtype not in (torch.float32, torch.float64) or not len(levels):
        raise ValueError(f"{what}: levels is {levels.dtype} of {len(levels)} samples; expected float32 of 1 or more.")
    fresh = gate.init(len(levels), levels.device, levels.dtype)._asdict()
    parts = {n: require_tensor(f"{what}: {n}", saved[n], tuple(new.shape), like=new) for n, new in fresh.items()}
    return NeuromodState(**{name: part.detach().to(device, copy=True) for name, part in parts.items()})
