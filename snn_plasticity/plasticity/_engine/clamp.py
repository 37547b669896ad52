"""A certificate that the clamp cannot bind, from neuron-sized vectors alone.

    |e_ij(t)| ≤ β^t |e_ij(0)| + max(P_i, D_i)

    P_i, D_i   for the potentiating and the depressing terms:  Σ |scale| · min( max_t F(|post_i|) · max |pre|,
                                                                               max_t |post_i| · max F(|pre|) )

F is the eligibility's own exponential filter. Larger and cheaper is a plain sum over the window, and cheaper still are
bounds of it of which nothing is known but the sum of each neuron's spikes and the tallest of them; these are tried
first. Where e is small, what either sign adds to each synapse says most. Potentiation and depression have opposite
signs where all factors are non-negative, so that the larger of the two counts; otherwise their sum does. It holds
for every step of the window and for each post neuron, so that only rows that fail need be walked through. Where a
weight sums over positions, post is summed over them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..geometry import Geometry
from . import filters
from .contract import contract_, products
from .product import Product
from .state import Past
from .terms import Filtered, Side, Spikes, Values
from .window_terms import WindowTerms

COARSE = 16  # steps within which a spike counts for the most that it could
ONE_IN = 4  # of so many rows one must have a chance, or no tighter bound is looked for


def failing_rows(past: Past, said: WindowTerms, dt: float, *, refresh: bool = True) -> Tensor | None:
    """Rows (B, N_post) in which the clamp might bind within the window; None if there are none.

    Args:
        past: before the window; its bound is brought past it.
        said: the window.
        dt: step length.
        refresh: whether e may be looked at, where the running bound is not enough.
    """
    trace = past.rule.trace
    if trace.clamp_range is None or not said.terms:
        return None
    if not past.rule.geometry.closed_form:
        return past.row_maxima() >= 0.0
    low, high = trace.clamp_range
    limit, beta = max(0.0, min(-low, high)), float(trace.retained(dt))
    before = past.row_maxima() if past.bound is None else past.bound
    new = count_bounds(said, past.scale)
    if new is None or _any(before + new > limit):
        sums = synapse_bounds(past, said)
        new = row_bounds(past.rule.geometry, said, 1.0, past.scale) if sums is None else sums
    if _any(before + new > limit) and refresh and not past.shared and past.e is not None:
        before = past.row_maxima()
    if _any(before + new > limit) and _any_hope(before, limit):
        new = row_bounds(past.rule.geometry, said, beta, past.scale)
    failing = before + new > limit
    past.bound = (beta ** len(said) * before + new).clamp(max=max(abs(low), abs(high)))
    return failing if _any(failing) else None


def row_bounds(geometry: Geometry, said: WindowTerms, discount: float, scale: float) -> Tensor:
    """Largest |e| that a window can add to any synapse of each post neuron, (B, N_post)."""
    bounds, positive = [], True
    for term in said.terms:
        sides = [said.values(side) for side in (term.post, term.pre)]
        signed = [_signed(said, side) for side in (term.post, term.pre)]
        positive = positive and not any(signed)
        post, pre = (side.abs() if sign else side for side, sign in zip(sides, signed, strict=True))
        rows = geometry.by_neuron(post)
        bound = _total(rows, discount).amax(0) * pre.flatten(2).amax(dim=(0, 2)).unsqueeze(1)
        if rows is post:  # no positions
            other = rows.amax(0) * _total(pre, discount).amax(dim=(0, 2)).unsqueeze(1)
            bound = torch.minimum(bound, other)
        bounds.append((term.scale * scale, bound))
    return _joined(bounds, positive)


def count_bounds(said: WindowTerms, scale: float) -> Tensor | None:
    """As `row_bounds`, from sums of spikes; None where a side is no train, may be negative, or has positions."""
    bounds = []
    for term in said.terms:
        sides = [_counted(said, side) for side in (term.post, term.pre)]
        if None in sides:
            return None
        (post, post_peak), (pre, pre_peak) = sides  # type: ignore[misc]
        bound = torch.minimum(post * pre_peak.amax(1, keepdim=True), post_peak * pre.amax(1, keepdim=True))
        bounds.append((term.scale * scale, bound))
    return _joined(bounds, positive=True)


def synapse_bounds(past: Past, said: WindowTerms) -> Tensor | None:
    """As `row_bounds`, from all that either sign adds to each synapse; None where e is larger than the tables."""
    geometry, batch = past.rule.geometry, past.batch_size
    table = len(said) * max(like.numel() for like in past.like)
    signed = any(_signed(said, side) for term in said.terms for side in (term.post, term.pre))
    if signed or batch * math.prod(geometry.shape) > table:
        return None
    gains = past.like[1].new_full((len(said),), past.scale)
    worst = past.like[1].new_zeros(batch, geometry.n_post)
    sums = past.like[1].new_empty(batch, *geometry.shape)
    for terms in ([term for term in said.terms if (term.scale > 0) is sign] for sign in (True, False)):
        if terms:
            contract_(geometry, sums, map(_coarse, products(geometry, said.only(terms), gains)), 0.0)
            worst = torch.maximum(worst, geometry.row_maxima(sums))
    return worst


def _coarse(product: Product) -> Product:
    """A product in which each spike counts for the most that any does in a few steps around it; sums are no smaller."""
    if product.trains is None or not product.trains.binary:
        return Product(product.post.abs(), product.pre.abs())
    counts = product.trains.counts(COARSE)
    most = torch.stack([steps.abs().amax(0) for steps in product.table.split(COARSE)])
    return Product(counts, most) if product.sparse == "post" else Product(most, counts)


def _joined(bounds: list[tuple[float, Tensor]], positive: bool) -> Tensor:
    """Of the bounds of all terms, with their scales: the larger sign, or both where factors may be negative."""
    up, down = (
        sum((abs(scale) * bound for scale, bound in bounds if (scale > 0) is sign), torch.zeros_like(bounds[0][1]))
        for sign in (True, False)
    )
    return torch.maximum(up, down) if positive else up + down


def _counted(said: WindowTerms, side: Side) -> tuple[Tensor, Tensor] | None:
    """Bounds of a side's sum over the window and of its peak, (B, N), from the sum of its spikes and the tallest."""
    if isinstance(side, Values) or side.trains.dim() != 3 or _signed(said, side):
        return None
    trains = said.trains(side.trains)
    count, tallest = trains.count, 1.0 if trains.binary else trains.there.amax(0)
    if isinstance(side, Spikes):
        return count, torch.clamp(count, max=tallest)
    most = 1.0 / max(1.0 - side.decay, 1e-9)  # of a trace with a spike in every step, and of what becomes of one spike
    peak = torch.clamp(count, max=tallest * most)
    if side.lead is not None:
        count, peak = count + side.lead, peak + side.lead
    return count * min(len(said), most), peak


def _total(values: Tensor, discount: float) -> Tensor:
    """What has come together of values (T, ...) at every step, or at the end, (1, ...), where nothing is lost."""
    return values.sum(0, keepdim=True) if discount == 1.0 else filters.forward(values, discount)


def _any(rows: Tensor) -> bool:
    return bool(rows.any())


def _any_hope(before: Tensor, limit: float) -> bool:
    """Whether a tighter bound could save more than a few rows: those at the clamp it cannot."""
    return bool(torch.count_nonzero(before < limit) * ONE_IN > before.numel())


def _signed(said: WindowTerms, side: Side) -> bool:
    """Whether a side, or a train of which it is the trace, might be negative anywhere."""
    if isinstance(side, Values):
        return _any(side.tensor < 0)
    if not said.trains(side.trains).binary and _any(side.trains < 0):
        return True
    return isinstance(side, Filtered) and side.lead is not None and _any(side.lead < 0)
