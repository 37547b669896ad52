"""A readout that leaks still holds what a neuron did: e fades as it does, and meets the learning signal of every step.

    ē ← κ·ē + ψ ⊗ x̄,   κ = exp(−dt/τ)
    Δw = −lr · Σ_t Σ_b L_t · ē_t

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..config import EligibilityConfig, PlasticityConfig
from ..kernels.online import OnlineGradient
from .eligibility import EligibilityTraceModule
from .eligibility_vectors import EligibilityVectors


def settings_of_traces(config: PlasticityConfig) -> EligibilityConfig:
    """Those of the eligibility; where a readout leaks, e fades as it does, and the kernel takes ψ for its post side."""
    eligibility, tau = config.eligibility, config.three_factor.tau_readout
    kernel = eligibility.kernel
    if tau is None or isinstance(kernel, str):
        return eligibility
    if isinstance(kernel, OnlineGradient):
        kernel = kernel.filters
    elif isinstance(kernel, EligibilityVectors):
        kernel = replace(kernel, of="spikes")
    exact = replace(eligibility.convention, eligibility_decay="exponential")
    return replace(eligibility, kernel=kernel, tau_e=tau, clamp_range=None, convention=exact)


def sum_of_signals(traces: EligibilityTraceModule, pre: Tensor, psi: Tensor, signals: Tensor) -> Tensor:
    """Σ_t Σ_b L_t · ē_t, shaped like the weight; ē goes on from it.

    Args:
        traces: of the connection.
        pre, psi: (T, B, ...).
        signals: L (T, B, N_post), or (T, B, C, *places) of a convolution.

    Raises:
        ValueError: signals of other neurons.
    """
    return traces.modulate_window(pre, psi, signals, reduction="sum")
