"""How a window of spikes gets into the running traces, or into a weight change without them.

A linear trace is folded. Where its clamp might bind, the certificate tells in which rows, and these are walked through.
Traces that are not linear are walked through in all rows. What has no rows (convolutions) is stepped through instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import filters, traces
from .certificate import row_bounds
from .dense import Dense
from .folding import fold_
from .rows import walk
from .said import window_of
from .terms import Term
from .three_factor import modulate

if TYPE_CHECKING:
    from .running import Ask, RunningTraces


def advance(running: RunningTraces, pre: Tensor, post: Tensor, dt: float) -> None:
    """Bring e and the kernel state past a window, pre and post (T, B, ...)."""
    pre, post = pre.to(running.like[0].dtype), post.to(running.like[1].dtype)
    trace = running.rule.trace
    if len(pre) == 1 and not running.shared:
        _step_through(running, pre, post, dt)
    elif not trace.linear:
        if isinstance(running.rule.geometry, Dense) and pre.dim() == 3:
            terms, running.kernel = window_of(running.rule.kernel, pre, post, running.kernel, dt)
            _write(running, walk(trace, running.allocated(), terms, None, dt))
        else:
            _step_through(running, pre, post, dt)
    else:
        _fold(running, pre, post, dt)


def _fold(running: RunningTraces, pre: Tensor, post: Tensor, dt: float) -> None:
    rule, before = running.rule, running.kernel
    terms, running.kernel = window_of(rule.kernel, pre, post, before, dt)
    failing = _failing(running, terms, len(pre), dt)
    if failing is not None and (running.shared or pre.dim() != 3 or not isinstance(rule.geometry, Dense)):
        if running.shared:
            raise ValueError(
                "The clamp of the eligibility might bind, sample by sample, and the path 'shared' keeps only "
                "their sum. Use path='fold', or clamp_range=None."
            )
        running.kernel = before
        _step_through(running, pre, post, dt)
        return
    e, beta = running.allocated(), rule.trace.retained(dt)
    walked = [] if failing is None else list(walk(rule.trace, e, terms, failing, dt))
    gains = _scale(running) * filters.ages(beta, len(pre), e.dtype, e.device)  # type: ignore[arg-type]
    fold_(rule.geometry, e, terms, gains, beta ** len(pre))  # type: ignore[arg-type]
    _write(running, walked)


def _step_through(running: RunningTraces, pre: Tensor, post: Tensor, dt: float) -> None:
    """Step by step, in place."""
    rule, e, running.bound = running.rule, running.allocated(), None
    if running.kernel is None:
        running.kernel = rule.kernel.init(*running.like)
    for now_pre, now_post in zip(pre, post, strict=True):
        coincidence, running.kernel = rule.kernel.step(now_pre, now_post, running.kernel, dt)
        traces.step_(rule.trace, rule.geometry, e, coincidence, dt)


def change_from_spikes(running: RunningTraces, asked: Sequence[Ask]) -> Tensor | None:
    """Σ_r Σ_b m_rb · e_rb without building e; None where that would not be exact."""
    rule, steps = running.rule, running.visible
    per_neuron = any(ask.mods.dim() == 3 for ask in asked)
    plain_window = running.recorded.one_dt() and not (per_neuron and not rule.geometry.closed_form)
    if not steps or not rule.trace.linear or not plain_window:
        return None
    dt = running.recorded.blocks[0].dt
    gains, lead = _gains(running, asked, rule.trace.retained(dt), steps)  # type: ignore[arg-type]
    total = _from_e(running, lead)
    kernel, bound, start = running.kernel, running.bound, 0
    for block in running.recorded.windows(steps, running.window_length):
        pre, post = block.pre.to(running.like[0].dtype), block.post.to(running.like[1].dtype)
        terms, running.kernel = window_of(rule.kernel, pre, post, running.kernel, dt)
        certain = _failing(running, terms, len(pre), dt, refresh=False) is None
        if not certain:
            total = None
            break
        fold_(rule.geometry, total, terms, _scale(running) * gains[start : start + len(pre)])
        start += len(pre)
    running.kernel, running.bound = kernel, bound
    return total


def _gains(running: RunningTraces, asked: Sequence[Ask], beta: float, steps: int) -> tuple[Tensor, Tensor]:
    """Gain of each step's f, (T,), (T, B) or (T, B, N_post); and of e before the window, without the T."""
    like = max((ask.mods[0] for ask in asked), key=Tensor.dim)
    met, at_once = like.new_zeros(steps, *like.shape), torch.zeros_like(like)
    for first, mods in asked:
        mods = mods.view(*mods.shape, *[1] * (met.dim() - mods.dim()))
        if first == 0:
            at_once = at_once + mods[0]
            first, mods = 1, mods[1:]
        met[first - 1 : first - 1 + len(mods)] += mods
    gains = filters.backward(met, beta)
    return gains, at_once + beta * gains[0]


def _from_e(running: RunningTraces, lead: Tensor) -> Tensor:
    """The part of a change that comes from e before the window, summed over the batch."""
    if running.e is None:
        return running.like[1].new_zeros(running.rule.geometry.shape)
    return lead * running.e if running.shared else modulate(running.rule.geometry.per_synapse(lead), running.e, "sum")


def _failing(
    running: RunningTraces, terms: list[Term], steps: int, dt: float, *, refresh: bool = True
) -> Tensor | None:
    """Rows (B, N_post) in which the clamp might bind within the window; None if there are none."""
    trace = running.rule.trace
    if trace.clamp_range is None:
        return None
    if not running.rule.geometry.closed_form:
        return _row_maxima(running) >= 0.0
    low, high = trace.clamp_range
    limit = max(0.0, min(-low, high))
    beta: float = trace.retained(dt)  # type: ignore[assignment]
    new = row_bounds(running.rule.geometry, terms, beta, _scale(running))
    if running.bound is None:
        running.bound = _row_maxima(running)
    failing = running.bound + new > limit
    if refresh and not running.shared and running.e is not None and bool(failing.any()):
        running.bound = _row_maxima(running)
        failing = running.bound + new > limit
    running.bound = (beta**steps * running.bound + new).clamp(max=max(abs(low), abs(high)))
    return failing if bool(failing.any()) else None


def _row_maxima(running: RunningTraces) -> Tensor:
    """The largest |e| of each row, (B, N_post)."""
    if running.e is None or running.shared:
        return running.like[1].new_zeros(running.batch_size, running.rule.geometry.n_post)
    return running.rule.geometry.row_maxima(running.e)


def _scale(running: RunningTraces) -> float:
    trace = running.rule.trace
    return 1.0 / trace.tau_e if trace.convention.normalize_trace else 1.0  # type: ignore[return-value]


def _write(running: RunningTraces, walked: object) -> None:
    """Put walked rows into e."""
    e = running.allocated()
    for sample, rows, after in walked:  # type: ignore[attr-defined]
        e[sample, rows] = after
