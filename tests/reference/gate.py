"""Signals, levels, modulators and the gain of plasticity.

drive    DA = tanh(s (reward − b)) or s (reward − b),  the others tanh(s max(signal, 0));  a normalized source has
         s/σ for s;  a signal that is missing drives nothing and is learnt nothing from
level    ℓ ← clamp(exp(−dt/τ) ℓ + drive),  τ = 0 forgets at once
amount   m = clamp(ℓ + tonic);  linear dopamine has no range

b        ← b + (1 − exp(−dt/τ_b)) φ,   φ = δ = reward − b  where dopamine is linear,
           φ = p tanh(s δ)  where it is not (what b moves by is at most |δ|),
           p = max(1/s, min(⟨|δ|⟩, 1/(s ⟨1 − tanh²(s δ)⟩))),  over 3 τ_b, 30 rewards at least
σ        = √((S + n₀) / (N + n₀)),  n₀ = 50 · 2^(−(N/12)²) (1 − N/τ),  of what was heard before:
           S ← (1 − 1/τ) S + x²,  N ← (1 − 1/τ) N + 1  where x ≠ 0
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .settings import Neuromod

NAMES = ("DA", "ACh", "NE", "5HT")
PREFIXES = ("da", "ach", "ne", "sht")
NORMALIZED = "normalized_"


class Gate:
    """What is remembered of signals.

    `levels` (B, 4); and what was learnt, by who learns it: every sample (B rows), or the whole batch (one row):
    `expected` (rows, contexts), `paces` (rows, contexts, 3) sums of |δ|, of slopes and of ones, `sizes` (rows, 4, 2)
    of squares and of ones.
    """

    def __init__(self, given: Neuromod) -> None:
        self.given, self.shared = given, given.baseline_scope == "batch"
        self.scale, self.tau, self.tonic, self.weight = (
            np.array([getattr(given, f"{prefix}_{kind}") for prefix in PREFIXES])
            for kind in ("scale", "tau", "baseline", "weight")
        )
        with np.errstate(divide="ignore"):
            self.kept = np.where(self.tau > 0, np.exp(-given.dt / self.tau), 0.0)
        reach = np.inf if given.da_response == "linear" else 1.0
        self.low, self.high = np.array([-reach, 0.0, 0.0, 0.0]), np.array([reach, 1.0, 1.0, 1.0])
        self.levels: np.ndarray | None = None
        self.learnt: dict[str, np.ndarray] = {}

    def hear(self, signals: Mapping[str, object], batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Modulators (B, 4) and gain (B,) of a step, which is remembered."""
        self.meet(batch)
        values = {name: per_sample(value, batch) for name, value in signals.items()}
        drive = np.zeros((batch, 4))
        for k, prefix in enumerate(PREFIXES):
            source = getattr(self.given, f"{prefix}_source")
            value = values.get(source.removeprefix(NORMALIZED))
            if value is not None:
                scale = self.scale[k] / (self.size(k, value) if source.startswith(NORMALIZED) else np.ones(batch))
                if k == 0:
                    error = self.error(value, values.get("context", np.zeros(batch)).astype(int), scale)
                    drive[:, k] = scale * error if self.given.da_response == "linear" else np.tanh(scale * error)
                else:
                    drive[:, k] = np.tanh(scale * np.maximum(value, 0.0))
        self.levels = np.clip(self.kept * self.levels + drive, self.low, self.high)
        amounts = np.clip(self.levels + self.tonic, self.low, self.high)
        return amounts, self.combined(amounts)

    def meet(self, batch: int) -> None:
        """So many samples; where there were others before, each starts from the mean of what they had learnt."""
        contexts = self.given.n_contexts if self.given.reward_baseline == "context" else 1
        rows = 1 if self.shared else batch
        if self.levels is None or len(self.levels) != batch:
            self.levels = np.zeros((batch, 4))
        for name, shape in (("expected", (contexts,)), ("paces", (contexts, 3)), ("sizes", (4, 2))):
            old = self.learnt.get(name, np.zeros((rows, *shape)))
            self.learnt[name] = old if len(old) == rows else np.repeat(old.mean(0, keepdims=True), rows, axis=0)

    def size(self, k: int, value: np.ndarray) -> np.ndarray:
        """The usual size of a source before now, (B,), which then hears what there is now."""
        sums, memory = self.learnt["sizes"], max(self.given.usual_tau / self.given.dt, 1.0)
        squares, count = sums[:, k].T
        prior = 50.0 * 2.0 ** -((count / 12.0) ** 2) * np.maximum(1.0 - count / memory, 0.0)
        size = np.sqrt((squares + prior) / (count + prior))
        for row, members in self.rows(value != 0):
            now = np.array([(value[members] ** 2).mean(), 1.0])
            sums[row, k] = (1.0 - 1.0 / memory) * sums[row, k] + now
        return np.broadcast_to(size, value.shape)

    def rows(self, chosen: np.ndarray) -> list[tuple[int, list[int]]]:
        """Who learns from the chosen samples: each itself, or one row from all of them."""
        members = np.flatnonzero(chosen).tolist()
        if self.shared:
            return [(0, members)] if members else []
        return [(b, [b]) for b in members]

    def error(self, value: np.ndarray, context: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """What is above expectation, which moves what is expected next time."""
        given = self.given
        if given.reward_baseline == "none":
            return value
        if given.reward_baseline == "running":
            context = np.zeros(len(value), int)
        expected, paces = self.learnt["expected"], self.learnt["paces"]
        error = value - np.array([expected[0 if self.shared else b, c] for b, c in enumerate(context)])
        rate, memory = (
            1.0 - math.exp(-given.dt / given.reward_baseline_tau),
            max(3.0 * given.reward_baseline_tau / given.dt, 30.0),
        )
        dopamine = np.tanh(scale * error)
        for c in sorted(set(context.tolist())):
            for row, members in self.rows(context == c):
                if given.da_response == "linear":
                    expected[row, c] += rate * error[members].mean()
                    continue
                distance, slope = np.abs(error[members]).mean(), (1.0 - dopamine[members] ** 2).mean()
                width = (1.0 / scale[members]).mean()
                pace = self.pace(paces[row, c], width)
                moved = rate * pace * dopamine[members].mean()
                expected[row, c] += np.clip(moved, -distance, distance)
                paces[row, c] = (1.0 - 1.0 / memory) * paces[row, c] + np.array([distance, slope, 1.0])
        return error

    @staticmethod
    def pace(sums: np.ndarray, width: float) -> float:
        """p: how much an expectation moves for a full dopamine."""
        distances, slopes, count = sums
        if count == 0:
            return width
        newton = width * count / slopes if slopes > 0 else np.inf
        return max(width, min(distances / count, newton))

    def combined(self, amounts: np.ndarray) -> np.ndarray:
        """g (B,)."""
        if self.given.combination_fn == "gated_product":
            return self.weight[0] * amounts[:, 0] * np.prod(1.0 + self.weight[1:] * amounts[:, 1:], axis=1)
        return (self.weight * amounts).sum(1)

    def reset(self, mask: np.ndarray | None = None, *, keep_expected: bool = True) -> None:
        """Levels to zero, of all samples or of those in a mask; what was learnt about reward too, if told."""
        if mask is None:
            self.levels, self.learnt = None, self.learnt if keep_expected else {}
            return
        self.meet(len(mask))
        assert self.levels is not None
        self.levels[mask] = 0.0
        if not keep_expected and not self.shared:
            for values in self.learnt.values():
                values[mask] = 0.0


def per_sample(value: object, batch: int) -> np.ndarray:
    """A number, (), (B,) or (B, 1), as (B,)."""
    value = np.asarray(value, np.float64)
    return np.full(batch, float(value)) if value.ndim == 0 else value.reshape(batch)
