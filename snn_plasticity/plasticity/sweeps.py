"""Filters forward and back, with gains, in one pass over a window: a semiseparable matrix times its trains.

    out_t = Σ_ways scale · r_t        r_t = G_t · (x_t + a x_{t−1} + a² x_{t−2} + …)                 forward
                                      r_t = G_t x_t + a G_{t+1} x_{t+1} + a² G_{t+2} x_{t+2} + …     back

Within a block of steps all ways are one small matrix, with one more column for each way: what enters from further away
is known from the ends of all blocks, which are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import filters
from .bits import countable
from .scratch import Scratch

STEPS = range(16, 25)  # of a block: as many as leave the last one full, or nearly so
ROOM = 1 << 18  # entries that are worked on together: few enough for a cache


class Way(NamedTuple):
    """One summand of a sweep, forward or `back`; exclusive: without this step's own x.

    `lead` (B, ...) is a trace before the window: of x on the way forward; on the way back of what the sum is to be
    multiplied with, so that it meets all that is yet to come.
    """

    scale: float
    decay: float
    exclusive: bool = False
    lead: Tensor | None = None
    back: bool = False


class Met(NamedTuple):
    """A trace before the window, and what it meets: both (B, ...)."""

    lead: Tensor
    what: Tensor


def sweep(x: Tensor, gains: Tensor, ways: Sequence[Way], scratch: Scratch) -> tuple[Tensor, list[Met]]:
    """The sum of all ways, (T, B, ...), in borrowed memory; and what the leads of those that go back meet.

    Args:
        x: (T, B, ...), numbers or booleans.
        gains: (T,) or (T, B).
        ways: what to sum.
        scratch: whose memory to use.

    >>> x, gains = torch.tensor([[[1.0]], [[0.0]], [[2.0]]]), torch.tensor([1.0, 10.0, 100.0])
    >>> ways = [Way(1.0, 0.5), Way(1.0, 0.5, exclusive=True, back=True)]
    >>> sweep(x, gains, ways, Scratch())[0].flatten()
    tensor([ 51., 105., 225.])
    """
    steps, batch, *rest = x.shape
    size, n = _size(steps), math.prod(rest)
    blocks, together = math.ceil(steps / size), min(batch, max(1, ROOM // (steps * n)))
    matrix, weights = _matrices(ways, _in_blocks(gains, size, blocks))
    room = scratch.shaped(gains, blocks, size + len(ways), together, n)
    ends, table = (scratch.shaped(gains, blocks, rows, batch, n) for rows in (len(ways), size))
    for start in range(0, batch, together):
        here = slice(start, start + together)
        own = slice(None) if gains.dim() == 1 else here
        entries, left = room[:, :, : min(together, batch - start)], ends[:, :, here]
        _lay_out(x[:, here], size, entries)
        _times(weights[own], entries[:, :size], left)
        for k, way in enumerate(ways):
            _enter(way, here, size, left[:, k], entries[:, size + k])
        _times(matrix[own], entries, table[:, :, here])
    met = [
        Met(way.lead, _met(way, ends[:, k], size).view(x.shape[1:]))
        for k, way in enumerate(ways)
        if way.back and way.lead is not None
    ]
    return table.view(blocks * size, *x.shape[1:])[:steps], met


def _size(steps: int) -> int:
    """Steps of a block."""
    return steps if steps < STEPS.stop else min(STEPS, key=lambda size: -steps % size)


def _in_blocks(gains: Tensor, size: int, blocks: int) -> Tensor:
    """Gains of each sample or of all, (B or 1, blocks, size), zero behind the last step."""
    rows = gains.T if gains.dim() > 1 else gains.unsqueeze(0)
    behind = blocks * size - rows.shape[1]
    rows = F.pad(rows, (0, behind)) if behind else rows
    return rows.reshape(rows.shape[0], blocks, size)


def _matrices(ways: Sequence[Way], gains: Tensor) -> tuple[Tensor, Tensor]:
    """What a block makes of its steps and of what enters it; and what it adds to what leaves it, for each way."""
    size = gains.shape[2]
    matrix = gains.new_zeros(*gains.shape, size + len(ways))
    weights, within = gains.new_empty(*gains.shape[:2], len(ways), size), matrix[..., :size]
    for k, way in enumerate(ways):
        triangle, entering, leaving = _powers(way.decay, way.exclusive, way.back, size, gains.dtype, gains.device)
        within.addcmul_(gains.unsqueeze(2 if way.back else 3), triangle, value=way.scale)
        if way.back:
            torch.mul(gains, leaving, out=weights[..., k, :])
            matrix[..., size + k] = entering * way.scale
        else:
            weights[..., k, :] = leaving
            torch.mul(gains, entering * way.scale, out=matrix[..., size + k])
    return matrix, weights


@lru_cache(maxsize=64)
def _powers(
    a: float, exclusive: bool, back: bool, size: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Within a block the triangle; of what enters it a, a², … in the order of the way; to what leaves it …, a, 1."""
    triangle, entering = filters.powers(a, exclusive, size, dtype, device)
    leaving = filters.ages(a, size, dtype, device)
    return (triangle.T, entering.flip(0), leaving.flip(0)) if back else (triangle, entering, leaving)


