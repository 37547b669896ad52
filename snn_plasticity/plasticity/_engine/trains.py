"""Trains as sparse matrices: one factor of every fold is mostly zeros, and only its spikes need be multiplied.

A spike adds a row of the other factor to the row of its neuron: that is what an embedding bag does, in one pass and at
twice the speed of torch's own sparse product. It pays below a density of about 35 % (measured:
`benchmarks/crossover.py`); on other devices than the CPU the dense product is used, since counting spikes there would
synchronise.
"""

from __future__ import annotations

import warnings
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DENSITY = 0.35  # above it, the dense product is faster
SIZE = 1 << 14  # entries of the trains below which the dense product is faster, whatever the density
EIGHTS = 1 << 13  # entries from which looking at eight at a time pays
BYTE = 255  # the largest number in a byte
TURNED = 32  # steps that are transposed together


class Trains:
    """Spikes of a window, (T, B, N), and the sparse matrices that have been made of them.

    Args:
        there: the trains, numbers or booleans.
        dtype: of what is worked out of them, if not that of the numbers.
    """

    def __init__(self, there: Tensor, dtype: torch.dtype | None = None) -> None:
        self.there, self.dtype = there, dtype or there.dtype
        self._counts: dict[int, Tensor] = {}

    @property
    def binary(self) -> bool:
        """Whether they are known to be zeros and ones."""
        return self.there.dtype == torch.bool

    @cached_property
    def worthwhile(self) -> bool:
        """Whether they should be multiplied as sparse matrices; every eighth step tells."""
        if not self.there.is_cpu or self.there.numel() < SIZE:
            return False
        some = self.there[:: 1 if len(self.there) < 64 else 8]
        return bool(np.count_nonzero(some.bool().numpy()) < DENSITY * some.numel())

    @cached_property
    def count(self) -> Tensor:
        """Spikes of each sample and neuron, (B, N)."""
        return self.counts(BYTE).sum(0)

    def counts(self, steps: int) -> Tensor:
        """Spikes in every so many steps, at most `BYTE`: (⌈T / steps⌉, B, N)."""
        if steps not in self._counts:
            self._counts[steps] = self._counted(steps)
        return self._counts[steps]

    def _counted(self, steps: int) -> Tensor:
        if not self.binary or not self.there.is_cpu:
            return torch.stack([part.sum(0, dtype=self.dtype) for part in self.there.split(steps)])
        parts = (part.numpy().view(np.uint8) for part in self.there.split(steps))
        counts = np.stack([np.add.reduce(part, axis=0, dtype=np.uint8) for part in parts])  # as bytes they add fastest
        return torch.from_numpy(counts).to(self.dtype)

    @cached_property
    def together(self) -> Bags:
        """A row for each neuron, (N, T·B): a column for each step and sample."""
        steps, batch, n = self.there.shape
        return _Rows.of(self.there.reshape(steps * batch, 1, n), self.dtype).bags(0, 1, n)

    def apart(self, first: int, count: int) -> Bags:
        """Some samples, (count·N, T·count): rows for each of their neurons, columns as in `together`."""
        _, batch, n = self.there.shape
        return self.together if batch == 1 else self._rows.bags(first, count, n)

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows.of(self.there, self.dtype)


class Bags(NamedTuple):
    """A matrix that is mostly zeros: where each row starts in the list of its columns; and its values, None for ones.

    >>> Bags(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1])).times(torch.tensor([[1.0], [10.0]]))
    tensor([[11.],
            [10.]])
    """

    starts: Tensor
    columns: Tensor
    values: Tensor | None = None

    def times(self, table: Tensor) -> Tensor:
        """The product with a dense matrix, (rows, M)."""
        return torch.embedding_bag(table, self.columns, self.starts, False, 0, False, self.values, True)[0]

    def matrix(self, columns: int, dtype: torch.dtype) -> Tensor:
        """The same as a CSR tensor (rows, columns)."""
        _announce()
        values = torch.ones(len(self.columns), dtype=dtype) if self.values is None else self.values
        size = (len(self.starts) - 1, columns)
        return torch.sparse_csr_tensor(self.starts, self.columns, values, size=size, check_invariants=False)


def by_neuron(trains: Tensor) -> Tensor:
    """Trains (K, N) as a CSR matrix (N, K): a row for each neuron, a column for each step.

    >>> by_neuron(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).to_dense()
    tensor([[0., 1.],
            [1., 1.]])
    """
    return Trains(trains.unsqueeze(1)).together.matrix(len(trains), trains.dtype)


class _Rows(NamedTuple):
    """The spikes of each sample and neuron, one row after the other: where a row starts, at which steps, how high."""

    starts: np.ndarray
    steps: np.ndarray
    values: Tensor | None

    @classmethod
    def of(cls, trains: Tensor, dtype: torch.dtype) -> _Rows:
        """Of trains (T, B, N)."""
        count = len(trains)
        turned = _turned(trains.numpy()).ravel()
        binary = trains.dtype == torch.bool
        where = _ones(turned) if binary else np.flatnonzero(turned)
        starts = np.searchsorted(where, np.arange(0, turned.size + 1, count))
        steps = where - np.repeat(np.arange(0, turned.size, count), np.diff(starts))
        values = None if binary else torch.from_numpy(turned[where]).to(dtype)
        return cls(starts.astype(np.int32), steps.astype(np.int32), values)

    def bags(self, first: int, count: int, n: int) -> Bags:
        """Some samples of n neurons as one matrix; see `Trains.apart`."""
        starts = self.starts[first * n : (first + count) * n + 1]
        entries = slice(int(starts[0]), int(starts[-1]))
        starts, column = starts - starts[0], self.steps[entries]
        if count > 1:
            column = column * count + np.repeat(np.arange(count, dtype=np.int32), np.diff(starts[::n]))
        values = None if self.values is None else self.values[entries]
        return Bags(torch.from_numpy(starts), torch.from_numpy(column), values)


def _turned(trains: np.ndarray) -> np.ndarray:
    """Trains (T, B, N) as (B, N, T), some steps at a time, so that what is read and written stays in the cache."""
    steps, *shape = trains.shape
    turned = np.empty((*shape, steps), trains.dtype)
    for start in range(0, steps, TURNED):
        turned[..., start : start + TURNED] = trains[start : start + TURNED].transpose(1, 2, 0)
    return turned


def _ones(bits: np.ndarray) -> np.ndarray:
    """Where flat booleans are true, eight at a time: most eights of a sparse train are empty.

    >>> _ones(np.arange(9999) % 4001 == 5)
    array([   5, 4006, 8007])
    """
    whole = len(bits) // 8 * 8 if len(bits) >= EIGHTS else 0
    if not whole:
        return np.flatnonzero(bits)
    eights = bits[:whole].view(np.uint64)
    some = np.flatnonzero(eights != 0)
    within = np.flatnonzero(eights[some].view(np.bool_))
    places = (some[within >> 3] << 3) | (within & 7)
    return np.concatenate((places, np.flatnonzero(bits[whole:]) + whole)) if whole < len(bits) else places


@lru_cache(maxsize=1)
def _announce() -> None:
    """Take torch's one-time notice that CSR is in beta, once, here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), size=(1, 1))
