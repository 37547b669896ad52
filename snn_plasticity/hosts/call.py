"""One call of a synapse that waits for its neuron, and how its input lines up with the neuron's spikes."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .layout import Layout, place_of, regroups, rows_shown
from .synapse import Synapse


class PairingError(RuntimeError):
    """Which synapse fed which neuron, and which output belongs to which spike, cannot be told for certain."""


class Call:
    """What went into a synapse, and the identity of what came out.

    Args:
        synapse: who was called.
        given: its input, which is not kept alive; `pre` itself where that lies in the same memory.
        pre: the activity in it; None where it takes no part (a layer in `eval()`).
        output: its output, which is not kept alive.
        trace_graph: whether to keep the output's autograd node, to find out once whom it feeds.
    """

    def __init__(
        self,
        synapse: Synapse,
        given: Tensor,
        pre: Tensor | None,
        output: Tensor,
        *,
        trace_graph: bool = False,
    ) -> None:
        self.synapse, self.pre, self.shape = synapse, pre, output.shape
        self.place = place_of(output)
        self.node: Any = output.grad_fn if trace_graph else None
        self.version = _version(output)
        self.readers: dict[str, int] = {}
        self._memory = StorageWeakRef(_storage(output))
        self._source = given if given is pre else StorageWeakRef(_storage(given))

    @property
    def made(self) -> Layout:
        """Where the elements of the output are."""
        return Layout(self.shape, *self.place)

    @property
    def is_gone(self) -> bool:
        """Whether nothing holds the output any more."""
        return self._memory.expired()

    def is_behind(self, memory: int) -> bool:
        """Whether the memory of a tensor (`memory_of`) is that of this call's output: it is that, or a view of it."""
        return self._memory.cdata == memory

    def came_from(self, memory: int) -> bool:
        """Whether the memory of a tensor is that of this call's input: it was there before the output."""
        source = self._source
        return (source.cdata if isinstance(source, StorageWeakRef) else memory_of(source)) == memory

    def changed_in(self, tensor: Tensor) -> bool:
        """Whether something was written into the output since."""
        return _version(tensor) != self.version

    def is_sequence_for(self, spikes: Tensor) -> bool:
        """Whether a neuron reads this call step by step: (T, B, ...) against its (B, ...)."""
        shape = self.shape
        longer = len(shape) > 1 and (shape[0] != 1 or len(shape) > spikes.dim())
        return longer and regroups(shape[1:], spikes.shape)

    def waits_for(self, reader: str, spikes: Tensor) -> bool:
        """Whether this neuron has yet to read from it."""
        steps = self.shape[0] if self.is_sequence_for(spikes) else 1
        return self.readers.get(reader, 0) < steps

    def read(self, reader: str) -> int:
        """Count one reading by a neuron; returns how many there were before."""
        before = self.readers.get(reader, 0)
        self.readers[reader], self.node = before + 1, None
        return before

    def align(self, reader: str, current: Tensor, spikes: Tensor, *, time_major: bool) -> tuple[Tensor, Tensor]:
        """Pre and post (T, B, ...) or (B, ...), each spike beside the input that it answers.

        Raises:
            PairingError: what lies between the synapse and the neuron leaves no such correspondence.
        """
        assert self.pre is not None
        if spikes.shape == self.shape and place_of(current) == self.place:  # the usual case: nothing in between
            lined = self.pre, spikes
        elif spikes.shape == current.shape and self.is_behind(memory_of(current)):
            lined = self._by_memory(self.pre, current, spikes)
        else:
            lined = self._by_shape(self.pre, spikes, self.readers.get(reader, 1) - 1, time_major)
        if lined is None:
            raise PairingError(self._mismatch(reader, spikes))
        return self._batched(*lined, time_major)

    def _by_memory(self, pre: Tensor, current: Tensor, spikes: Tensor) -> tuple[Tensor, Tensor] | None:
        seen, items = Layout.of(current), self.synapse.items
        if seen == self.made or not seen.stride:
            return pre, spikes
        rows = rows_shown(self.made, seen, items)
        if rows is None:
            return None
        samples = pre.reshape(-1, *pre.shape[-items:])
        if rows.order is not None:
            samples = samples[rows.order.to(samples.device)]
        made = self.shape[-items:]
        return samples.reshape(*rows.leading, *samples.shape[1:]), spikes.reshape(*rows.leading, *made)

    def _by_shape(self, pre: Tensor, spikes: Tensor, before: int, time_major: bool) -> tuple[Tensor, Tensor] | None:
        made, shape = self.shape, tuple(spikes.shape)
        if made == shape:
            return pre, spikes
        if time_major and len(shape) > 1 and made[0] == prod(shape[:2]) and regroups(made[1:], shape[2:]):
            return pre.unflatten(0, shape[:2]), spikes.reshape(*shape[:2], *made[1:])
        if not time_major and self.is_sequence_for(spikes):
            return (pre[before], spikes.reshape(made[1:])) if before < len(pre) else None
        keeps_time = not time_major or made[:2] == shape[:2]
        return (pre, spikes.reshape(made)) if keeps_time and regroups(made, shape) else None

    def _batched(self, pre: Tensor, post: Tensor, time_major: bool) -> tuple[Tensor, Tensor]:
        """Unbatched samples become a batch of one."""
        if pre.dim() - self.synapse.items > int(time_major):
            return pre, post
        return pre.unsqueeze(int(time_major)), post.unsqueeze(int(time_major))

    def _mismatch(self, reader: str, spikes: Tensor) -> str:
        name, made = self.synapse.name, tuple(self.shape)
        return (
            f"The output of {name} has shape {made}, and the spikes of {reader} have {tuple(spikes.shape)}: "
            "expected one spike per output. Is there pooling, slicing or a transposition between them? "
            f"Move it behind {reader}, or leave {name} out with target_layers=."
        )


def stacked(calls: list[Call]) -> Call:
    """Calls at successive steps, read as one sequence."""
    first = calls[0]
    pre = None if any(c.pre is None for c in calls) else torch.stack([c.pre for c in calls if c.pre is not None])
    joined = Call(first.synapse, torch.empty(0), pre, torch.empty(0))
    joined.shape, joined.place = torch.Size((len(calls), *first.shape)), ((), 0)
    return joined


def memory_of(tensor: Tensor) -> int:
    """Which memory a living tensor lies in. No other has this number while a call, too, remembers that memory."""
    return _storage(tensor)._cdata


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    if tensor.layout is torch.strided:
        return tensor.untyped_storage()
    return (tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()).untyped_storage()


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
