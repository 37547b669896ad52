"""Weights (B, *shape) with an axis more than the geometry: one network for each sample.

Δw_b = lr · mod_b · e_b                            neither mean nor sum over the batch
"""

from __future__ import annotations

from torch import Tensor

from ..layers.geometry import Geometry
from .eligibility import EligibilityTraceModule


def samples_of(name: str, weight: Tensor, geometry: Geometry, path: str) -> int | None:
    """How many networks there are in a weight; None where all samples share it.

    Raises:
        ValueError: several, on the path that keeps one sum of all samples.
    """
    shape = tuple(weight.shape)
    if shape == geometry.shape or shape[1:] != geometry.shape:
        return None
    if path == "shared":
        raise ValueError(
            f"{name} has weights {shape}, of its own for each sample, and the path 'shared' keeps one sum of all "
            "samples; expected path='auto' or 'fold'."
        )
    return shape[0]


def require_samples(name: str, samples: int | None, batch: int) -> None:
    """Refuse a batch of another size than there are networks; None takes any."""
    if samples is not None and batch != samples:
        raise ValueError(
            f"{name}: pre has a batch of {batch}; expected {samples}, since each sample has weights of its own. "
            "Nothing was changed."
        )


def modulate_each(traces: EligibilityTraceModule, mod: float | Tensor) -> Tensor:
    """mod_b · e_b (B, *shape), of a modulator (), (B,) or (B, N_post)."""
    e, mod = traces.eligibility, traces.modulator(mod)
    assert e is not None
    mod = traces.rule.geometry.per_synapse(mod)
    return mod.reshape(mod.shape + (1,) * (e.dim() - mod.dim())) * e
