"""Gate: signals in, the four modulators and one plasticity gain out.

    signals ─► in units of their usual size ─► less what is expected ─► drives ─► levels ─► DA, ACh, NE, 5HT

    DA, ACh, NE, 5HT ─► combination ─► g,    Δw = lr · g · e

The gate stores no activity: what it remembers travels in a `NeuromodState`. With all signals zero from a
fresh state, and no tonic baselines, modulators and gain are exactly zero for ever.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._checks import (
    Signal,
    is_compiling,
    is_wrapped,
    require_count,
    require_device,
    require_dtype,
    require_flag,
)
from .._saved import require_parts, require_tensor
from .._untracked import AS_IT_IS, casting_anywhere, uncast
from .._usual_size import bounded_square, update_sums, usual_size
from ..config import NeuromodConfig
from ..config.validation import require_config
from ..neuromodulators import NAMES
from ..signals import GATE, RELEASED, SignalReading
from .baselines import RewardBaseline
from .combine import combination_of, weights_of
from .modulators import (
    IN_ARRAYS,
    IN_NUMBERS,
    IN_TENSORS,
    Arithmetic,
    Modulator,
    Value,
    modulators_of,
    multiplied,
    summed,
)
from .state import NeuromodState, require_state


class PlainStep(NamedTuple):
    """A step without tensors: what there is of each modulator, the gain, and what is carried on.

    Each is a number, of one sample or of all that the batch shares; or an array (B,).
    """

    amounts: list[Any]
    gain: Any
    levels: list[Any]
    baseline: Any
    pace: list[Any]
    precision: str  # "f" or "d", the code of an `array`


class NeuromodulatoryGate(nn.Module):
    """Turns named signals into DA, ACh, NE, 5HT and the gain of plasticity.

    The only parameters are those of a learned combination; every result is fp32 (fp64 where a signal or the
    state is), under autocast too.

    Args:
        config: sources, scales, time constants, reward baseline and combination.

    Raises:
        TypeError: settings of another kind.
        ValueError: a combination of the user's that makes something of nothing.

    >>> gate = NeuromodulatoryGate(NeuromodConfig(da_tau=200.0))
    >>> modulators, plasticity, state = gate.step({"reward": torch.tensor([1.0, 0.0])})
    >>> plasticity
    tensor([0.7616, 0.0000])
    >>> modulators, plasticity = gate({}, state)      # 1 ms later the reward still holds the gate open
    >>> modulators["DA"]
    tensor([0.7578, 0.0000])
    """

    def __init__(self, config: NeuromodConfig | None = None) -> None:
        super().__init__()
        self.config = config = require_config(config, NeuromodConfig)
        self.modulators = modulators_of(config)
        self.sources = {modulator.name: modulator.source for modulator in self.modulators}
        self.reward_baseline = RewardBaseline.of(config)
        self.combine = combination_of(config)
        self._expects = config.reward_baseline != "none"
        self._squashes = self._expects and config.da_response == "tanh" and config.da_scale > 0
        normalized = [modulator.name for modulator in self.modulators if modulator.normalized]
        self._place = {name: place for place, name in enumerate(normalized)}
        self._memory = max(config.usual_tau / config.dt, 1.0)
        averages = self.reward_baseline.state_shape(0)[-1]
        self._learnt = (
            (averages,),
            (averages if self._squashes else 0, 3),
            (len(normalized), 2),
        )  # of one sample, or all
        self._weights = weights_of(config)
        self._named = {"weighted_sum": summed, "gated_product": multiplied}.get(str(config.combination_fn))
        self._remembers = not all(modulator.rests for modulator in self.modulators)
        alone = config.reward_baseline == "none" or (self._squashes and config.reward_baseline == "running")
        self.takes_numbers = alone and not normalized and self._named is not None

    def init(
        self, batch_size: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> NeuromodState:
        """Fresh state: levels and expectations zero, and no size heard of.

        Args:
            batch_size: B.
            device: by default that of the gate's parameters, or the CPU.
            dtype: anything narrower than float32 becomes float32.

        Raises:
            ValueError: `batch_size` is no whole number above zero.
        """
        batch_size, device = require_count("batch_size", batch_size), require_device("device", device)
        return self._fresh(batch_size, device, require_dtype("dtype", dtype))

    def forward(
        self, signals: Mapping[str, Signal], state: NeuromodState | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Modulators and gain of this step; the state stays where it is.

        Args:
            signals: values by name (see `signals`), each a float or a tensor (), (B,) or (B, 1). What is missing is not
                heard: it releases nothing, and moves neither an expectation nor the usual size of a source, so that an
                average per trial stays one while the gate is stepped in between. A reward without a `context` is of
                context 0.
            state: from `init`, `step` or `update_state`; fresh if None.

        Returns:
            ({"DA", "ACh", "NE", "5HT"} each (B,), global plasticity (B,)).

        Raises:
            TypeError: signals that are no mapping or no numbers, a state of another kind.
            ValueError: an unknown signal, a wrong shape or batch size, NaN, a negative value where none may
                be.
        """
        modulators, plasticity, _ = self.step(signals, state)
        return modulators, plasticity

    def step(
        self,
        signals: Mapping[str, Signal],
        state: NeuromodState | None = None,
        *,
        released: Mapping[str, Signal] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, NeuromodState]:
        """As `forward`, and the state after this step.

        Gradients run through signals, state and the learned combination; in a loop that never calls
        `backward`, use `torch.no_grad()`, as with any recurrent state.

        Args:
            signals, state: as in `forward`.
            released: by the name of a modulator, what is added to its source from within (as by affect): not divided by
                a usual size, and nothing that an expectation could be learnt from.
        """
        told, state = self._admit(signals, state)
        extra = self._released(released, state.levels) if released else {}
        with uncast(state.levels) if casting_anywhere() else AS_IT_IS:
            return self.stepped(told, state, extra)

    def stepped(
        self, told: SignalReading, state: NeuromodState, released: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, NeuromodState]:
        """As `step`, of what was checked. What rests, undriven and without a memory, is zero."""
        before = state.levels
        if told.numbers is not None and not released and not (torch.is_grad_enabled() and told.like.requires_grad):
            before_it = self.remembered(state)
            if before_it is not None:
                return self.tensors_of(self.stepped_plain(told.numbers, before_it), state)
        drives: dict[str, Tensor] = {}
        for place, modulator in enumerate(self.modulators):
            value = told.get(modulator.source)
            if value is not None and (modulator.normalized or (self._expects and place == 0)):
                value, state = self._relative(modulator, value, told.get("context"), state)
            if released and modulator.name in released:
                value = released[modulator.name] if value is None else value + released[modulator.name]
            if value is not None:
                drives[modulator.name] = value
        columns = before.unbind(-1) if self._remembers else (before,) * len(self.modulators)
        found = self._amounts(drives, columns, IN_TENSORS)
        gain, rest = self._combined(found, IN_TENSORS), found.count(None)
        zeros = iter(before.new_zeros(rest, len(before)).unbind(0) if rest else ())
        amounts, levels = {}, []
        for name, pair in zip(self.sources, found, strict=True):
            amount, level = (next(zeros),) * 2 if pair is None else pair
            amounts[name] = amount
            levels.append(level)
        if gain is None:
            gain = before.new_zeros(len(before)) if self._named is not None else self.combine(amounts)
        return amounts, gain, state._replace(levels=torch.stack(levels, dim=-1))

    def remembered(self, state: NeuromodState) -> PlainStep | None:
        """What a state on the CPU holds, without tensors; None where its step is one of tensors."""
        levels = state.levels
        if not self.takes_numbers or not len(levels) or not levels.is_cpu or is_compiling() or is_wrapped(levels):
            return None
        if torch.is_grad_enabled() and any(part.requires_grad for part in state):
            return None
        precision, alone = "d" if levels.dtype == torch.float64 else "f", len(levels) == 1
        expected: tuple[Any, list[Any]] = (0.0, [])
        if self._expects and (alone or self.config.baseline_scope == "batch"):
            expected = state.baseline.item(), state.pace.view(-1).tolist()
        elif self._expects:
            baseline, pace = state.baseline.detach().numpy(), state.pace.detach().numpy()
            expected = baseline[:, 0], list(pace[:, 0].T)
        return PlainStep(
            [], 0.0, levels.tolist()[0] if alone else list(levels.detach().numpy().T), *expected, precision
        )

    def stepped_plain(self, told: Mapping[str, Any], before: PlainStep) -> PlainStep:
        """As `stepped`, of numbers or arrays; each number is rounded as a tensor would be."""
        drives = {modulator.name: told[modulator.source] for modulator in self.modulators if modulator.source in told}
        first, expected, pace = self.modulators[0].name, before.baseline, before.pace
        if self._expects and first in drives:
            drives[first], expected, pace = self.reward_baseline.squashed_plain(
                drives[first], expected, pace, self.modulators[0].scale
            )
        alone, rounds = type(before.levels[0]) is float, before.precision
        of, none = (IN_NUMBERS, 0.0) if alone else (IN_ARRAYS, np.zeros_like(before.levels[0]))
        found = self._amounts(drives, before.levels, of)
        amounts = [none if pair is None else pair[0] for pair in found]
        levels = [none if pair is None else pair[1] for pair in found]
        levels = array(rounds, levels).tolist() if alone else levels
        if type(expected) is float:
            expected, *pace = array(rounds, [expected, *pace]).tolist()
        gain = self._combined(found, of)
        return PlainStep(amounts, none if gain is None else gain, levels, expected, pace, rounds)

    def tensors_of(self, step: PlainStep, state: NeuromodState) -> tuple[dict[str, Tensor], Tensor, NeuromodState]:
        """What `stepped` gives, of a step without tensors; `state` is one of this gate for as many samples."""
        form = {"dtype": state.levels.dtype, "device": state.levels.device}
        rows = np.array([*step.amounts, step.gain, *step.levels], step.precision)
        *amounts, gain = torch.from_numpy(rows[: len(step.amounts) + 1].reshape(len(step.amounts) + 1, -1)).unbind(0)
        levels = torch.from_numpy(np.ascontiguousarray(rows[len(step.amounts) + 1 :].reshape(len(step.levels), -1).T))
        state = state._replace(levels=levels)
        if self._expects:
            baseline, pace = np.array(step.baseline), np.array(step.pace)
            state = state._replace(
                baseline=torch.tensor(baseline, **form).view_as(state.baseline),
                pace=torch.tensor(pace.T, **form).view_as(state.pace),
            )
        return dict(zip(self.sources, amounts, strict=True)), gain, state

    def _amounts(
        self, drives: Mapping[str, Value], before: Sequence[Value], of: Arithmetic
    ) -> list[tuple[Value, Value] | None]:
        """Of each modulator what is there in this step, and the level to carry on; None where it rests."""
        found: list[tuple[Value, Value] | None] = []
        for modulator, level in zip(self.modulators, before, strict=True):
            drive = drives.get(modulator.name)
            found.append(None if drive is None and modulator.rests else modulator.stepped(drive, level, of))
        return found

    def _combined(self, found: Sequence[tuple[Value, Value] | None], of: Arithmetic) -> Value | None:
        """The gain; None where it is zero, and in a combination that has no name."""
        awake = [(w, pair[0]) for w, pair in zip(self._weights, found, strict=True) if pair is not None]
        if self._named is None or not awake or (self._named is multiplied and found[0] is None):
            return None
        return self._named(awake, of)

    def update_state(
        self,
        reward: Signal | None = None,
        novelty: Signal | None = None,
        urgency: Signal | None = None,
        patience: Signal | None = None,
        *,
        state: NeuromodState | None = None,
        context: Signal | None = None,
        batch_size: int | None = None,
    ) -> NeuromodState:
        """The state after one step, from what drives DA, ACh, NE and 5HT.

        Each argument drives its modulator under whatever name the config gives the source: with
        `ach_source="entropy"`, `novelty` is read as entropy.

        Args:
            reward, novelty, urgency, patience: float or tensor (), (B,) or (B, 1); None is not heard, as if it were
                missing in `step` (a reward of 0.0 is: it may disappoint).
            state: state before; fresh if None.
            context: index of the stimulus or task, for a reward baseline per context.
            batch_size: B, where the signals do not tell.

        Raises:
            TypeError, ValueError: as `forward`.

        >>> gate = NeuromodulatoryGate(NeuromodConfig(da_tau=200.0))
        >>> gate.update_state(reward=1.0, batch_size=1).levels
        tensor([[0.7616, 0.0000, 0.0000, 0.0000]])
        """
        drives = (reward, novelty, urgency, patience)
        signals = {m.source: drive for m, drive in zip(self.modulators, drives, strict=True) if drive is not None}
        if context is not None:
            signals["context"] = context
        if batch_size is not None:
            batch_size = require_count("batch_size", batch_size, 0)
            _, device, dtype = GATE.layout(signals)
            state = self.init(batch_size, device, dtype) if state is None else state
            require_state(state, self._shapes(batch_size), batch_size)
        return self.step(signals, state)[2]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take on saved parameters, all or none; as `nn.Module.load_state_dict`.

        Raises:
            TypeError: no mapping, or no tensor under a name.
            ValueError: a parameter that is missing, strange, shaped otherwise or NaN; none has changed then.
        """
        strict, assign = require_flag("strict", strict), require_flag("assign", assign)
        if strict:
            own = self.state_dict()
            require_parts("The saved gate", state_dict, own)
            for name, mine in own.items():
                require_tensor(f"The saved gate: {name}", state_dict[name], tuple(mine.shape))
        return super().load_state_dict(state_dict, strict, assign)

    def extra_repr(self) -> str:
        """What drives which modulator, and how they are combined."""
        taus = (f" (τ={m.tau:g})" if m.tau else "" for m in self.modulators)
        words = ("normalized " if m.normalized else "" for m in self.modulators)
        parts = zip(self.modulators, words, taus, strict=True)
        drives = ", ".join(f"{m.name}←{word}{m.source}{tau}" for m, word, tau in parts)
        name = self.config.combination_fn
        return f"{drives}; {name if isinstance(name, str) else 'combination of your own'}"

    def _relative(
        self, modulator: Modulator, told: Tensor, context: Tensor | None, state: NeuromodState
    ) -> tuple[Tensor, NeuromodState]:
        """A source in units of its usual size, less what was expected of it; and the state that has heard it."""
        size, scale = None, modulator.scale
        if modulator.normalized:
            place = self._place[modulator.name]
            size = usual_size(state.usual[..., place, :], self._memory)
            state, scale = state._replace(usual=self._resize(state.usual, place, told)), scale / size
        if modulator.name == "DA" and self._expects:
            if self._squashes:
                told, baseline, pace = self.reward_baseline.squashed(told, context, state.baseline, state.pace, scale)
                state = state._replace(baseline=baseline, pace=pace)
            else:
                told, baseline = self.reward_baseline.moved(told, context, state.baseline)
                state = state._replace(baseline=baseline)
        return told if size is None else told / size, state

    def _resize(self, usual: Tensor, place: int, told: Tensor) -> Tensor:
        """The usual sizes, one of which has heard a signal (B,)."""
        squares, heard = bounded_square(told), told != 0
        if self.config.baseline_scope == "batch":
            count = heard.to(told.dtype).sum()
            squares, heard = squares.sum() / count.clamp(min=1.0), count > 0
        after = update_sums(usual[..., place, :], (squares,), heard, self._memory)
        return torch.cat([usual[..., :place, :], after.unsqueeze(-2), usual[..., place + 1 :, :]], dim=-2)

    def _released(self, released: Mapping[str, Signal], like: Tensor) -> SignalReading:
        """What is released from within, checked, each (B,)."""
        if type(released) is SignalReading:
            return released
        unknown = sorted(set(released) - set(NAMES))
        if unknown:
            raise ValueError(f"released names {', '.join(unknown)}; expected modulators among {', '.join(NAMES)}.")
        return RELEASED.read(released, len(like), like.device, like.dtype)

    def _shapes(self, batch_size: int) -> dict[str, tuple[int, ...]]:
        """Shapes of what a state holds."""
        whose = () if self.config.baseline_scope == "batch" else (batch_size,)
        (averages, paces, sizes), levels = self._learnt, (batch_size, len(self.modulators))
        return {"levels": levels, "baseline": whose + averages, "pace": whose + paces, "usual": whose + sizes}

    def _fresh(self, batch_size: int, device: torch.device | str | None, dtype: torch.dtype) -> NeuromodState:
        """As `init`, for an empty batch too."""
        device = device or next((p.device for p in self.parameters()), None)
        wide = torch.promote_types(dtype, torch.float32)
        shapes = self._shapes(batch_size).items()
        return NeuromodState(**{name: torch.zeros(shape, device=device, dtype=wide) for name, shape in shapes})

    def _admit(self, signals: Mapping[str, Signal], state: NeuromodState | None) -> tuple[SignalReading, NeuromodState]:
        """Checked signals and state, on one device and in one precision."""
        if type(signals) is SignalReading:
            size, device, dtype = len(signals.like), signals.like.device, signals.like.dtype
        else:
            size, device, dtype = GATE.layout(signals)
        if state is None:
            state = self._fresh(1 if size is None else size, device, dtype)
        elif not self._fits(state, size):
            levels = state.levels if isinstance(state, NeuromodState) else None
            held = len(levels) if isinstance(levels, Tensor) and levels.dim() else 0
            require_state(state, self._shapes(held), size)
        levels = state.levels
        if levels.dtype != dtype:
            dtype = torch.promote_types(dtype, levels.dtype)
            state = state.to(dtype=dtype)
        if type(signals) is not SignalReading:
            return GATE.read(signals, len(levels), levels.device, state.levels.dtype), state
        return signals if signals.like.dtype == dtype else signals.to(dtype), state

    def _fits(self, state: NeuromodState, size: int | None) -> bool:
        """Whether a state is, at a glance, one of this gate's for so many samples."""
        if type(state) is not NeuromodState or type(state.levels) is not Tensor or not state.levels.dim():
            return False
        size = len(state.levels) if size is None else size
        place, dtype = state.levels.device, state.levels.dtype
        for part, shape in zip(state, self._shapes(size).values(), strict=True):
            if type(part) is not Tensor or part.shape != shape or part.dtype != dtype or part.device != place:
                return False
            if part.layout is not torch.strided:
                return False
        return dtype in (torch.float32, torch.float64)
