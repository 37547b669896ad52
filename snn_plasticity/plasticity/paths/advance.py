"""How a window of spikes gets into the past of a sequence.

A linear trace is folded. Where its clamp might bind, the certificate tells in which rows, and these go through it from
post spike to post spike, or step by step.
A replacing trace is folded with max for the sum, where that is exact; others that are not linear are walked through
in all rows. What has no rows (convolutions) is stepped through instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from .. import filters, traces
from ..bits import numbers_of
from ..dense import Dense
from ..edges import Edges
from .certificate import failing_rows
from .clamped import through_
from .folding import fold_
from .past import Past
from .rows import Rows, walk
from .said import Said
from .tropical import fold_replacing_


def advance(past: Past, pre: Tensor, post: Tensor, dt: float) -> None:
    """Bring e and the kernel state past a window, pre and post (T, B, ...), numbers or booleans."""
    if len(pre) == 1 and not past.shared:
        _step_through(past, pre, post, dt)
        return
    past.laid_out()
    parts = past.parts(len(pre))
    for samples, part in parts:
        window = pre[:, samples], post[:, samples]
        if past.rule.trace.linear:
            _fold(part, *window, dt, decay=not past.shared or samples.start == 0)
        elif isinstance(past.rule.geometry, Dense) and pre.dim() == 3:
            said = Said(part.rule.kernel, *window, part.kernel, dt, part.like[0].dtype)
            part.kernel = said.after
            if not fold_replacing_(part.rule.trace, part.allocated(), said, dt):
                _write(part.allocated(), walk(part.rule.trace, past.rule.geometry, part.allocated(), said, None, dt))
        else:
            _step_through(part, *window, dt)
    past.take(parts)


def fold_said(past: Past, said: Said, dt: float, *, decay: bool = True) -> None:
    """Fold a window into e, as if no clamp were there; e decays before, unless other samples have seen to that."""
    e, beta = past.laid_out(), float(past.rule.trace.retained(dt))
    gains = past.scale * filters.ages(beta, len(said), e.dtype, e.device)
    kept = beta ** len(said) if decay else 1.0
    fold_(past.rule.geometry, e, said, gains, 0.0 if past.blank else kept)
    past.blank = False


def _fold(past: Past, pre: Tensor, post: Tensor, dt: float, *, decay: bool) -> None:
    rule = past.rule
    said = Said(rule.kernel, pre, post, past.kernel, dt, past.like[0].dtype)
    failing = failing_rows(past, said, dt)
    rows = rule.geometry if isinstance(rule.geometry, Dense | Edges) and pre.dim() == 3 else None
    if failing is not None and past.shared:
        raise ValueError(
            "The clamp of the eligibility might bind, sample by sample, and the path 'shared' keeps only "
            "their sum. Use path='fold', or clamp_range=None."
        )
    if failing is not None and rows is None:
        _step_through(past, pre, post, dt)
        return
    walked = through_(rule.trace, rows, past.allocated(), said, failing, dt) if rows and failing is not None else []
    if walked is not None and (failing is None or not bool(failing.all())):
        fold_said(past, said, dt, decay=decay)
    past.kernel = said.after
    _write(past.allocated(), walked or [])


def _step_through(past: Past, pre: Tensor, post: Tensor, dt: float) -> None:
    """Step by step, in place."""
    rule, e, past.bound = past.rule, past.allocated(), None
    if past.kernel is None:
        past.kernel = rule.kernel.init(*past.like)
    for now_pre, now_post in zip(pre, post, strict=True):
        now_pre, now_post = numbers_of(now_pre, e.dtype), numbers_of(now_post, e.dtype)
        coincidence, past.kernel = rule.kernel.step(now_pre, now_post, past.kernel, dt)
        traces.step_(rule.trace, rule.geometry, e, coincidence, dt)


def _write(e: Tensor, walked: Iterable[Rows]) -> None:
    """Put walked rows into e."""
    for sample, rows, after in walked:
        e[sample, rows] = after
