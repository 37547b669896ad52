"""Where every element of a tensor came from: which call of which synapse, and which place in its output.

What a synapse has computed lies in some memory, and every view of that memory shows places of it. An operation makes
another memory out of it, whose elements are places of the same call (unit by unit), places in another order (moved), or
nothing of the kind any more (mixed). This is the algebra; `operations` says which operation does what.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from .index import Synapse

if TYPE_CHECKING:
    from .pooling import Pool


class Layout(NamedTuple):
    """Shape, stride and offset of a tensor; a sparse one has a shape only."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """Of a tensor."""
        return cls(tuple(tensor.shape), *stride_and_offset(tensor))

    def view(self, memory: Tensor) -> Tensor:
        """What this layout shows of a memory (N,)."""
        return memory.as_strided(self.shape, self.stride, self.offset)


def stride_and_offset(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """Stride and offset of a tensor in its memory; a sparse one has none."""
    if tensor.layout is not torch.strided:
        return (), 0
    return tensor.stride(), int(tensor.storage_offset())


def memory_of(tensor: Tensor) -> int:
    """Which memory a living tensor lies in. No other has this number while a weak reference remembers that memory."""
    storage = tensor.untyped_storage() if tensor.layout is torch.strided else storage_of(tensor)
    return storage._cdata


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


SLOT = 40  # bits of a place: the higher ones number the call
MAX_CALLS = 512  # calls of one origin from which on those that are not shown any more are dropped


# Operations that make one number of many elements: it normalises what stands beside it, and is no term of its own.
STATISTICS = frozenset(
    ["mean", "sum", "std", "var", "norm", "vector_norm", "linalg_vector_norm", "amax", "amin", "max", "min", "median"]
)


class PairingError(RuntimeError):
    """Which synapse fed which neuron, and which output belongs to which spike, cannot be told for certain."""


class Places:
    """For every element of a memory the place it came from: (number of the call << SLOT) + place; −1 is none.

    Args:
        key: two of the same key are equal; None where only the object itself tells.
        size: elements of the memory.
        make: works them out (int64); called once, when first needed.
    """

    __slots__ = ("_key", "_make", "_value", "cacheable", "patterns", "size")

    def __init__(self, key: Hashable, size: int, make: Callable[[], Tensor], *, cacheable: bool = True) -> None:
        self._key, self.size, self._make = key, size, make
        self.cacheable = cacheable  # whether the key tells it for good, and keeps no places alive
        self.patterns: dict[Hashable, Any] = {}  # what was read off it, where its key does not last
        self._value: Tensor | None = None

    @property
    def key(self) -> Hashable:
        """What it is known by."""
        return self if self._key is None else self._key

    @property
    def value(self) -> Tensor:
        """The places, (N,)."""
        if self._value is not None:
            return self._value
        with torch.no_grad():
            value = self._make()
        if not self.is_own:  # which live long, and are made quickly
            self._value = value
        return value

    @property
    def is_own(self) -> bool:
        """Whether this is a synapse's own output, as it was made."""
        return isinstance(self._key, tuple) and self._key[0] == "same"

    @staticmethod
    @lru_cache(maxsize=256)
    def same(size: int) -> Places:
        """Of a synapse's own output."""
        return Places(("same", size), size, lambda: torch.arange(size))

    @classmethod
    def fixed(cls, value: Tensor) -> Places:
        """Places that are known already."""
        return cls(None, len(value), lambda: value, cacheable=False)

    def renumbered(self, slots: tuple[int, ...]) -> Places:
        """The same places, where call k is now number slots[k]."""
        if slots == tuple(range(len(slots))):
            return self

        def make() -> Tensor:
            old = self.value
            new = torch.tensor(slots)[(old >> SLOT).clamp(min=0)]
            return torch.where(old < 0, old, (new << SLOT) + (old & ((1 << SLOT) - 1)))

        return Places((self.key, slots), self.size, make, cacheable=self.cacheable)

    def relaid(self, seen: Layout, out: Layout, size: int) -> Places:
        """In another memory, of which `out` shows what `seen` shows here (stretched where the shape is larger)."""
        if seen == out and size == self.size:
            return self

        def make() -> Tensor:
            memory = torch.full((size,), -1)
            out.view(memory).copy_(seen.view(self.value).broadcast_to(out.shape))
            return memory

        return Places((self.key, seen, out, size), size, make, cacheable=self.cacheable)


