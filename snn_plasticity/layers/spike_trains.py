"""Trains of spikes as booleans, and the sparse matrices that are made of them.

Trains of zeros and ones are known by looking at them, and take a byte per entry as booleans. Of the two factors of a
window one is mostly zeros: a spike adds a row of the other factor to the row of its neuron, which is what an embedding
bag does, in one pass and at twice the speed of torch's own sparse product. That pays below a density of about 35 %
(measured: `benchmarks/crossover.py`), on the CPU alone: elsewhere, counting spikes would synchronise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._compiled import loops, loops_over_spikes

LOOKED_AT = 1 << 17  # entries that are looked at together, so that they stay in the cache
FEW = 1024  # entries up to which numbers are counted as they are
MAX_SORTED = 0.1  # density up to which sorting spikes is cheaper than transposing trains
MAX_DENSITY = 0.35  # above it, the dense product is faster
MIN_ENTRIES = 1 << 14  # of a train, below which dense products are faster, whatever the density, and loops not worth it
TRANSPOSED_STEPS = 32  # steps that are transposed together, so that what is read and written stays in the cache


def as_binary(trains: Tensor) -> Tensor | None:
    """Trains as booleans if they are all zeros and ones; None if not, or if looking would synchronise a device.

    >>> as_binary(torch.tensor([1.0, 0.0]))
    tensor([ True, False])
    """
    if not _readable(trains):
        return trains if trains.dtype == torch.bool else None
    bits = torch.empty(trains.shape, dtype=torch.bool, device=trains.device)
    if trains.numel() <= LOOKED_AT:
        return bits if _written(bits.numpy(), trains.numpy()) else None
    parts = zip(bits.view(-1).split(LOOKED_AT), trains.reshape(-1).split(LOOKED_AT), strict=True)
    return bits if all(_written(room.numpy(), part.numpy()) for room, part in parts) else None


def write_binary(rooms: np.ndarray, step: int, spikes: Tensor) -> bool:
    """Write spikes of the CPU into booleans of a step if they are all zeros and ones; whether they were.

    >>> rooms = np.empty((1, 2), bool)
    >>> write_binary(rooms, 0, torch.tensor([1.0, 0.0])), write_binary(rooms, 0, torch.tensor([0.5, 0.0]))
    (True, False)
    """
    room = rooms[step]
    spikes = spikes.detach() if spikes.requires_grad else spikes
    if spikes.dtype == torch.bool:
        room[...] = spikes.numpy()
        return True
    return spikes.dtype in (torch.float32, torch.float64) and _written(room, spikes.numpy())


@np.errstate(over="ignore", invalid="ignore")  # what is no number is refused where it is said so
def write_numbers(rooms: np.ndarray, step: int, values: Tensor) -> bool:
    """Write finite numbers of the CPU, of the same precision, to a step; whether they were.

    >>> rooms = np.empty((1, 2), np.float32)
    >>> write_numbers(rooms, 0, torch.tensor([0.5, 2.0])), write_numbers(rooms, 0, torch.tensor([0.5, torch.nan]))
    (True, False)
    """
    room = rooms[step]
    numbers = (values.detach() if values.requires_grad else values).numpy()
    fits = numbers.dtype == room.dtype and math.isfinite(np.add.reduce(numbers, axis=None))
    if fits:
        room[...] = numbers
    return fits


Writer = Callable[[int, Tensor], bool]


def writer_into(trains: Tensor, *, fast: bool = False) -> Writer:
    """What writes single steps (B, ...) of the CPU into trains (T, B, ...) of it, and says whether they fit.

    Args:
        trains: booleans, which take zeros and ones, or numbers, which take finite ones of their precision.
        fast: whether compiled loops may be used.

    >>> trains = torch.empty(2, 1, 2, dtype=torch.bool)
    >>> writer_into(trains)(1, torch.tensor([[1.0, 0.0]])), trains[1]
    (True, tensor([[ True, False]]))
    """
    rooms, binary = trains.numpy(), trains.dtype == torch.bool
    plain = write_binary if binary else write_numbers
    if not (fast and loops() is not None and trains.is_contiguous()):
        return partial(plain, rooms)
    return loops_over_spikes().writer(rooms, partial(plain, rooms))


def roomy(shape: Sequence[int], like: Tensor) -> Tensor:
    """Memory like that of a tensor; on the CPU it is NumPy's, which has large pages, that come five times faster."""
    if not like.is_cpu:
        return like.new_empty(shape)
    room = torch.from_numpy(np.empty(math.prod(shape) * like.element_size(), np.uint8))
    return room.view(like.dtype).view(*shape)


