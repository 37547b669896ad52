"""A look at free memory before a large table is made: a sentence is better than a machine that stops answering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

LARGE = 1 << 28  # bytes below which nobody asks
SHARE = 0.8  # of the free memory that one table may take


def require_memory(what: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device, instead: str) -> None:
    """Refuse a table that would take more than `SHARE` of the memory that is free where it shall lie.

    Args:
        what: the table, as a sentence begins.
        shape, dtype, device: of the table.
        instead: the way out, as a sentence ends.

    Raises:
        MemoryError: with its size, what is free, and the way out.
    """
    needed = math.prod(shape) * dtype.itemsize
    if needed < LARGE:
        return
    free = free_memory(device)
    if free is not None and needed > SHARE * free:
        sizes = " × ".join(map(str, shape))
        raise MemoryError(
            f"{what} of {sizes} takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {device}; expected at "
            f"most {SHARE:.0%} of that. {instead} Nothing was changed."
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free there; None where nobody can say."""
    if device.type == "cuda":
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
