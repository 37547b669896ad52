"""Compiled loops over NumPy arrays: one pass over e where torch takes several, and time inside rows.

    e ← join(β e, Σ_k left_k ⊗ right_k), clamped

Only `compiled` imports this file, where numba is there. Each loop does in a synapse what the plain loop does, in the
same order; where a decay is kept as one factor of a row, results differ by rounding.
"""

from __future__ import annotations

import numba
import numpy as np

ADD, REPLACE, ACTIVE = 0, 1, 2  # how a trace joins what was kept and what comes
RENEW = 0.3  # a factor of a row below this is multiplied into it, so that precision is kept

_fast = {"nsz", "arcp", "contract", "reassoc"}  # NaN and infinity keep their meaning
loop = numba.njit(cache=True, nogil=True, fastmath=_fast, error_model="numpy")


@loop
def _see(trace, spikes, decay, nearest, before, seen):
    """In place: an exponential trace (N,), and in `seen` what it shows to spikes of the other side in this step."""
    for k in range(trace.size):
        kept = trace[k] * decay
        now = kept + spikes[k]
        if nearest and spikes[k] != 0:
            now = spikes[k]
        seen[k] = kept if before else now
        trace[k] = now


@loop
def pair_step(e, x, y, pre, post, numbers, nearest, x_before, y_before, seen):
    """One step of pair STDP and a linear trace, in place: f = up · post ⊗ x + down · y ⊗ pre.

    e (B, N_post, N_pre); x, pre (B, N_pre) and y, post (B, N_post); numbers: what is kept of x, y and e, up, down, and the
    clamp; seen (N_pre + N_post,) is room.
    """
    batch, n_post, n_pre = e.shape
    x_decay, y_decay, kept, up, down, low, high = numbers
    x_seen, y_seen = seen[:n_pre], seen[n_pre:]
    for b in range(batch):
        _see(x[b], pre[b], x_decay, nearest, x_before, x_seen)
        _see(y[b], post[b], y_decay, nearest, y_before, y_seen)
        p = pre[b]
        for i in range(n_post):
            row, u, d = e[b, i], up * post[b, i], down * y_seen[i]
            if u != 0:
                for j in range(n_pre):
                    row[j] = min(max(kept * row[j] + (u * x_seen[j] + d * p[j]), low), high)
            else:
                for j in range(n_pre):
                    row[j] = min(max(kept * row[j] + d * p[j], low), high)


