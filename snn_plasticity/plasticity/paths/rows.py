"""Row by row: all steps of a window on a few rows of the eligibility, while these are in the cache.

For what no fold can do: traces that are not linear, and rows in which the clamp binds. Entries of e depend on each
other through nothing but the vectors of the window, so that time may be the inner loop.
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
from .said import Said


class Rows(NamedTuple):
    """Some rows (or edges) of one sample, and what they are after the window."""

    sample: int
    rows: Tensor | slice
    after: Tensor


class Outer(NamedTuple):
    """A window on some rows of a full matrix: f = L R at every step, L (T, rows, K) and R (T, K, N_pre)."""

    left: Tensor
    right: Tensor

    def sum_(self, out: Tensor, t: int, beta: float) -> None:
        """In place: out ← beta·out + f at one step."""
        out.addmm_(self.left[t], self.right[t], beta=beta)


class Pairs(NamedTuple):
    """A window on some edges: f = Σ_k L_k R_k at every step, L (T, N_post, K) and R (T, K, N_pre) at their neurons."""

    left: Tensor
    right: Tensor
    target: Tensor
    source: Tensor

    def sum_(self, out: Tensor, t: int, beta: float) -> None:
        """In place: out ← beta·out + f at one step."""
        out.mul_(beta).add_((self.left[t][self.target] * self.right[t][:, self.source].T).sum(1))


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
    scale = scale_of(trace)
    left = torch.stack([said.values(term.post) * (term.scale * scale) for term in said.terms], dim=-1)
    right = torch.stack([said.values(term.pre) for term in said.terms], dim=-2)
    for b, rows in _blocks(geometry, e, failing):
        part = e[b, rows].clone()
        if isinstance(geometry, Edges):
            source, target = geometry.ends(e.device)
            window = Pairs(left[:, b], right[:, b], target[rows], source[rows])
        else:
            window = Outer(left[:, b, rows].contiguous(), right[:, b].contiguous())
        _walk_block_(trace, part, window, len(said), trace.retained(dt))  # type: ignore[arg-type]
        yield Rows(b, rows, part)


def _walk_block_(trace: Trace, part: Tensor, window: Outer | Pairs, steps: int, retained: float) -> None:
    scratch = torch.zeros_like(part)
    for t in range(steps):
        if trace.linear:
            window.sum_(part, t, retained)
        else:
            window.sum_(scratch, t, 0.0)
            part.copy_(trace.join(part.mul_(retained), scratch))
        if trace.clamp_range is not None:
            part.clamp_(*trace.clamp_range)


def _blocks(geometry: Dense | Edges, e: Tensor, failing: Tensor | None) -> Iterator[tuple[int, Tensor | slice]]:
    """Sample by sample, a cacheful of rows at a time."""
    rows = max(1, BLOCK // math.prod(e.shape[2:]))
    for b in range(len(e)):
        if failing is None:
            yield from ((b, slice(start, start + rows)) for start in range(0, e.shape[1], rows))
            continue
        fails = failing[b][geometry.ends(e.device)[1]] if isinstance(geometry, Edges) else failing[b]
        yield from ((b, part) for part in fails.nonzero().squeeze(1).split(rows) if len(part))
