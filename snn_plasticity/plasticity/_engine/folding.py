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
from collections.abc import Iterator

from torch import Tensor

from ...kernels.terms import Filtered, Spikes, Term, Values
from ...layers.geometry import Geometry, Product, scaled_
from ...layers.spike_trains import SpikeTrains
from .window_terms import WindowTerms

VISITED_ENTRIES = 1 << 20  # of e that are visited by all products while they are in the cache (up to 1.1 times faster)


def fold_(geometry: Geometry, out: Tensor, window: WindowTerms, gains: Tensor, beta: float = 1.0) -> None:
    """In place: out ← beta·out + Σ_t G_t f_t.

    Args:
        geometry: layout of the synapses.
        out: (B, *shape), each sample for itself, or (*shape), summed over the batch.
        window: f in factored form.
        gains: (T,), (T, B) or (T, B, N_post).
        beta: factor of what is there; with 0 it may be anything.
    """
    found = list(products(geometry, window, gains))
    if not found:
        scaled_(out, beta)
        return
    batch = len(out) if out.dim() > len(geometry.shape) else 1
    count = max(1, VISITED_ENTRIES // math.prod(geometry.shape))
    for start in range(0, batch, count):
        samples = slice(start, start + count)
        for k, product in enumerate(found):
            part = (out, product) if count >= batch else (out[samples], product.of(samples))
            geometry.contract_(*part, 1.0 if k else beta)


def folded(geometry: Geometry, window: WindowTerms, gains: Tensor) -> Tensor:
    """Σ_t G_t f_t, summed over the batch, as a new tensor; arguments as of `fold_`."""
    found = list(products(geometry, window, gains))
    if not found:
        return gains.new_zeros(geometry.shape)
    out = geometry.contracted(found[0])
    for product in found[1:]:
        geometry.contract_(out, product, 1.0)
    return out


def products(geometry: Geometry, window: WindowTerms, gains: Tensor) -> Iterator[Product]:
    """The contractions of a window, as few as there are different trains."""
    tables: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    for term in window.terms:
        side = _spikes_side(geometry, term, gains)
        if side is None:
            yield _as_it_is(geometry, window, term, gains)
            continue
        own, other = (term.post, term.pre) if side == "post" else (term.pre, term.post)
        assert not isinstance(own, Values)
        table = _gained(geometry, window.values(other), term.scale * gains)
        if isinstance(own, Filtered):  # the filter moves to the other side; its lead meets what is yet to come
            table, met = own.adjoint(table)
            if met is not None and own.lead is not None:
                yield _ordered(side, own.lead.unsqueeze(0), met.unsqueeze(0))
        key = side, id(own.trains)
        tables[key] = own.trains, tables[key][1].add_(table) if key in tables else table
    for (side, _), (trains, table) in tables.items():
        spikes = window.trains(trains)
        own = trains if geometry.multiplies_bool(spikes) else window.numbers(trains)
        yield _ordered(side, own, table)._replace(sparse=side, trains=spikes)


def _spikes_side(geometry: Geometry, term: Term, gains: Tensor) -> str | None:
    """The side whose raw spikes shall be multiplied; the table is built on the other one."""
    post, pre = not isinstance(term.post, Values), not isinstance(term.pre, Values)
    if gains.dim() == 3:  # one gain per post neuron: it must be in a table on the post side
        return "pre" if pre else None
    if post and pre:
        return geometry.spikes_side
    return "post" if post else "pre" if pre else None


def _as_it_is(geometry: Geometry, window: WindowTerms, term: Term, gains: Tensor) -> Product:
    """A term without tables, its gains on the post side."""
    post, pre = _gained(geometry, window.values(term.post), term.scale * gains), window.values(term.pre)
    if isinstance(term.post, Spikes):
        return Product(post, pre, "post", SpikeTrains(post))
    return Product(post, pre)


def _ordered(side: str, own: Tensor, other: Tensor) -> Product:
    return Product(own, other) if side == "post" else Product(other, own)


def _gained(geometry: Geometry, values: Tensor, gains: Tensor) -> Tensor:
    """Values (T, B, ...) times gains (T,), (T, B), or (T, B, N) along the neurons' axis."""
    shape = list(gains.shape) + [1] * (values.dim() - gains.dim())
    if gains.dim() == 3 and values.dim() > 3:
        shape = [*gains.shape[:2], *[1] * (values.dim() - 2)]
        shape[geometry.neuron_axis] = gains.shape[2]
    return values * gains.view(shape)
