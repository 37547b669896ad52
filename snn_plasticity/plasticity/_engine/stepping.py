"""A window of spikes: into the state of running traces, or straight into a weight change.

A linear trace is folded. Where its clamp might bind, the certificate tells in which rows, and these go through the
window row by row, as do all rows of a trace that is not linear. What has no rows (convolutions) goes step by step.

A weight change Σ_r Σ_b m_rb · e_rb needs no eligibility built for it: it is a fold, too, with other gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.kernel_state import careful_step
from ...kernels.terms import backward, remaining
from ...layers.dense import Dense
from ...layers.spike_trains import as_numbers
from .. import traces
from ..eligibility_vectors import EligibilityVectors
from ..three_factor import contracted
from .clamp import failing_rows, step_rows
from .folding import fold_
from .places import met_by_places, update_places
from .spikes import SpikeBlock
from .state import TraceState
from .window_terms import WindowTerms

STEPWISE, SMALL_ENTRIES = (16, 4), 1 << 17  # steps up to which loops beat a window, where e is small or not
WHOLE = 3 / 4  # of all rows: where the clamp might bind in more of them, all of e goes through the window


class QueuedModulators(NamedTuple):
    """Modulators (k, ...) that met the first `met`, `met` + 1, … of the pending steps."""

    met: int
    mods: Tensor


def update_state(state: TraceState, block: SpikeBlock) -> None:
    """Bring e and the kernel state past a window of spikes; the e of samples that restart in it is zero before it."""
    trace, pre = state.rule.trace, block.pre
    edges = None if block.restarts else state.edge_steps
    if edges is not None and edges.window(state, pre, block.post, block.dt):
        return
    state.reach = None
    if state.by_place and state.may_keep_places:
        update_places(state, block)
        return
    if state.shared:
        _update_shared(state, block)
        return
    waits = trace.clamp_range is not None and not pre.is_cpu  # for the device, to know whether the clamp might bind
    in_windows = not waits if trace.linear else _has_rows(state, block)
    large = state.batch_size * math.prod(state.rule.geometry.shape) > SMALL_ENTRIES
    few = STEPWISE[large] if state.steps is not None and state.steps.pairs else 1
    if len(pre) <= few or not in_windows:
        _update_stepwise(state, block)
        return
    fresh, e = state.e is None, state.empty() if state.e is None else state.e
    parts = state.split(len(pre))
    for samples, part in parts:
        own, steps = e[samples], block._replace(pre=pre[:, samples], post=block.post[:, samples])
        _update_window(part, own, steps, fresh)
    state.e = e
    state.join(parts)


def step_once(state: TraceState, pre: Tensor, post: Tensor, dt: float) -> None:
    """One step, pre and post (B, ...), in place."""
    if state.edge_steps is not None and state.edge_steps.window(state, pre.unsqueeze(0), post.unsqueeze(0), dt):
        return
    if state.by_place and state.may_keep_places:
        update_places(state, SpikeBlock(pre.unsqueeze(0), post.unsqueeze(0), dt, 1))
        return
    rule, e, state.bound = state.rule, state.allocated(), None
    if state.kernel is None:
        state.kernel = rule.kernel.init(*state.like)
    pre, post = as_numbers(pre, e.dtype), as_numbers(post, e.dtype)
    steps, trace = state.steps, rule.trace
    if trace.linear and isinstance(rule.kernel, EligibilityVectors):
        beta = float(trace.retained(dt))
        rule.kernel.accumulate_(e, pre, post, state.kernel, beta, state.scale, fast=state.fast)
        if trace.clamp_range is not None:
            e.clamp_(*trace.clamp_range)
        return
    if steps is not None and steps.pairs and steps.step(e, state.kernel, pre.contiguous(), post.contiguous(), dt):
        return
    coincidence, state.kernel = careful_step(rule.kernel, pre, post, state.kernel, dt)
    if steps is not None and steps.join(e, coincidence, dt):
        return
    traces.step_(rule.trace, rule.geometry, e, coincidence, dt)


def _has_rows(state: TraceState, block: SpikeBlock) -> bool:
    """Whether each row of e can go through the window without the others."""
    return isinstance(state.rule.geometry, Dense) and block.pre.dim() == 3


def _fold_(state: TraceState, e: Tensor, window: WindowTerms, dt: float, kept: float | None = None) -> None:
    """In place: a window into e, as if no clamp were there. `kept` is what is left of e; with 0 it may be anything."""
    beta, steps = float(state.rule.trace.retained(dt)), len(window)
    gains = state.scale * remaining(beta, steps, e.dtype, e.device)
    fold_(state.rule.geometry, e, window, gains, beta**steps if kept is None else kept)


def _update_window(state: TraceState, e: Tensor, block: SpikeBlock, fresh: bool) -> None:
    """Fold, but for rows in which the clamp might bind, or f is not summed; `fresh`: e is zero, and not written yet."""
    trace, window, dt = state.rule.trace, state.window(block), block.dt
    summed = trace.linear or not window.terms
    failing = failing_rows(state, window, dt) if summed else None
    if summed and failing is None:
        _fold_(state, e, window, dt, 0.0 if fresh else None)
        state.kernel = window.state_after
        return
    e = e.zero_() if fresh else e
    if not _has_rows(state, block):
        state.e = e
        _update_stepwise(state, block)
        return
    whole = failing is None or bool(torch.count_nonzero(failing) > WHOLE * failing.numel())
    after = step_rows(trace, e, window, None if whole else failing, dt, state.fast)
    if not whole:
        _fold_(state, e, window, dt)
        e[failing] = after
    state.kernel = window.state_after


def _update_stepwise(state: TraceState, block: SpikeBlock) -> None:
    for steps, (pre, post) in enumerate(zip(block.pre, block.post, strict=True), start=1):
        step_once(state, pre, post, block.dt)
        for at, mask in block.restarts:
            if at == steps:
                state.forget(mask)
            elif at > len(block.pre) == steps:
                state.silence(mask)


def _update_shared(state: TraceState, block: SpikeBlock) -> None:
    """Into the sum of all samples; where a clamp might bind in any of them, nothing happens.

    Raises:
        ValueError: the clamp might bind.
    """
    parts, bound, dt = state.split(len(block.pre)), state.bound, block.dt
    windows = ((samples.start, part, part.window(block, samples)) for samples, part in parts)
    if state.rule.trace.clamp_range is not None:
        windows = list(windows)
        if any(failing_rows(part, window, dt) is not None for _, part, window in windows):
            state.bound = bound
            raise ValueError(
                "The clamp of the eligibility might bind, sample by sample, and the path 'shared' keeps only their "
                "sum. Use path='fold', or clamp_range=None. This step was not taken."
            )
    fresh, e = state.e is None, state.empty() if state.e is None else state.e
    for start, part, window in windows:
        _fold_(part, e, window, dt, 1.0 if start else 0.0 if fresh else None)  # the sum decays once
        part.kernel = window.state_after
        del window
    state.e = e
    state.join(parts)


def change_from_spikes(
    state: TraceState,
    blocks: Sequence[SpikeBlock],
    queued: Sequence[QueuedModulators],
    *,
    update: bool = False,
    each: bool = False,
) -> Tensor | None:
    """Σ over all queued modulators of the steps after `state`; None where that would not be exact.

    Args:
        state: before the first step; left as it is, unless `update`.
        blocks: the steps, of one length.
        queued: the modulators.
        update: also bring the state past these steps, which costs less than doing so later (no clamp only).
        each: that of each sample, (B, *shape).
    """
    geometry, trace, e = state.rule.geometry, state.rule.trace, state.e
    waits = trace.clamp_range is not None and not state.like[0].is_cpu and not state.shared
    if not blocks or not trace.linear or waits:
        return None
    dt, lengths, start = blocks[0].dt, [len(block.pre) for block in blocks], 0
    gains, lead = _gains(queued, float(trace.retained(dt)), sum(lengths))
    if gains.dim() >= 3 and not geometry.closed_form:
        return None
    fresh, begun = e is None, float(e is not None)
    parts = (state if update else state.copied()).split(max(lengths))
    turned = not each and len(parts) > 1 and len(geometry.shape) == 2  # sums over pre spikes lie that way
    shape = (state.batch_size, *geometry.shape) if each else geometry.shape
    room = gains.new_empty(geometry.shape[::-1]).T if turned else gains.new_empty(shape)
    total = room if e is None else met_by(state, lead, each=each)
    e = state.empty() if update and e is None else e
    for block in blocks:
        now = state.scale * (gains if len(gains) == 1 else gains[start : start + len(block.pre)])
        for samples, part in parts:
            window, own = part.window(block, samples), now if now.dim() == 1 else now[:, samples]
            if failing_rows(part, window, dt, refresh=False) is not None:
                return None
            into, kept = (total[samples], float(not fresh)) if each else (total, begun)
            fold_(geometry, into, window, own, kept)
            begun = 1.0
            if update and e is not None:
                kept = 1.0 if state.shared and samples.start else 0.0 if fresh else None
                _fold_(part, e if state.shared else e[samples], window, dt, kept)
            if update or block is not blocks[-1]:
                part.kernel = window.state_after
            del window  # its tables, before there are those of the next samples
        start, fresh = start + len(block.pre), False
    if update:
        state.e = e
        state.join(parts)
    return total.contiguous()


def sum_of_steps(state: TraceState, block: SpikeBlock, total: Tensor) -> None:
    """In place: total += Σ_t Σ_b f_t. The kernel goes on past these steps, and e stays as it is."""
    parts, gains = state.split(len(block.pre)), total.new_ones(len(block.pre))
    for samples, part in parts:
        window = part.window(block, samples)
        fold_(state.rule.geometry, total, window, gains, 1.0)
        part.kernel = window.state_after
    state.join(parts)


def _gains(queued: Sequence[QueuedModulators], beta: float, steps: int) -> tuple[Tensor, Tensor]:
    """Gain of each step's f, (T,), (T, B), (T, B, N_post) or (T, B, C, *places); and of e before, without the T.

    (1, B, N_post) is that of every step alike, and so is that of places.
    """
    last = queued[0].mods if len(queued) == 1 and queued[0].met == steps else None
    if last is not None and len(last) == 1 and last.dim() >= 3:  # a single modulator, after all steps
        kept = remaining(beta, steps, last.dtype, last.device).view(-1, *[1] * (last.dim() - 1))
        return last if beta == 1.0 else kept * last, beta**steps * last[0]
    like = max([one.mods[0] for one in queued], key=Tensor.dim)
    met, before = like.new_zeros(steps, *like.shape), torch.zeros_like(like)
    for first, mods in queued:
        mods = mods.view(*mods.shape, *[1] * (met.dim() - mods.dim()))
        if first == 0:  # met e before any of these steps
            before = before + mods[0]
            first, mods = 1, mods[1:]
        met[first - 1 : first - 1 + len(mods)] += mods
    gains = backward(met, beta)
    return gains, before + beta * gains[0]


def met_by(state: TraceState, mod: Tensor, *, each: bool = False) -> Tensor:
    """Σ_b mod_b · e_b, or `each` of them; places of a map that e does not tell apart hear the mean of their channel."""
    geometry, e = state.rule.geometry, state.allocated()
    if mod.dim() > 2 and state.places is not None:
        return met_by_places(geometry, mod, state.places, each=each)
    if mod.dim() > 2:
        mod = mod.flatten(2).mean(2)
    if state.shared:
        return mod * e
    mod = geometry.per_synapse(mod)
    return mod.view(*mod.shape, *[1] * (e.dim() - mod.dim())) * e if each else contracted(mod, e)
