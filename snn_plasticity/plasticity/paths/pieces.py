"""When each row of a clamped eligibility must be looked at: its post spikes, and a few steps between these.

Between two post spikes of a row, depression d_u = A y(u) p falls off with the post trace y(u) = b y(u−1). A row in
which the lower clamp L < 0 may bind needs no look at every pre spike, since

    d_u ≥ |L| (1 − β^k)    where a clamp bound k steps or less before u, what it was is forgotten at u
    d_u ≤ |L| (1 − β)      the clamp does not bind at u: decay has made more room than d_u takes

A piece is as many steps as the first covers, or all that are left before the next post spike, where the second holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Falling(NamedTuple):
    """How depression falls between post spikes.

    Args:
        decay: of the post trace.
        unbound: the post trace up to which the lower clamp does not bind.
        reach: (2, T), from which post trace on in its first step a piece may have 1, 2, … steps; the second row is for
            pieces before which a clamp is still to come.
    """

    decay: float
    unbound: float
    reach: np.ndarray

    @classmethod
    def of(cls, sizes: tuple[float, float], decay: float, beta: float, low: float, steps: int) -> Falling:
        """Of depression per unit of the post trace between these sizes, and a lower clamp."""
        k = np.arange(steps, dtype=float)
        with np.errstate(all="ignore"):
            reach = [-low * (1.0 - beta ** (k + late)) / (sizes[0] * decay**k) for late in (0, 1)]
        reach = np.nan_to_num(reach, nan=np.inf if low else 0.0, posinf=np.inf)
        unbound = -low * (1.0 - beta) / sizes[1] if sizes[1] else np.inf
        return cls(decay, unbound, np.maximum.accumulate(reach, axis=1))


class Pieces(NamedTuple):
    """Pieces of all rows, an entry each; `start` steps were over before it, `stop` are after it."""

    row: np.ndarray
    round: np.ndarray  # which piece of its row
    start: np.ndarray
    stop: np.ndarray
    before: np.ndarray  # the post trace when it starts
    after: np.ndarray  # the post trace when it stops
    unbound: np.ndarray  # whether the lower clamp cannot bind
    next: np.ndarray  # the step of the next post spike; T if there is none


def pieces_of(spikes: np.ndarray, trace: np.ndarray, lead: np.ndarray, jump: np.ndarray, falling: Falling) -> Pieces:
    """The pieces of a window.

    Args:
        spikes: (T, rows) bool, where a row has a post spike.
        trace: (T, rows), the post trace as pre spikes see it.
        lead: (rows,), the post trace before the window.
        jump: (T, rows), by how much a post spike raises the trace above what pre spikes of the same step see.
        falling: how depression falls.
    """
    row, end, left = _intervals(spikes, trace, lead, jump)
    found, nth = [], np.zeros_like(end)
    while len(left.interval):
        stop, unbound = _stop(left, end[left.interval], falling)
        after = np.where(stop > left.start, trace[np.maximum(stop - 1, 0), row[left.interval]], left.before)
        found.append((left.interval, nth[left.interval], left.start, stop, left.before, after, unbound))
        nth[left.interval] += 1
        more = np.flatnonzero(stop < end[left.interval])
        zeros = np.zeros(len(more), int)
        left = _Left(left.interval[more], stop[more], after[more], zeros, zeros)
    interval, nth_in_interval, *rest = (np.concatenate(parts) for parts in zip(*found, strict=True))
    earlier = np.cumsum(nth) - nth
    earlier -= earlier[np.searchsorted(row, np.arange(spikes.shape[1]))][row]
    return Pieces(row[interval], earlier[interval] + nth_in_interval, *rest, next=end[interval])


class _Left(NamedTuple):
    """Intervals between post spikes as far as they are not cut yet."""

    interval: np.ndarray
    start: np.ndarray
    before: np.ndarray  # the post trace there
    seen: np.ndarray  # depression of the step before, where its clamp is still to come; else zero
    late: np.ndarray  # whether there is such a step


def _intervals(
    spikes: np.ndarray, trace: np.ndarray, lead: np.ndarray, jump: np.ndarray
) -> tuple[np.ndarray, np.ndarray, _Left]:
    """The intervals between post spikes: the row of each, where it ends, and all of them uncut."""
    steps, rows = spikes.shape
    step, at = np.divmod(np.flatnonzero(spikes), rows)
    ordered = np.argsort(at.astype(np.min_scalar_type(rows)), kind="stable")  # faster than of large integers
    step, at = step[ordered], at[ordered]
    count = np.bincount(at, minlength=rows) + 1  # a row has an interval more than spikes
    row, end, first = np.repeat(np.arange(rows), count), np.full(rows + len(at), steps), np.cumsum(count) - count
    ended = np.arange(len(at)) + at  # the interval that a spike ends; with the next one it begins
    start, late, before, seen = np.zeros_like(end), np.ones_like(end), trace[0, row], np.zeros_like(trace[0, row])
    end[ended], start[ended + 1] = step, step + 1
    seen[ended + 1] = trace[step, at]
    before[ended + 1] = seen[ended + 1] + jump[step, at]
    before[first], late[first] = lead, 0
    return row, end, _Left(np.arange(len(end)), start, before, seen, late)


def _stop(left: _Left, end: np.ndarray, falling: Falling) -> tuple[np.ndarray, np.ndarray]:
    """Where the next piece of each interval stops, and whether the lower clamp cannot bind in it."""
    now = falling.decay * left.before
    unbound = np.maximum(now, left.seen) <= falling.unbound
    needed = falling.reach[left.late, np.maximum(end - left.start, 1) - 1]
    stop = end.copy()
    part = np.flatnonzero(~unbound & (now < needed) & (end > left.start))
    length = (np.searchsorted(reach, now[part], "right") for reach in falling.reach)
    stop[part] = left.start[part] + np.where(left.late[part], *reversed(list(length)))
    return stop, unbound
