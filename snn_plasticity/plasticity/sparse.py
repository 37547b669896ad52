"""Trains as sparse matrices: one factor of every fold is mostly zeros, and only its spikes need be multiplied.

Sparse pays below a density of about 15 % (measured: 1000×1000, one thread, adds of spikes against a dense product); on
other devices than the CPU the dense product is used, since counting spikes there would synchronise.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

DENSITY = 0.15  # above it, the dense product is faster
SIZE = 1 << 12  # entries of the trains below which the dense product is faster, whatever the density


def worthwhile(trains: Tensor) -> bool:
    """Whether these trains should be multiplied as a sparse matrix."""
    if trains.device.type != "cpu" or trains.numel() < SIZE:
        return False
    return int(torch.count_nonzero(trains.bool())) < DENSITY * trains.numel()


@lru_cache(maxsize=1)
def _announce() -> None:
    """Take torch's one-time notice that CSR is in beta, once, here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), size=(1, 1))


def by_neuron(trains: Tensor) -> Tensor:
    """Trains (K, N) as a CSR matrix (N, K): a row for each neuron, a column for each step.

    >>> by_neuron(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).to_dense()
    tensor([[0., 1.],
            [1., 1.]])
    """
    return _rows_of(trains, trains.shape[1])


def by_sample_and_neuron(trains: Tensor) -> Tensor:
    """Trains (K, B, N) as a block-diagonal CSR matrix (B·N, B·K), one block for each sample."""
    steps, batch, n = trains.shape
    return _rows_of(trains.reshape(steps, batch * n), n)


def _rows_of(trains: Tensor, n: int) -> Tensor:
    """CSR of trains (K, R) turned, with a row for each of R; every n rows have columns of their own."""
    _announce()
    steps, rows = trains.shape
    there = trains.bool().T.contiguous()
    where = torch.from_numpy(np.flatnonzero(there.numpy()))  # twice as fast as torch's own
    row = where.div(steps, rounding_mode="floor")
    step = where - row * steps
    starts = torch.zeros(rows + 1, dtype=torch.int32)
    torch.cumsum(torch.bincount(row, minlength=rows), 0, out=starts[1:])
    column = step if rows == n else step + row.div(n, rounding_mode="floor") * steps
    values = torch.take(trains, step * rows + row)
    return torch.sparse_csr_tensor(starts, column.to(torch.int32), values, size=(rows, rows // n * steps))
