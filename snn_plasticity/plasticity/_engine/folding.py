"""Folding: many steps of a linear trace into one contraction.

    e_T = β^T e_0 + Σ_t β^(T−1−t) f_t
    Σ_r m_r e_r = (Σ_r m_r β^(r+1)) e_0 + Σ_t G_t f_t,      G_t = Σ_{r ≥ t} m_r β^(r−t)

Both are Σ_t G_t f_t for some gains G: the first gives the eligibility, the second a weight change for which no
eligibility is ever built. Every term of f is brought to the form (spikes) × (table): a filter on the spikes' side moves
to the other side, where all terms with the same spikes become one table, and the product is sparse on one side. What
multiplies the two is `Geometry.contract_`: the one seam to another device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...kernels.terms import Filtered, Side, Spikes, Term, Values, backward
from ...layers.geometry import Geometry, Product, scaled_
from ...layers.spike_trains import MIN_ENTRIES, SpikeTrains, as_numbers
from .window_terms import WindowTerms, add_filtered

VISITED_ENTRIES = 1 << 20  # of e that are visited by all products while they are in the cache (1.2 times faster)


def fold_(geometry: Geometry, out: Tensor, window: WindowTerms, gains: Tensor, beta: float = 1.0) -> None:
    """In place: out ← beta·out + Σ_t G_t f_t.

    Args:
        geometry: layout of the synapses.
        out: (B, *shape), each sample for itself, or (*shape), summed over the batch.
        window: f in factored form.
        gains: (T,), (T, B), (T, B, N_post) or, of each place of a map, (T, B, C, *places).
        beta: factor of what is there; with 0 it may be anything.
    """
    found, shape = [_of_constant(product) for product in products(geometry, window, gains)], geometry.shape
    if not found:
        scaled_(out, beta)
        return
    batch = len(out) if out.dim() > len(shape) else 1
    count = max(1, VISITED_ENTRIES // math.prod(shape))
    for start in range(0, batch, count):
        samples = slice(start, start + count)
        for k, product in enumerate(found):
            part = (out, product) if count >= batch else (out[samples], product.of(samples))
            geometry.contract_(*part, 1.0 if k else beta)


def products(geometry: Geometry, window: WindowTerms, gains: Tensor) -> list[Product]:
    """The contractions of a window, as few as there are different trains."""
    tables: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    found: list[Product] = []
    for term in window.terms:
        side = _spikes_side(geometry, term, gains)
        if side is None:
            found.append(_as_it_is(geometry, window, term, gains))
            continue
        own, other = (term.post, term.pre) if side == "post" else (term.pre, term.post)
        assert not isinstance(own, Values)
        key = side, id(own.trains)
        table, met = _added(tables[key][1] if key in tables else None, geometry, window, own, other, term.scale * gains)
        tables[key] = own.trains, table
        if met is not None and isinstance(own, Filtered) and own.lead is not None:
            found.append(_ordered(side, own.lead.unsqueeze(0), met.unsqueeze(0)))
    for (side, _), (trains, table) in tables.items():
        found.append(_sparse(geometry, side, window.trains(trains), table))
    return found


def _of_constant(product: Product) -> Product:
    """Where the same came in at every step, as a constant current: one step of it, and the sum of what it meets."""
    post, pre = product.post, product.pre
    if product.trains is not None or len(pre) < 2 or not pre.is_cpu or not torch.equal(pre[0], pre[-1]):
        return product
    return Product(post.sum(0, keepdim=True), pre[:1]) if torch.equal(pre[1:], pre[:-1]) else product


def _added(
    table: Tensor | None, geometry: Geometry, window: WindowTerms, own: Side, other: Side, gains: Tensor
) -> tuple[Tensor, Tensor | None]:
    """A table, in place, and what the spikes of `own` are to be multiplied with; and what a lead of theirs meets.

    A filter of `own` moves to the other side, where its lead meets what is yet to come.
    """
    back = isinstance(own, Filtered)
    one_filter = not isinstance(other, Values) and back is not isinstance(other, Filtered)
    trains = window.for_loop(other.trains) if one_filter and gains.dim() < 3 else None  # type: ignore[union-attr]
    if trains is not None:
        moved: Filtered = own if back else other  # type: ignore[assignment]
        table, after = add_filtered(table, trains, gains, moved, back=back)
        return table, moved.decay * after if back else None
    found, met = _gained(geometry, window.values(other), gains), None
    if isinstance(own, Filtered) and window.compiled and found.numel() >= MIN_ENTRIES:
        table, after = add_filtered(table, found, found.new_ones(len(found)), own, back=True)
        return table, own.decay * after
    if isinstance(own, Filtered):
        last, found = found[0], backward(found, own.decay, exclusive=own.exclusive)
        met = own.decay * (found[0] + last if own.exclusive else found[0])
    return found if table is None else table.add_(found), met


def _spikes_side(geometry: Geometry, term: Term, gains: Tensor) -> str | None:
    """The side whose raw spikes shall be multiplied; the table is built on the other one."""
    post, pre = not isinstance(term.post, Values), not isinstance(term.pre, Values)
    if gains.dim() >= 3:  # one gain per post neuron: it must be in a table on the post side
        return "pre" if pre else None
    if post and pre:
        return geometry.spikes_side
    return "post" if post else "pre" if pre else None


def _as_it_is(geometry: Geometry, window: WindowTerms, term: Term, gains: Tensor) -> Product:
    """A term without tables, its gains on the post side."""
    post, pre = _gained(geometry, window.values(term.post), term.scale * gains), window.values(term.pre)
    return _sparse(geometry, "post", SpikeTrains(post), pre) if isinstance(term.post, Spikes) else Product(post, pre)


def _sparse(geometry: Geometry, side: str, trains: SpikeTrains, table: Tensor) -> Product:
    """Trains, as matrices where the geometry multiplies these, and what they are multiplied with."""
    matrices = trains if geometry.multiplies_bool(trains) else None
    spikes = as_numbers(trains.spikes, table.dtype) if matrices is None else trains.spikes
    return Product(*((spikes, table) if side == "post" else (table, spikes)), side, matrices)


def _ordered(side: str, own: Tensor, other: Tensor) -> Product:
    return Product(own, other) if side == "post" else Product(other, own)


def _gained(geometry: Geometry, values: Tensor, gains: Tensor) -> Tensor:
    """Values (T, B, ...) times gains (T,), (T, B), or (T, B, N) along the neurons' axis."""
    shape = list(gains.shape) + [1] * (values.dim() - gains.dim())
    if gains.dim() == 3 and values.dim() > 3:
        shape = [*gains.shape[:2], *[1] * (values.dim() - 2)]
        shape[geometry.neuron_axis] = gains.shape[2]
    return values * gains.view(shape)
