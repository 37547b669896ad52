"""Compiled loops that write spikes down, and find them again: one pass where NumPy takes several.

Imported where numba is there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from . import KINDS, NUMBERS
from .dense_loops import _lying, loop, strict

BYTES, SINGLE, DOUBLE = np.empty(0, np.uint8), np.empty(0, np.float32), np.empty(0, np.float64)  # kinds of numbers


@strict
def _is_finite(total):
    return total - total == 0.0


@loop
def write_binary(rooms, step, values_at, like):
    """Write numbers of the kind of `like` that lie at an address into bytes rooms[step]: where they are ones.

    Returns whether all the others are zeros.
    """
    room, others = rooms[step], 0
    values = _lying(values_at, room.size, like)
    for k in range(room.size):
        one = values[k] == 1
        room[k] = one
        others |= one ^ (values[k] != 0)
    return others == 0


@loop
def _write_bytes(room_at, size, values_at, like):
    room, values, others = _lying(room_at, size, BYTES), _lying(values_at, size, like), 0
    for k in range(size):
        one = values[k] == 1
        room[k] = one
        others |= one ^ (values[k] != 0)
    return others == 0


@loop
def write_sides(single, step, pre_room, pre_size, pre_at, post_room, post_size, post_at):
    """Write step `step` of both sides, numbers of single or double precision that lie at addresses, as bytes.

    A side of size 0 is left out. Returns whether all are zeros and ones.
    """
    pre_room, post_room = pre_room + step * pre_size, post_room + step * post_size
    if single:
        fits = _write_bytes(post_room, post_size, post_at, SINGLE)
        return fits and (pre_size == 0 or _write_bytes(pre_room, pre_size, pre_at, SINGLE))
    fits = _write_bytes(post_room, post_size, post_at, DOUBLE)
    return fits and (pre_size == 0 or _write_bytes(pre_room, pre_size, pre_at, DOUBLE))


@loop
def moved(values, before):
    """Sum of |values − before|."""
    total = 0.0
    for k in range(values.size):
        total += abs(values[k] - before[k])
    return total


@loop
def gather(places, rooms, row):
    """Copy numbers that lie at these addresses into rooms[row]."""
    for k in range(places.size):
        rooms[row, k] = _lying(places[k], 1, rooms)[0]


@loop
def write_numbers(rooms, step, values_at, like):
    """Write numbers of the kind of `like` that lie at an address into rooms[step]; whether all of them are finite."""
    room, total = rooms[step], 0.0
    values = _lying(values_at, room.size, like)
    for k in range(room.size):
        room[k] = values[k]
        total += values[k]
    return _is_finite(total)


def writer(rooms: np.ndarray, otherwise: Callable[[int, Tensor], bool]) -> Callable[[int, Tensor], bool]:
    """What writes single steps, tensors of the CPU, into booleans or numbers (T, ...), and says whether they fit.

    Args:
        rooms: for the steps, in one piece.
        otherwise: what takes a step that does not lie in one piece, or is of another kind.
    """
    binary = rooms.dtype == np.bool_
    flat = rooms.reshape(len(rooms), -1).view(np.uint8 if binary else rooms.dtype)
    write = write_binary if binary else write_numbers
    likes = {kind: np.empty(0, NUMBERS[kind]) for kind in KINDS if binary or NUMBERS[kind] == rooms.dtype}

    def written(step: int, spikes: Tensor) -> bool:
        like = likes.get(spikes.dtype)
        if like is None or not spikes.is_contiguous():
            return otherwise(step, spikes)
        return write(flat, step, spikes.data_ptr(), like)

    return written


@loop
def list_spikes(words, together, starts, columns):
    """Where trains are true, row after row: `starts` (rows + 1,) zeros at first, and `columns` (spikes,).

    words (T, B, N/8): eight booleans in each. Rows are samples and neurons, and columns steps; or with `together`
    neurons, and columns steps and samples.
    """
    steps, batch, width = words.shape
    some = np.empty(width, np.int32)
    row_of, column_of, found = np.empty(columns.size + 8, np.int32), np.empty(columns.size, np.int32), 0
    for t in range(steps):
        for b in range(batch):
            first, column = (0, t * batch + b) if together else (8 * width * b, t)
            row, count, before = words[t, b], 0, found
            for w in range(width):
                some[count] = w
                count += row[w] != 0
            for k in range(count):
                word, place = row[some[k]], first + 8 * some[k]
                for n in range(8):  # what is false is written over
                    row_of[found] = place + n
                    found += (word >> np.uint64(8 * n)) & np.uint64(1) != 0
            for k in range(before, found):
                column_of[k] = column
                starts[row_of[k] + 1] += 1
    for r in range(1, starts.size):
        starts[r] += starts[r - 1]
    free = starts.copy()
    for k in range(found):
        columns[free[row_of[k]]] = column_of[k]
        free[row_of[k]] += 1
