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

from ._checks import require_choice, require_number, require_real

__all__ = ["decay_factor"]


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
        ValueError: `mode` is neither; a time constant or a step that is not above zero.

    >>> decay_factor(20.0, mode="euler")
    0.95
    >>> round(decay_factor(20.0), 4)
    0.9512
    """
    if type(tau) is float and type(dt) is float and tau > 0.0 and 0.0 < dt < math.inf and type(mode) is str:
        if mode == "exponential":  # the usual numbers come at every step
            return math.exp(-dt / tau)
        if mode == "euler" and dt <= tau:
            return 1.0 - dt / tau
    if isinstance(tau, Tensor):
        require_real("tau", tau)
    elif not (isinstance(tau, float) and tau > 0.0):
        tau = require_number("tau", tau, 0.0, open_low=True, infinite=True)
    if not (isinstance(dt, float) and 0.0 < dt < math.inf):
        dt = require_number("dt", dt, 0.0, open_low=True)
    if isinstance(mode, str) and mode == "euler":
        left = 1.0 - dt / tau
        if not isinstance(left, Tensor) and left < 0.0:
            raise ValueError(
                f"tau = {tau:g} is shorter than a step of dt = {dt:g}, so that 1 - dt/tau is negative; give both in "
                "the same unit, or decay 'exponential'."
            )
        return left
    require_choice("decay mode", mode, ("exponential", "euler"))
    return torch.exp(-dt / tau) if isinstance(tau, Tensor) else math.exp(-dt / tau)