@loop
def sparse_lists(right):
    """Columns and values of what is not zero in right (T, K, N), one list after the other; where each starts.

    A list that is longer than a quarter of the row is left out: such a term is added to the whole row.
    """
    steps, terms, n = right.shape
    starts = np.zeros(steps * terms + 1, np.int64)
    long = np.zeros(steps * terms, np.bool_)
    total = 0
    for cell in range(steps * terms):
        values = right[cell // terms, cell % terms]
        count = 0
        for j in range(n):
            count += values[j] != 0
        long[cell] = 4 * count > n
        total += 0 if long[cell] else count
        starts[cell + 1] = total
    columns, listed = np.empty(total, np.uint32), np.empty(total, right.dtype)
    at = 0
    for cell in range(steps * terms):
        if not long[cell]:
            values = right[cell // terms, cell % terms]
            for j in range(n):
                if values[j] != 0:
                    columns[at] = j
                    listed[at] = values[j]
                    at += 1
    return long, starts, columns, listed


@loop
def linear_rows(e, left, right, long, starts, columns, listed, kept, low, high):
    """Rows of one sample after a window of a linear trace whose clamp may bind, in place.

    e (R, N_pre), left (R, T, K), right (T, K, N_pre) and its `sparse_lists`. A term with a short list touches its
    columns only; the decay is one factor of the whole row meanwhile.
    """
    steps, terms, n = right.shape
    one = kept / kept
    for i in range(e.shape[0]):
        row, weight, factor = e[i], left[i], one
        for t in range(steps):
            factor *= kept
            wide, short, nth = 0, 0, 0
            for k in range(terms):
                if weight[t, k] != 0:
                    cell = t * terms + k
                    if long[cell]:
                        wide += 1
                    elif starts[cell + 1] > starts[cell]:
                        short += 1
                        nth = k
            if wide == 0 and t > 0:
                if factor < RENEW:
                    for j in range(n):
                        row[j] *= factor
                    factor = one
                if short == 1:
                    cell = t * terms + nth
                    w, floor, roof = weight[t, nth] / factor, low / factor, high / factor
                    for c in range(starts[cell], starts[cell + 1]):
                        j = columns[c]
                        row[j] = min(max(row[j] + w * listed[c], floor), roof)
                    continue
                if short == 0:
                    continue
            left_out = True
            for k in range(terms):
                w = weight[t, k]
                if w != 0 and long[t * terms + k]:
                    values = right[t, k]
                    if left_out:
                        for j in range(n):
                            row[j] = factor * row[j] + w * values[j]
                        left_out = False
                    else:
                        for j in range(n):
                            row[j] += w * values[j]
            if left_out:
                for j in range(n):
                    row[j] *= factor
            factor = one
            for k in range(terms):
                w = weight[t, k]
                cell = t * terms + k
                if w != 0 and not long[cell]:
                    for c in range(starts[cell], starts[cell + 1]):
                        row[columns[c]] += w * listed[c]
            for j in range(n):
                row[j] = min(max(row[j], low), high)
        for j in range(n):
            row[j] *= factor


@loop
def joined_rows(e, left, right, long, starts, columns, listed, kept, low, high, join, alpha):
    """Rows of one sample after a window of a trace that is not linear, in place; arguments as of `linear_rows`.

    Where f = 0 a replacing trace keeps what it had, and so does one that is Dutch where it is active.
    """
    steps, terms, n = right.shape
    f = np.zeros(n, e.dtype)
    for i in range(e.shape[0]):
        row, weight = e[i], left[i]
        for t in range(steps):
            for j in range(n):
                row[j] *= kept
            wide, short, nth = t == 0, 0, 0
            for k in range(terms):
                cell = t * terms + k
                if weight[t, k] != 0 and long[cell]:
                    wide = True
                elif weight[t, k] != 0 and starts[cell + 1] > starts[cell]:
                    short += 1
                    nth = k
            if not wide and short == 1:
                cell, w = t * terms + nth, weight[t, nth]
                if join == REPLACE:
                    for c in range(starts[cell], starts[cell + 1]):
                        j = columns[c]
                        new, old = w * listed[c], row[j]
                        row[j] = min(max(new, low), high) if abs(new) >= abs(old) else old
                else:
                    for c in range(starts[cell], starts[cell + 1]):
                        j = columns[c]
                        row[j] = min(max((1 - alpha) * row[j] + w * listed[c], low), high)
                continue
            for k in range(terms):
                cell, w = t * terms + k, weight[t, k]
                if w != 0 and long[cell]:
                    values = right[t, k]
                    for j in range(n):
                        f[j] += w * values[j]
                elif w != 0:
                    for c in range(starts[cell], starts[cell + 1]):
                        f[columns[c]] += w * listed[c]
            if wide and join == REPLACE:
                for j in range(n):
                    new = f[j] if abs(f[j]) >= abs(row[j]) else row[j]
                    row[j] = min(max(new, low), high)
                    f[j] = 0
            elif wide:
                for j in range(n):
                    old = (1 - alpha) * row[j] if f[j] != 0 else row[j]
                    row[j] = min(max(old + f[j], low), high)
                    f[j] = 0
            else:
                for k in range(terms):
                    cell = t * terms + k
                    if weight[t, k] == 0:
                        continue
                    for c in range(starts[cell], starts[cell + 1]):
                        j = columns[c]
                        if f[j] != 0:
                            if join == REPLACE:
                                new = f[j] if abs(f[j]) >= abs(row[j]) else row[j]
                            else:
                                new = (1 - alpha) * row[j] + f[j]
                            row[j] = min(max(new, low), high)
                            f[j] = 0
