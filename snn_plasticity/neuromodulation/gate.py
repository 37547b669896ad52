"""Gate: signals in, the four modulators and one plasticity gain out.

    signals ─► drives ─► levels ─► DA, ACh, NE, 5HT ─► combination ─► g,    Δw = lr · g · e

The gate stores no activity: what it remembers travels in a `NeuromodState`. With all signals zero from a
fresh state, and no tonic baselines, modulators and gain are exactly zero for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..checks import Signal, require_batch_size, require_device, require_dtype
from ..config import NeuromodConfig
from ..config.validation import require_config
from .baselines import RewardBaseline
from .combine import combination_of
from .modulators import modulators_of
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
        self.reward_baseline = RewardBaseline.of(config)
        self.combine = combination_of(config)

    def init(
        self, batch_size: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> NeuromodState:
        """Fresh state: levels and reward averages zero.

        Args:
            batch_size: B.
            device: by default that of the gate's parameters, or the CPU.
            dtype: anything narrower than float32 becomes float32.

        Raises:
            ValueError: `batch_size` is no whole number above zero.
        """
        batch_size, device = require_batch_size(batch_size), require_device("device", device)
        device = device or next((p.device for p in self.parameters()), None)
        wide = torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        levels = torch.zeros(batch_size, len(self.modulators), device=device, dtype=wide)
        return NeuromodState(levels, self.reward_baseline.init(batch_size, device, wide))

    def forward(
        self, signals: Mapping[str, Signal], state: NeuromodState | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Modulators and gain of this step; the state stays where it is.

        Args:
            signals: values by name (see `signals`), each a float or a tensor (), (B,) or (B, 1); missing ones
                are zero. A missing `reward` is no reward event: it moves neither dopamine nor the baseline, so
                that an average per trial stays one while the gate is stepped in between.
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
        self, signals: Mapping[str, Signal], state: NeuromodState | None = None
    ) -> tuple[dict[str, Tensor], Tensor, NeuromodState]:
        """As `forward`, and the state after this step.

        Gradients run through signals, state and the learned combination; in a loop that never calls
        `backward`, use `torch.no_grad()`, as with any recurrent state.
        """
        values, state = self._admit(signals, state)
        with torch.autocast(state.levels.device.type, enabled=False):
            baseline = state.baseline
            if "reward" in signals:  # a step that says nothing of reward is no disappointment
                values["reward"], baseline = self.reward_baseline.step(values["reward"], values["context"], baseline)
            amounts, levels = {}, []
            for modulator, level in zip(self.modulators, state.levels.unbind(-1), strict=True):
                amounts[modulator.name], level = modulator.step(values[modulator.source], level)
                levels.append(level)
            plasticity = self.combine(amounts)
        return amounts, plasticity, NeuromodState(torch.stack(levels, dim=-1), baseline)

    def update_state(
        self,
        reward: Signal = 0.0,
        novelty: Signal = 0.0,
        urgency: Signal = 0.0,
        patience: Signal = 0.0,
        *,
        state: NeuromodState | None = None,
        context: Signal | None = None,
        batch_size: int | None = None,
    ) -> NeuromodState:
        """The state after one step, from what drives DA, ACh, NE and 5HT.

        Each argument drives its modulator under whatever name the config gives the source: with
        `ach_source="entropy"`, `novelty` is read as entropy.

        Args:
            reward, novelty, urgency, patience: float or tensor (), (B,) or (B, 1).
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
        signals = {m.source: drive for m, drive in zip(self.modulators, drives, strict=True)}
        if context is not None:
            signals["context"] = context
        if batch_size is not None:
            _, device, dtype = signal_layout(signals)
            state = self.init(batch_size, device, dtype) if state is None else state
            require_state(state, self.reward_baseline.state_shape(batch_size), batch_size)
        return self.step(signals, state)[2]

    def extra_repr(self) -> str:
        """What drives which modulator, and how they are combined."""
        taus = (f" (τ={m.tau:g})" if m.tau else "" for m in self.modulators)
        drives = ", ".join(f"{m.name}←{m.source}{tau}" for m, tau in zip(self.modulators, taus, strict=True))
        name = self.config.combination_fn
        return f"{drives}; {name if isinstance(name, str) else 'combination of your own'}"

    def _admit(
        self, signals: Mapping[str, Signal], state: NeuromodState | None
    ) -> tuple[dict[str, Tensor], NeuromodState]:
        """Checked signals and state, on one device and in one precision."""
        size, device, dtype = signal_layout(signals)
        if state is None:
            state = self.init(size or 1, device, dtype)
        else:
            held = len(state.levels) if isinstance(state, NeuromodState) else 0
            require_state(state, self.reward_baseline.state_shape(held), size)
            state = state.to(dtype=torch.promote_types(dtype, state.levels.dtype))
        levels = state.levels
        return read_signals(signals, len(levels), device=levels.device, dtype=levels.dtype), state
