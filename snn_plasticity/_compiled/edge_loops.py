"""Compiled loops over edges: a window of pair STDP, each spike along the edges of its neuron and no other.

    e ← clamp(β e + up · post ⊗ x + down · y ⊗ pre)      at edges, where the clamp holds zero

Between two events an edge only decays, and towards zero, so that a clamp can bind at events alone. All edges decay at
once, over the whole window; what an event of step t adds, and the clamp there, are scaled by what is left of it at the
end, β^(T−1−t). Edges do not know of each other: a window passes over some, while these are in the cache, then over the
next ones. Imported where numba is there.
"""

from __future__ import annotations

import numpy as np

from .dense_loops import _moved, loop, strict

EDGES_AT_ONCE = 1 << 18  # edges that all events visit before they visit the next ones


@loop
def _listed(spikes, like):
    """Spikes (R, N) as lists: where those of each row begin (R + 1,), their neurons, and their values, typed as `like`.

    Also whether all are finite; NaN is not zero, so that it is met among the others.
    """
    starts, finite = np.zeros(len(spikes) + 1, np.int64), True
    for r in range(len(spikes)):
        count = 0
        for k in range(spikes.shape[1]):
            count += spikes[r, k] != 0
        starts[r + 1] = starts[r] + count
    neurons, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], like.dtype)
    for r in range(len(spikes)):
        at = starts[r]
        for k in range(spikes.shape[1] if at < starts[r + 1] else 0):
            value = spikes[r, k]
            if value != 0:
                neurons[at], values[at] = k, value
                finite &= values[at] - values[at] == 0
                at += 1
    return (starts, neurons, values), finite


@loop
def _narrow(ends, spikes, rows, table, stop, whole):
    """In place: of each neuron that spikes, where the edges before `stop` end; they begin where the last ones ended."""
    starts, neurons, _ = spikes
    first, far = table
    last_row = rows.start + (len(rows) - 1) * rows.step
    some = neurons[starts[rows.start] : starts[last_row + 1]]  # those of other samples in between do not matter
    for k in some:
        ends[k, 0] = -1
    for k in some:
        if ends[k, 0] < 0:
            at, last = ends[k, 1], first[k + 1]
            ends[k, 0] = at
            while not whole and at < last and far[at, 0] < stop:
                at += 1
            ends[k, 1] = last if whole else at


@loop
def _see(trace, spikes, r, gain, nearest):
    """In place: the spikes of a row into a trace that is kept divided by `gain`."""
    starts, neurons, values = spikes
    for s in range(starts[r], starts[r + 1]):
        k, value = neurons[s], values[s] / gain
        trace[k] = value if nearest else trace[k] + value


@loop
def _mark(now, spikes, r, spiking):
    """In place: who spikes in a row, by how much; or nobody any more."""
    starts, neurons, values = spikes
    for s in range(starts[r], starts[r + 1]):
        now[neurons[s]] = values[s] if spiking else 0


@loop
def _events(row, far, ends, spikes, r, seen, own, now, factors, alone):
    """In place: the edges of neurons that spike: + factor · spike · seen_far + own factor · own · now_far.

    Where a spike is met `alone`, edges whose far neuron spikes now are left out, and `own` is. Returns Σ |e| written.
    """
    starts, neurons, values = spikes
    factor, of_own, low, high = factors
    reach = 0.0
    for s in range(starts[r], starts[r + 1]):
        neuron = neurons[s]
        up, down = factor * values[s], of_own * own[neuron]
        for k in range(ends[neuron, 0], ends[neuron, 1]):
            at, j = far[k, 0], far[k, 1]
            if alone:
                if now[j] != 0:
                    continue
                value = row[at] + up * seen[j]
            else:
                value = row[at] + (up * seen[j] + down * now[j])
            row[at] = min(max(value, low), high)
            reach += abs(row[at])
    return reach


@loop
def _steps(row, x, y, pre, post, rows, numbers, flags, gains, from_pre, from_post, ends, room):
    """In place: some edges past some steps, with the traces, which are kept divided by their decay; Σ |e| written."""
    _, _, _, up, down, low, high = numbers
    nearest, x_before, y_before = flags
    pre_now, post_now = room
    reach = 0.0
    for t, r in enumerate(rows):
        gain, x_gain, y_gain = gains[0, t], gains[1, t], gains[2, t]
        if not x_before:
            _see(x, pre, r, x_gain, nearest)
        if not y_before:
            _see(y, post, r, y_gain, nearest)
        _mark(pre_now, pre, r, True)
        _mark(post_now, post, r, True)
        by_y, floor, ceiling = gain * down * y_gain, gain * low, gain * high
        both = gain * up * x_gain, by_y, floor, ceiling
        reach += _events(row, from_post, ends[1], post, r, x, y, pre_now, both, False)
        reach += _events(row, from_pre, ends[0], pre, r, y, x, post_now, (by_y, 0 * by_y, floor, ceiling), True)
        _mark(pre_now, pre, r, False)
        _mark(post_now, post, r, False)
        if x_before:
            _see(x, pre, r, x_gain, nearest)
        if y_before:
            _see(y, post, r, y_gain, nearest)
    return reach


