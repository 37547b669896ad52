"""Compiled loops over NumPy arrays: one pass over e where torch takes several, and time inside rows.

    e ← join(β e, Σ_k left_k ⊗ right_k), clamped

Only `compiled` imports this file, where numba is there. Each loop does in a synapse what the plain loop does, in the
same order; where a decay is kept as one factor of a row, results differ by rounding.
"""

from __future__ import annotations

import numba
import numpy as np

RENEW = 0.3  # a factor of a row below this is multiplied into it, so that precision is kept

_fast = {"nsz", "arcp", "contract", "reassoc"}  # NaN and infinity keep their meaning
loop = numba.njit(cache=True, nogil=True, fastmath=_fast, error_model="numpy")


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _all_finite(values):
    """Whether no entry is NaN or infinite, nor their sum: compiled strictly, since fast arithmetic may overlook NaN."""
    total = 0.0
    for value in values.flat:
        total += value
    return total - total == 0.0


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
def pair_step(e, x, y, seen, pre, post, numbers, nearest, x_before, y_before):
    """One step of pair STDP and a linear trace, in place: f = up · post ⊗ x + down · y ⊗ pre.

    e (B, N_post, N_pre); x, pre (B, N_pre) and y, post (B, N_post); seen (N_pre + N_post,) is room; numbers: what is
    kept of x, y and e, up, down, and the clamp. Returns False, with nothing changed, where a spike is NaN or infinite.
    """
    batch, n_post, n_pre = e.shape
    x_decay, y_decay, kept, up, down, low, high = numbers
    x_seen, y_seen = seen[:n_pre], seen[n_pre:]
    if not (_all_finite(pre) and _all_finite(post)):
        return False
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
    return True


@loop
def total_change(e, mods, factor, change):
    """change (N_post, N_pre) = factor · Σ_b mods_b e_b, with mods (B,) or (1,) for all; whether all of it is finite."""
    for b in range(e.shape[0]):
        mod = factor * mods[b if mods.size > 1 else 0]
        for i in range(e.shape[1]):
            row, own = change[i], e[b, i]
            if b == 0:
                for j in range(row.size):
                    row[j] = mod * own[j]
            else:
                for j in range(row.size):
                    row[j] += mod * own[j]
    return _all_finite(change)


@loop
def hard_bounded(weight, delta, low, high, after):
    """after = weight + delta between low and high, all flat; a weight that is outside already may only come nearer."""
    for k in range(weight.size):
        w = weight[k]
        after[k] = min(max(w + delta[k], min(w, low)), max(w, high))


@loop
def soft_bounded(weight, delta, low, high, mu_plus, mu_minus, after):
    """As `hard_bounded`, of a change that shrinks with the distance that is left to its bound."""
    none, one = high - high, (high - low) / (high - low)
    if mu_plus == 1 and mu_minus == 1:
        for k in range(weight.size):
            w, d = weight[k], delta[k]
            room = ((high - w) if d > 0 else (w - low)) / (high - low)
            after[k] = min(max(w + d * min(max(room, none), one), min(w, low)), max(w, high))
        return
    for k in range(weight.size):
        w, d = weight[k], delta[k]
        room = min(max(((high - w) if d > 0 else (w - low)) / (high - low), none), one)
        after[k] = min(max(w + d * room ** (mu_plus if d > 0 else mu_minus), min(w, low)), max(w, high))


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
def _terms_of(weight, cell, long, starts):
    """How many terms of a step are long lists, how many are short ones, and which was the last short one."""
    wide, short, nth = 0, 0, 0
    for k in range(weight.size):
        if weight[k] != 0:
            if long[cell + k]:
                wide += 1
            elif starts[cell + k + 1] > starts[cell + k]:
                short += 1
                nth = k
    return wide, short, nth


@loop
def _add_terms(out, weight, right, cell, long, starts, columns, listed):
    """In place: out (N,) += all terms of a step."""
    for k in range(weight.size):
        w = weight[k]
        if w != 0 and long[cell + k]:
            for j in range(out.size):
                out[j] += w * right[k, j]
        elif w != 0:
            for c in range(starts[cell + k], starts[cell + k + 1]):
                out[columns[c]] += w * listed[c]


@loop
def linear_rows(e, left, right, long, starts, columns, listed, kept, low, high):
    """Rows of one sample after a window of a linear trace whose clamp may bind, in place.

    e (R, N_pre), left (R, T, K), right (T, K, N_pre) and its `sparse_lists`. A term with a short list touches its
    columns only; the decay is one factor of the whole row meanwhile.
    """
    steps, terms, n = right.shape
    one = kept / kept
    for i in range(e.shape[0]):
        row, factor = e[i], one
        for t in range(steps):
            cell, weight = t * terms, left[i, t]
            wide, short, nth = _terms_of(weight, cell, long, starts)
            factor *= kept
            if wide == 0 and short < 2 and t > 0:
                if factor < RENEW:
                    for j in range(n):
                        row[j] *= factor
                    factor = one
                w, floor, roof = weight[nth] / factor, low / factor, high / factor
                for c in range(starts[cell + nth], starts[cell + nth + 1] if short else starts[cell + nth]):
                    row[columns[c]] = min(max(row[columns[c]] + w * listed[c], floor), roof)
                continue
            for j in range(n):
                row[j] *= factor
            factor = one
            _add_terms(row, weight, right[t], cell, long, starts, columns, listed)
            for j in range(n):
                row[j] = min(max(row[j], low), high)
        for j in range(n):
            row[j] *= factor


@loop
def _replace(row, f, at, low, high):
    new = f if abs(f) >= abs(row[at]) else row[at]
    row[at] = min(max(new, low), high)


@loop
def replacing_rows(e, left, right, long, starts, columns, listed, kept, low, high):
    """As `linear_rows`, of a replacing trace: where f = 0 it keeps what it had. The decay is taken step by step."""
    steps, terms, n = right.shape
    f = np.zeros(n, e.dtype)
    for i in range(e.shape[0]):
        row = e[i]
        for t in range(steps):
            cell, weight = t * terms, left[i, t]
            wide, short, nth = _terms_of(weight, cell, long, starts)
            for j in range(n):
                row[j] *= kept
            if wide == 0 and short < 2 and t > 0:
                w = weight[nth]
                for c in range(starts[cell + nth], starts[cell + nth + 1] if short else starts[cell + nth]):
                    _replace(row, w * listed[c], columns[c], low, high)
                continue
            _add_terms(f, weight, right[t], cell, long, starts, columns, listed)
            for j in range(n):
                _replace(row, f[j], j, low, high)
                f[j] = 0


@loop
def active_rows(e, left, right, long, starts, columns, listed, kept, low, high, spared):
    """As `linear_rows`, of a Dutch trace that gives up a share only where f ≠ 0; `spared` is what is left of it."""
    steps, terms, n = right.shape
    f = np.zeros(n, e.dtype)
    for i in range(e.shape[0]):
        row = e[i]
        for t in range(steps):
            cell, weight = t * terms, left[i, t]
            for j in range(n):
                row[j] *= kept
            wide, short, nth = _terms_of(weight, cell, long, starts)
            if wide == 0 and short < 2 and t > 0:
                w = weight[nth]
                for c in range(starts[cell + nth], starts[cell + nth + 1] if short else starts[cell + nth]):
                    row[columns[c]] = min(max(spared * row[columns[c]] + w * listed[c], low), high)
                continue
            _add_terms(f, weight, right[t], cell, long, starts, columns, listed)
            for j in range(n):
                old = spared * row[j] if f[j] != 0 else row[j]
                row[j] = min(max(old + f[j], low), high)
                f[j] = 0
