"""Folding: many steps of a linear trace into one contraction.

    e_T = β^T e_0 + Σ_t β^(T−1−t) f_t
    Σ_r m_r e_r = (Σ_r m_r β^(r+1)) e_0 + Σ_t G_t f_t,      G_t = Σ_{r ≥ t} m_r β^(r−t)

Both are Σ_t G_t f_t for some gains G: the first gives the eligibility, the second a weight change for which no
eligibility is ever built. Every term of f is brought to the form (spikes) × (table): a filter on the spikes' side moves
to the other side, where all terms with the same spikes become one table, and the product is sparse on one side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from .geometry import Geometry
from .terms import Dense, Filtered, Spikes, Term


class Product(NamedTuple):
    """Σ_t post_t ⊗ pre_t over a window, and the side that is mostly zeros ("post", "pre" or None)."""

    post: Tensor
    pre: Tensor
    sparse: str | None


def fold_(geometry: Geometry, out: Tensor, terms: list[Term], gains: Tensor, beta: float = 1.0) -> None:
    """In place: out ← beta·out + Σ_t G_t f_t.

    Args:
        geometry: layout of the synapses.
        out: (B, *shape), each sample for itself, or (*shape), summed over the batch.
        terms: f in factored form.
        gains: (T,), (T, B) or (T, B, N_post).
        beta: factor of what is there.
    """
    shared = out.dim() == len(geometry.shape)
    for product in products(geometry, terms, gains, shared):
        geometry.contract_(out, *product, beta=beta)
        beta = 1.0
    if not terms:
        out.mul_(beta)


def products(geometry: Geometry, terms: list[Term], gains: Tensor, shared: bool) -> Iterator[Product]:
    """The contractions of a window, as few as there are different trains."""
    merged: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
    for term in terms:
        side = _spikes_side(geometry, term, gains, shared)
        if side is None:
            yield _plain(geometry, term, gains)
            continue
        own, other = (term.post, term.pre) if side == "post" else (term.pre, term.post)
        table = _gained(geometry, other.values(), term.scale * gains)
        if isinstance(own, Filtered):
            table, met = own.adjoint(table)
            if own.lead is not None and met is not None:
                yield _ordered(side, own.lead.unsqueeze(0), met.unsqueeze(0), None)
        key = (id(own.trains), side)  # type: ignore[union-attr]
        merged[key] = (own.trains, merged[key][1].add_(table) if key in merged else table)  # type: ignore[union-attr]
    for (_, side), (trains, table) in merged.items():
        yield _ordered(side, trains, table, side)


def _spikes_side(geometry: Geometry, term: Term, gains: Tensor, shared: bool) -> str | None:
    """The side whose raw spikes shall be multiplied; the table is built on the other one."""
    post, pre = not isinstance(term.post, Dense), not isinstance(term.pre, Dense)
    if gains.dim() == 3:  # one gain per post neuron: it must be in a table on the post side
        return "pre" if pre else None
    if post and pre:
        return "post" if geometry.table_on_pre or not shared else "pre"
    return "post" if post else "pre" if pre else None


def _plain(geometry: Geometry, term: Term, gains: Tensor) -> Product:
    """A term as it is, its gains on the post side."""
    sparse = "post" if isinstance(term.post, Spikes) else "pre" if isinstance(term.pre, Spikes) else None
    return Product(_gained(geometry, term.post.values(), term.scale * gains), term.pre.values(), sparse)


def _ordered(side: str, own: Tensor, other: Tensor, sparse: str | None) -> Product:
    return Product(own, other, sparse) if side == "post" else Product(other, own, sparse)


def _gained(geometry: Geometry, values: Tensor, gains: Tensor) -> Tensor:
    """Values (T, B, ...) times gains (T,), (T, B), or (T, B, N) along the neurons' axis."""
    shape = list(gains.shape) + [1] * (values.dim() - gains.dim())
    if gains.dim() == 3 and values.dim() > 3:
        shape = [*gains.shape[:2], *[1] * (values.dim() - 2)]
        shape[geometry.neuron_axis] = gains.shape[2]
    return values * gains.view(shape)
