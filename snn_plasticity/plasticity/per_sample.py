"""Weights (B, *shape) with an axis more than the geometry: one network for each sample.

Δw_b = lr · mod_b · e_b                            neither mean nor sum over the batch
"""

from __future__ import annotations

from torch import Tensor

from .._untracked import untracked
from ..layers.geometry import Geometry
from ._engine.engine import RunningTraces
from ._engine.stepping import QueuedModulators, change_from_spikes, met_by
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
    """mod_b · e_b (B, *shape), of a modulator (), (B,), (B, N_post) or, for each place of a map, (B, C, *places)."""
    mod, running = traces.modulator(mod), traces._running
    if running is None:
        nothing = traces.eligibility
        assert nothing is not None
        return nothing
    with untracked(running.like[0]):
        found = _from_spikes(running, mod) if mod.dim() > 2 else None
        if found is None:
            running.eligibility()
            found = met_by(running.state, mod, each=True)
    return found


def _from_spikes(running: RunningTraces, mod: Tensor) -> Tensor | None:
    """Σ_p mod_bp · e_bp of each sample, from the spikes that wait; None where that is not exact."""
    running.state.by_place = True
    if not running.pending.one_dt():
        return None
    blocks = list(running.pending.windows(running.visible, running._length))
    queued = [QueuedModulators(running.visible, mod.unsqueeze(0))]
    return change_from_spikes(running.state, blocks, queued, each=True)
