"""Parameters of a kernel: one number, or one for each neuron; checked before they meet any spike."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .._checks import require_number

Number = float | Tensor


def plain_number(number: Number) -> float:
    """One number as a float."""
    return float(number.detach()) if isinstance(number, Tensor) else float(number)


def plain_numbers(*numbers: Number) -> list[float] | None:
    """Each as a float; None if one is not one number for all neurons that can be read without asking a device.

    >>> plain_numbers(20.0, torch.tensor(10.0)), plain_numbers(torch.tensor([10.0, 20.0]))
    ([20.0, 10.0], None)
    """
    plain = []
    for number in numbers:
        if isinstance(number, Tensor):
            if number.numel() != 1 or not number.is_cpu:
                return None
            number = float(number.detach())
        plain.append(number)
    return plain


def require_fit(numbers: Mapping[str, Number], like: Tensor, side: str) -> None:
    """Refuse a tensor that holds neither one number nor one for each neuron of one side.

    Args:
        numbers: by name.
        like: one step's spikes of that side, (B, ...).
        side: "pre" or "post".

    Raises:
        ValueError: naming both shapes, or both devices.
    """
    wanted = torch.Size((1, *like.shape[1:]))
    for name, number in numbers.items():
        if not isinstance(number, Tensor) or not number.dim():
            continue
        try:
            fits = torch.broadcast_shapes(number.shape, wanted) == wanted
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(
                f"{name} has shape {tuple(number.shape)}; expected one number, or one for each {side} neuron, "
                f"{tuple(like.shape[1:])}."
            )
        if number.device != like.device:
            raise ValueError(f"{name} is on {number.device} and the spikes on {like.device}; move one of them.")


def require_decays(taus: Mapping[str, Number], dt: float, mode: str) -> None:
    """Refuse time constants that are not positive, or shorter than a step where decay is Euler's.

    Args:
        taus: by name, in the unit of dt; those on an accelerator are not read.
        dt: step length.
        mode: "euler" or "exponential".

    >>> require_decays({"tau_e": 20.0}, 30.0, "euler")
    Traceback (most recent call last):
    ...
    ValueError: tau_e = 20 is shorter than one step, dt = 30, so that 1 - dt/tau is negative; give both in ...
    """
    if not (isinstance(dt, float) and 0.0 < dt < math.inf):
        dt = require_number("dt", dt, 0.0, open_low=True)
    for name, tau in taus.items():
        if isinstance(tau, Tensor) and not (tau.is_cpu and tau.numel()):
            continue
        least = float(tau.detach().min()) if isinstance(tau, Tensor) else tau
        if not least > 0.0:
            raise ValueError(f"{name} = {least:g}; expected a time constant > 0, in the unit of dt.")
        if mode == "euler" and least < dt:
            raise ValueError(
                f"{name} = {least:g} is shorter than one step, dt = {dt:g}, so that 1 - dt/tau is negative; give both "
                "in the same unit, take shorter steps, or let it decay 'exponential'."
            )
