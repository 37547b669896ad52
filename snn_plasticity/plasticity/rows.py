"""Row by row: all steps of a window on a few rows of the eligibility, while these are in the cache.

For what no fold can do: traces that are not linear, and rows in which the clamp binds. Entries of e depend on each
other through nothing but the vectors of the window, so that time may be the inner loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .dense import BLOCK, Dense
from .edges import Edges
from .said import Said
from .traces import Trace


class Rows(NamedTuple):
    """Some rows (or edges) of one sample, and what they are after the window."""

    sample: int
    rows: Tensor | slice
    after: Tensor


class Outer(NamedTuple):
    """One term of a window on some rows of a full matrix: post (T, rows), pre (T, N_pre)."""

    scale: float
    post: Tensor
    pre: Tensor

    def add_(self, out: Tensor, t: int, beta: float) -> None:
        """In place: out ← beta·out + scale·f at one step."""
        out.addr_(self.post[t], self.pre[t], beta=beta, alpha=self.scale)


class Pairs(NamedTuple):
    """One term of a window on some edges: post (T, N_post), pre (T, N_pre), and the neurons of each edge."""

    scale: float
    post: Tensor
    pre: Tensor
    target: Tensor
    source: Tensor

    def add_(self, out: Tensor, t: int, beta: float) -> None:
        """In place: out ← beta·out + scale·f at one step."""
        out.mul_(beta).addcmul_(self.post[t][self.target], self.pre[t][self.source], value=self.scale)


def walk(
    trace: Trace, geometry: Dense | Edges, e: Tensor, said: Said, failing: Tensor | None, dt: float
) -> Iterator[Rows]:
    """Rows of e after a window; e itself is left as it is.

    Args:
        trace: what is kept and how it is joined.
        geometry: a full matrix, e (B, N_post, N_pre), or edges, e (B, E).
        e: the eligibility before the window.
        said: the window, without positions (T, B, N).
        failing: (B, N_post) bool, the post neurons whose synapses are walked; None is all of them.
        dt: step length.
    """
    scale = 1.0 / trace.tau_e if trace.convention.normalize_trace else 1.0
    whole = [(term.scale * scale, said.values(term.post), said.values(term.pre)) for term in said.terms]
    for b, rows in _blocks(geometry, e, failing):
        part = e[b, rows].clone()
        if isinstance(geometry, Edges):
            ends = geometry.target.to(e.device)[rows], geometry.source.to(e.device)[rows]
            factors = [Pairs(scale, post[:, b], pre[:, b], *ends) for scale, post, pre in whole]  # type: ignore[arg-type]
        else:
            factors = [Outer(scale, post[:, b, rows], pre[:, b]) for scale, post, pre in whole]  # type: ignore[arg-type]
        _walk_block_(trace, part, factors, len(said), trace.retained(dt))  # type: ignore[arg-type]
        yield Rows(b, rows, part)


def _walk_block_(trace: Trace, part: Tensor, factors: Sequence[Outer | Pairs], steps: int, retained: float) -> None:
    scratch = torch.zeros_like(part)
    for t in range(steps):
        if trace.linear:
            _sum_(part, factors, t, retained)
        else:
            _sum_(scratch, factors, t, 0.0)
            part.copy_(trace.join(part.mul_(retained), scratch))
        if trace.clamp_range is not None:
            part.clamp_(*trace.clamp_range)


def _sum_(out: Tensor, factors: Sequence[Outer | Pairs], t: int, beta: float) -> None:
    for i, factor in enumerate(factors):
        factor.add_(out, t, 1.0 if i else beta)


def _blocks(geometry: Dense | Edges, e: Tensor, failing: Tensor | None) -> Iterator[tuple[int, Tensor | slice]]:
    """Sample by sample, a cacheful of rows at a time."""
    rows = max(1, BLOCK // math.prod(e.shape[2:]))
    for b in range(len(e)):
        if failing is None:
            yield from ((b, slice(start, start + rows)) for start in range(0, e.shape[1], rows))
            continue
        fails = failing[b][geometry.target.to(e.device)] if isinstance(geometry, Edges) else failing[b]
        yield from ((b, part) for part in fails.nonzero().squeeze(1).split(rows) if len(part))
