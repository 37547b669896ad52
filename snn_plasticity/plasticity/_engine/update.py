"""How a window of spikes gets into the past of a sequence.

A linear trace is folded. Where its clamp might bind, the certificate tells in which rows, and these go through the
window row by row, as do all rows of a trace that is not linear. What has no rows (convolutions) is stepped through.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import traces
from ..dense import Dense
from ..edges import Edges
from ..kernel_state import careful_step
from . import filters
from .bits import numbers_of
from .clamp import failing_rows
from .contract import fold_
from .row_loop import row_loop
from .state import Past
from .window_terms import WindowTerms

MOST_ROWS = 3 / 4  # of all rows: where more fail, the whole of e goes through
Restarts = Sequence[tuple[int, Tensor]]


def advance(past: Past, pre: Tensor, post: Tensor, dt: float, restarts: Restarts = ()) -> None:
    """Bring e and the kernel state past a window.

    Args:
        past: before it.
        pre, post: (T, B, ...), numbers or booleans.
        dt: step length.
        restarts: after how many steps samples in a mask (B,) start anew, or later; their e is zero already.
    """
    if past.shared:
        _fold_shared(past, pre, post, dt, restarts)
        return
    if past.edge_steps is not None and not restarts:
        past.bound, past.kernel = None, past.edge_steps.renewed(past.kernel, past.like)
        past.edge_steps.window(past.allocated(), past.kernel, pre, post, dt)
        return
    if pre.shape[0] == 1:
        _step_through(past, pre, post, dt, restarts)
        return
    past.laid_out()
    parts = past.parts(len(pre))
    for samples, part in parts:
        window = pre[:, samples], post[:, samples]
        if past.rule.trace.linear:
            _fold(part, *window, dt, restarts)
        elif isinstance(past.rule.geometry, Dense) and pre.dim() == 3:
            _walk_all(part, *window, dt, restarts)
        else:
            _step_through(part, *window, dt, restarts)
    past.take(parts)


def fold_terms(past: Past, said: WindowTerms, dt: float, *, decay: bool = True) -> None:
    """Fold a window into e, as if no clamp were there; e decays before, unless other samples have seen to that."""
    e, beta = past.laid_out(), float(past.rule.trace.retained(dt))
    gains = past.scale * filters.ages(beta, len(said), e.dtype, e.device)
    kept = beta ** len(said) if decay else 1.0
    fold_(past.rule.geometry, e, said, gains, 0.0 if past.blank else kept)
    past.blank = False


def _fold_shared(past: Past, pre: Tensor, post: Tensor, dt: float, restarts: Restarts) -> None:
    """Into the sum of all samples; where a clamp might bind in any of them, nothing happens.

    Raises:
        ValueError: the clamp might bind.
    """
    rule, bound, parts = past.rule, past.bound, past.parts(len(pre))
    windows = (
        WindowTerms(rule.kernel, pre[:, samples], post[:, samples], part.kernel, dt, past.like[0].dtype, restarts)
        for samples, part in parts
    )
    if rule.trace.clamp_range is not None:
        windows = list(windows)
        if any(failing_rows(part, said, dt) is not None for (_, part), said in zip(parts, windows, strict=True)):
            past.bound = bound
            raise ValueError(
                "The clamp of the eligibility might bind, sample by sample, and the path 'shared' keeps only their "
                "sum. Use path='fold', or clamp_range=None. This step was not taken."
            )
    e = past.laid_out()
    for (samples, part), said in zip(parts, windows, strict=True):
        part.e = e
        fold_terms(part, said, dt, decay=samples.start == 0)
        part.kernel = said.after
    past.take(parts)


def _fold(past: Past, pre: Tensor, post: Tensor, dt: float, restarts: Restarts) -> None:
    rule = past.rule
    if rule.trace.clamp_range is not None and not pre.is_cpu:  # whether it binds would have to be waited for
        _step_through(past, pre, post, dt, restarts)
        return
    said = WindowTerms(rule.kernel, pre, post, past.kernel, dt, past.like[0].dtype, restarts)
    failing = failing_rows(past, said, dt)
    rows = rule.geometry if isinstance(rule.geometry, Dense | Edges) and pre.dim() == 3 else None
    if failing is not None and rows is None:
        _step_through(past, pre, post, dt, restarts)
        return
    whole = failing is not None and bool(torch.count_nonzero(failing) > MOST_ROWS * failing.numel())
    walked = []
    if rows is not None and failing is not None:
        walked = row_loop(rule.trace, rows, past.allocated(), said, None if whole else failing, dt)
    if not whole:
        fold_terms(past, said, dt)
    past.kernel = said.after
    for sample, some, after in walked:
        past.allocated()[sample, some] = after


def _walk_all(past: Past, pre: Tensor, post: Tensor, dt: float, restarts: Restarts) -> None:
    """All rows of a trace that is not linear."""
    rule, e = past.rule, past.allocated()
    said = WindowTerms(rule.kernel, pre, post, past.kernel, dt, past.like[0].dtype, restarts)
    past.kernel = said.after
    if not said.terms:
        e.mul_(float(rule.trace.retained(dt)) ** len(said))
    else:
        row_loop(rule.trace, rule.geometry, e, said, None, dt)  # type: ignore[arg-type]


def _step_through(past: Past, pre: Tensor, post: Tensor, dt: float, restarts: Restarts) -> None:
    """Step by step, in place."""
    for steps, (now_pre, now_post) in enumerate(zip(pre, post, strict=True), start=1):
        step_once(past, now_pre, now_post, dt)
        if restarts:
            _restart(past, restarts, steps, len(pre))


def step_once(past: Past, pre: Tensor, post: Tensor, dt: float) -> None:
    """One step, pre and post (B, ...), in place."""
    rule, e, past.bound = past.rule, past.allocated(), None
    if past.kernel is None:
        past.kernel = rule.kernel.init(*past.like)
    pre, post = numbers_of(pre, e.dtype), numbers_of(post, e.dtype)
    if past.edge_steps is not None:
        past.edge_steps.step(e, past.kernel, pre, post, dt)
        return
    pairs = past.steps is not None and past.steps.pairs
    if pairs and past.steps.step(e, past.kernel, pre.contiguous(), post.contiguous(), dt):
        return
    coincidence, past.kernel = careful_step(rule.kernel, pre, post, past.kernel, dt)
    if past.steps is not None and past.steps.join(e, coincidence, dt):
        return
    traces.step_(rule.trace, rule.geometry, e, coincidence, dt)


def _restart(past: Past, restarts: Restarts, steps: int, last: int) -> None:
    """Samples that start anew after so many steps of a window, or after its last step, are forgotten."""
    for at, mask in restarts:
        if at == steps:
            past.forget(mask)
        elif at > last == steps:
            past.silence(mask)