def _readable(trains: Tensor) -> bool:
    return trains.is_cpu and trains.dtype in (torch.float32, torch.float64)


def _written(room: np.ndarray, numbers: np.ndarray) -> bool:
    """Write where the ones are; whether all the others are zeros."""
    np.equal(numbers, 1.0, out=room)
    others = numbers if numbers.size < FEW else numbers != 0.0  # which booleans are counted faster, but made first
    return bool(np.count_nonzero(others) == np.count_nonzero(room))


def as_numbers(trains: Tensor, dtype: torch.dtype) -> Tensor:
    """Trains in this precision."""
    # booleans are the bytes 0 and 1, which become numbers faster
    return (trains.view(torch.uint8) if trains.dtype == torch.bool else trains).to(dtype)


class SpikeTrains:
    """Spikes of a window, (T, B, N), and the sparse matrices that have been made of them.

    Args:
        spikes: the trains, numbers or booleans.
        dtype: of what is worked out of them, if not that of the numbers.
        fast: whether compiled loops may be used.
    """

    def __init__(self, spikes: Tensor, dtype: torch.dtype | None = None, *, fast: bool = False) -> None:
        self.spikes, self.dtype, self.fast = spikes, dtype or spikes.dtype, fast
        self.binary = spikes.dtype == torch.bool  # known to be zeros and ones
        self.large = spikes.is_cpu and spikes.numel() >= MIN_ENTRIES

    @cached_property
    def sparse(self) -> bool:
        """Whether they should be multiplied as sparse matrices; every eighth step of a long train tells."""
        if not self.large:
            return False
        some = self.spikes[:: 1 if len(self.spikes) < 64 else 8]
        return bool(np.count_nonzero(some.bool().numpy()) < MAX_DENSITY * some.numel())

    @cached_property
    def count(self) -> Tensor:
        """Spikes of each sample and neuron, (B, N)."""
        if not self.binary or not self.spikes.is_cpu:
            return self.spikes.sum(0, dtype=self.dtype)
        bits, total = self.spikes.numpy().view(np.uint8), torch.zeros(self.spikes.shape[1:], dtype=self.dtype)
        for t in range(0, len(bits), 255):  # so many fit into a byte, and as bytes they add fastest
            total += torch.from_numpy(np.add.reduce(bits[t : t + 255], axis=0, dtype=np.uint8))
        return total

    @cached_property
    def together(self) -> EmbeddingBags:
        """A row for each neuron, (N, T·B): a column for each step and sample."""
        steps, batch, n = self.spikes.shape
        found = self._listed(together=True)
        found = found or _SpikeTimes.of(self.spikes.reshape(steps * batch, 1, n), self.dtype)
        return found.bags(0, 1, n)

    def apart(self, first: int, count: int) -> EmbeddingBags:
        """Some samples, (count·N, T·count): rows for each of their neurons, columns as in `together`."""
        _, batch, n = self.spikes.shape
        return self.together if batch == 1 else self._times.bags(first, count, n)

    @cached_property
    def _times(self) -> _SpikeTimes:
        return self._listed(together=False) or _SpikeTimes.of(self.spikes, self.dtype)

    def _listed(self, *, together: bool) -> _SpikeTimes | None:
        """The spikes found by a compiled loop, eight booleans at a time; None where that is not the way."""
        n, given = self.spikes.shape[2], self.spikes.numpy()
        if not (self.fast and self.binary and given.strides[2] == 1 and n % 8 == 0 and loops() is not None):
            return None
        starts = np.zeros((1 if together else given.shape[1]) * n + 1, np.int32)
        columns = np.empty(np.count_nonzero(given), np.int32)
        loops_over_spikes().list_spikes(given.view(np.uint64), together, starts, columns)
        return _SpikeTimes(starts, columns, None)


