"""Compiled loops over NumPy arrays: one pass over e where torch takes several, and time inside rows.

    e ← join(β e, Σ_k left_k ⊗ right_k), clamped

Imported where numba is there. Each loop does in a synapse what the plain loop does, in the
same order; where a decay is kept as one factor of a row, results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

SMALL = 1 << 17  # entries of all terms of a step below which no matrix product is worth its call
RENEW = 1e-3  # a factor of a row below this is multiplied into it, so that numbers stay small
MANY, NONE = -2, -1  # terms of a step

carray: Any = numba.carray  # type: ignore[attr-defined]

_fast = {"nsz", "arcp", "contract", "reassoc"}  # NaN and infinity keep their meaning


def _compiled(function: Callable, fastmath: Any) -> Any:
    """A function that is compiled when it is first called, and kept on disk where there is a place for it."""
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor for this user can anything be written
        return numba.njit(**options)(function)


def loop(function: Callable) -> Any:
    """Compile a loop, with fast arithmetic."""
    return _compiled(function, _fast)


def strict(function: Callable) -> Any:
    """Compile a loop as it is written."""
    return _compiled(function, False)


def _to_pointer(typing, address, like):
    kind = numba.types.CPointer(like.dtype)

    def made(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(numba.types.int64, like), made


_pointer: Any = intrinsic(_to_pointer)


@loop
def _lying(address, shape, like):
    """Numbers of the kind of `like` that lie in memory from an address on; whoever gives it keeps that memory."""
    return carray(_pointer(address, like), shape)


@loop
def _sum(values):
    """Of a flat array, in double precision and in whatever order is quickest."""
    total = 0.0
    for k in range(values.size):
        total += values[k]
    return total


@strict
def _all_finite(values):
    """Whether no entry is NaN or infinite, nor their sum: compiled strictly, since fast arithmetic may overlook NaN."""
    total = _sum(values.reshape(-1))
    return total - total == 0.0


@loop
def _see(trace, spikes, decay, nearest, before, seen):
    """In place: an exponential trace, and in `seen` what it shows to spikes of the other side; all flat."""
    for k in range(trace.size):
        kept = trace[k] * decay
        now = spikes[k] if nearest and spikes[k] != 0 else kept + spikes[k]
        seen[k] = kept if before else now
        trace[k] = now


@loop
def pair_terms(x_at, y_at, pre_at, post_at, numbers, nearest, x_before, y_before, left, right):
    """A step of pair STDP in two terms, f = up · post ⊗ x + down · y ⊗ pre, and its spike traces, in place.

    Addresses of x (B·N_pre,), y (B·N_post,) and as many spikes; numbers: what is kept of x and y, up and down; left
    (2, B·N_post) and right (2, B·N_pre) take the terms. Returns False, with nothing changed, where a spike is NaN or
    infinite.
    """
    pre, post, down = _lying(pre_at, right[0].size, right), _lying(post_at, left[0].size, left), numbers[3]
    if not (_all_finite(pre) and _all_finite(post)):
        return False
    x, y = _lying(x_at, pre.size, right), _lying(y_at, post.size, left)
    _see(x, pre, numbers[0], nearest, x_before, right[0])
    _see(y, post, numbers[1], nearest, y_before, left[1])
    for k in range(post.size):
        left[0, k] = numbers[2] * post[k]
        left[1, k] *= down
    for k in range(pre.size):
        right[1, k] = pre[k]
    return True


@loop
def add_filtered(table, spikes, gains, decay, exclusive, back, fresh, trace):
    """In place: table += gains · (spikes filtered forward), or with `back` the filter backward of gains · spikes.

    table (T, B, N), whatever is in it if `fresh`; spikes (T, B, N) bytes; gains (T, B), or (T, 1) for all; trace (B, N)
    is that before the window, and after it that of which the decay has yet to be taken.
    """
    steps, batch, n = spikes.shape
    one = decay / decay if decay > 0 else decay + 1
    for b in range(batch):
        kept = trace[b]
        for k in range(steps):
            t = steps - 1 - k if back else k
            gain, x, out = gains[t, b if gains.shape[1] > 1 else 0], spikes[t, b], table[t, b]
            inner, outer = (gain, one) if back else (one, gain)
            for j in range(n):
                before = decay * kept[j]
                kept[j] = before + inner * x[j]
                shown = outer * (before if exclusive else kept[j])
                out[j] = shown if fresh else out[j] + shown


@loop
def all_finite(left, right):
    """Whether all terms of a step are finite."""
    return _all_finite(left) and _all_finite(right)


@loop
def add_terms(e_at, left, right, numbers, mods_at, count, change):
    """One step of a linear trace, and the change of weights that comes of it, in one pass over e, in place.

    The address of e (B, N_post, N_pre); left (K, B, N_post) and right (K, B, N_pre): f = Σ_k left_k ⊗ right_k; numbers:
    what is kept of e, the clamp, one more, and a factor; the address of B modulators, or of one for all; change
    (N_post, N_pre) = factor · Σ_b mods_b e_b. Where no change is wanted, it is room (1, N_pre). Returns whether all of
    it is finite.
    """
    kept, low, high, factor, mods = numbers[0], numbers[1], numbers[2], numbers[4], _lying(mods_at, count, left)
    terms, batch, n_post = left.shape
    e = _lying(e_at, (batch, n_post, right.shape[2]), left)
    own = kept if terms < 3 else kept / kept
    change[:] = 0
    for b in range(batch):  # rows are views written into the loop: a call for each would count references
        mod, rows, x, p = factor * mods[b if mods.size > 1 else 0], e[b], right[0, b], right[terms - 1, b]
        first, last = left[0, b], left[terms - 1, b]
        for i in range(n_post):
            row, out, u, d = rows[i], change[min(i, change.shape[0] - 1)], first[i], last[i]
            if terms == 1:
                d = kept - kept
            if terms > 2:  # those in between come first
                for j in range(row.size):
                    row[j] *= kept
                for k in range(1, terms - 1):
                    if left[k, b, i] != 0:
                        for j in range(row.size):
                            row[j] += left[k, b, i] * right[k, b, j]
            for j in range(row.size):
                row[j] = min(max(own * row[j] + (u * x[j] + d * p[j]), low), high)
                out[j] += mod * row[j]
    return _all_finite(change)


@loop
def join_terms(e_at, left, right, numbers, mods_at, count, change):
    """As `add_terms` with one or two terms, of a replacing trace, or of a Dutch one that gives up a share where f ≠ 0.

    The fourth of the numbers is what is left by that share, or negative for a replacing trace.
    """
    kept, low, high, spared, factor = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    terms, batch, n_post = left.shape
    mods, e = _lying(mods_at, count, left), _lying(e_at, (batch, n_post, right.shape[2]), left)
    change[:] = 0
    for b in range(batch):
        mod, rows, x, p = factor * mods[b if mods.size > 1 else 0], e[b], right[0, b], right[terms - 1, b]
        for i in range(n_post):
            row, out, u, d = rows[i], change[min(i, change.shape[0] - 1)], left[0, b, i], left[terms - 1, b, i]
            if terms == 1:
                d = kept - kept
            for j in range(row.size):
                f, old = u * x[j] + d * p[j], kept * row[j]
                larger, sum_ = f if abs(f) >= abs(old) else old, f + (spared * old if f != 0 else old)
                row[j] = min(max(larger if spared < 0 else sum_, low), high)
                out[j] += mod * row[j]
    return _all_finite(change)


@loop
def add_shared(e_at, left, right, kept):
    """In place: e (N_post, N_pre) at an address ← kept · e + terms that are mostly zeros on the left, or all if few.

    Returns how many terms are left out, and which; with all of them, e has not been touched.
    """
    terms, batch, n_post = left.shape
    e = _lying(e_at, (n_post, right.shape[2]), left)
    few, dense, left_out = terms * batch * e.size < SMALL, np.zeros(terms, np.bool_), 0
    for k in range(terms):
        count = 0
        for b in range(batch):
            for i in range(n_post):
                count += left[k, b, i] != 0
        dense[k] = not few and 4 * count > batch * n_post
        left_out += dense[k]
    if left_out == terms:
        return left_out, dense
    for i in range(n_post):
        row = e[i]
        for j in range(row.size):
            row[j] *= kept
        for k in range(terms):
            if not dense[k]:
                for b in range(batch):
                    u, other = left[k, b, i], right[k, b]
                    if u != 0:
                        for j in range(row.size):
                            row[j] += u * other[j]
    return left_out, dense


@strict
def _moved(w, change, least, most, low, high):
    """A weight after a change, between bounds; one that is outside already may only come nearer."""
    return min(max(w + min(max(change, least), most), min(w, low)), max(w, high))


@loop
def land(change, ends, weight_at):
    """In place: a weight like `change` (N_post, N_pre), of which the address is given, after it.

    The change lies between the first two ends, the weight between the next two; one that is outside already may only
    come nearer. Two exponents may follow: of a change that shrinks with the distance that is left to its bound.
    """
    least, most, low, high = ends[0], ends[1], ends[2], ends[3]
    delta, weight = change.reshape(-1), _lying(weight_at, change.size, change)
    if ends.size == 4:
        for k in range(weight.size):
            weight[k] = _moved(weight[k], delta[k], least, most, low, high)
        return
    mu_plus, mu_minus, none, one = ends[4], ends[5], high - high, (high - low) / (high - low)
    linear = mu_plus == 1 and mu_minus == 1
    for k in range(weight.size if linear else 0):
        w, d = weight[k], min(max(delta[k], least), most)
        room = ((high - w) if d > 0 else (w - low)) / (high - low)
        weight[k] = min(max(w + d * min(max(room, none), one), min(w, low)), max(w, high))
    for k in range(0 if linear else weight.size):
        w, d = weight[k], min(max(delta[k], least), most)
        room = min(max(((high - w) if d > 0 else (w - low)) / (high - low), none), one)
        weight[k] = min(max(w + d * room ** (mu_plus if d > 0 else mu_minus), min(w, low)), max(w, high))


@loop
def sparse_lists(right):
    """Columns and values of what is not zero in each row of right (cells, N), one list after the other.

    A list that is longer than a quarter of the row is left out: such a term is added to the whole row. Returns which
    are so `long`, which have no other values than ones, where each list starts, and the lists.
    """
    cells, n = right.shape
    starts, long, ones = np.zeros(cells + 1, np.int64), np.zeros(cells, np.bool_), np.zeros(cells, np.bool_)
    for cell in range(cells):
        count, others = 0, 0
        for j in range(n):
            count += right[cell, j] != 0
            others += right[cell, j] != 0 and right[cell, j] != 1
        long[cell], ones[cell] = 4 * count > n, others == 0
        starts[cell + 1] = starts[cell] + (0 if long[cell] else count)
    columns, listed = np.empty(starts[cells] + 1, np.uint32), np.empty(starts[cells] + 1, right.dtype)
    for cell in range(cells):
        at = starts[cell]
        for j in range(0 if long[cell] else n):
            columns[at], listed[at] = j, right[cell, j]  # what is zero is written over
            at += right[cell, j] != 0
    return long, ones, starts.astype(np.uint64), columns, listed  # what counts from these is known not to be negative


@loop
def _see_terms(weights, wholly, term):
    """In place: `term` (T,), the only one of a step, where that is a list; MANY, also at first, or NONE."""
    terms, steps = weights.shape
    for t in range(steps):
        term[t] = NONE
        for k in range(terms):
            if weights[k, t] != 0:
                term[t] = MANY if wholly[k * steps + t] or term[t] != NONE else k
    term[0] = MANY  # e may lie outside of the clamp before a window


@loop
def _add_step(row, kept, weights, t, own, wholly, begin, columns, listed, low, high):
    """In place: row ← kept · row + all terms of a step, clamped."""
    last = -1
    for k in range(len(weights)):
        w, cell = weights[k, t] / kept, k * weights.shape[1] + t
        if w != 0 and wholly[cell]:
            last = k
        elif w != 0:
            for c in range(begin[cell], begin[cell + 1]):
                row[columns[c]] += w * listed[c]
    for k in range(last):
        w, cell = weights[k, t] / kept, k * weights.shape[1] + t
        if w != 0 and wholly[cell]:
            for j in range(row.size):
                row[j] += w * own[cell, j]
    if last < 0:
        for j in range(row.size):
            row[j] = min(max(kept * row[j], low), high)
        return
    w, cell = weights[last, t], last * weights.shape[1] + t
    for j in range(row.size):
        row[j] = min(max(kept * row[j] + w * own[cell, j], low), high)


@loop
def linear_rows(rows, places, left, right, long, ones, starts, columns, listed, kept, low, high, spared):
    """Rows after a window of a linear trace whose clamp may bind, in place.

    rows (R, N_pre) lie at `places` among the B·N_post of left (K, B·N_post, T); right (B·K·T, N_pre) comes with its
    `sparse_lists`. A term with a short list touches its columns only, and the clamp can bind nowhere else; the decay
    is one factor of the whole row meanwhile.
    """
    terms, posts, steps = left.shape
    cells, n_post, one = terms * steps, posts * terms * steps // len(right), rows.dtype.type(1)
    term = np.empty(steps, np.int64)
    for i in range(len(places)):
        row, factor, b = rows[i], one, places[i] // n_post * cells
        weights, own, begin, wholly = left[:, places[i]], right[b : b + cells], starts[b:], long[b : b + cells]
        _see_terms(weights, wholly, term)
        for t in range(steps):
            factor *= kept
            if term[t] == NONE:
                continue
            if factor < RENEW:
                for j in range(row.size):
                    row[j] *= factor
                factor = one
            if term[t] == MANY:
                _add_step(row, factor, weights, t, own, wholly, begin, columns, listed, low, high)
                factor = one
                continue
            w, cell, floor, roof = weights[term[t], t] / factor, term[t] * steps + t, low / factor, high / factor
            if not ones[b + cell]:
                for c in range(begin[cell], begin[cell + 1]):
                    row[columns[c]] = min(max(row[columns[c]] + w * listed[c], floor), roof)
            elif w < 0:
                for c in range(begin[cell], begin[cell + 1]):
                    row[columns[c]] = max(row[columns[c]] + w, floor)
            else:
                for c in range(begin[cell], begin[cell + 1]):
                    row[columns[c]] = min(row[columns[c]] + w, roof)
        for j in range(row.size):
            row[j] *= factor


@loop
def joined_rows(rows, places, left, right, long, ones, starts, columns, listed, kept, low, high, spared):
    """As `linear_rows`, of a replacing trace, or of a Dutch one that gives up a share where f ≠ 0.

    `spared` is what is left by that share, or negative for a replacing trace. Where f = 0, both keep what they had.
    """
    terms, posts, steps = left.shape
    cells, n_post, one = terms * steps, posts * terms * steps // len(right), rows.dtype.type(1)
    term, f, most = np.empty(steps, np.int64), np.empty(right.shape[1], rows.dtype), rows.dtype.type(np.inf)
    for i in range(len(places)):
        row, factor, b = rows[i], one, places[i] // n_post * cells
        weights, own, begin, wholly = left[:, places[i]], right[b : b + cells], starts[b:], long[b : b + cells]
        _see_terms(weights, wholly, term)
        for t in range(steps):
            factor *= kept
            if term[t] == NONE:
                continue
            if factor < RENEW:
                for j in range(row.size):
                    row[j] *= factor
                factor = one
            if term[t] == MANY:
                f[:] = 0
                _add_step(f, one, weights, t, own, wholly, begin, columns, listed, -most, most)
                for j in range(row.size):
                    new, old = f[j], factor * row[j]
                    larger, sum_ = new if abs(new) >= abs(old) else old, new + (spared * old if new != 0 else old)
                    row[j] = min(max(larger if spared < 0 else sum_, low), high)
                factor = one
                continue
            w, cell, floor, roof = weights[term[t], t] / factor, term[t] * steps + t, low / factor, high / factor
            if spared < 0 and ones[b + cell]:
                new = min(max(w, floor), roof)
                for c in range(begin[cell], begin[cell + 1]):
                    row[columns[c]] = new if abs(w) >= abs(row[columns[c]]) else row[columns[c]]
                continue
            for c in range(begin[cell], begin[cell + 1]):
                new, old = w * listed[c], row[columns[c]]
                larger, sum_ = new if abs(new) >= abs(old) else old, new + spared * old
                row[columns[c]] = min(max(larger if spared < 0 else sum_, floor), roof)
        for j in range(row.size):
            row[j] *= factor


@loop
def filtered_peaks(values, decay, peaks):
    """In place: the largest that exponential traces of values (T, M) come to at any step, at least `peaks` (M,)."""
    trace = np.zeros(values.shape[1], values.dtype)
    for t in range(values.shape[0]):
        for j in range(values.shape[1]):
            trace[j] = decay * trace[j] + values[t, j]
            peaks[j] = max(peaks[j], trace[j])
