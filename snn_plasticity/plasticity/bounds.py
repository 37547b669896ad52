"""Bounds: a proposed change becomes an allowed weight.

    free   w ← w + Δw
    hard   w ← clamp(w + Δw, min(w, low), max(w, high))
    soft   Δw > 0 shrinks by ((high − w)/(high − low))^μ₊,  Δw < 0 by ((w − low)/(high − low))^μ₋,  then as hard

A weight that already lies outside may stay or move inward, never further out; no change means no change.
A bound is any function from (weight, delta) to the new weight; where Δw is zero throughout it is not heard, so that a
function that normalises moves nothing without a modulator.
Gütig, Aharonov, Rotter & Sompolinsky 2003.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..config import ThreeFactorConfig

Bounds = Callable[[Tensor, Tensor], Tensor]


def free(weight: Tensor, delta: Tensor) -> Tensor:
    """No bound."""
    return weight + delta


@dataclass(frozen=True)
class HardBounds:
    """Weights stop at `low` and `high`.

    >>> HardBounds(0.0, 1.0)(torch.tensor([0.9, 2.0]), torch.tensor([0.5, 0.5]))
    tensor([1., 2.])
    """

    low: float
    high: float

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight."""
        floor, ceiling = weight.clamp(max=self.low), weight.clamp(min=self.high)
        return torch.minimum(torch.maximum(weight + delta, floor), ceiling)


@dataclass(frozen=True)
class SoftBounds:
    """Changes shrink with the distance that is left to the bound, by a power law for each direction.

    >>> SoftBounds(0.0, 1.0)(torch.tensor([0.5, 1.0]), torch.tensor([0.1, 0.1]))
    tensor([0.5500, 1.0000])
    """

    low: float
    high: float
    mu_plus: float = 1.0
    mu_minus: float = 1.0

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight."""
        span = self.high - self.low
        room_up = ((self.high - weight) / span).clamp(0.0, 1.0) ** self.mu_plus
        room_down = ((weight - self.low) / span).clamp(0.0, 1.0) ** self.mu_minus
        scaled = torch.where(delta > 0, delta * room_up, delta * room_down)
        return HardBounds(self.low, self.high)(weight, scaled)


def bounds_of(config: ThreeFactorConfig) -> Bounds:
    """The bounds that a config describes."""
    if config.weight_bounds is None:
        return free
    if callable(config.weight_bounds):
        return cast(Bounds, config.weight_bounds)
    if config.soft_bounds is None:
        return HardBounds(*config.weight_bounds)
    exponents = config.soft_bounds if isinstance(config.soft_bounds, tuple) else (config.soft_bounds,) * 2
    return SoftBounds(*config.weight_bounds, *exponents)
