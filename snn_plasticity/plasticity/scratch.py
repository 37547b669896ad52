"""Memory for tables that is used again: touching fresh memory for the first time costs more than filling it.

An operating system hands out memory page by page, at the first touch, and takes it back when it is freed. So tables of
a size that comes again and again are borrowed from a few buffers, which also stay in the processor's cache.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIECE = 1 << 20  # entries of a table that is worked out at once
KEPT = {PIECE: 16, 4 * PIECE: 2}  # entries of a buffer: how many such wait for the next table
_FREE: dict[tuple[torch.dtype, int], list[Tensor]] = {
    (dtype, size): [] for dtype in (torch.float32, torch.float64) for size in KEPT
}


class Scratch:
    """Tables borrowed until `close`, or until this is gone.

    >>> scratch = Scratch()
    >>> scratch.like(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self) -> None:
        self._borrowed: list[Tensor] = []

    def like(self, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Room for a table shaped like a tensor; what is in it is not defined."""
        return self.shaped(tensor, *tensor.shape, dtype=dtype)

    def shaped(self, tensor: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Room for a table of this shape, of a tensor's kind."""
        dtype = dtype or tensor.dtype
        entries = math.prod(shape)
        size = PIECE if entries <= PIECE else 4 * PIECE
        free = _FREE.get((dtype, size))
        if entries > size or free is None or not tensor.is_cpu:
            return tensor.new_empty(shape, dtype=dtype)
        try:
            buffer = free.pop()
        except IndexError:
            buffer = tensor.new_empty(size, dtype=dtype)
        self._borrowed.append(buffer)
        return buffer[:entries].view(shape)

    def close(self) -> None:
        """Give everything back."""
        while self._borrowed:
            buffer = self._borrowed.pop()
            free = _FREE[buffer.dtype, len(buffer)]
            if len(free) < KEPT[len(buffer)]:
                free.append(buffer)

    def __del__(self) -> None:
        self.close()
