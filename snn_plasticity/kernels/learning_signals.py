"""What a learning signal L (T, B, N_post) of a whole sequence becomes before it meets ψ and the filtered input x.

    readout        L̄_t = L_t + κ·L̄_{t+1}                           Σ_t L_t·ē_t = Σ_t L̄_t·e_t,  ē ← κ·ē + e
    firing rate    L_t = c·(f* − n/T)/T                             n spikes of a neuron in T steps
    adaptation     p_t = ψ_t·(L_t + q_{t+1})                        Σ_t L_t·f_t = Σ_t p_t ⊗ x_t
                   q_t = (ρ − ψ_t·β)·q_{t+1} − ψ_t·β·L_t            f of `alif_step`

Signals raise what they are positive for. The first and the last run backwards through a window that is over, on
vectors of neurons, and give to the bit of rounding what a trace per synapse gives forwards.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import require_finite, require_number, require_operands, require_real, require_tensors
from .parameters import Number, require_fit


def future_signal(signal: Tensor, kappa: float) -> Tensor:
    """L̄_t = Σ_{s ≥ t} κ^(s−t)·L_s: what a leaky readout still makes of a spike, credited to the step of the spike.

    Args:
        signal: learning signals (T, ...).
        kappa: what the readout keeps per step, 0 to 1.

    Raises:
        TypeError: no floating point.
        ValueError: NaN or infinity; `kappa` out of range.

    >>> future_signal(torch.tensor([0.0, 0.0, 1.0]), kappa=0.5)
    tensor([0.2500, 0.5000, 1.0000])
    """
    _require_sequence("signal", signal)
    kappa = require_number("kappa", kappa, 0.0, 1.0)
    credit, steps = torch.zeros_like(signal[0]), []
    for now in signal.flip(0):
        credit = now + kappa * credit
        steps.append(credit)
    return torch.stack(steps).flip(0)


def firing_rate_signal(spikes: Tensor, target: Number = 0.01, strength: float = 1.0) -> Tensor:
    """L = c·(f* − n/T)/T, which brings every neuron to its rate; it meets e at each step of the sequence.

    Args:
        spikes: (T, B, N).
        target: f*, spikes per step; a number or one for each neuron (N,).
        strength: c, zero or more.

    Returns:
        (B, N), the same for all T steps.

    Raises:
        TypeError: no real tensor.
        ValueError: fewer than three axes; NaN or infinity; a target or strength below zero.

    >>> firing_rate_signal(torch.ones(10, 1, 2), target=0.5)
    tensor([[-0.0500, -0.0500]])
    """
    require_real("spikes", spikes)
    if spikes.dim() < 3 or not len(spikes):
        raise ValueError(f"spikes has shape {tuple(spikes.shape)}; expected (T, B, N) with T >= 1.")
    spikes = spikes if spikes.is_floating_point() else spikes.float()
    require_finite("spikes", spikes)
    require_number("strength", strength, 0.0)
    if isinstance(target, Tensor):
        require_real("target", target)
        require_finite("target", target)
        require_fit({"target": target}, spikes[0], "post")
    else:
        require_number("target", target, 0.0)
    return require_finite("The signal", strength * (target - spikes.mean(0)) / len(spikes))


def adaptive_post(psi: Tensor, signal: Tensor, *, beta: Number, rho: Number) -> Tensor:
    """p with Σ_t L_t·f_t = Σ_t p_t ⊗ x_t for the f of adaptive neurons: a window without a trace per synapse.

    Args:
        psi: pseudo-derivative (T, B, N_post).
        signal: learning signals (T, B, N_post) that meet f.
        beta: how far a unit of adaptation raises the threshold; a number or one for each neuron.
        rho: decay of the adaptation per step; a number or one for each neuron.

    Returns:
        (T, B, N_post), the post side beside the filtered input.

    Raises:
        TypeError: no floating point.
        ValueError: shapes that differ, NaN or infinity.

    >>> adaptive_post(torch.ones(2, 1, 1), torch.tensor([0.0, 1.0]).view(2, 1, 1), beta=0.5, rho=0.9).flatten()
    tensor([-0.5000,  1.0000])
    """
    _require_sequence("psi", psi)
    _require_sequence("signal", signal)
    require_tensors({"psi": psi, "signal": signal}, like="psi", finite=False)
    for name, number in (("beta", beta), ("rho", rho)):
        require_operands({name: number})
    require_fit({"beta": beta, "rho": rho}, psi[0], "post")
    q, steps = torch.zeros_like(psi[0]), []
    for now, meets in zip(psi.flip(0), signal.flip(0), strict=True):
        steps.append(now * (meets + q))
        q = rho * q - beta * steps[-1]  # (ρ − ψβ)·q − ψβ·L
    return require_finite("The post side", torch.stack(steps).flip(0))


def _require_sequence(name: str, tensor: Tensor) -> None:
    """Refuse what is no sequence of finite floating-point numbers."""
    require_real(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} is {tensor.dtype}; expected floating point: {name}.float().")
    if not tensor.dim() or not len(tensor):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected (T, ...) with T >= 1.")
    require_finite(name, tensor)
