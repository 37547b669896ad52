"""The clamp of a window: a certificate, from neuron-sized vectors alone, that it cannot bind; rows in which it might.

    |e_ij(t)| ≤ β^t |e_ij(0)| + max(P_i, D_i)

    P_i, D_i   for the potentiating and the depressing terms:  Σ |scale| · min( max_t F(|post_i|) · max |pre|,
                                                                               max_t |post_i| · max F(|pre|) )

F is the eligibility's own exponential filter. Larger and cheaper is a plain sum over the window, and cheaper still a
bound of which nothing is known but the sum of each neuron's spikes and the tallest of them; these are tried first.
Potentiation and depression have opposite signs where all factors are non-negative, so that the larger of the two
counts; otherwise their sum does. It holds for every step of the window and for each post neuron, so that only rows that
fail need go through the window step by step: entries of e depend on each other through nothing but the vectors of the
window, so that this is done a few rows at a time, while these are in the cache; compiled where that is possible.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..._compiled import NUMBERS, loops, suits
from ...kernels.terms import Filtered, Side, Spikes, Values, forward
from ...layers.dense import CACHED_ENTRIES
from ...layers.geometry import Geometry
from ..traces import Trace, scale_of
from . import compiled
from .state import TraceState
from .window_terms import WindowTerms

MOST_FAILING = 3 / 4  # of all rows: where more would fail even so, no tighter bound is looked for
TIGHTER = 16  # times: the most that is hoped for of a tighter bound


def failing_rows(state: TraceState, window: WindowTerms, dt: float, *, refresh: bool = True) -> Tensor | None:
    """Rows (B, N_post) in which the clamp might bind within the window; None if there are none.

    Args:
        state: before the window; its bound is brought past it.
        window: the steps.
        dt: step length.
        refresh: whether e may be looked at, where the running bound is not enough.
    """
    trace, geometry = state.rule.trace, state.rule.geometry
    if trace.clamp_range is None or not window.terms:
        return None
    if not geometry.closed_form:
        return state.row_maxima() >= 0.0
    low, high = trace.clamp_range
    limit, beta = max(0.0, min(-low, high)), float(trace.retained(dt))
    before = state.row_maxima() if state.bound is None else state.bound
    new, tighter = count_bounds(window, state.scale), [1.0, beta]
    if new is None:
        new = row_bounds(geometry, window, tighter.pop(0), state.scale)
    failing, least = before + new > limit, new / TIGHTER
    if refresh and not state.shared and state.e is not None and bool(failing.any()) and _few(least > limit):
        before = state.row_maxima()
        failing = before + new > limit
    while tighter and bool(failing.any()) and _few(before + least > limit):
        new = torch.minimum(new, row_bounds(geometry, window, tighter.pop(0), state.scale))
        failing = before + new > limit
    state.bound = (beta ** len(window) * before + new).clamp(max=max(abs(low), abs(high)))
    return failing if bool(failing.any()) else None


def _few(rows: Tensor) -> bool:
    """Whether there is something to win by a closer look, where these rows would fail after it, too."""
    return bool(torch.count_nonzero(rows) < MOST_FAILING * rows.numel())


def row_bounds(geometry: Geometry, window: WindowTerms, beta: float, scale: float) -> Tensor:
    """Largest |e| that a window can add to any synapse of each post neuron, (B, N_post)."""
    bounds, positive, fast = [], True, window.fast
    for term in window.terms:
        sides = [window.values(side) for side in (term.post, term.pre)]
        signed = [_signed(window, side) for side in (term.post, term.pre)]
        positive = positive and not any(signed)
        post, pre = (side.abs() if sign else side for side, sign in zip(sides, signed, strict=True))
        rows = geometry.by_neuron(post)
        bound = _largest(rows, beta, fast) * pre.flatten(2).amax(dim=(0, 2)).unsqueeze(1)
        if rows is post:  # no positions; where a weight sums over them, so must post
            other = rows.amax(0) * _largest(pre, beta, fast).flatten(1).amax(1, keepdim=True)
            bound = torch.minimum(bound, other)
        bounds.append((term.scale * scale, bound))
    return _joined(bounds, positive)


def _largest(values: Tensor, beta: float, fast: bool) -> Tensor:
    """The most that has come together of values (T, ...) at any step; with beta = 1 their sum, which costs little."""
    if beta == 1.0:
        return values.sum(0)
    found = loops() if fast and suits(values) else None
    if found is None:
        return forward(values, beta).amax(0)
    peaks = torch.zeros_like(values[0])
    found.filtered_peaks(values.flatten(1).numpy(), NUMBERS[values.dtype](beta), peaks.view(-1).numpy())
    return peaks


def count_bounds(window: WindowTerms, scale: float) -> Tensor | None:
    """As `row_bounds`, from sums of spikes; None where a side is no train, may be negative, or has positions."""
    bounds = []
    for term in window.terms:
        post, pre = _counted(window, term.post), _counted(window, term.pre)
        if post is None or pre is None:
            return None
        (post, post_peak), (pre, pre_peak) = post, pre
        bound = torch.minimum(post * pre_peak.amax(1, keepdim=True), post_peak * pre.amax(1, keepdim=True))
        bounds.append((term.scale * scale, bound))
    return _joined(bounds, positive=True)


def _joined(bounds: list[tuple[float, Tensor]], positive: bool) -> Tensor:
    """Of the bounds of all terms, with their scales: the larger sign, or both where factors may be negative."""
    up = down = torch.zeros_like(bounds[0][1])
    for scale, bound in bounds:
        up, down = (up + scale * bound, down) if scale > 0 else (up, down - scale * bound)
    return torch.maximum(up, down) if positive else up + down


def _counted(window: WindowTerms, side: Side) -> tuple[Tensor, Tensor] | None:
    """Bounds of a side's sum over the window and of its peak, (B, N), from the sum of its spikes and the tallest."""
    if isinstance(side, Values) or side.trains.dim() != 3 or _signed(window, side):
        return None
    trains = window.trains(side.trains)
    count, tallest = trains.count, 1.0 if trains.binary else trains.spikes.amax(0)
    if isinstance(side, Spikes):
        return count, torch.clamp(count, max=tallest)
    most = 1.0 / max(1.0 - side.decay, 1e-9)  # of a trace with a spike in every step, and of what becomes of one spike
    peak = torch.clamp(count, max=tallest * most)
    if side.lead is not None:
        count, peak = count + side.lead, peak + side.lead
    return count * min(len(trains.spikes), most), peak


