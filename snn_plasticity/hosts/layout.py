"""Which samples of a synapse's output a tensor shows, when both share memory.

Between a synapse and its neuron users select a time step, transpose batch and time, flatten and unflatten. All of
these are views: their strides tell exactly which sample went where, and no order needs to be guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """Where the elements of a tensor are."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """Of a tensor; a sparse one has a shape only."""
        return cls(tensor.shape, *place_of(tensor))


def place_of(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """Stride and offset of a tensor in its memory; a sparse one has none."""
    if tensor.layout is not torch.strided:
        return (), 0
    return tensor.stride(), int(tensor.storage_offset())


class Rows(NamedTuple):
    """The leading shape of a view, and the sample of the original that each place shows (None: all, in order)."""

    leading: tuple[int, ...]
    order: Tensor | None


@lru_cache(maxsize=4096)
def rows_shown(made: Layout, seen: Layout, items: int) -> Rows | None:
    """The samples of `made` that `seen` shows; None where it does not show whole samples in their own order.

    Args:
        made: layout of a synapse's output, (..., *sample).
        seen: layout of what the neuron got, in the same memory.
        items: number of dimensions of one sample.

    >>> rows_shown(Layout((5, 3, 2), (6, 2, 1), 0), Layout((3, 2), (2, 1), 24), 1)   # out[4], of five steps
    Rows(leading=(3,), order=tensor([12, 13, 14]))
    """
    split = len(made.shape) - items
    lead = _leading(made, seen, items)
    if lead is None:
        return None
    starts = _starts(made.shape[:split], made.stride[:split], made.offset)
    shown = _starts(seen.shape[:lead], seen.stride[:lead], seen.offset)
    order, at = starts.sort()
    found = torch.searchsorted(order, shown).clamp_max(len(order) - 1)
    if not torch.equal(order[found], shown):
        return None
    rows = at[found]
    whole = torch.equal(rows, torch.arange(len(starts)))
    return Rows(seen.shape[:lead], None if whole else rows)


def _leading(made: Layout, seen: Layout, items: int) -> int | None:
    """How many dimensions of `seen` count samples."""
    if _tail(made, items) == _tail(seen, items):
        return len(seen.shape) - items
    size = prod(made.shape[-items:])
    if not _dense(*_tail(made, items)):
        return None
    for lead in range(len(seen.shape) - 1, -1, -1):
        if prod(seen.shape[lead:]) == size:
            return lead if _dense(seen.shape[lead:], seen.stride[lead:]) else None
    return None


def _tail(layout: Layout, items: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return layout.shape[-items:], layout.stride[-items:]


def _dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    expected = 1
    for n, step in zip(reversed(shape), reversed(stride), strict=True):
        if n != 1 and step != expected:
            return False
        expected *= n
    return True


def _starts(shape: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    starts = torch.tensor([offset])
    for n, step in zip(shape, stride, strict=True):
        starts = (starts.unsqueeze(-1) + torch.arange(n) * step).flatten()
    return starts


def regroups(old: Iterable[int], new: Iterable[int]) -> bool:
    """Whether flattening or unflattening neighbouring dimensions turns one shape into the other.

    >>> regroups((8, 4, 5, 5), (8, 100)), regroups((8, 3, 5), (8, 5, 3))
    (True, False)
    """
    left, right = [n for n in old if n != 1], [n for n in new if n != 1]
    while left and right:
        a, b, grown_a, grown_b = left.pop(0), right.pop(0), False, False
        while a != b:
            if a < b and left:
                a, grown_a = a * left.pop(0), True
            elif b < a and right:
                b, grown_b = b * right.pop(0), True
            else:
                return False
        if grown_a and grown_b:
            return False
    return not left and not right