@lru_cache(maxsize=64)
def _left(a: float, blocks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is left of it with every block, from the first on: 1, a, a² and so on."""
    return filters.ages(a, blocks, dtype, device).flip(0)


@lru_cache(maxsize=64)
def _between(a: float, blocks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a block leaves to each later one, a^(later − 1 − block)."""
    triangle, _ = filters.powers(a, False, blocks, dtype, device)
    return F.pad(triangle[:-1], (0, 0, 1, 0))


def _lay_out(x: Tensor, size: int, room: Tensor) -> None:
    """The trains of some samples in blocks, (blocks, size, B, N), zero behind the last step."""
    x = countable(x).flatten(2)
    whole, rest = divmod(x.shape[0], size)
    if whole:
        room[:whole, :size].copy_(x[: whole * size].unflatten(0, (whole, size)))
    if rest:
        room[whole, :rest].copy_(x[whole * size :])
        room[whole, rest:size] = 0.0


def _times(matrix: Tensor, x: Tensor, out: Tensor) -> None:
    """Every block (rows, columns) of every sample, or of all alike, times its steps (blocks, columns, B, N)."""
    samples, blocks = matrix.shape[:2]
    if samples == 1:
        torch.bmm(matrix[0], x.flatten(2), out=out.view(*out.shape[:2], math.prod(out.shape[2:])))
    elif samples <= blocks:
        for b, own in enumerate(matrix):
            torch.bmm(own, x[:, :, b], out=out[:, :, b])
    else:
        for block, (own, entries) in enumerate(zip(matrix.unbind(1), x.unbind(0), strict=True)):
            torch.bmm(own, entries.transpose(0, 1), out=out[block].transpose(0, 1))


def _enter(way: Way, here: slice, size: int, ends: Tensor, out: Tensor) -> None:
    """What enters each block of some samples, from all that the ones before it (or behind it) left, and the lead."""
    step, blocks, width = way.decay**size, out.shape[0], math.prod(out.shape[1:])
    between, entering = _between(step, blocks, out.dtype, out.device), out.view(blocks, width)
    torch.mm(between.T if way.back else between, ends.reshape(blocks, width), out=entering)
    if way.lead is not None and not way.back:
        entering.addr_(_left(step, blocks, out.dtype, out.device), way.lead[here].reshape(-1).to(out.dtype))


def _met(way: Way, ends: Tensor, size: int) -> Tensor:
    """What a lead of the other side meets, (B · N,): all that is to come, as seen from the step before the first."""
    left = _left(way.decay**size, ends.shape[0], ends.dtype, ends.device)
    return torch.mv(ends.reshape(ends.shape[0], -1).T, left).mul_(way.decay * way.scale)
