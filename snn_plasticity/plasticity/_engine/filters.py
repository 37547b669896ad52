"""Exponential filters over a whole window: many steps as one matrix product, or step by step where a step is large.

    forward    y_t = x_t + a·y_{t−1},  y_{−1} = lead          (exclusive: without this step's x_t)
    backward   r_t = x_t + a·r_{t+1},  r_T = 0                (exclusive: without this step's x_t)

The two are adjoint to each other: ⟨forward(x), z⟩ = ⟨x, backward(z)⟩, which is what lets a fold move a filter from one
population of a synapse to the other. Within a block of steps the filter is a triangular product; what enters a block
from its neighbour is the same filter again, over the ends of the blocks. Time and memory grow linearly with the window.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

BLOCKS = ((600, 16), (8000, 8))  # up to so many entries of a step: steps of a triangular product


@lru_cache(maxsize=64)
def powers(a: float, exclusive: bool, steps: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lower triangle a^(t−s), and how a lead enters each step, a^(t+1). Not to be changed."""
    t = torch.arange(steps, dtype=torch.float64)
    lag = t[:, None] - t[None, :]
    triangle = torch.where(lag >= float(exclusive), torch.tensor(a, dtype=torch.float64) ** lag.clamp(min=0.0), 0.0)
    return triangle.to(device, dtype), (a ** (t + 1.0)).to(device, dtype)


@lru_cache(maxsize=64)
def ages(a: float, steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is left of each step at the end of a window, a^(T−1−t): (T,). Not to be changed."""
    return (a ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)).to(device, dtype)


def forward(
    x: Tensor, a: float, lead: Tensor | None = None, *, exclusive: bool = False, out: Tensor | None = None
) -> Tensor:
    """The filtered window.

    Args:
        x: (T, ...). a: what is left after one step, 0 <= a <= 1.
        lead: (...), the trace before the window; None is zero.
        exclusive: leave this step's x out.
        out: where to put it, shaped like x.

    >>> forward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.0000, 0.5000, 1.2500])
    """
    flat, found = _flat(x, out)
    return _filter(flat, found, a, None if lead is None else lead.reshape(-1), exclusive).view(x.shape)


def last(x: Tensor, a: float, lead: Tensor | None = None) -> Tensor:
    """The trace after the window, inclusive: Σ_t a^(T−1−t) x_t + a^T lead.

    >>> last(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor(1.2500)
    """
    total = (ages(a, len(x), x.dtype, x.device) @ x.reshape(len(x), -1)).view(x.shape[1:])
    return total if lead is None else total + a ** len(x) * lead


def backward(x: Tensor, a: float, *, exclusive: bool = False, out: Tensor | None = None) -> Tensor:
    """The adjoint filter: what is yet to come, discounted.

    >>> backward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.2500, 0.5000, 1.0000])
    """
    flat, found = _flat(x, out)
    return _filter(flat, found, a, None, exclusive, back=True).view(x.shape)


def _flat(x: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor]:
    """A window and the room for its filter as (T, entries)."""
    flat = x.reshape(len(x), -1)
    return flat, torch.empty_like(flat) if out is None else out.view(flat.shape)


def _block(flat: Tensor) -> int:
    """Steps of one triangular product; 1 is step by step."""
    return next((steps for width, steps in BLOCKS if flat.shape[1] <= width), 1)


def _filter(x: Tensor, out: Tensor, a: float, lead: Tensor | None, exclusive: bool, *, back: bool = False) -> Tensor:
    """The filter of (T, entries), from a lead or back from the last step."""
    size = _block(x)
    if size == 1:
        return _recur(x, out, a, lead, exclusive, back=back)
    triangle, entering = powers(a, exclusive, size, x.dtype, x.device)
    triangle, entering = (triangle.T, entering.flip(0)) if back else (triangle, entering)
    _blockwise(x, out, triangle)
    if lead is not None:
        out[:size].addr_(entering[: len(x)], lead)
    if len(x) > size:
        ends = slice(0 if back else size - 1, None, size)
        ended = out[ends] + x[ends] if exclusive else out[ends]
        _enter_(out, entering, _filter(ended, torch.empty_like(ended), a**size, None, False, back=back), back)
    return out


def _enter_(out: Tensor, powers: Tensor, ended: Tensor, back: bool) -> None:
    """Add to each block what the filter had come to at the end of the block before it (or behind it)."""
    size = len(powers)
    room, entering = (out, ended[1:]) if back else (out[size:], ended)
    whole = min(len(room) // size, len(entering))
    blocks = room[: whole * size].view(whole, size, out.shape[1])
    blocks.addcmul_(powers.view(1, size, 1), entering[:whole].unsqueeze(1))
    rest = room[whole * size :]
    if len(rest) and whole < len(entering):
        rest.addr_(powers[: len(rest)], entering[whole])


def _blockwise(x: Tensor, out: Tensor, triangle: Tensor) -> None:
    """Every block of steps times the triangle, or as much of it as the last block has steps."""
    size = len(triangle)
    whole = len(x) // size * size
    blocks = (side[:whole].view(-1, size, x.shape[1]) for side in (x, out))
    if whole:
        torch.matmul(triangle, next(blocks), out=next(blocks))
    if whole < len(x):
        rest = len(x) - whole
        torch.mm(triangle[:rest, :rest], x[whole:], out=out[whole:])


def _recur(x: Tensor, out: Tensor, a: float, lead: Tensor | None, exclusive: bool, *, back: bool = False) -> Tensor:
    """The recursion itself, from the first step or back from the last."""
    before = lead
    for come, now in list(zip(x.unbind(0), out.unbind(0), strict=True))[:: -1 if back else 1]:
        before = now.copy_(come) if before is None else torch.add(come, before, alpha=a, out=now)
    return out.sub_(x) if exclusive else out
