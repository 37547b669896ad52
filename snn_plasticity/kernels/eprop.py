"""e-prop: the three-factor rule whose correlation is a pseudo-derivative times filtered input.

    LIF     f = ψ ⊗ x                           x ← α·x + pre,  α = exp(−dt/τ_m)
    ALIF    f = ψ · (x − β·ε)                   ε ← ψ·x + (ρ − ψ·β)·ε,  ρ = exp(−dt/τ_a)

ψ = ∂z/∂v is the pseudo-derivative of the post neuron, x the filtered input, ε how its adaptation depends on the weight.
With a learning signal per neuron, L = ∂E/∂z (B, N_post), as the modulator, Σ_t L·f is the gradient of a network without
recurrent weights and a good part of it in one with them; the rule descends with lr < 0 or modulator −L.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._checks import require_finite, require_operands, require_real, require_tensors
from ..conventions import Convention
from ..decay import decay_factor
from .operands import require_parameters, require_spikes, require_window
from .parameters import plain_numbers, require_decays, require_fit
from .stdp import Coincidence, Number, Pair, advance_trace
from .terms import Filtered, StateAfter, Term, Values


@dataclass(frozen=True)
class EProp:
    """Kernel of LIF neurons: `post` is the pseudo-derivative ψ (B, N_post), `pre` the spikes (B, N_pre).

    Args:
        tau_m: time constant of the post membrane, in the unit of dt; a tensor keeps its gradient.
        convention: only `spike_trace_decay` matters.

    >>> kernel = EProp(tau_m=20.0)
    """

    tau_m: Number = 20.0
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        require_parameters(self, ("tau_m",))

    def init(self, pre: Tensor, post: Tensor) -> Tensor:
        """Silent input."""
        require_spikes(pre, post)
        return torch.zeros_like(pre)

    def step(self, pre: Tensor, post: Tensor, state: Tensor, dt: float = 1.0) -> tuple[Coincidence, Tensor]:
        """One step: ψ meets the filtered input, this step's included."""
        require_spikes(pre, post)
        require_tensors({"state": state, "pre": pre}, like="pre", finite=False)
        _, filtered = advance_trace(state, pre, self.tau_m, dt, self.convention)
        return Coincidence((Pair(post, filtered),)), filtered

    def window(
        self, pre: Tensor, post: Tensor, state: Tensor | None, dt: float = 1.0
    ) -> tuple[list[Term], StateAfter[Tensor]] | None:
        """Many steps (T, B, ...) at once; None where each neuron has a time constant of its own."""
        require_window(pre, post)
        taus = plain_numbers(self.tau_m)
        if taus is None:
            return None
        if state is not None:
            require_tensors({"state": state, "pre": pre[0]}, like="pre", finite=False)
        x = Filtered(pre, decay_factor(taus[0], dt, self.convention.spike_trace_decay), state)
        return [Term(1.0, Values(post), x)], lambda last: last(x)

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse time constants that do not fit these neurons, and steps longer than an Euler decay can take."""
        require_spikes(pre, post)
        require_fit({"tau_m": self.tau_m}, pre, "pre")
        require_decays({"tau_m": self.tau_m}, dt, self.convention.spike_trace_decay)


def alif_step(psi: Tensor, x: Tensor, epsilon: Tensor, *, beta: Number, rho: Number) -> tuple[Tensor, Tensor]:
    """Correlation of adaptive neurons: the adaptation makes it a matter of each synapse, no longer a product.

    Args:
        psi: pseudo-derivative (B, N_post). x: filtered input (B, N_pre).
        epsilon: (B, N_post, N_pre), zeros at the start.
        beta: how far a unit of adaptation raises the threshold. rho: decay of the adaptation per step.

    Returns:
        f (B, N_post, N_pre), and ε for the next step.

    Raises:
        ValueError: `epsilon` is not (B, N_post, N_pre).

    >>> f, epsilon = alif_step(torch.ones(1, 1), torch.ones(1, 2), torch.zeros(1, 1, 2), beta=0.5, rho=0.9)
    >>> f
    tensor([[[1., 1.]]])
    """
    for name, tensor in (("psi", psi), ("x", x), ("epsilon", epsilon)):
        require_real(name, tensor)
        require_finite(name, tensor)
        if tensor.device != psi.device or not tensor.is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}; expected floating point on {psi.device}.")
    for name, number in (("beta", beta), ("rho", rho)):
        require_operands({name: number})
    if psi.dim() != 2 or x.dim() != 2 or len(psi) != len(x):
        raise ValueError(
            f"psi has shape {tuple(psi.shape)} and x {tuple(x.shape)}; expected (B, N_post) and (B, N_pre)."
        )
    require_fit({"beta": beta, "rho": rho}, psi.unsqueeze(-1), "post")
    expected = (*psi.shape, x.shape[-1])
    if tuple(epsilon.shape) != expected:
        raise ValueError(f"epsilon has shape {tuple(epsilon.shape)}; expected {expected}, one per sample and synapse.")
    psi, x = psi.unsqueeze(-1), x.unsqueeze(-2)
    return psi * (x - beta * epsilon), psi * x + (rho - psi * beta) * epsilon