@loop
def _decay(values, factor):
    """In place: values ← factor · values."""
    for k in range(values.size):
        values[k] *= factor


@loop
def pair_edges(e, x, y, pre_spikes, post_spikes, numbers, flags, gains, longest, of_pre, of_post):
    """In place: e (B, E), x (B, N_pre) and y (B, N_post) past a window.

    pre and post: spikes (T·B, N), step by step and sample by sample.
    numbers: what is kept of x, y and, over the whole window, e; up, down, and the clamp.
    flags: nearest pairs; whether a spike meets x, and y, as they were before those of its own step.
    gains (3, T): what is left of a step at the end; of x, and y, at a step, of what there was at the last one whose
    number `longest` divides, so that decay costs one factor a step.
    of_pre, of_post: where the edges of each neuron begin (N + 1,); these, and the neurons at their other ends, (E, 2).
    Returns Σ |e| over what was written: no edge that was written is larger, nor is any NaN where this is none; or −1,
    with nothing changed, where a spike is NaN or infinite.
    """
    (pre, finite), (post, finite_too) = _listed(pre_spikes, e), _listed(post_spikes, e)
    if not (finite and finite_too):
        return -1.0
    batch, size, reach = e.shape[0], e.shape[1], 0.0
    xs, ys, room = np.empty_like(x[0]), np.empty_like(y[0]), (np.zeros_like(x[0]), np.zeros_like(y[0]))
    ends = np.empty((xs.size, 2), np.int64), np.empty((ys.size, 2), np.int64)
    for b in range(batch):
        for first in range(0, gains.shape[1], longest):
            some = gains[:, first : first + longest]
            rows = range(first * batch + b, (first + some.shape[1]) * batch, batch)
            ends[0][:, 1], ends[1][:, 1] = of_pre[0][:-1], of_post[0][:-1]
            for start in range(0, size, EDGES_AT_ONCE):
                near = e[b, start : start + EDGES_AT_ONCE]
                if first == 0:
                    _decay(near, numbers[2])
                _narrow(ends[0], pre, rows, of_pre, start + EDGES_AT_ONCE, start + EDGES_AT_ONCE >= size)
                _narrow(ends[1], post, rows, of_post, start + EDGES_AT_ONCE, start + EDGES_AT_ONCE >= size)
                xs[:], ys[:] = x[b], y[b]
                _decay(xs, numbers[0])
                _decay(ys, numbers[1])
                reach += _steps(e[b], xs, ys, pre, post, rows, numbers, flags, some, of_pre[1], of_post[1], ends, room)
            x[b], y[b] = xs, ys
            _decay(x[b], some[1, -1])
            _decay(y[b], some[2, -1])
    return reach


@strict  # rounds as torch does
def land(weight, e, mods, factor, ends):
    """In place: weight ← weight + Δ, within the ends of a change and of a weight.

    Δ = Σ_b factor · mods_b e_b for a weight (1, E), without the sum for a weight (B, E); e (B, E), mods (B,) or (1,).
    """
    several = len(e) // len(weight)
    total = np.zeros(e.shape[1] if several > 1 else 0, weight.dtype)
    for b in range(len(e)):
        mod, row, own = factor * mods[b % mods.size], e[b], weight[b // several]
        if several == 1:
            for k in range(row.size):
                own[k] = _moved(own[k], mod * row[k], *ends)
        elif b < several - 1:
            for k in range(row.size):
                total[k] += mod * row[k]
        else:
            for k in range(row.size):
                own[k] = _moved(own[k], total[k] + mod * row[k], *ends)


@loop
def deliver(current, spikes, weight, of_pre):
    """In place: current (R, N_post) of spikes (R, N_pre), each along the edges of its neuron.

    weight: (1, E), or (B, E) with weights of its own for each sample.
    """
    starts, far = of_pre
    for r in range(len(spikes)):
        own, out = weight[r % len(weight)], current[r]
        for neuron in range(spikes.shape[1]):
            spike = spikes[r, neuron]
            for k in range(starts[neuron], starts[neuron + 1] if spike != 0 else 0):
                out[far[k, 1]] += own[far[k, 0]] * spike
