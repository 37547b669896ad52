"""Eligibility of each place of a map, before places that share a weight are summed: each hears for itself.

    e_bp ← β·e_bp + f_bp,   Δw = Σ_b Σ_p L_bp · e_bp

Where spikes still wait, the same comes straight from them, with L as a gain of the post side. Only where they have
waited long enough, or where a kernel follows each synapse, e is kept apart: B · places · weights numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.terms import remaining
from ...layers.conv import Conv
from ...layers.geometry import Geometry
from ..eligibility_vectors import EligibilityVectors
from ..memory import require_memory
from .folding import products
from .spikes import SpikeBlock
from .state import TraceState


def update_places(state: TraceState, block: SpikeBlock) -> None:
    """Bring e, of each place and of all together, and the kernel's state past a window of spikes.

    Raises:
        MemoryError: it would take too much of the memory that is free.
    """
    geometry, trace, dt = state.rule.geometry, state.rule.trace, block.dt
    assert isinstance(geometry, Conv)
    beta, kernel, steps = float(trace.retained(dt)), state.rule.kernel, len(block.pre)
    places = state.places
    if places is None:
        shape = (state.batch_size, *geometry.uses(state.each))
        instead = "Take a smaller batch, a signal for each channel (B, C), or reset() after fewer steps."
        require_memory("The eligibility of each place", shape, state.like[1].dtype, state.like[1].device, instead)
        places = state.like[1].new_zeros(shape)
    if isinstance(kernel, EligibilityVectors):
        state.kernel = kernel.init(*state.like) if state.kernel is None else state.kernel
        for pre, post in zip(block.pre, block.post, strict=True):
            kernel.accumulate_apart_(places, pre.to(places.dtype), post, state.kernel, beta, state.scale)
    else:
        gains, parts = state.scale * remaining(beta, steps, places.dtype, places.device), state.split(steps)
        for samples, part in parts:
            window, kept = part.window(block, samples), beta**steps
            for product in products(geometry, window, gains):
                geometry.apart_(places[samples], product, kept)
                kept = 1.0
            part.kernel = window.state_after
        state.join(parts)
    state.e, state.places, state.bound = geometry.summed(places), places, None


def met_by_places(geometry: Geometry, mod: Tensor, places: Tensor, *, each: bool) -> Tensor:
    """Σ_b Σ_p mod_bp · e_bp, or `each` sample of it, (B, *shape)."""
    assert isinstance(geometry, Conv)
    mod = mod.flatten(2).unflatten(1, (geometry.groups, -1))
    if each:
        return torch.einsum("bgcl,bgclk->bgck", mod, places).reshape(len(mod), *geometry.shape)
    return torch.einsum("bgcl,bgclk->gck", mod, places).reshape(geometry.shape)
