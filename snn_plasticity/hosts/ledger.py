"""The memories that are followed: what each holds, kept up to date as operations are done on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, ValuesView
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from .layout import Layout, elements_of, memory_of, storage_of
from .operation_kinds import ERASES, ESCAPES, UNIT_BY_UNIT, WRITES
from .operations import Operation
from .provenance import Call, Image, Origin, Part, Places, added, compact, joined, unit_by_unit


class Ledger:
    """The memories that are followed, and what they hold; and those that are known to hold nothing of the kind."""

    def __init__(self) -> None:
        self.images: dict[int, Image | Call] = {}
        self.plain: dict[int, StorageWeakRef] = {}
        self.escaped = False  # whether values of what is followed were read out, so that anything may be made of them
        self._due, self._plain_due = 32, 256

    def knows(self, part: Part) -> bool:
        """Whether no synapse can have had a part in a tensor that is not followed, as far as it could matter."""
        tensor = part.tensor
        return (
            part.memory in self.plain
            or isinstance(tensor, nn.Parameter)
            or (part.memory is not None and (tensor.numel() < 2 or not tensor.is_floating_point()))
        )

    def know(self, values: Any) -> None:
        """Tensors that no synapse has had a part in."""
        for tensor in tensors_in(values):
            with suppress(RuntimeError, NotImplementedError):
                storage = storage_of(tensor)
                memory = storage._cdata
                if memory not in self.images and memory not in self.plain:
                    self.plain[memory] = StorageWeakRef(storage)
        if len(self.plain) >= self._plain_due:
            self.plain = {memory: kept for memory, kept in self.plain.items() if not kept.expired()}
            self._plain_due = 2 * len(self.plain) + 256

    def of(self, tensor: Tensor) -> Image | Call | None:
        """What the memory of a tensor holds; None where no synapse is known to have had a part in it."""
        return self.images.get(memory_of(tensor)) if self.images else None

    def part(self, tensor: Tensor) -> Part:
        """A tensor with what is known of it."""
        try:
            memory = memory_of(tensor)
        except (RuntimeError, NotImplementedError):  # no memory of its own, as functorch's tensors
            return Part(tensor, None, None)
        return Part(tensor, memory, self.images.get(memory))

    def own(self, call: Call) -> None:
        """A synapse has written into its output."""
        if len(self.images) >= self._due:
            self.forget_gone()
        self.images[call.memory.cdata] = call

    def put(self, tensor: Tensor, origins: Sequence[Origin], *, watched: bool) -> None:
        """A memory holds this now."""
        if len(self.images) >= self._due:
            self.forget_gone()
        memory = memory_of(tensor)
        if origins:
            self.images[memory] = Image(tensor, origins, watched=watched)
            self.plain.pop(memory, None)
        else:
            self.images.pop(memory, None)
            self.know((tensor,))

    def let_go(self, call: Call) -> None:
        """Forget a call whose output nobody holds any more: its input need not be kept for anybody."""
        memory = call.memory.cdata
        if call.is_gone and self.images.get(memory) is call:
            del self.images[memory]

    def forget_gone(self) -> None:
        """Let go of memories that nobody holds any more."""
        self.images = {memory: image for memory, image in self.images.items() if not image.is_gone}
        self._due = 2 * len(self.images) + 32

    def follow(self, operation: Operation, result: Any) -> None:
        """An operation has been done."""
        if operation.name in ESCAPES:
            self.escaped = True
        for part in operation.written:
            self._write(operation, part)
        done = {part.memory for part in operation.parts}
        for out in tensors_in((result,)):
            part = self.part(out)
            if part.memory is None:
                continue
            if part.memory in done:  # a view, or what was written into
                if part.image is not None and out.element_size() != part.image.itemsize:
                    self.put(out, operation.stirred(), watched=True)
                continue
            self.put(out, operation.origins(out), watched=True)

    def _write(self, operation: Operation, target: Part) -> None:
        """Into a tensor, or a part of one, that may hold something already."""
        if target.tensor is operation.kwargs.get("out"):
            self.put(target.tensor, _over(target, target.tensor, operation.origins(target.tensor)), watched=True)
        elif operation.name in UNIT_BY_UNIT:
            self.put(target.tensor, _beside(operation, target), watched=True)
        elif operation.name in WRITES or operation.name in ERASES:
            self.put(target.tensor, self._written_over(operation, target), watched=True)
        else:
            self.put(target.tensor, operation.stirred(), watched=True)

    def _written_over(self, operation: Operation, target: Part) -> list[Origin]:
        source = operation.args[-1] if operation.name in WRITES else None
        origins = self.part(source).origins if isinstance(source, Tensor) else ()
        if operation.name == "setitem":
            return _over(target, source, origins, operation.args[1])
        if operation.name == "index_put":
            return operation.stirred()
        return _over(target, source, origins)


def _beside(operation: Operation, target: Part) -> list[Origin]:
    """What is there is scaled, shifted, cut off; or something is added to it, where the tensor shows it."""
    beside = [part for part in operation.parts if part is not target and part.image is not None]
    if not beside:
        return list(target.origins)
    seen, size = Layout.of(target.tensor), elements_of(target.tensor)
    new = unit_by_unit(beside, target.tensor, operation.name)
    return added(
        [*target.origins, *(o if o.places is None else o._replace(places=_only(o.places, seen, size)) for o in new)]
    )


def _over(target: Part, source: Any, origins: Sequence[Origin], index: Any = ...) -> list[Origin]:
    """What a memory holds after a part of it was overwritten: the old places there are gone.

    Args:
        target: the tensor that was written into.
        source: what was written; the target itself where the origins are laid out like it.
        origins: of the source.
        index: where in the target.
    """
    seen, size = Layout.of(target.tensor), elements_of(target.tensor)
    if index is ... and not origins and target.tensor.numel() == size:
        return []
    old, new = ([o for o in some if o.places is not None] for some in (target.origins, origins))
    found = []
    for k in range(max(len(old), len(new))):
        calls, (kept, come) = joined(terms[k] if k < len(terms) else None for terms in (old, new))
        memory = torch.full((size,), -1) if kept is None else kept.value.clone()
        seen.shown(memory)[index] = -1 if come is None else Layout.of(source).shown(come.value)
        found.append(compact(Origin(calls, Places.fixed(memory))))
    mixed = [o.stirred("writing into a part") for o in (*target.origins, *origins) if o.places is None]
    return added([*found, *mixed])


def _only(places: Places, seen: Layout, size: int) -> Places:
    """Places where a view shows them, and none elsewhere."""
    if seen == Layout((size,), (1,), 0):
        return places

    def make() -> Tensor:
        memory = torch.full((size,), -1)
        seen.shown(memory).copy_(seen.shown(places.value))
        return memory

    return Places((places.key, "only", seen), size, make, lasting=places.lasting)


def tensors_in(values: Any) -> list[Tensor]:
    """The tensors in arguments, in order, also those in lists."""
    found: list[Tensor] = []
    _collect(values, found)
    return found


def _collect(values: Any, found: list[Tensor]) -> None:
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list, ValuesView)):
            _collect(value, found)
        elif isinstance(value, Mapping):
            _collect(value.values(), found)
