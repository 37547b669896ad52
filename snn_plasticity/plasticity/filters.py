"""Exponential filters over a whole window at once: time in parallel, as triangular matrix products.

    forward    y_t = x_t + a·y_{t−1},  y_{−1} = lead          (exclusive: without this step's x_t)
    backward   r_t = x_t + a·r_{t+1},  r_T = 0                (exclusive: without this step's x_t)

The two are adjoint to each other: ⟨forward(x), z⟩ = ⟨x, backward(z)⟩, which is what lets a fold move a filter from one
population of a synapse to the other. Windows are worked on in blocks, so that time and memory grow linearly.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

STEPS = 32  # steps of one triangular block


@lru_cache(maxsize=64)
def _powers(a: float, exclusive: bool, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lower triangle a^(t−s), and how a lead enters each step, a^(t+1)."""
    t = torch.arange(STEPS, dtype=torch.float64)
    lag = t[:, None] - t[None, :]
    triangle = torch.where(lag >= float(exclusive), torch.tensor(a, dtype=torch.float64) ** lag.clamp(min=0.0), 0.0)
    return triangle.to(device, dtype), (a ** (t + 1.0)).to(device, dtype)


def forward(x: Tensor, a: float, lead: Tensor | None = None, *, exclusive: bool = False) -> Tensor:
    """The filtered window.

    Args:
        x: (T, ...). a: what is left after one step, 0 <= a <= 1.
        lead: (...), the trace before the window; None is zero.
        exclusive: leave this step's x out.

    >>> forward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.0000, 0.5000, 1.2500])
    """
    flat, out = x.reshape(len(x), -1), torch.empty_like(x.reshape(len(x), -1))
    triangle, powers = _powers(a, exclusive, x.dtype, x.device)
    carry = None if lead is None else lead.reshape(-1)
    for start in range(0, len(flat), STEPS):
        block = flat[start : start + STEPS]
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
    steps = torch.arange(len(x) - 1, -1, -1, dtype=torch.float64, device=x.device)
    total = ((a**steps).to(x.dtype) @ x.reshape(len(x), -1)).view(x.shape[1:])
    return total if lead is None else total + a ** len(x) * lead


def backward(x: Tensor, a: float, *, exclusive: bool = False) -> Tensor:
    """The adjoint filter: what is yet to come, discounted.

    >>> backward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.2500, 0.5000, 1.0000])
    """
    flat, out = x.reshape(len(x), -1), torch.empty_like(x.reshape(len(x), -1))
    triangle, powers = _powers(a, exclusive, x.dtype, x.device)
    carry = None
    for stop in range(len(flat), 0, -STEPS):
        start = max(0, stop - STEPS)
        block, n = flat[start:stop], stop - start
        torch.mm(triangle[:n, :n].T, block, out=out[start:stop])
        if carry is not None:
            out[start:stop].addr_(powers[:n].flip(0), carry)
        carry = out[start] + block[0] if exclusive else out[start]
    return out.view(x.shape)
