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
FORWARD, BACKWARD, HERE = 1, -1, 0


class Way(NamedTuple):
    """One summand of a sweep; exclusive: without this step's own x. `lead` (B, ...) is the trace before the window."""

    scale: float
    direction: int
    decay: float = 0.0
    exclusive: bool = False
    lead: Tensor | None = None


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
    blocks, far = math.ceil(len(x) / STEPS), [way for way in ways if way.direction != HERE]
    size = math.ceil(len(x) / blocks)
    matrix, weights = _matrices(ways, _in_blocks(gains, size, blocks))
    room = _laid_out(x, size, blocks, len(far), gains, scratch)
    ends = scratch.shaped(gains, blocks, len(far), *room.shape[2:])
    _times(weights, room[:, :size], ends)
    for k, way in enumerate(far):
        _enter(way, size, ends[:, k], room[:, size + k])
    table = scratch.shaped(gains, blocks, size, *room.shape[2:])
    _times(matrix, room, table)
    reached = [
        torch.add(ends[0, k], room[0, size + k], alpha=way.decay**size) * way.scale
        for k, way in enumerate(far)
        if way.direction == BACKWARD
    ]
    whole = table.view(blocks * size, *x.shape[1:])[: len(x)]
    return whole, [first.view(x.shape[1:]) for first in reached]


def _in_blocks(gains: Tensor, size: int, blocks: int) -> Tensor:
    """Gains of each sample or of all, (B or 1, blocks, size), zero behind the last step."""
    rows = gains.reshape(len(gains), -1).T
    return torch.nn.functional.pad(rows, (0, blocks * size - len(gains))).view(len(rows), blocks, size)


def _matrices(ways: Sequence[Way], gains: Tensor) -> tuple[Tensor, Tensor]:
    """What a block makes of its steps and of what enters it; and what it adds to what leaves it, of each way."""
    size = gains.shape[2]
    far = sum(way.direction != HERE for way in ways)
    matrix = gains.new_zeros(*gains.shape, size + far)
    weights = gains.new_empty(*gains.shape[:2], far, size)
    inner, k = matrix[..., :size], 0
    for way in ways:
        triangle, entering, leaving = _powers(way.decay, way.exclusive, size, gains.dtype, gains.device)
        if way.direction == BACKWARD:
            inner.addcmul_(gains.unsqueeze(2), triangle.T, value=way.scale)
            matrix[..., size + k] = way.scale * entering.flip(0)
            torch.mul(gains, leaving.flip(0), out=weights[..., k, :])
        else:
            inner.addcmul_(gains.unsqueeze(3), triangle, value=way.scale)
        if way.direction == FORWARD:
            torch.mul(gains, way.scale * entering, out=matrix[..., size + k])
            weights[..., k, :] = leaving
        k += way.direction != HERE
    return matrix, weights


@lru_cache(maxsize=64)
def _powers(a: float, exclusive: bool, size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Within a block the triangle a^(t−u); of what enters it a^(t+1); to what leaves it a^(size−1−u)."""
    triangle, entering = filters.powers(a, exclusive, size, dtype, device)
    return triangle, entering, filters.ages(a, size, dtype, device)


@lru_cache(maxsize=64)
def _between(a: float, blocks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a block leaves to each later one, a^(later − 1 − block)."""
    lag = torch.arange(blocks, dtype=torch.float64)
    lag = lag[:, None] - lag[None, :]
    left = torch.tensor(a, dtype=torch.float64) ** (lag - 1.0).clamp(min=0.0)
    return torch.where(lag >= 1.0, left, 0.0).to(device, dtype)


def _laid_out(x: Tensor, size: int, blocks: int, more: int, like: Tensor, scratch: Scratch) -> Tensor:
    """The trains in blocks with room below each, (blocks, size + more, B, N), zero behind the last step."""
    x = (x.view(torch.uint8) if x.dtype == torch.bool else x).flatten(2) if x.dim() > 2 else x.unsqueeze(2)
    room = scratch.shaped(like, blocks, size + more, *x.shape[1:])
    whole = len(x) // size
    room[:whole, :size].copy_(x[: whole * size].unflatten(0, (whole, size)) if whole else room[:0, :size])
    if whole < blocks:
        rest = len(x) - whole * size
        room[whole, :rest].copy_(x[whole * size :])
        room[whole, rest:size] = 0.0
    return room


def _times(matrix: Tensor, x: Tensor, out: Tensor) -> None:
    """Every block (rows, columns) of every sample, or of all alike, times its steps (blocks, columns, B, N)."""
    if len(matrix) == 1:
        torch.bmm(matrix[0], x.flatten(2), out=out.view(*out.shape[:2], -1))
    elif len(matrix) <= len(x):
        for b, own in enumerate(matrix):
            torch.bmm(own, x[:, :, b], out=out[:, :, b])
    else:
        for block, (own, entries) in enumerate(zip(matrix.unbind(1), x.unbind(0), strict=True)):
            torch.bmm(own, entries.transpose(0, 1), out=out[block].transpose(0, 1))


def _enter(way: Way, size: int, ends: Tensor, out: Tensor) -> None:
    """What enters each block, from all that the ones before it (or behind it) left, and from the lead."""
    step = way.decay**size
    between = _between(step, len(ends), out.dtype, out.device)
    entering = out.view(len(out), -1)
    torch.mm(between if way.direction == FORWARD else between.T, ends.reshape(len(ends), -1), out=entering)
    if way.lead is not None:
        powers = filters.ages(step, len(ends), out.dtype, out.device).flip(0)
        entering.addr_(powers, way.lead.reshape(-1).to(out.dtype))
