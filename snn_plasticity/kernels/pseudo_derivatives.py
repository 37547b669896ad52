"""Pseudo-derivatives ψ: what stands for the derivative of a spike by the membrane, a bump of height h and width b.

    u = (v − θ)/b

    piecewise_linear   ψ = h·max(0, 1 − |u|)
    exponential        ψ = h·exp(−|u|)
    fast_sigmoid       ψ = h/(1 + |u|)²
    arctan             ψ = h/(1 + u²)

All are zero while a neuron is refractory: nothing that reaches it then can make it fire.
Neftci, Mostafa & Zenke 2019; Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import known_as, require_finite, require_number, require_real
from .parameters import Number, require_fit


def piecewise_linear(
    v: Tensor, threshold: Number = 1.0, *, height: float = 0.3, width: float = 1.0, refractory: Tensor | None = None
) -> Tensor:
    """ψ = h·max(0, 1 − |v − θ|/b), a triangle.

    Args:
        v: membranes (B, N) or (T, B, N).
        threshold: θ, a number or one that broadcasts against `v`, as that of an adapting neuron.
        height: h, the largest value.
        width: b, in the unit of `v`.
        refractory: boolean, shaped like `v`; true where a neuron cannot fire.

    Raises:
        TypeError: `v` is not floating point, or `refractory` not boolean.
        ValueError: another shape, NaN or infinity, a height or width that is not above zero.

    >>> piecewise_linear(torch.tensor([0.5, 1.0, 3.0]))
    tensor([0.1500, 0.3000, 0.0000])

    Bellec et al. 2020.
    """
    u = _distance(v, threshold, height, width, refractory)
    return _awake(height * (1.0 - u.abs()).clamp(min=0.0), refractory)


def exponential(
    v: Tensor, threshold: Number = 1.0, *, height: float = 0.3, width: float = 1.0, refractory: Tensor | None = None
) -> Tensor:
    """ψ = h·exp(−|v − θ|/b); arguments and errors as in `piecewise_linear`.

    >>> exponential(torch.tensor([1.0]))
    tensor([0.3000])

    Shrestha & Orchard 2018.
    """
    u = _distance(v, threshold, height, width, refractory)
    return _awake(height * torch.exp(-u.abs()), refractory)


def fast_sigmoid(
    v: Tensor, threshold: Number = 1.0, *, height: float = 0.3, width: float = 1.0, refractory: Tensor | None = None
) -> Tensor:
    """ψ = h/(1 + |v − θ|/b)²; arguments and errors as in `piecewise_linear`.

    >>> fast_sigmoid(torch.tensor([2.0]))
    tensor([0.0750])

    Zenke & Ganguli 2018.
    """
    u = _distance(v, threshold, height, width, refractory)
    return _awake(height / (1.0 + u.abs()) ** 2, refractory)


def arctan(
    v: Tensor, threshold: Number = 1.0, *, height: float = 0.3, width: float = 1.0, refractory: Tensor | None = None
) -> Tensor:
    """ψ = h/(1 + ((v − θ)/b)²), the derivative of an arc tangent; arguments and errors as in `piecewise_linear`.

    >>> arctan(torch.tensor([2.0]))
    tensor([0.1500])

    Fang, Yu, Chen, Huang, Masquelier & Tian 2021.
    """
    u = _distance(v, threshold, height, width, refractory)
    return _awake(height / (1.0 + u * u), refractory)


def _distance(v: Tensor, threshold: Number, height: float, width: float, refractory: Tensor | None) -> Tensor:
    """(v − θ)/b of what was looked at."""
    require_real("v", v)
    if not v.is_floating_point():
        raise TypeError(f"v is {v.dtype}; expected floating point: v.float().")
    require_finite("v", v)
    require_number("height", height, 0.0, open_low=True)
    require_number("width", width, 0.0, open_low=True)
    if isinstance(threshold, Tensor):
        require_real("threshold", threshold)
        require_finite("threshold", threshold)
        if threshold.shape != v.shape or threshold.device != v.device:
            require_fit({"threshold": threshold}, v, "post")
    else:
        require_number("threshold", threshold)
    if refractory is not None:
        require_real("refractory", refractory)
        if refractory.dtype != torch.bool:
            raise TypeError(f"refractory is {known_as(refractory)}; expected booleans {tuple(v.shape)}, as v has.")
        if refractory.shape != v.shape or refractory.device != v.device:
            raise ValueError(
                f"refractory has shape {tuple(refractory.shape)} on {refractory.device}, v {tuple(v.shape)} on "
                f"{v.device}; expected the same."
            )
    return (v - threshold) / width


def _awake(psi: Tensor, refractory: Tensor | None) -> Tensor:
    """ψ, and zero while refractory."""
    return require_finite("psi", psi if refractory is None else psi.masked_fill(refractory, 0.0))