def _signed(window: WindowTerms, side: Side) -> bool:
    """Whether a side, or a train of which it is the trace, might be negative anywhere."""
    if isinstance(side, Values):
        return bool((side.tensor < 0).any())
    if side.trains.dtype != torch.bool and not window.trains(side.trains).binary and bool((side.trains < 0).any()):
        return True
    return isinstance(side, Filtered) and side.lead is not None and bool((side.lead < 0).any())


def step_rows(
    trace: Trace, e: Tensor, window: WindowTerms, rows: Tensor | None, dt: float, fast: bool = True
) -> Tensor:
    """Rows of e after a window, (R, N_pre), while e stays as it is; or where all rows are meant: in place.

    Args:
        trace: what is kept and how it is joined.
        e: (B, N_post, N_pre), the eligibility before the window.
        window: the steps, without positions (T, B, N).
        rows: (B, N_post) bool, those that are meant; None is all of them.
        dt: step length.
        fast: whether compiled loops may be used.
    """
    (batch, n_post, n_pre), scale = e.shape, scale_of(trace)
    terms, steps = window.terms, len(window)
    left, right = e.new_empty(len(terms), batch * n_post, steps), e.new_empty(batch, len(terms), steps, n_pre)
    for k, term in enumerate(terms):
        left[k].copy_(_numbers(window, term.post).flatten(1).t()).mul_(term.scale * scale)
        right[:, k].copy_(_numbers(window, term.pre).transpose(0, 1))
    places = torch.arange(batch * n_post, device=e.device) if rows is None else rows.flatten().nonzero().squeeze(1)
    after = e.reshape(-1, n_pre) if rows is None else e[rows]
    if fast and compiled.why_not(trace, False) is None and suits(e):
        _step_compiled_(trace, after, places, left, right, dt)
    else:
        counts = [n_post] * batch if rows is None else list(map(int, rows.sum(1)))
        size = max(1, CACHED_ENTRIES // n_pre)
        for b, (part, own) in enumerate(zip(after.split(counts), places.split(counts), strict=True)):
            for some, at in zip(part.split(size), own.split(size), strict=True):
                _step_in_torch_(trace, some, left[:, at], right[b], float(trace.retained(dt)))
    if rows is None and not e.is_contiguous():
        e.copy_(after.view_as(e))
    return after


def _numbers(window: WindowTerms, side: Side) -> Tensor:
    """A side of a term at every step, spikes in whatever precision."""
    return window.trains(side.trains).spikes if isinstance(side, Spikes) else window.values(side)


def _step_compiled_(trace: Trace, rows: Tensor, places: Tensor, left: Tensor, right: Tensor, dt: float) -> None:
    """In place: rows (R, N_pre) that lie at `places` of B·N_post, past a window; see the loop."""
    found, cells = loops(), right.numpy().reshape(-1, right.shape[-1])
    assert found is not None
    loop = found.linear_rows if trace.linear else found.joined_rows
    given = rows.numpy(), places.numpy(), left.numpy(), cells, *found.sparse_lists(cells)
    loop(*given, *map(NUMBERS[rows.dtype], compiled.joins(trace, dt)))


def _step_in_torch_(trace: Trace, part: Tensor, left: Tensor, right: Tensor, retained: float) -> None:
    """In place: rows (R, N_pre) of one sample past a window of f = left (K, R, T) times right (K, T, N_pre)."""
    f = torch.empty_like(part)
    for now, other in zip(left.permute(2, 1, 0), right.transpose(0, 1), strict=True):
        if trace.linear:
            part.addmm_(now, other, beta=retained)
        else:
            part.copy_(trace.join(part.mul_(retained), torch.mm(now, other, out=f)))
        if trace.clamp_range is not None:
            part.clamp_(*trace.clamp_range)
