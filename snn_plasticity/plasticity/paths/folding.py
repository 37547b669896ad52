"""Folding: many steps of a linear trace into one contraction.

    e_T = β^T e_0 + Σ_t β^(T−1−t) f_t
    Σ_r m_r e_r = (Σ_r m_r β^(r+1)) e_0 + Σ_t G_t f_t,      G_t = Σ_{r ≥ t} m_r β^(r−t)

Both are Σ_t G_t f_t for some gains G: the first gives the eligibility, the second a weight change for which no
eligibility is ever built. Every term of f is brought to the form (spikes) × (table): a filter on the spikes' side moves
to the other side, where all terms with the same spikes become one table, and the product is sparse on one side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from ..geometry import Geometry, scaled_
from ..product import Product
from ..scratch import Scratch
from ..sparse import Trains
from ..sweeps import Met, Way, sweep
from ..terms import Dense, Filtered, Side, Spikes, Term
from .said import Said

NARROW = 256  # neurons from which a sweep with gains of its own for each sample is faster than filters
NEAR = 1 << 20  # entries of e that are visited by all products before the next ones are


def fold_(geometry: Geometry, out: Tensor, said: Said, gains: Tensor, beta: float = 1.0) -> None:
    """In place: out ← beta·out + Σ_t G_t f_t.

    Args:
        geometry: layout of the synapses.
        out: (B, *shape), each sample for itself, or (*shape), summed over the batch.
        said: f of a window in factored form.
        gains: (T,), (T, B) or (T, B, N_post).
        beta: factor of what is there; with 0 it may be anything.
    """
    if not said.terms:
        scaled_(out, beta)
        return
    shared, scratch = out.dim() == len(geometry.shape), Scratch()
    found = list(products(geometry, said, gains, scratch))
    if shared or len(out) == 1:
        contract_(geometry, out, found, beta)
        return
    count = max(1, NEAR // math.prod(geometry.shape))
    for start in range(0, len(out), count):
        samples = slice(start, start + count)
        contract_(geometry, out[samples], [product.of(samples) for product in found], beta)


def folded(geometry: Geometry, said: Said, gains: Tensor) -> Tensor:
    """Σ_t G_t f_t, summed over the batch, as a new tensor; arguments as of `fold_`."""
    scratch = Scratch()
    found = list(products(geometry, said, gains, scratch))
    if not found:
        return gains.new_zeros(geometry.shape)
    out = geometry.contracted(found[0])
    contract_(geometry, out, found[1:], 1.0)
    return out


class _Faced(NamedTuple):
    """A term as seen from the side whose spikes are multiplied."""

    scale: float
    own: Spikes | Filtered
    other: Side


def products(geometry: Geometry, said: Said, gains: Tensor, scratch: Scratch) -> Iterator[Product]:
    """The contractions of a window, as few as there are different trains; their tables lie in `scratch`."""
    groups: dict[tuple, list[_Faced]] = {}
    for nth, term in enumerate(said.terms):
        side = _spikes_side(geometry, term, gains)
        if side is None:
            yield _plain(geometry, said, term, gains, scratch)
            continue
        own, other = (term.post, term.pre) if side == "post" else (term.pre, term.post)
        together = id(other.trains) if _sweeps(other, own, gains) else nth
        groups.setdefault((side, id(own.trains), together), []).append(_Faced(term.scale, own, other))  # type: ignore
    merged: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    for key, terms in groups.items():
        table, met = _table(geometry, said, terms, gains, scratch)
        yield from (_ordered(key[0], lead.unsqueeze(0), what.unsqueeze(0)) for lead, what in met)
        trains = terms[0].own.trains
        merged[key[:2]] = (trains, merged[key[:2]][1].add_(table) if key[:2] in merged else table)
    for (side, _), (trains, table) in merged.items():
        spikes = said.trains(trains)
        own = trains if geometry.takes_bits(spikes) else said.numbers(trains)
        yield _ordered(side, own, table)._replace(sparse=side, trains=spikes)


def _sweeps(other: Side, own: Side, gains: Tensor) -> TypeGuard[Spikes | Filtered]:
    """Whether a term is a way of a sweep over `other`: it has one filter, and gains that all neurons share."""
    if isinstance(other, Dense) or isinstance(own, Filtered) == isinstance(other, Filtered):
        return False
    each = gains.dim() == 2 and gains.shape[1] > 1  # gains of its own for each sample
    return gains.dim() < 3 and (not each or other.trains[0, 0].numel() >= NARROW)


def _table(
    geometry: Geometry, said: Said, terms: list[_Faced], gains: Tensor, scratch: Scratch
) -> tuple[Tensor, list[Met]]:
    """What the spikes of these terms' own side are to be multiplied with; and what meets the leads of their filters."""
    scale, own, other = terms[0]
    if _sweeps(other, own, gains):
        return sweep(said.trains(other.trains).there, gains, [_way(term) for term in terms], scratch)
    table = _gained(geometry, said.values(other), scale * gains, scratch)
    if not isinstance(own, Filtered):
        return table, []
    table, met = own.adjoint(table, scratch.like(table))
    return table, [] if met is None or own.lead is None else [Met(own.lead, met)]


def _way(term: _Faced) -> Way:
    """A filter on the spikes' own side moves to the other one and works backwards there."""
    back = isinstance(term.own, Filtered)
    moved: Filtered = term.own if back else term.other  # type: ignore[assignment]
    return Way(term.scale, moved.decay, moved.exclusive, moved.lead, back)


def contract_(geometry: Geometry, out: Tensor, found: Iterable[Product], beta: float) -> None:
    """In place: out ← beta·out + Σ of all products."""
    for product in found:
        geometry.contract_(out, product, beta)
        beta = 1.0


def _spikes_side(geometry: Geometry, term: Term, gains: Tensor) -> str | None:
    """The side whose raw spikes shall be multiplied; the table is built on the other one."""
    post, pre = not isinstance(term.post, Dense), not isinstance(term.pre, Dense)
    if gains.dim() == 3:  # one gain per post neuron: it must be in a table on the post side
        return "pre" if pre else None
    if post and pre:
        return geometry.spikes_side
    return "post" if post else "pre" if pre else None


def _plain(geometry: Geometry, said: Said, term: Term, gains: Tensor, scratch: Scratch) -> Product:
    """A term as it is, its gains on the post side."""
    post, pre = _gained(geometry, said.values(term.post), term.scale * gains, scratch), said.values(term.pre)
    if isinstance(term.post, Spikes):
        return Product(post, pre, "post", Trains(post))
    if isinstance(term.pre, Spikes):
        return Product(post, pre, "pre", said.trains(term.pre.trains))
    return Product(post, pre)


def _ordered(side: str, own: Tensor, other: Tensor) -> Product:
    return Product(own, other) if side == "post" else Product(other, own)


def _gained(geometry: Geometry, values: Tensor, gains: Tensor, scratch: Scratch) -> Tensor:
    """Values (T, B, ...) times gains (T,), (T, B), or (T, B, N) along the neurons' axis."""
    shape = list(gains.shape) + [1] * (values.dim() - gains.dim())
    if gains.dim() == 3 and values.dim() > 3:
        shape = [*gains.shape[:2], *[1] * (values.dim() - 2)]
        shape[geometry.neuron_axis] = gains.shape[2]
    return torch.mul(values, gains.view(shape), out=scratch.like(values))
