"""Row by row: all steps of a window on a few rows of the eligibility, while these are in the cache.

For what no fold can do: traces that are not linear, and rows in which the clamp binds. Entries of e depend on each
other through nothing but the vectors of the window, so that time may be the inner loop. Compiled where that is
possible, else a block of rows at a time in torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..dense import BLOCK, Dense
from ..edges import Edges
from ..traces import Trace, scale_of
from . import compiled
from .window_terms import WindowTerms


class Rows(NamedTuple):
    """Some rows (or edges) of one sample, and what they are after the window."""

    sample: int
    rows: Tensor
    after: Tensor


def row_loop(
    trace: Trace, geometry: Dense | Edges, e: Tensor, terms: WindowTerms, rows: Tensor | None, dt: float
) -> list[Rows]:
    """Rows of e after a window; e itself stays as it is, or where all rows are meant: changes in place.

    Args:
        trace: what is kept and how it is joined.
        geometry: a full matrix, e (B, N_post, N_pre), or edges, e (B, E).
        e: the eligibility before the window.
        terms: the window, without positions (T, B, N).
        rows: (B, N_post) bool, the post neurons whose synapses go through it; None is all of them.
        dt: step length.
    """
    scale, retained, found = scale_of(trace), trace.retained(dt), []
    left = torch.stack([terms.values(term.post) * (term.scale * scale) for term in terms.terms], dim=-1)
    right = torch.stack([terms.values(term.pre) for term in terms.terms], dim=-2)
    loop = compiled.row_loop_of(trace, e) if isinstance(geometry, Dense) else None
    for b, some in _blocks(geometry, e, rows, whole=loop is not None):
        part = e[b, some]  # a view where all rows are meant
        if isinstance(geometry, Edges):
            source, target = (neurons[some] for neurons in geometry.ends(e.device))
            window = left[:, b][:, target], right[:, b][:, :, source].transpose(1, 2)
        else:
            window = left[:, b, some], right[:, b]
        (loop or _step_rows_)(trace, part, *window, retained)  # type: ignore[arg-type]
        if isinstance(some, Tensor):
            found.append(Rows(b, some, part))
    return found


def _step_rows_(trace: Trace, part: Tensor, left: Tensor, right: Tensor, retained: float) -> None:
    """In place: rows (R, N_pre), f = left (T, R, K) times right (T, K, N_pre); or edges (R,), right (T, R, K)."""
    single = part.dim() == 1
    f = torch.empty_like(part)
    for now, other in zip(left, right, strict=True):
        if trace.linear and not single:
            part.addmm_(now, other, beta=retained)
        else:
            torch.sum(now * other, 1, out=f) if single else torch.mm(now, other, out=f)
            part.copy_(trace.join(part.mul_(retained), f))
        if trace.clamp_range is not None:
            part.clamp_(*trace.clamp_range)


def _blocks(
    geometry: Dense | Edges, e: Tensor, rows: Tensor | None, *, whole: bool
) -> Iterator[tuple[int, Tensor | slice]]:
    """Sample by sample, a cacheful of rows at a time, or all that are meant."""
    count = e.shape[1] if whole else max(1, BLOCK // math.prod(e.shape[2:]))
    for b in range(len(e)):
        if rows is None:
            yield from ((b, slice(start, start + count)) for start in range(0, e.shape[1], count))
            continue
        meant = rows[b][geometry.ends(e.device)[1]] if isinstance(geometry, Edges) else rows[b]
        yield from ((b, part) for part in meant.nonzero().squeeze(1).split(count) if len(part))
