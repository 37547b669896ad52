"""Exponential filters over a whole window: step by step where a step is large, else many steps as one matrix product.

    forward    y_t = x_t + a·y_{t−1},  y_{−1} = lead          (exclusive: without this step's x_t)
    backward   r_t = x_t + a·r_{t+1},  r_T = 0                (exclusive: without this step's x_t)

The two are adjoint to each other: ⟨forward(x), z⟩ = ⟨x, backward(z)⟩, which is what lets a fold move a filter from one
population of a synapse to the other. Time and memory grow linearly with the window.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

STEPS = 32  # steps of one triangular product
NARROW = 16  # entries of a step up to which a product of eight times as many steps is faster
LARGE = 1 << 12  # entries of a step from which it is faster to go step by step


@lru_cache(maxsize=64)
def _powers(a: float, exclusive: bool, steps: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lower triangle a^(t−s), and how a lead enters each step, a^(t+1)."""
    t = torch.arange(steps, dtype=torch.float64)
    lag = t[:, None] - t[None, :]
    triangle = torch.where(lag >= float(exclusive), torch.tensor(a, dtype=torch.float64) ** lag.clamp(min=0.0), 0.0)
    return triangle.to(device, dtype), (a ** (t + 1.0)).to(device, dtype)


@lru_cache(maxsize=64)
def ages(a: float, steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is left of each step at the end of a window, a^(T−1−t): (T,). Not to be changed."""
    return (a ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)).to(device, dtype)


def forward(x: Tensor, a: float, lead: Tensor | None = None, *, exclusive: bool = False) -> Tensor:
    """The filtered window.

    Args:
        x: (T, ...). a: what is left after one step, 0 <= a <= 1.
        lead: (...), the trace before the window; None is zero.
        exclusive: leave this step's x out.

    >>> forward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.0000, 0.5000, 1.2500])
    """
    flat = x.reshape(len(x), -1)
    out = torch.empty_like(flat)
    carry = None if lead is None else lead.reshape(-1)
    if flat.shape[1] >= LARGE:
        _recur(flat, out, a, carry, range(len(flat)), exclusive)
        return out.view(x.shape)
    size = _block(flat)
    triangle, powers = _powers(a, exclusive, size, x.dtype, x.device)
    for start in range(0, len(flat), size):
        block = flat[start : start + size]
        n = len(block)
        torch.mm(triangle[:n, :n], block, out=out[start : start + n])
        if carry is not None:
            out[start : start + n].addr_(powers[:n], carry)
        if start + n < len(flat):
            last = out[start + n - 1]
            carry = last + block[-1] if exclusive else last
    return out.view(x.shape)


def last(x: Tensor, a: float, lead: Tensor | None = None) -> Tensor:
    """The trace after the window, inclusive: Σ_t a^(T−1−t) x_t + a^T lead.

    >>> last(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor(1.2500)
    """
    total = (ages(a, len(x), x.dtype, x.device) @ x.reshape(len(x), -1)).view(x.shape[1:])
    return total if lead is None else total + a ** len(x) * lead


def backward(x: Tensor, a: float, *, exclusive: bool = False) -> Tensor:
    """The adjoint filter: what is yet to come, discounted.

    >>> backward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.2500, 0.5000, 1.0000])
    """
    flat = x.reshape(len(x), -1)
    out = torch.empty_like(flat)
    if flat.shape[1] >= LARGE:
        _recur(flat, out, a, None, range(len(flat) - 1, -1, -1), exclusive)
        return out.view(x.shape)
    size, carry = _block(flat), None
    triangle, powers = _powers(a, exclusive, size, x.dtype, x.device)
    for stop in range(len(flat), 0, -size):
        start = max(0, stop - size)
        block, n = flat[start:stop], stop - start
        torch.mm(triangle[:n, :n].T, block, out=out[start:stop])
        if carry is not None:
            out[start:stop].addr_(powers[:n].flip(0), carry)
        carry = out[start] + block[0] if exclusive else out[start]
    return out.view(x.shape)


def _block(flat: Tensor) -> int:
    """Steps of one triangular product."""
    return 8 * STEPS if flat.shape[1] <= NARROW else STEPS


def _recur(x: Tensor, out: Tensor, a: float, lead: Tensor | None, order: range, exclusive: bool) -> None:
    """The recursion itself, in the given order of steps."""
    before, met = lead, None  # the trace before this step, without what `met` adds to it
    for t in order:
        if not exclusive:
            out[t] = x[t] if before is None else torch.add(x[t], before, alpha=a, out=out[t])
        elif before is None:
            out[t].zero_() if met is None else torch.mul(met, a, out=out[t])
        else:
            torch.mul(before if met is None else torch.add(before, met, out=out[t]), a, out=out[t])
        before, met = out[t], x[t] if exclusive else None
