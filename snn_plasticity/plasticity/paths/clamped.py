"""A clamp that binds: rows of an accumulating trace go from post spike to post spike, not from step to step.

With f = g X − A y p, for spikes g of post, spikes p of pre, and a post trace y that falls as b^k between post spikes,

    e ← max( β^k e − A (β^k y_0 H_0 − y_k H_k),  L β^s )       over k steps without a post spike
    e ← min( β e + g X − A y p,  U )                           in a step with one

where H_t = Σ_{u>t} (b/β)^{u−t} p_u, and s steps ago was the last pre spike of a synapse. How many steps may be taken at
once, so that of all lower clamps only the one at that spike counts, is said in `pieces`; how they are taken in `leaps`.
Where what comes between post spikes raises e, everything is turned upside down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..dense import Dense
from ..edges import Edges
from ..terms import Filtered, Spikes, Term
from ..traces import Trace, scale_of
from .leaps import NEVER, Clamp, Drive, advance_, room_for, share
from .rows import Rows, walk
from .said import Said

SMALL = 1 << 24  # entries × steps of a sample up to which walking is faster
OFTEN = 1 / 3  # of a leap for each row and step: above it, walking is faster
CROWDED = 1 / 8  # of post neurons and steps with spikes: above it, walking is faster
MOST = 3 / 4  # of all rows: where more fail, the whole of e goes through
GROWTH, SHORTEST = 16.0, 16  # of (b/β)^T, with which precision is lost; steps that it must allow


def through_(
    trace: Trace, geometry: Dense | Edges, e: Tensor, said: Said, failing: Tensor, dt: float
) -> list[Rows] | None:
    """Rows in which the clamp might bind, after a window; None where all of e has been brought past it, in place.

    Args:
        trace: a linear trace.
        geometry: a full matrix, e (B, N_post, N_pre), or edges, e (B, E).
        e: the eligibility before the window.
        said: the window, without positions (T, B, N).
        failing: (B, N_post) bool, the post neurons in whose rows the clamp might bind.
        dt: step length.
    """
    count = int(torch.count_nonzero(failing))
    large = isinstance(geometry, Dense) and count * e.shape[2] * len(said) > SMALL * len(e)
    found = _found(trace, e, said, dt) if large else None
    if found is None or share(*found[:2]) > OFTEN:
        return list(walk(trace, geometry, e, said, failing, dt))
    drive, clamp, steps, sign = found
    whole = count > MOST * failing.numel()
    walked, room = [], room_for(e, steps)
    for b, sample in enumerate(e):
        rows = None if whole else failing[b].nonzero().squeeze(1)
        part, own = sample if rows is None else sample[rows], drive.sample(b, rows)
        if rows is not None and not len(rows):
            continue
        if sign < 0:
            part.neg_()
        for start in range(0, len(said), steps):
            advance_(part, own.steps(start, start + steps), clamp, room)
        if sign < 0:
            part.neg_()
        if rows is not None:
            walked.append(Rows(b, rows, part))
    return None if whole else walked


def _found(trace: Trace, e: Tensor, said: Said, dt: float) -> tuple[Drive, Clamp, int, float] | None:
    """What f is made of, the clamp, how many steps at once keep precision, and the sign of e; None if not exact."""
    beta, (low, high) = trace.retained(dt), trace.clamp_range  # type: ignore[misc]
    if not e.is_cpu or e.dtype not in (torch.float32, torch.float64) or isinstance(beta, Tensor):
        return None
    least, most = e.aminmax()
    if beta <= 0.0 or not low <= 0.0 <= high or bool((least < low) | (most > high)):
        return None
    driven = _driven(said, float(scale_of(trace)))
    if driven is None:
        return None
    drive, sign = driven
    growth = math.log(max(drive.decay, 1e-30) / beta)
    steps = len(said) if growth * len(said) <= math.log(GROWTH) else int(math.log(GROWTH) / growth)
    low, high = (low, high) if sign > 0 else (-high, -low)
    clamp = Clamp(max(low, NEVER), min(high, -NEVER), beta)
    return (drive, clamp, steps, sign) if steps >= min(SHORTEST, len(said)) else None


def _driven(said: Said, scale: float) -> tuple[Drive, float] | None:
    """What f is made of, and a sign with which e falls between post spikes; None where it is made of something else."""
    parts = _parts(said)
    if parts is None:
        return None
    at, between, y = parts
    size, pre, spikes = said.values(at.post), said.values(between.pre), said.numbers(y.trains)
    same = size is spikes or torch.equal(size, spikes)
    if not same and not (y.exclusive and bool(((size != 0) <= (spikes != 0)).all())):
        return None
    sign, amplitude = -1.0 if between.scale * scale > 0 else 1.0, abs(between.scale * scale)
    table = said.values(at.pre) * (sign * scale * at.scale)
    lead = torch.zeros_like(spikes[0]) if y.lead is None else y.lead
    if any(bool(side.min() < 0) for side in (size, spikes, lead, pre, table)):
        return None
    if not y.exclusive:
        table.sub_(pre, alpha=amplitude)  # what a post spike adds to y meets pre spikes of its own step
    jump = spikes if y.exclusive else torch.zeros_like(spikes)
    sizes = float(torch.where(pre > 0, pre, pre.max()).min()), float(pre.max())
    return Drive(size, table, said.values(y), jump, lead, pre, amplitude, y.decay, sizes), sign


def _parts(said: Said) -> tuple[Term, Term, Filtered] | None:
    """What post spikes bring, what pre spikes bring, and the post trace that these meet; None where there is more."""
    at = [term for term in said.terms if isinstance(term.post, Spikes)]
    between = [(term, term.post) for term in said.terms if isinstance(term.post, Filtered)]
    if len(said.terms) != 2 or len(at) != 1 or len(between) != 1 or not isinstance(between[0][0].pre, Spikes):
        return None
    crowded = torch.count_nonzero(between[0][1].trains) > CROWDED * between[0][1].trains.numel()
    return None if crowded else (at[0], *between[0])
