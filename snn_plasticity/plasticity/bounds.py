"""Bounds: a proposed change becomes an allowed weight.

    free   w ← w + Δw
    hard   w ← clamp(w + Δw, min(w, low), max(w, high))
    norm   w ← (w + Δw) · |w| / |w + Δw|, for each post neuron
    sums   w_ij ← w_ij + Δw_ij − mean_i Δw_ij − mean_j Δw_ij + mean_ij Δw_ij, for post neurons i and their inputs j
    soft   Δw > 0 shrinks by ((high − w)/(high − low))^μ₊,  Δw < 0 by ((w − low)/(high − low))^μ₋,  then as hard

The factors of soft bounds lie between 0 and 1. A weight that already lies outside may stay or move inward, never
further out; no change means no change.
A bound is any function from (weight, delta) to the new weight; where Δw is zero throughout it is not heard, so that a
function that normalises moves nothing without a modulator.
Gütig, Aharonov, Rotter & Sompolinsky 2003; inputs that compete for a neuron: von der Malsburg 1973, Oja 1982;
sums that are kept: Miller & MacKay 1994.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from .._checks import require_finite, require_tensors
from ..config import ThreeFactorConfig
from ..config.validation import require_number_field

Bounds = Callable[[Tensor, Tensor], Tensor]


def free(weight: Tensor, delta: Tensor) -> Tensor:
    """No bound."""
    _require_change(weight, delta)
    return weight + delta


def _require_change(weight: Tensor, delta: Tensor) -> None:
    """Refuse what are not a weight and a finite change of its shape."""
    require_tensors({"weight": weight, "delta": delta}, like="weight", finite=False)
    if not weight.is_floating_point():
        raise TypeError(f"weight has dtype {weight.dtype}; expected floating point.")
    require_finite("delta", delta)


def _require_ends(bounds: object) -> None:
    """Refuse ends that are no numbers, or not in order."""
    for name in ("low", "high"):
        require_number_field(bounds, name, infinite=True)
    low, high = bounds.low, bounds.high  # type: ignore[attr-defined]
    if not low < high:
        raise ValueError(f"{type(bounds).__name__}: low = {low:g} and high = {high:g}; expected low < high.")


def _stopped(weight: Tensor, delta: Tensor, low: float, high: float) -> Tensor:
    """w + Δw, no further out than the ends, or than the weight was."""
    return torch.minimum(torch.maximum(weight + delta, weight.clamp(max=low)), weight.clamp(min=high))


@dataclass(frozen=True)
class HardBounds:
    """Weights stop at `low` and `high`.

    >>> HardBounds(0.0, 1.0)(torch.tensor([0.9, 2.0]), torch.tensor([0.5, 0.5]))
    tensor([1., 2.])
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _require_ends(self)

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight.

        Raises:
            TypeError: no tensors.
            ValueError: a change of another shape, NaN or infinity.
        """
        _require_change(weight, delta)
        return self._moved(weight, delta)

    def _moved(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight, from what was checked already."""
        return _stopped(weight, delta, self.low, self.high)


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

    def __post_init__(self) -> None:
        _require_ends(self)
        for name in ("low", "high"):
            require_number_field(self, name)
        for name in ("mu_plus", "mu_minus"):
            require_number_field(self, name, 0.0)

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight; errors as `HardBounds`."""
        _require_change(weight, delta)
        return self._moved(weight, delta)

    def _moved(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight, from what was checked already."""
        span = self.high - self.low
        room_up = ((self.high - weight) / span).clamp(0.0, 1.0) ** self.mu_plus
        room_down = ((weight - self.low) / span).clamp(0.0, 1.0) ** self.mu_minus
        scaled = torch.where(delta > 0, delta * room_up, delta * room_down)
        return _stopped(weight, scaled, self.low, self.high)


@dataclass(frozen=True)
class KeptNorm:
    """The weights of each post neuron keep their norm: what one input gains, the others lose.

    >>> KeptNorm()(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, -4.0], [0.0, 0.0]]))
    tensor([[5., 0.],
            [1., 0.]])
    """

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight; a neuron without a change keeps its own, and so does one whose weights would all be zero.

        Raises:
            TypeError: no tensors.
            ValueError: a change of another shape, NaN or infinity; weights that are not (N_post, ...).
        """
        _require_change(weight, delta)
        _require_rows(weight, "norm")
        axes, new = tuple(range(1, weight.dim())), weight + delta
        before, after = (torch.linalg.vector_norm(w, dim=axes, keepdim=True) for w in (weight, new))
        moves = (delta != 0).flatten(1).any(1).view_as(after)
        return torch.where(moves & (after > 0), new * (before / after.clamp(min=torch.finfo(after.dtype).tiny)), weight)


@dataclass(frozen=True)
class KeptSums:
    """Weights keep their sum in each post neuron, and from each of its inputs over all post neurons.

    What one synapse gains is lost by the other inputs of its neuron, and by that input at the other neurons: what all
    have in common is not learned, and none takes over. A single neuron keeps its own sum, and a single input its own.

    >>> KeptSums()(torch.zeros(2, 2), torch.tensor([[0.4, 0.0], [0.0, 0.0]]))
    tensor([[ 0.1000, -0.1000],
            [-0.1000,  0.1000]])
    """

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight.

        Raises:
            TypeError: no tensors.
            ValueError: a change of another shape, NaN or infinity; weights that are not (N_post, ...).
        """
        _require_change(weight, delta)
        _require_rows(weight, "sums")
        rows = delta.flatten(1)
        for axis in (0, 1):
            rows = rows if rows.shape[axis] < 2 else rows - rows.mean(axis, keepdim=True)
        return weight + rows.view_as(weight)


def _require_rows(weight: Tensor, word: str) -> None:
    if weight.dim() < 2:
        raise ValueError(
            f"weight is {tuple(weight.shape)}; weight_bounds={word!r} needs (N_post, ...): a row for each neuron."
        )


PLAIN_BOUNDS = (HardBounds, SoftBounds)  # whose formulas are known; a class derived from them may have its own


def bounds_of(config: ThreeFactorConfig) -> Bounds:
    """The bounds that a config describes."""
    if config.weight_bounds is None:
        return free
    if isinstance(config.weight_bounds, str):
        return {"norm": KeptNorm, "sums": KeptSums}[config.weight_bounds]()
    if callable(config.weight_bounds):
        return cast(Bounds, config.weight_bounds)
    if config.soft_bounds is None:
        return HardBounds(*config.weight_bounds)
    exponents = config.soft_bounds if isinstance(config.soft_bounds, tuple) else (config.soft_bounds,) * 2
    return SoftBounds(*config.weight_bounds, *exponents)


def unchecked(bounds: Bounds) -> Bounds:
    """The same bounds for a weight and a change that were checked already."""
    return bounds._moved if type(bounds) in PLAIN_BOUNDS else bounds  # type: ignore[attr-defined]
