"""Trains as sparse matrices: one factor of every fold is mostly zeros, and only its spikes need be multiplied.

Sparse pays below a density of about 15 % (measured: `benchmarks/crossover.py`); on other devices than the CPU the dense
product is used, since counting spikes there would synchronise. Trains of zeros and ones are known by a byte per entry.
"""

from __future__ import annotations

import warnings
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DENSITY = 0.15  # above it, the dense product is faster
SIZE = 1 << 12  # entries of the trains below which the dense product is faster, whatever the density
PIECE = 1 << 20  # entries that are looked at together


class Words(NamedTuple):
    """Numbers as words of bits, and the bits that are not set in one."""

    kind: type
    others: int


_WORDS = {
    torch.float32: Words(np.uint32, 0xFFFFFFFF ^ int(np.float32(1).view(np.uint32))),
    torch.float64: Words(np.uint64, 0xFFFFFFFFFFFFFFFF ^ int(np.float64(1).view(np.uint64))),
}


def bits_of(trains: Tensor) -> Tensor | None:
    """Trains as booleans if they are all zeros and ones; None if not, or if looking would synchronise a device.

    >>> bits_of(torch.tensor([1.0, 0.0]))
    tensor([ True, False])
    """
    words = _WORDS.get(trains.dtype)
    if words is None or not trains.is_cpu:
        return trains if trains.dtype == torch.bool else None
    bits = trains.bool()
    if trains.numel() <= PIECE:
        return bits if _all_ones(trains, bits, words) else None
    pieces = zip(trains.reshape(-1).split(PIECE), bits.reshape(-1).split(PIECE), strict=True)
    return bits if all(_all_ones(*piece, words) for piece in pieces) else None


def _all_ones(trains: Tensor, bits: Tensor, words: Words) -> bool:
    """Whether all that is not zero is one: no other bits are set than its, and there are as many as they sum to."""
    if int(np.bitwise_or.reduce(trains.numpy().view(words.kind), axis=None)) & words.others:
        return False
    return np.count_nonzero(bits.numpy()) == float(trains.sum())


def numbers_of(trains: Tensor, dtype: torch.dtype) -> Tensor:
    """Trains in this precision (through bytes, which is faster than from booleans)."""
    return (trains.view(torch.uint8) if trains.dtype == torch.bool else trains).to(dtype)


class Trains:
    """Spikes of a window, (T, B, N), and the sparse matrices that have been made of them.

    Args:
        numbers: the trains.
        bits: the same as booleans, if all are zeros and ones.
    """

    def __init__(self, numbers: Tensor, bits: Tensor | None = None) -> None:
        self.numbers, self.bits = numbers, bits
        self._there = numbers if bits is None else bits

    @cached_property
    def worthwhile(self) -> bool:
        """Whether they should be multiplied as sparse matrices; every eighth step tells."""
        if not self.numbers.is_cpu or self.numbers.numel() < SIZE:
            return False
        some = self._there[:: 1 if len(self._there) < 64 else 8]
        return bool(np.count_nonzero(some.bool().numpy()) < DENSITY * some.numel())

    @cached_property
    def count(self) -> Tensor:
        """Spikes of each sample and neuron, (B, N)."""
        return self.numbers.sum(0)

    @cached_property
    def together(self) -> Tensor:
        """A CSR matrix (N, T·B): a row for each neuron, a column for each step and sample."""
        steps, batch, n = self.numbers.shape
        rows = _Rows.of(self._there.reshape(steps * batch, 1, n), self.numbers.dtype)
        return rows.matrix(0, 1, steps * batch, n)

    def apart(self, first: int, count: int) -> Tensor:
        """Some samples as a CSR matrix (count·N, T·count): rows for each of their neurons, columns as in `together`."""
        steps, batch, n = self.numbers.shape
        return self.together if batch == 1 else self._rows.matrix(first, count, steps, n)

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows.of(self._there, self.numbers.dtype)


def by_neuron(trains: Tensor) -> Tensor:
    """Trains (K, N) as a CSR matrix (N, K): a row for each neuron, a column for each step.

    >>> by_neuron(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).to_dense()
    tensor([[0., 1.],
            [1., 1.]])
    """
    return Trains(trains.unsqueeze(1)).together


class _Rows(NamedTuple):
    """The spikes of each sample and neuron, one row after the other: where a row starts, at which steps, how high."""

    starts: np.ndarray
    steps: np.ndarray
    values: Tensor

    @classmethod
    def of(cls, trains: Tensor, dtype: torch.dtype) -> _Rows:
        """Of trains (T, B, N)."""
        count = len(trains)
        turned = np.ascontiguousarray(trains.numpy().transpose(1, 2, 0)).ravel()
        where = np.flatnonzero(turned)  # twice as fast as torch's own
        starts = np.searchsorted(where, np.arange(0, turned.size + 1, count))
        steps = where - np.repeat(np.arange(0, turned.size, count), np.diff(starts))
        binary = trains.dtype == torch.bool
        values = torch.ones(len(where), dtype=dtype) if binary else torch.from_numpy(turned[where])
        return cls(starts.astype(np.int32), steps.astype(np.int32), values)

    def matrix(self, first: int, count: int, steps: int, n: int) -> Tensor:
        """Some samples of n neurons as one matrix; see `Trains.apart`."""
        _announce()
        starts = self.starts[first * n : (first + count) * n + 1]
        entries = slice(int(starts[0]), int(starts[-1]))
        starts, column = starts - starts[0], self.steps[entries]
        if count > 1:
            column = column * count + np.repeat(np.arange(count, dtype=np.int32), np.diff(starts[::n]))
        indices, size = (torch.from_numpy(starts), torch.from_numpy(column)), (count * n, count * steps)
        return torch.sparse_csr_tensor(*indices, self.values[entries], size=size, check_invariants=False)


@lru_cache(maxsize=1)
def _announce() -> None:
    """Take torch's one-time notice that CSR is in beta, once, here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), size=(1, 1))
