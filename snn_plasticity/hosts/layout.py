"""Where the elements of a tensor lie in its memory, and which memory that is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class Layout(NamedTuple):
    """Shape, stride and offset of a tensor; a sparse one has a shape only."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """Of a tensor."""
        return cls(tuple(tensor.shape), *place_of(tensor))

    def shown(self, memory: Tensor) -> Tensor:
        """What this layout shows of a memory (N,)."""
        return memory.as_strided(self.shape, self.stride, self.offset)


def place_of(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """Stride and offset of a tensor in its memory; a sparse one has none."""
    if tensor.layout is not torch.strided:
        return (), 0
    return tensor.stride(), int(tensor.storage_offset())


def memory_of(tensor: Tensor) -> int:
    """Which memory a living tensor lies in. No other has this number while a weak reference remembers that memory."""
    return storage_of(tensor)._cdata


def reference(tensor: Tensor) -> StorageWeakRef:
    """A reference to the memory of a tensor that does not keep it alive."""
    return StorageWeakRef(storage_of(tensor))


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    """The memory of a tensor, of the values where it is sparse."""
    if tensor.layout is torch.strided:
        return tensor.untyped_storage()
    return (tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()).untyped_storage()


def elements_of(tensor: Tensor) -> int:
    """How many elements of its kind the memory of a tensor holds."""
    return storage_of(tensor).nbytes() // tensor.element_size()


def version_of(tensor: Tensor) -> int:
    """How often something was written into the memory of a tensor; inference tensors do not count."""
    return -1 if tensor.is_inference() else tensor._version
