"""The memories that are followed: what each holds, kept up to date as operations are done on it.

While somebody watches, a mode of PyTorch's functions tells the ledger of every operation, and changes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, ValuesView
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _get_function_stack_at, _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torch.overrides import _get_current_function_mode_stack as _stack

from .._untracked import untraced
from .operations import ERASES, FROM_OUTSIDE, UNIT_BY_UNIT, VALUES_READ, WRITES, Operation
from .provenance import (
    Layout,
    Memory,
    Operand,
    Origin,
    Places,
    Provenance,
    SynapseCall,
    compact,
    elements_of,
    expired,
    joined,
    memory_of,
    summed,
    unit_by_unit,
    version_of,
)


class Ledger:
    """The memories that are followed, and what they hold; and those that are known to hold nothing of the kind."""

    def __init__(self) -> None:
        self.entries: dict[int, Provenance] = {}
        self.unrelated: dict[int, Memory] = {}
        self.values_escaped = (
            False  # whether values of what is followed were read out, so that anything may be made of them
        )
        self._due, self._unrelated_due = 32, 256

    def follows(self, tensors: Sequence[Tensor]) -> bool | None:
        """Whether a synapse has had a part in one of these; None where that is not known, and could matter."""
        entries, unrelated, known = self.entries, self.unrelated, True
        for tensor in tensors:
            kind = type(tensor)
            if kind is nn.Parameter:
                continue
            try:
                memory = tensor.untyped_storage()._cdata if tensor.layout is torch.strided else memory_of(tensor)
            except (RuntimeError, NotImplementedError):  # no memory of its own, as functorch's tensors
                known = False
                continue
            if memory in entries:
                return True
            if memory not in unrelated and tensor.numel() > 1 and tensor.is_floating_point():
                known = known and kind is not Tensor and isinstance(tensor, nn.Parameter)
        return False if known else None

    def mark_unrelated(self, values: Any) -> None:
        """Tensors that no synapse has had a part in."""
        for tensor in tensors_in(values):
            try:
                memory = tensor.untyped_storage()._cdata if tensor.layout is torch.strided else memory_of(tensor)
            except (RuntimeError, NotImplementedError):  # no memory of its own, as functorch's tensors
                continue
            if memory not in self.entries and memory not in self.unrelated:
                self.unrelated[memory] = Memory(tensor)
        if len(self.unrelated) >= self._unrelated_due:
            self.unrelated = {memory: kept for memory, kept in self.unrelated.items() if not expired(memory)}
            self._unrelated_due = 2 * len(self.unrelated) + 256

    def knows(self, tensor: Tensor) -> bool:
        """Whether it is known if a synapse has had a part in a tensor."""
        try:
            memory = memory_of(tensor)
        except (RuntimeError, NotImplementedError):  # no memory of its own, as functorch's tensors
            return True
        return memory in self.unrelated or memory in self.entries

    def of(self, tensor: Tensor) -> Provenance | None:
        """What the memory of a tensor holds; None where no synapse is known to have had a part in it."""
        return self.entries.get(memory_of(tensor)) if self.entries else None

    def operand(self, tensor: Tensor) -> Operand:
        """A tensor with what is known of it."""
        try:
            memory = memory_of(tensor)
        except (RuntimeError, NotImplementedError):  # no memory of its own, as functorch's tensors
            return Operand(tensor, None, None)
        return Operand(tensor, memory, self.entries.get(memory))

    def record_alike(self, tensors: Sequence[Tensor], versions: Sequence[int], result: Any) -> bool:
        """What was made unit by unit of one tensor that is followed holds the same, if it is laid out alike.

        Args:
            tensors: what it was made of; the others are followed by nobody.
            versions: of these before.
            result: what was made, in a memory of its own.
        """
        if type(result) is not Tensor or result.layout is not torch.strided:
            return False
        known, source = None, result
        for tensor, version in zip(tensors, versions, strict=True):
            if version < 0 or tensor._version != version or tensor.layout is not torch.strided:
                return False
            provenance = self.entries.get(tensor.untyped_storage()._cdata)
            if provenance is not None:
                if known is not None:
                    return False
                known, source = provenance, tensor
        old, new = source.untyped_storage(), result.untyped_storage()
        if (
            known is None
            or old._cdata == new._cdata
            or source.shape != result.shape
            or source.stride() != result.stride()
            or source.storage_offset() != result.storage_offset()
            or old.nbytes() // source.element_size() != new.nbytes() // result.element_size()
        ):
            return False
        origins = known.origins
        for origin in origins:
            if origin.places is None:
                return False
        self.record(result, origins, watched=True)
        return True

    def record_call(self, call: Provenance) -> None:
        """A synapse has written into its output, or a layer has handed it on."""
        if len(self.entries) >= self._due:
            self.drop_expired()
        self.entries[call.memory] = call

    def record(self, tensor: Tensor, origins: Sequence[Origin], *, watched: bool) -> None:
        """A memory holds this now."""
        if len(self.entries) >= self._due:
            self.drop_expired()
        memory = memory_of(tensor)
        if origins:
            self.entries[memory] = Provenance(tensor, origins, watched=watched)
            self.unrelated.pop(memory, None)
        else:
            self.entries.pop(memory, None)
            self.mark_unrelated((tensor,))

    def release(self, call: SynapseCall) -> None:
        """Forget a call whose output nobody holds any more: its input need not be kept for anybody."""
        if expired(call.memory) and self.entries.get(call.memory) is call:
            del self.entries[call.memory]

    def let_go(self, call: SynapseCall) -> bool:
        """Forget a call whose output nothing that is known here was made of; whether so."""
        made = (entry for entry in self.entries.values() if entry is not call and not expired(entry.memory))
        alone = not any(call in known.roots for entry in made for origin in entry.origins for known in origin.calls)
        if alone and self.entries.get(call.memory) is call:
            del self.entries[call.memory]
            return True
        return False

    def drop_expired(self) -> None:
        """Let go of memories that nobody holds any more."""
        self.entries = {memory: entry for memory, entry in self.entries.items() if not expired(memory)}
        self._due = 2 * len(self.entries) + 32

    def apply(self, operation: Operation, result: Any) -> None:
        """An operation has been done."""
        if operation.name in VALUES_READ:
            self.values_escaped = True
        for part in operation.written:
            self._write(operation, part)
        done = {part.memory for part in (*operation.parts, *operation.written)}
        for out in tensors_in((result,)):
            part = self.operand(out)
            if part.memory is None:
                continue
            if part.memory in done:  # a view, or what was written into
                if part.provenance is not None and out.element_size() != part.provenance.itemsize:
                    self.record(out, operation.mixed_by(), watched=True)
                continue
            self.record(out, operation.origins(out), watched=True)

    def _write(self, operation: Operation, target: Operand) -> None:
        """Into a tensor, or a part of one, that may hold something already."""
        if target.tensor is operation.kwargs.get("out"):
            self.record(
                target.tensor, _overwritten(target, target.tensor, operation.origins(target.tensor)), watched=True
            )
        elif operation.name in UNIT_BY_UNIT:
            self.record(target.tensor, _combined(operation, target), watched=True)
        elif operation.name in WRITES or operation.name in ERASES:
            self.record(target.tensor, self._written_over(operation, target), watched=True)
        else:
            self.record(target.tensor, operation.mixed_by(), watched=True)

    def _written_over(self, operation: Operation, target: Operand) -> list[Origin]:
        source = operation.args[-1] if operation.name in WRITES else None
        origins = self.operand(source).origins if isinstance(source, Tensor) else ()
        if operation.name == "setitem":
            return _overwritten(target, source, origins, operation.args[1])
        if operation.name == "index_put":
            return operation.mixed_by()
        return _overwritten(target, source, origins)


def _combined(operation: Operation, target: Operand) -> list[Origin]:
    """What is there is scaled, shifted, cut off; or something is added to it, where the tensor shows it."""
    beside = [part for part in operation.parts if part is not target and part.provenance is not None]
    if not beside:
        return list(target.origins)
    seen, size, found = Layout.of(target.tensor), elements_of(target.tensor), list(target.origins)
    for origin in unit_by_unit(beside, target.tensor, operation.name):
        shown = None if origin.places is None else _where_seen(origin.places, seen, size)
        found.append(origin._replace(places=shown))
    return summed(found)


def _overwritten(target: Operand, source: Any, origins: Sequence[Origin], index: Any = ...) -> list[Origin]:
    """What a memory holds after a part of it was overwritten: the old places there are gone.

    Args:
        target: the tensor that was written into.
        source: what was written; the target itself where the origins are relaid out like it.
        origins: of the source.
        index: where in the target.
    """
    seen, size = Layout.of(target.tensor), elements_of(target.tensor)
    before = target.origins
    if index is ... and target.tensor.numel() == size:  # nothing is left of it
        before = ()
    old, new = ([o for o in some if o.places is not None] for some in (before, origins))
    found = []
    for k in range(max(len(old), len(new))):
        calls, (kept, come) = joined(terms[k] if k < len(terms) else None for terms in (old, new))
        memory = torch.full((size,), -1) if kept is None else kept.value.clone()
        seen.view(memory)[index] = -1 if come is None else Layout.of(source).view(come.value)
        found.append(compact(Origin(calls, Places.fixed(memory))))
    mixed = [o.mixed_by("writing into a part") for o in (*before, *origins) if o.places is None]
    return summed([*found, *mixed])


def _where_seen(places: Places, seen: Layout, size: int) -> Places:
    """Places where a view shows them, and none elsewhere."""
    if seen == Layout((size,), (1,), 0):
        return places

    def make() -> Tensor:
        memory = torch.full((size,), -1)
        seen.view(memory).copy_(seen.view(places.value))
        return memory

    return Places((places.key, "only", seen), size, make, cacheable=places.cacheable)


_NUMBERS = frozenset((int, float, bool, str, type(None), torch.dtype, torch.device))  # that hold no tensor


def tensors_in(values: Any, found: list[Tensor] | None = None) -> list[Tensor]:
    """The tensors in arguments, in order, also those in lists; added to those that were found."""
    found = [] if found is None else found
    for value in values:
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter:
            found.append(value)
        elif kind in _NUMBERS:
            continue
        elif isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list, ValuesView)):
            tensors_in(value, found)
        elif isinstance(value, Mapping):
            tensors_in(value.values(), found)
    return found


class Operations(TorchFunctionMode):
    """Tells a ledger about the operations on what it follows; it changes none of them.

    Args:
        ledger: what keeps account of them.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    @untraced
    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """The operation itself, and what it does to places."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return func(*args, **kwargs)
        tensors = tensors_in(args)
        if kwargs:
            tensors_in(kwargs.values(), tensors)
        follows = self.ledger.follows(tensors)
        if not follows:
            result = func(*args, **kwargs)
            if follows is False and not (self.ledger.values_escaped and name in FROM_OUTSIDE):
                self.ledger.mark_unrelated((result,))
            return result
        versions = [-1 if tensor.is_inference() else tensor._version for tensor in tensors]
        result = func(*args, **kwargs)
        if name in UNIT_BY_UNIT and self.ledger.record_alike(tensors, versions, result):
            return result
        parts = [self.ledger.operand(tensor) for tensor in tensors]
        before = zip(parts, versions, strict=True)
        written = [part for part, version in before if _written(part, version, name, args, kwargs)]
        out = kwargs.get("out")
        if isinstance(out, Tensor) and not any(tensor is out for tensor in tensors_in(args)):
            parts = [part for part in parts if part.tensor is not out]  # what it held has no part in it
        operation = Operation(name, func, args, kwargs, parts, written)
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.ledger.apply(operation, result)
        else:
            self.ledger.apply(operation, result)
        return result

    def on(self) -> None:
        """See what is done from now on. It goes below whatever else is there, so that this may leave as it came."""
        depth = _len_torch_function_stack()
        if not depth:
            _push_mode(self)
            return
        if depth == 1 and _get_function_stack_at(0) is self:
            return
        others = _stack()
        if others[0] is not self:
            _restack([self, *(mode for mode in others if mode is not self)])

    def off(self) -> None:
        """See nothing."""
        depth = _len_torch_function_stack()
        if depth == 1 and _get_function_stack_at(0) is self:
            _pop_mode()
            return
        others = _stack() if depth else ()
        if self in others:
            _restack([mode for mode in others if mode is not self])


def _restack(modes: Sequence[TorchFunctionMode]) -> None:
    for _ in _stack():
        _pop_mode()
    for mode in modes:
        _push_mode(mode)


_IN_PLACE = frozenset(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow"))


def _written(part: Operand, before: int, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation has written into one of its tensors, of this version before."""
    if before >= 0:
        return version_of(part.tensor) != before
    if part.tensor is kwargs.get("out"):
        return True
    first = args[0] if args else None  # no count is kept: the name tells whether it is written into
    given = part.tensor is first or (isinstance(first, (tuple, list)) and any(part.tensor is each for each in first))
    in_place = (name.endswith("_") and not name.startswith("__")) or name in _IN_PLACE or name == "__setitem__"
    return given and in_place