class EmbeddingBags(NamedTuple):
    """A matrix that is mostly zeros: where each row starts in the list of its columns; and its values, None for ones.

    >>> EmbeddingBags(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1])).times(torch.tensor([[1.0], [10.0]]))
    tensor([[11.],
            [10.]])
    """

    starts: Tensor
    columns: Tensor
    values: Tensor | None = None

    def times(self, table: Tensor) -> Tensor:
        """The product with a dense matrix, (rows, M)."""
        return torch.embedding_bag(table, self.columns, self.starts, False, 0, False, self.values, True)[0]


def _nonzero(flat: np.ndarray) -> np.ndarray:
    return _ones(_active(flat))


def _active(numbers: np.ndarray) -> np.ndarray:
    """Where they are not zero; booleans are counted and found faster than numbers."""
    return numbers if numbers.dtype == np.bool_ else numbers != 0


def _ones(flat: np.ndarray) -> np.ndarray:
    """Where flat booleans are true, eight at a time: most eights of a sparse train are empty.

    >>> _ones(np.arange(9999) % 4001 == 5)
    array([   5, 4006, 8007])
    """
    whole = len(flat) // 8 * 8
    eights = flat[:whole].view(np.uint64)
    some = np.flatnonzero(eights != 0)
    within = np.flatnonzero(eights[some].view(np.bool_))
    places = (some[within >> 3] << 3) | (within & 7)
    return np.concatenate((places, np.flatnonzero(flat[whole:]) + whole)) if whole < len(flat) else places


class _SpikeTimes(NamedTuple):
    """The spikes of each sample and neuron, one row after the other: where a row starts, at which steps, how high."""

    starts: np.ndarray
    steps: np.ndarray
    values: Tensor | None

    @classmethod
    def of(cls, trains: Tensor, dtype: torch.dtype) -> _SpikeTimes:
        """Of trains (T, B, N)."""
        given, count = trains.numpy(), len(trains)
        if np.count_nonzero(_active(given)) < MAX_SORTED * given.size:
            return cls._sorted(given, dtype)
        turned = np.empty((*given.shape[1:], count), given.dtype)
        for start in range(0, count, TRANSPOSED_STEPS):
            part = slice(start, start + TRANSPOSED_STEPS)
            turned[..., part] = given[part].transpose(1, 2, 0)
        flat = turned.ravel()
        where = _nonzero(flat)
        starts = np.searchsorted(where, np.arange(0, flat.size + 1, count))
        steps = where - np.repeat(np.arange(0, flat.size, count), np.diff(starts))
        return cls._made(starts, steps, flat[where], dtype)

    @classmethod
    def _sorted(cls, given: np.ndarray, dtype: torch.dtype) -> _SpikeTimes:
        """Few spikes are found where they lie, and sorted by rows."""
        flat, rows = given.ravel(), given[0].size
        where = _nonzero(flat)
        steps, row = (
            np.divmod(where, rows) if flat.size >= 1 << 31 else np.divmod(where.astype(np.int32), np.int32(rows))
        )
        order = np.argsort(row.astype(np.uint16), kind="stable")  # numbers of 16 bits are sorted without comparing
        if rows > 1 << 16:
            order = order[np.argsort((row[order] >> 16).astype(np.uint16), kind="stable")]
        starts = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=rows))))
        return cls._made(starts, steps[order], flat[where[order]], dtype)

    @classmethod
    def _made(cls, starts: np.ndarray, steps: np.ndarray, found: np.ndarray, dtype: torch.dtype) -> _SpikeTimes:
        values = None if found.dtype == np.bool_ else torch.from_numpy(found).to(dtype)
        return cls(starts.astype(np.int32), steps.astype(np.int32), values)

    def bags(self, first: int, count: int, n: int) -> EmbeddingBags:
        """Some samples of n neurons as one matrix; see `SpikeTrains.apart`."""
        starts = self.starts[first * n : (first + count) * n + 1]
        entries = slice(int(starts[0]), int(starts[-1]))
        starts, column = starts - starts[0], self.steps[entries]
        if count > 1:  # column (step, sample) lies at step · count + sample
            column = column * count + np.repeat(np.arange(count, dtype=np.int32), np.diff(starts[::n]))
        values = None if self.values is None else self.values[entries]
        return EmbeddingBags(torch.from_numpy(starts), torch.from_numpy(column), values)
