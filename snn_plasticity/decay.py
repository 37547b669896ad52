"""The one line through which a time constant acts.

    exponential   d = exp(-dt / tau)      the exact solution of  tau dv/dt = -v  over one step
    euler         d = 1 - dt / tau        its first-order approximation, used by many simulators

`tau` and `dt` share one unit; with `dt = 1` a time constant is counted in steps.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor


@overload
def decay_factor(tau: float, dt: float = 1.0, mode: str = "exponential") -> float: ...
@overload
def decay_factor(tau: Tensor, dt: float = 1.0, mode: str = "exponential") -> Tensor: ...
def decay_factor(tau: float | Tensor, dt: float = 1.0, mode: str = "exponential") -> float | Tensor:
    """Fraction of a quantity with time constant `tau` that is left after one step of `dt`.

    d = exp(-dt/tau) ("exponential") or 1 - dt/tau ("euler").

    Args:
        tau: time constant, in the unit of `dt`; a tensor keeps its gradient, infinity never decays.
        dt: step length.
        mode: "exponential" or "euler".

    Raises:
        ValueError: `mode` is neither.

    >>> decay_factor(20.0, mode="euler")
    0.95
    >>> round(decay_factor(20.0), 4)
    0.9512
    """
    if mode == "euler":
        return 1.0 - dt / tau
    if mode == "exponential":
        return torch.exp(-dt / tau) if isinstance(tau, Tensor) else math.exp(-dt / tau)
    raise ValueError(f"decay mode is {mode!r}; expected 'exponential' or 'euler'.")
