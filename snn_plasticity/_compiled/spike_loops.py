"""Compiled loops that write spikes down, and find them again: one pass where NumPy takes several.

Imported where numba is there.
"""

from __future__ import annotations

from .dense_loops import loop, lying, strict


@strict
def _is_finite(total):
    return total - total == 0.0


@loop
def write_binary(rooms, step, values_at, like):
    """Write numbers of the kind of `like` that lie at an address into bytes rooms[step]: where they are ones.

    Returns whether all the others are zeros.
    """
    room, others = rooms[step], 0
    values = lying(values_at, room.size, like)
    for k in range(room.size):
        one = values[k] == 1
        room[k] = one
        others |= one ^ (values[k] != 0)
    return others == 0


@loop
def write_numbers(rooms, step, values_at, like):
    """Write numbers of the kind of `like` that lie at an address into rooms[step]; whether all of them are finite."""
    room, total = rooms[step], 0.0
    values = lying(values_at, room.size, like)
    for k in range(room.size):
        room[k] = values[k]
        total += values[k]
    return _is_finite(total)
