"""Gate: signals in, the four modulators and one plasticity gain out.

    signals ─► in units of their usual size ─► less what is expected ─► drives ─► levels ─► DA, ACh, NE, 5HT

    DA, ACh, NE, 5HT ─► combination ─► g,    Δw = lr · g · e

The gate stores no activity: what it remembers travels in a `NeuromodState`. With all signals zero from a
fresh state, and no tonic baselines, modulators and gain are exactly zero for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import Signal, as_signal, require_batch_size, require_device, require_dtype, require_flag
from ..config import NeuromodConfig
from ..config.validation import require_config
from ..saved import require_parts, require_tensor
from ..usual_size import bounded_square, remember, usual_size
from .baselines import RewardBaseline
from .combine import combination_of
from .modulators import Modulator, modulators_of
from .signals import read_signals, signal_layout
from .state import NeuromodState, require_state


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
        batch_size, device = require_batch_size(batch_size), require_device("device", device)
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
        values, state = self._admit(signals, state)
        extra = self._extra(released or {}, state.levels)
        with torch.autocast(state.levels.device.type, enabled=False):
            amounts, levels = {}, []
            for modulator, level in zip(self.modulators, state.levels.unbind(-1), strict=True):
                told = values[modulator.source]
                if modulator.source in signals and (modulator.normalized or (modulator.name == "DA" and self._expects)):
                    told, state = self._read(modulator, told, values["context"], state)
                told = told + extra[modulator.name] if modulator.name in extra else told
                amounts[modulator.name], level = modulator.step(told, level)
                levels.append(level)
            plasticity = self.combine(amounts)
        return amounts, plasticity, state._replace(levels=torch.stack(levels, dim=-1))

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
            _, device, dtype = signal_layout(signals)
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

    def _read(
        self, modulator: Modulator, told: Tensor, context: Tensor, state: NeuromodState
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
                told, baseline = self.reward_baseline.step(told, context, state.baseline)
                state = state._replace(baseline=baseline)
        return told if size is None else told / size, state

    def _resize(self, usual: Tensor, place: int, told: Tensor) -> Tensor:
        """The usual sizes, one of which has heard a signal (B,)."""
        squares, heard = bounded_square(told), told != 0
        if self.config.baseline_scope == "batch":
            count = heard.to(told.dtype).sum()
            squares, heard = squares.sum() / count.clamp(min=1.0), count > 0
        after = remember(usual[..., place, :], (squares,), heard, self._memory)
        return torch.cat([usual[..., :place, :], after.unsqueeze(-2), usual[..., place + 1 :, :]], dim=-2)

    def _extra(self, released: Mapping[str, Signal], like: Tensor) -> dict[str, Tensor]:
        """What is released from within, checked, each (B,)."""
        unknown = sorted(set(released) - {modulator.name for modulator in self.modulators})
        if unknown:
            names = ", ".join(modulator.name for modulator in self.modulators)
            raise ValueError(f"released names {', '.join(unknown)}; expected modulators among {names}.")
        place = {"device": like.device, "dtype": like.dtype}
        return {name: as_signal(amount, len(like), name=name, **place) for name, amount in released.items()}

    def _shapes(self, batch_size: int) -> dict[str, tuple[int, ...]]:
        """Shapes of what a state has learnt."""
        baseline = self.reward_baseline.state_shape(batch_size)
        pace = (*baseline[:-1], baseline[-1] if self._squashes else 0, 3)
        return {"baseline": baseline, "pace": pace, "usual": (*baseline[:-1], len(self._place), 2)}

    def _fresh(self, batch_size: int, device: torch.device | str | None, dtype: torch.dtype) -> NeuromodState:
        """As `init`, for an empty batch too."""
        device = device or next((p.device for p in self.parameters()), None)
        wide = torch.promote_types(dtype, torch.float32)
        shapes = {"levels": (batch_size, len(self.modulators)), **self._shapes(batch_size)}
        return NeuromodState(**{name: torch.zeros(shape, device=device, dtype=wide) for name, shape in shapes.items()})

    def _admit(
        self, signals: Mapping[str, Signal], state: NeuromodState | None
    ) -> tuple[dict[str, Tensor], NeuromodState]:
        """Checked signals and state, on one device and in one precision."""
        size, device, dtype = signal_layout(signals)
        if state is None:
            state = self._fresh(1 if size is None else size, device, dtype)
        else:
            levels = state.levels if isinstance(state, NeuromodState) else None
            held = len(levels) if isinstance(levels, Tensor) and levels.dim() else 0
            require_state(state, self._shapes(held), size)
            state = state.to(dtype=torch.promote_types(dtype, state.levels.dtype))
        levels = state.levels
        return read_signals(signals, len(levels), device=levels.device, dtype=levels.dtype), state