class Origin(NamedTuple):
    """One term of what a memory holds: the places of some calls, or what they have been mixed into."""

    calls: tuple[SynapseCall, ...]
    places: Places | None
    mixed: str = ""  # by which operation; `calls` then holds the last one of each synapse

    @property
    def names(self) -> set[str]:
        """The synapses in it."""
        return {call.synapse.name for call in self.calls}

    def mixed_by(self, operation: str) -> Origin:
        """What is left of it after an operation that mixes."""
        last = {call.synapse.name: call for call in self.calls}
        return Origin(tuple(last.values()), None, self.mixed or self.statistic or operation)

    @property
    def statistic(self) -> str:
        """The operation, where each element is a statistic of a synapse's output: an average."""
        kinds = {call.statistic for call in self.calls}
        return kinds.pop() if len(kinds) == 1 else ""


expired: Callable[[int], bool] = torch.UntypedStorage._expired  # type: ignore[assignment]  # nothing holds a memory
free_weak_reference: Callable[[int], None] = torch.UntypedStorage._free_weak_ref  # type: ignore[assignment]


class Memory:
    """The memory of a tensor, which is not kept alive: its number is no other's for as long as this is there."""

    memory: Any = 0

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage() if tensor.layout is torch.strided else storage_of(tensor)
        self.memory = storage._weak_ref()

    def __del__(self, free_weak_reference: Callable[[int], None] = free_weak_reference) -> None:
        if self.memory:
            free_weak_reference(self.memory)


