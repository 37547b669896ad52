"""Memory for tables that is used again: touching fresh memory for the first time costs more than filling it.

An operating system hands out memory page by page, at the first touch, and takes it back when it is freed. So tables of
a size that comes again and again are borrowed from a few buffers, which also stay in the processor's cache.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIECE = 1 << 19  # entries of a buffer, and of a table that is worked out at once
KEPT = 16  # buffers that wait for the next table
_FREE: dict[torch.dtype, list[Tensor]] = {torch.float32: [], torch.float64: []}


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
        dtype = dtype or tensor.dtype
        entries, free = math.prod(tensor.shape), _FREE.get(dtype)
        if entries > PIECE or free is None or not tensor.is_cpu:
            return tensor.new_empty(tensor.shape, dtype=dtype)
        try:
            buffer = free.pop()
        except IndexError:
            buffer = tensor.new_empty(PIECE, dtype=dtype)
        self._borrowed.append(buffer)
        return buffer[:entries].view(tensor.shape)

    def close(self) -> None:
        """Give everything back."""
        while self._borrowed:
            buffer = self._borrowed.pop()
            free = _FREE[buffer.dtype]
            if len(free) < KEPT:
                free.append(buffer)

    def __del__(self) -> None:
        self.close()
