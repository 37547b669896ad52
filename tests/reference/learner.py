"""The three-factor update: Δw = clamp(lr · reduce_B(mod · e)), summed over `update_frequency` steps.

online           w ← bounds(w, Δw)
hybrid           w.grad ← w.grad − Δw          Δw: the part that the bounds let through
auxiliary_loss   L = −⟨Δw, w⟩                  likewise
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .gate import Gate
from .layers import Layer
from .settings import Eligibility, Neuromod, ThreeFactor
from .traces import Traces


def bounded(weight: np.ndarray, delta: np.ndarray, given: ThreeFactor) -> np.ndarray:
    """The new weight; one that lies outside may stay or come back, never go further out."""
    if given.weight_bounds is None:
        return weight + delta
    low, high = given.weight_bounds
    if given.soft_bounds is not None:
        soft = given.soft_bounds
        up, down = soft if isinstance(soft, tuple) else (soft, soft)
        room_up = np.clip((high - weight) / (high - low), 0.0, 1.0) ** up
        room_down = np.clip((weight - low) / (high - low), 0.0, 1.0) ** down
        delta = delta * np.where(delta > 0, room_up, room_down)
    return np.clip(weight + delta, np.minimum(low, weight), np.maximum(high, weight))


class Synapses:
    """One plastic weight: its traces, what was asked of it, and what became of it."""

    def __init__(
        self,
        layer: Layer,
        weight: np.ndarray,
        eligibility: Eligibility,
        update: ThreeFactor,
        mask: np.ndarray | None = None,
    ) -> None:
        self.traces, self.update = Traces(layer, eligibility), update
        self.weight, self.grad = np.array(weight, np.float64), np.zeros(weight.shape)
        self.mask = np.ones(weight.shape) if mask is None else np.asarray(mask, np.float64)
        self.asked, self.turn = np.zeros(weight.shape), 0

    def hear(self, mod: np.ndarray | float, lr_scale: float = 1.0) -> float:
        """A modulator arrives; returns what this weight adds to the loss."""
        if self.traces.e is None:
            return 0.0
        self.asked = self.asked + self.update.lr * lr_scale * self.traces.change(mod)
        self.turn += 1
        if self.turn < self.update.update_frequency:
            return 0.0
        delta, clamp = self.asked, self.update.weight_clamp
        delta = (delta if clamp is None else np.clip(delta, *clamp)) * self.mask
        self.discard_pending()
        allowed = bounded(self.weight, delta, self.update)
        if self.update.mode == "online":
            self.weight = allowed
            return 0.0
        self.grad = self.grad - (allowed - self.weight)
        return -float(((allowed - self.weight) * self.weight).sum()) if self.update.mode == "auxiliary_loss" else 0.0

    def discard_pending(self) -> None:
        """Nothing waits for its turn."""
        self.asked, self.turn = np.zeros(self.weight.shape), 0


class Learner:
    """Synapses by name and one gate: a modulator or signals come, weights change."""

    def __init__(self, synapses: Mapping[str, Synapses], neuromod: Neuromod) -> None:
        self.synapses, self.gate, self.lr_scale = dict(synapses), Gate(neuromod), 1.0

    @property
    def batch(self) -> int | None:
        """Samples of the running sequence."""
        sizes = [len(s.traces.now) for s in self.synapses.values() if s.traces.now is not None]
        return sizes[0] if sizes else None

    def step(self, modulator: object = None, layers: Collection[str] | None = None, **signals: object):
        """The third factor, or signals; returns modulators (B, 4) or None, the factor, and the loss."""
        if modulator is None:
            sizes = [np.size(value) for value in signals.values() if np.ndim(value)]
            amounts, factor = self.gate.hear(signals, self.batch or (sizes[0] if sizes else 1))
        else:
            amounts, factor = None, np.asarray(modulator, np.float64)
        hearing = [s for name, s in self.synapses.items() if layers is None or name in layers]
        return amounts, factor, sum(s.hear(factor, self.lr_scale) for s in hearing)

    def reset(self, mask: np.ndarray | None = None, scope: str = "episode") -> None:
        """Forget: "episode" traces and levels, "eligibility", "neuromodulators" levels and averages, "all"."""
        if scope != "neuromodulators":
            for synapses in self.synapses.values():
                synapses.traces.reset(mask)
        if scope != "eligibility":
            self.gate.reset(mask, keep_expected=scope == "episode")
        if scope == "all" and mask is None:
            for synapses in self.synapses.values():
                synapses.discard_pending()