class Provenance(Memory):
    """What a memory holds, as a sum of origins, as of some version of it.

    Args:
        tensor: any tensor in that memory; it is not kept alive.
        origins: the terms.
        watched: whether an operation had to be seen to know it.
    """

    watched = False
    layer: str | None = None  # the layer that handed it on, where it is the output of a call laid out as it was

    def __init__(self, tensor: Tensor, origins: Sequence[Origin], *, watched: bool) -> None:
        super().__init__(tensor)
        self.version, self.itemsize = -1 if tensor.is_inference() else tensor._version, tensor.element_size()
        self.watched, self._origins = watched, tuple(origins)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The terms."""
        return self._origins

    @property
    def unmoved(self) -> SynapseCall | None:
        """The one call whose output lies in this memory just as it lay in its own; None if that is not so."""
        if len(self._origins) != 1:
            return None
        calls, places, _ = self._origins[0]
        return calls[0] if len(calls) == 1 and places is not None and places.is_own else None


class SynapseCall(Provenance):
    """A call of a synapse: what went in, and where its output came from, which is itself.

    Args:
        synapse: who was called; `sample_dims` are the dimensions of one row of what came out.
        pre: the activity that went in; None where it takes no part (a layer in `eval()`, or one that does not learn).
        output: its output, which is not kept alive.
        given: its input, which is not kept alive; None where `pre` lies in the same memory.
    """

    statistic = ""  # the operation, where it is a statistic that normalises what stands beside it
    by_channel, exclusive, chosen = True, True, False  # units of channels, places of one unit each; a choice of rows
    edges: tuple[GradientEdge, ...] = ()  # where gradients of its output are found, for those who want them

    def __init__(self, synapse: Synapse, pre: Tensor | None, output: Tensor, given: Tensor | None) -> None:
        self.synapse, self.sample_dims, self.waiting = synapse, synapse.sample_dims, 0
        self.learns, self.handed_on = pre is not None, dict[str, Provenance]()
        self.set(pre, output, None if given is None else Memory(given))

    def set(self, pre: Tensor | None, output: Tensor, given: Memory | None = None) -> None:
        """Become the next call of the same synapse: nobody remembers this one."""
        if self.memory:
            free_weak_reference(self.memory)
        storage = output.untyped_storage() if output.layout is torch.strided else storage_of(output)
        self.memory, self.bytes = storage._weak_ref(), storage.nbytes()
        self.version = -1 if output.is_inference() else output._version
        self.pre, self.output, self.shape, self.itemsize = pre, weakref.ref(output), output.shape, output.element_size()
        self.place = (output.stride(), int(output.storage_offset())) if output.layout is torch.strided else ((), 0)
        self.read, self.source_memory = False, given
        self.waiting += 1  # calls since one was read

    @property
    def unmoved(self) -> SynapseCall:
        """This one."""
        return self

    def hand_on(self, layer: str, noted: Provenance, given: Tensor, output: Tensor, pool: Pool | None) -> bool:
        """Note what a layer has made of this call, or of what is noted of it, if that is laid out alike; whether so."""
        source = noted.unmoved
        if source is None or pool is not None:
            return source is not None and pool is not None and pool.note(layer, self, source, given, output)
        alike = given.shape == source.shape == output.shape
        alike = alike and stride_and_offset(given) == source.place == stride_and_offset(output)
        known = self.handed_on.get(layer)
        if not alike or elements_of(output) != source.bytes // source.itemsize:
            return False
        if known is not None and not expired(known.memory):
            return False
        if isinstance(known, HandedOn) and known.call is source:
            known.set(output)
        else:
            self.handed_on[layer] = HandedOn(source, layer, output)
        return True

    @property
    def held(self) -> bool:
        """Whether somebody holds what it has become in a layer, where that is noted."""
        return any(not expired(handed.memory) for handed in self.handed_on.values())

    @property
    def source(self) -> int:
        """The memory of its input, which was there before the output."""
        if self.source_memory is not None:
            return self.source_memory.memory
        assert self.pre is not None
        return memory_of(self.pre)

    @property
    def made(self) -> Layout:
        """Where the elements of the output are."""
        return Layout(tuple(self.shape), *self.place)

    @property
    def observed(self) -> bool:
        """Whether it takes part in learning."""
        return self.pre is not None

    @property
    def roots(self) -> tuple[SynapseCall, ...]:
        """The calls of the synapse itself behind it."""
        return (self,)

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one row of the synapse's own output."""
        return tuple(self.shape[-self.sample_dims :])

    @property
    def leading(self) -> tuple[int, ...]:
        """The leading shape of the output, which counts rows."""
        return tuple(self.shape[: -self.sample_dims])

    def units_of(self, shown: Tensor | None) -> Tensor | None:
        """The units of the synapse behind these units of a row; None: all."""
        return shown

    def back(self, post: Tensor, rows: Tensor | None = None, *, copied: bool = False) -> Tensor:
        """A post side of these of its rows (R, ...), at the places of the synapse's own output."""
        return post

    def credited(self, post: Tensor) -> Tensor:
        """A post side of its own shape, in that of the synapse's output."""
        return post

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Its output is its own."""
        return (Origin((self,), Places.same(self.bytes // self.itemsize)),)


class HandedOn(Provenance):
    """What a layer that works unit by unit has made of a call's output, laid out as that was.

    Args:
        call: of the synapse.
        layer: its name.
        output: of the layer; it is not kept alive.
    """

    def __init__(self, call: SynapseCall, layer: str, output: Tensor) -> None:
        self.call, self.layer = call, layer
        self.set(output)

    def set(self, output: Tensor) -> None:
        """Become the next output of the same layer: nobody remembers this one."""
        if self.memory:
            free_weak_reference(self.memory)
        self.memory, self.version = output.untyped_storage()._weak_ref(), output._version
        self.output, self.itemsize = weakref.ref(output), output.element_size()

    @property
    def unmoved(self) -> SynapseCall:
        """The call."""
        return self.call

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Those of the call."""
        return self.call.origins


