"""Row by row: all steps of a window on a few rows of the eligibility, while these are in the cache.

For what no fold can do: traces that are not linear, and rows in which the clamp binds. Entries of e depend on each
other through nothing but the vectors of the window, so that time may be the inner loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .dense import BLOCK
from .terms import Term
from .traces import Trace


class Rows(NamedTuple):
    """Some rows of one sample, and what they are after the window."""

    sample: int
    rows: Tensor | slice
    after: Tensor


class Factor(NamedTuple):
    """One term of a window on some rows of one sample: post (T, rows), pre (T, N_pre)."""

    scale: float
    post: Tensor
    pre: Tensor


def walk(trace: Trace, e: Tensor, terms: list[Term], failing: Tensor | None, dt: float) -> Iterator[Rows]:
    """Rows of e (B, N_post, N_pre) after a window; e itself is left as it is.

    Args:
        trace: what is kept and how it is joined.
        e: the eligibility before the window.
        terms: the window in factored form, without positions (T, B, N).
        failing: (B, N_post) bool, the rows to walk; None is all of them.
        dt: step length.
    """
    scale = 1.0 / trace.tau_e if trace.convention.normalize_trace else 1.0
    whole = [(term.scale * scale, term.post.values(), term.pre.values()) for term in terms]
    for b, rows in _blocks(e, failing):
        factors = [Factor(scale, post[:, b, rows], pre[:, b]) for scale, post, pre in whole]  # type: ignore[arg-type]
        part = e[b, rows].clone()
        _walk_block_(trace, part, factors, trace.retained(dt))  # type: ignore[arg-type]
        yield Rows(b, rows, part)


def _walk_block_(trace: Trace, part: Tensor, factors: list[Factor], retained: float) -> None:
    scratch = torch.empty_like(part)
    for t in range(len(factors[0].post)):
        if trace.linear:
            for i, (scale, post, pre) in enumerate(factors):
                part.addr_(post[t], pre[t], beta=1.0 if i else retained, alpha=scale)
        else:
            for i, (scale, post, pre) in enumerate(factors):
                torch.addr(scratch, post[t], pre[t], beta=float(i > 0), alpha=scale, out=scratch)
            part.copy_(trace.join(part.mul_(retained), scratch))
        if trace.clamp_range is not None:
            part.clamp_(*trace.clamp_range)


def _blocks(e: Tensor, failing: Tensor | None) -> Iterator[tuple[int, Tensor | slice]]:
    """Sample by sample, a cacheful of rows at a time."""
    rows = max(1, BLOCK // e.shape[2])
    for b in range(len(e)):
        if failing is None:
            yield from ((b, slice(start, start + rows)) for start in range(0, e.shape[1], rows))
        else:
            yield from ((b, part) for part in failing[b].nonzero().squeeze(1).split(rows) if len(part))
