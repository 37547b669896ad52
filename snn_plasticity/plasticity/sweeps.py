"""Filters forward and back, with gains, in one pass over a window: a semiseparable matrix times its trains.

    out_t = Σ_ways scale · r_t        r_t = G_t · (x_t + a x_{t−1} + a² x_{t−2} + …)                 forward
                                      r_t = G_t x_t + a G_{t+1} x_{t+1} + a² G_{t+2} x_{t+2} + …     backward
                                      r_t = G_t · x_t                                                here

Within a block of steps all ways are one small matrix. It has one more column for each way that comes from further than
the block: what enters from there is known from the ends of all blocks, which are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from . import filters
from .scratch import Scratch

STEPS = 16  # of a block at most
ROOM = 1 << 18  # entries that are worked on together: few enough for a cache
FORWARD, BACKWARD, HERE = 1, -1, 0


class Way(NamedTuple):
    """One summand of a sweep; exclusive: without this step's own x. `lead` (B, ...) is the trace before the window."""

    scale: float
    direction: int = HERE
    decay: float = 0.0
    exclusive: bool = False
    lead: Tensor | None = None

    @property
    def far(self) -> bool:
        """Whether it reaches other steps."""
        return self.direction != HERE


def sweep(x: Tensor, gains: Tensor, ways: Sequence[Way], scratch: Scratch) -> tuple[Tensor, list[Tensor]]:
    """The sum of all ways, (T, B, ...), in borrowed memory; and what each backward one has come to at the first step.

    Args:
        x: (T, B, ...), numbers or booleans.
        gains: (T,) or (T, B).
        ways: what to sum.
        scratch: whose memory to use.

    >>> x, gains = torch.tensor([[[1.0]], [[0.0]], [[2.0]]]), torch.tensor([1.0, 10.0, 100.0])
    >>> ways = [Way(1.0, FORWARD, 0.5), Way(1.0, BACKWARD, 0.5, exclusive=True)]
    >>> sweep(x, gains, ways, Scratch())[0].flatten()
    tensor([ 51., 105., 225.])
    """
    blocks, far = math.ceil(len(x) / STEPS), [way for way in ways if way.far]
    size, (batch, n) = math.ceil(len(x) / blocks), x.flatten(2).shape[1:]
    matrix, weights = _matrices(ways, _in_blocks(gains, size, blocks))
    together = min(batch, max(1, ROOM // (len(x) * n)))
    room = scratch.shaped(gains, blocks, size + len(far), together, n)
    ends, table = (scratch.shaped(gains, blocks, rows, batch, n) for rows in (len(far), size))
    for start in range(0, batch, together):
        here = slice(start, start + together)
        own = slice(None) if len(matrix) == 1 else here
        entries, left = room[:, :, : min(together, batch - start)], ends[:, :, here]
        _lay_out(x[:, here], size, entries)
        _times(weights[own], entries[:, :size], left)
        for k, way in enumerate(far):
            _enter(way, here, size, left[:, k], entries[:, size + k])
        _times(matrix[own], entries, table[:, :, here])
    reached = [(way, ends[:, k]) for k, way in enumerate(far) if way.direction == BACKWARD]
    whole = table.view(blocks * size, *x.shape[1:])[: len(x)]
    return whole, [_come_to(*one, size).view(x.shape[1:]) for one in reached]


def _in_blocks(gains: Tensor, size: int, blocks: int) -> Tensor:
    """Gains of each sample or of all, (B or 1, blocks, size), zero behind the last step."""
    rows = gains.reshape(len(gains), -1).T
    return torch.nn.functional.pad(rows, (0, blocks * size - len(gains))).view(len(rows), blocks, size)


def _matrices(ways: Sequence[Way], gains: Tensor) -> tuple[Tensor, Tensor]:
    """What a block makes of its steps and of what enters it; and what it adds to what leaves it, for each far way."""
    size, far = gains.shape[2], [way for way in ways if way.far]
    matrix, weights = gains.new_zeros(*gains.shape, size + len(far)), gains.new_empty(*gains.shape[:2], len(far), size)
    for way in ways:
        triangle, _ = filters.powers(way.decay, way.exclusive, size, gains.dtype, gains.device)
        if way.direction == BACKWARD:
            matrix[..., :size].addcmul_(gains.unsqueeze(2), triangle.T, value=way.scale)
        else:
            matrix[..., :size].addcmul_(gains.unsqueeze(3), triangle, value=way.scale)
    for k, way in enumerate(far):
        leaving = filters.ages(way.decay, size, gains.dtype, gains.device)
        _, entering = filters.powers(way.decay, way.exclusive, size, gains.dtype, gains.device)
        if way.direction == BACKWARD:
            matrix[..., size + k] = way.scale * entering.flip(0)
            torch.mul(gains, leaving.flip(0), out=weights[..., k, :])
        else:
            torch.mul(gains, way.scale * entering, out=matrix[..., size + k])
            weights[..., k, :] = leaving
    return matrix, weights


@lru_cache(maxsize=64)
def _between(a: float, blocks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a block leaves to each later one, a^(later − 1 − block)."""
    lag = torch.arange(blocks, dtype=torch.float64)
    lag = lag[:, None] - lag[None, :]
    left = torch.tensor(a, dtype=torch.float64) ** (lag - 1.0).clamp(min=0.0)
    return torch.where(lag >= 1.0, left, 0.0).to(device, dtype)


def _lay_out(x: Tensor, size: int, room: Tensor) -> None:
    """The trains of some samples in blocks, (blocks, size, B, N), zero behind the last step."""
    x = (x.view(torch.uint8) if x.dtype == torch.bool else x).flatten(2)
    whole = len(x) // size
    room[:whole, :size].copy_(x[: whole * size].unflatten(0, (whole, size)) if whole else room[:0, :size])
    if whole < len(room):
        rest = len(x) - whole * size
        room[whole, :rest].copy_(x[whole * size :])
        room[whole, rest:size] = 0.0


def _times(matrix: Tensor, x: Tensor, out: Tensor) -> None:
    """Every block (rows, columns) of every sample, or of all alike, times its steps (blocks, columns, B, N)."""
    if len(matrix) == 1:
        torch.bmm(matrix[0], x.flatten(2), out=out.view(*out.shape[:2], math.prod(out.shape[2:])))
    elif len(matrix) <= len(x):
        for b, own in enumerate(matrix):
            torch.bmm(own, x[:, :, b], out=out[:, :, b])
    else:
        for block, (own, entries) in enumerate(zip(matrix.unbind(1), x.unbind(0), strict=True)):
            torch.bmm(own, entries.transpose(0, 1), out=out[block].transpose(0, 1))


def _enter(way: Way, here: slice, size: int, ends: Tensor, out: Tensor) -> None:
    """What enters each block of some samples, from all that the ones before it (or behind it) left, and the lead."""
    step, entering = way.decay**size, out.view(len(out), -1)
    between = _between(step, len(ends), out.dtype, out.device)
    torch.mm(between if way.direction == FORWARD else between.T, ends.reshape(len(ends), -1), out=entering)
    if way.lead is not None:
        powers = filters.ages(step, len(ends), out.dtype, out.device).flip(0)
        entering.addr_(powers, way.lead[here].reshape(-1).to(out.dtype))


def _come_to(way: Way, ends: Tensor, size: int) -> Tensor:
    """What a backward way has come to at the first step, inclusive, (B, N)."""
    powers = filters.ages(way.decay**size, len(ends), ends.dtype, ends.device).flip(0)
    return torch.tensordot(powers * way.scale, ends, dims=1)
