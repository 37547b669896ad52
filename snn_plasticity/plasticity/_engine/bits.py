"""Trains of zeros and ones, known by a byte per entry: they wait as booleans until numbers are needed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SCAN_SIZE = 1 << 17  # entries that are looked at together


def bits_of(trains: Tensor) -> Tensor | None:
    """Trains as booleans if they are all zeros and ones; None if not, or if looking would synchronise a device.

    >>> bits_of(torch.tensor([1.0, 0.0]))
    tensor([ True, False])
    """
    if not _readable(trains):
        return trains if trains.dtype == torch.bool else None
    bits = torch.empty(trains.shape, dtype=torch.bool)
    if trains.numel() <= SCAN_SIZE:
        return bits if _written(bits.numpy(), trains.numpy()) else None
    pieces = zip(bits.view(-1).split(SCAN_SIZE), trains.reshape(-1).split(SCAN_SIZE), strict=True)
    return bits if all(_written(room.numpy(), piece.numpy()) for room, piece in pieces) else None


def bits_into(rooms: Tensor, at: int, spikes: Tensor) -> bool:
    """Write spikes into a row of booleans if they are all zeros and ones; whether they were.

    >>> rooms = torch.empty(1, 2, dtype=torch.bool)
    >>> bits_into(rooms, 0, torch.tensor([1.0, 0.0])), bits_into(rooms, 0, torch.tensor([0.5, 0.0]))
    (True, False)
    """
    spikes = spikes.detach() if spikes.requires_grad else spikes
    if spikes.dtype == torch.bool:
        rooms[at].copy_(spikes)
        return True
    return _readable(spikes) and _written(rooms.numpy()[at], spikes.numpy())


def _readable(trains: Tensor) -> bool:
    return trains.is_cpu and trains.dtype in (torch.float32, torch.float64)


def _written(room: np.ndarray, numbers: np.ndarray) -> bool:
    """Write where the ones are; whether all the others are zeros."""
    np.equal(numbers, 1.0, out=room)
    return bool(np.count_nonzero(numbers != 0.0) == np.count_nonzero(room))


def countable(trains: Tensor) -> Tensor:
    """Booleans as the bytes that they are, which become numbers faster; anything else as it is."""
    return trains.view(torch.uint8) if trains.dtype == torch.bool else trains


def numbers_of(trains: Tensor, dtype: torch.dtype) -> Tensor:
    """Trains in this precision."""
    return countable(trains).to(dtype)