class Operand(NamedTuple):
    """A tensor that takes part in an operation, and what is known of its memory."""

    tensor: Tensor
    memory: int | None
    provenance: Provenance | None

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The terms of its memory."""
        return () if self.provenance is None else self.provenance.origins


def unit_by_unit(parts: Iterable[Operand], out: Tensor, operation: str) -> list[Origin]:
    """The origins of a tensor in which every element comes of the elements at the same place of the parts."""
    seen_out, size = Layout.of(out), elements_of(out)
    found: list[Origin] = []
    for part in parts:
        if part.provenance is None:
            continue
        seen = Layout.of(part.tensor)
        fits = _stretches(seen.shape, seen_out.shape) and out.layout is part.tensor.layout is torch.strided
        for origin in part.origins:
            if origin.places is None or not fits:
                found.append(origin.mixed_by(operation))
            else:
                found.append(origin._replace(places=origin.places.relaid(seen, seen_out, size)))
    return summed(found)


def _stretches(shape: Sequence[int], to: Sequence[int]) -> bool:
    return (
        shape == to
        or len(shape) <= len(to)
        and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))
    )


def summed(origins: Sequence[Origin]) -> list[Origin]:
    """A sum of origins, each once; a statistic of what stands beside it normalises it, and is no term of its own."""
    if len(origins) < 2:
        return list(origins)
    plain: list[Origin] = []
    for origin in origins:
        if origin.places is not None and not any(_equal(origin, other) for other in plain):
            plain.append(origin)
    measured = {name for origin in plain if not origin.statistic for name in origin.names}
    plain = [origin for origin in plain if not (origin.statistic and origin.names <= measured)]
    names = {name for origin in plain for name in origin.names}
    mixed: dict[frozenset[str], Origin] = {}
    for origin in origins:
        if origin.places is None and not (origin.mixed in STATISTICS and origin.names <= names):
            mixed.setdefault(frozenset(origin.names), origin)
    kept, twice = [], set()
    for origin in plain:
        if any(other is not origin and origin.names & other.names for other in plain):
            twice.add(origin)
        else:
            kept.append(origin)
    for origin in twice:
        mixed.setdefault(frozenset(origin.names), origin.mixed_by("a sum of different samples, steps or places"))
    return [*kept, *mixed.values()]


def _equal(a: Origin, b: Origin) -> bool:
    """Whether two origins are the same; places are worked out only where their keys do not tell."""
    assert a.places is not None and b.places is not None
    if len(a.calls) != len(b.calls) or not all(map(is_, a.calls, b.calls)) or a.places.size != b.places.size:
        return False
    if a.places.key == b.places.key:
        return True
    try:
        return torch.equal(a.places.value, b.places.value)
    except (RuntimeError, TypeError, IndexError, ValueError):
        return False


def joined(origins: Iterable[Origin | None]) -> tuple[tuple[SynapseCall, ...], list[Places | None]]:
    """The calls of several origins, each once, and their places numbered alike."""
    slots: dict[int, int] = {}
    calls: list[SynapseCall] = []
    places: list[Places | None] = []
    for origin in origins:
        if origin is None or origin.places is None:
            places.append(None)
            continue
        numbers = []
        for call in origin.calls:
            if id(call) not in slots:
                slots[id(call)] = len(calls)
                calls.append(call)
            numbers.append(slots[id(call)])
        places.append(origin.places.renumbered(tuple(numbers)))
    return tuple(calls), places


def compact(origin: Origin) -> Origin:
    """Without the calls that are not shown any more, where there are many (a buffer that rolls on)."""
    if origin.places is None or len(origin.calls) <= MAX_CALLS:
        return origin
    shown = (origin.places.value >> SLOT).unique()
    kept = [int(slot) for slot in shown if slot >= 0]
    if 2 * len(kept) > len(origin.calls):
        return origin
    numbers = [0] * len(origin.calls)
    for new, old in enumerate(kept):
        numbers[old] = new
    value = origin.places.renumbered(tuple(numbers)).value
    return Origin(tuple(origin.calls[slot] for slot in kept), Places.fixed(value))
