"""A certificate that the clamp cannot bind, from neuron-sized vectors alone.

    |e_ij(t)| ≤ β^t |e_ij(0)| + max(P_i, D_i)

    P_i, D_i   for the potentiating and the depressing terms:  Σ |scale| · min( max_t F_β(|post_i|) · max |pre|,
                                                                               max_t |post_i| · max F_β(|pre|) )

F_β is the eligibility's own exponential filter. Potentiation and depression have opposite signs where all factors
are non-negative, so that the larger of the two counts; otherwise their sum does. The bound holds for every step of the
window and for each post neuron, so that only rows that fail need to be walked through.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import filters
from .geometry import Geometry
from .terms import Term


def row_bounds(geometry: Geometry, terms: list[Term], beta: float, scale: float) -> Tensor:
    """Largest |e| that a window can add to any synapse of each post neuron, (B, N_post)."""
    sums = {True: torch.zeros(()), False: torch.zeros(())}
    negative = torch.zeros(())
    for term in terms:
        post, pre = term.post.values(), term.pre.values()
        negative = negative.to(post) + (post < 0).any() + (pre < 0).any()
        post, pre = geometry.by_neuron(post.abs()), geometry.by_neuron(pre.abs())
        long_post = filters.forward(post, beta).amax(0) * _peak(pre)
        long_pre = post.amax(0) * _peak(filters.forward(pre, beta))
        bound = abs(term.scale) * scale * torch.minimum(long_post, long_pre)
        sums[term.scale > 0] = sums[term.scale > 0].to(post) + bound
    either, both = torch.maximum(sums[True], sums[False]), sums[True] + sums[False]
    return torch.where(negative > 0, both, either)


def _peak(values: Tensor) -> Tensor:
    """The largest of a window for each sample, (B, 1)."""
    return values.amax(dim=(0, 2)).unsqueeze(1)
