"""The third factor as a learner hears it: a modulator as it is, or signals through a gate that remembers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .checks import Signal, as_modulator, as_signal
from .neuromodulation import NeuromodState, NeuromodulatoryGate, reset_samples
from .untracked import untracked


class Heard(NamedTuple):
    """One step's modulators (B,) by name, the third factor, and the state of the gate afterwards."""

    modulators: dict[str, Tensor]
    factor: float | Tensor
    state: NeuromodState | None


class ThirdFactor:
    """A gate with its state."""

    def __init__(self, gate: NeuromodulatoryGate) -> None:
        self.gate = gate
        self.state: NeuromodState | None = None

    def hear(
        self,
        modulator: Signal | Mapping[str, Signal] | None,
        signals: Mapping[str, Signal],
        batch_size: int | None,
        device: torch.device | None,
    ) -> Heard:
        """What a step is told, checked; nothing is stored yet.

        Raises:
            TypeError: neither modulator nor signals, or both.
            ValueError: unknown names, NaN, shapes that do not fit.
        """
        if isinstance(modulator, Mapping):
            signals = {**modulator, **signals}
        elif modulator is not None:
            if signals:
                raise TypeError(
                    f"step got a modulator and the signals {', '.join(signals)}; expected one or the other."
                )
            return Heard({}, as_modulator(modulator), self.state)
        if not signals:
            raise TypeError("step needs a third factor: a modulator, as step(1.0), or signals, as step(reward=r).")
        if batch_size is not None:
            signals = {n: as_signal(value, batch_size, name=n, device=device) for n, value in signals.items()}
        with untracked(torch.empty(0, device=device)):
            return Heard(*self.gate.step(signals, self._state_for(batch_size)))

    def reset(self, mask: Tensor | None, *, keep_baseline: bool) -> None:
        """Forget the levels, of all samples or of those in `mask`; and what was learnt about reward, or not."""
        if self.state is None:
            return
        if mask is None and not keep_baseline:
            self.state = None
        else:
            everyone = torch.ones(len(self.state.levels), dtype=torch.bool)
            self.state = reset_samples(self.state, everyone if mask is None else mask, keep_baseline=keep_baseline)

    def state_dict(self) -> dict[str, Any]:
        """The gate's parameters, and its state as plain tensors."""
        state = None if self.state is None else [leaf.clone() for leaf in tree_flatten(self.state)[0]]
        return {"parameters": self.gate.state_dict(), "state": state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.gate.load_state_dict(saved["parameters"])
        leaves, spec = saved["state"], tree_flatten(self.gate.init(1))[1]
        self.state = None if leaves is None else tree_unflatten([leaf.clone() for leaf in leaves], spec)

    def _state_for(self, batch_size: int | None) -> NeuromodState | None:
        """The state, with room for another batch size where no sample's own average is at stake."""
        state, config = self.state, self.gate.config
        if state is None or batch_size is None or len(state.levels) == batch_size:
            return state
        fresh = self.gate.init(batch_size, state.levels.device, state.levels.dtype)
        if config.reward_baseline == "none":
            return fresh
        if config.baseline_scope == "batch":
            return fresh._replace(baseline=state.baseline)
        raise ValueError(
            f"The batch has {batch_size} samples, but the gate keeps a reward average for each of {len(state.levels)}. "
            "Share one with NeuromodConfig(baseline_scope='batch'), or call learner.reset(scope='neuromodulators')."
        )
