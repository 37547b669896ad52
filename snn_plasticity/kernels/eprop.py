"""e-prop: the three-factor rule whose correlation is a pseudo-derivative times filtered input.

    LIF     f = ψ ⊗ x                           x ← α·x + pre,  α = exp(−dt/τ_m)
    any     f = ψ ⊗ Σ_k c_k x_k                 x_k ← λ_k·x_k + pre,  v answers a unit of current by Σ_k c_k λ_kⁿ
    ALIF    f = ψ · (x − β·ε)                   ε ← ψ·x + (ρ − ψ·β)·ε,  ρ = exp(−dt/τ_a)

ψ = ∂z/∂v is the pseudo-derivative of the post neuron, x the filtered input, ε how its adaptation depends on the weight.
With a learning signal per neuron, L = ∂E/∂z (B, N_post), as the modulator, Σ_t L·f is the gradient of a network without
recurrent weights and a good part of it in one with them; the rule descends with lr < 0 or modulator −L.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from .._checks import (
    known_as,
    require_callable,
    require_finite,
    require_number,
    require_operands,
    require_real,
    shown,
)
from ..conventions import Convention
from ..decay import decay_factor
from .operands import require_parameters, require_spikes, require_window
from .parameters import plain_numbers, require_decays, require_fit
from .stdp import Coincidence, Number, Pair
from .terms import Filtered, StateAfter, Term, Values, accepts_bool

PSI_ENTRIES = 1 << 16  # of ψ that are worked out together

Response = tuple[tuple[float, float], ...]
"""The answer of a membrane to a unit of current, n steps later: Σ c·λⁿ, as ((c, λ), …)."""


@dataclass(frozen=True)
class EProp:
    """Kernel of neurons with a linear membrane: `post` is the pseudo-derivative ψ (B, N_post), `pre` what came in.

    Args:
        tau_m: time constant of the post membrane, in the unit of dt; a tensor keeps its gradient.
        convention: only `spike_trace_decay` matters.
        response: the membrane's answer to a unit of current, n steps later, as ((c, λ), …) for Σ c·λⁿ; a second filter,
            of a synaptic current, is a second pair. None: ((1, exp(−dt/τ_m)),).
        pseudo_derivative: from v − θ to ψ, any shape; `post` is then v − θ, so that a window of it is one call. None:
            `post` is ψ itself.

    Raises:
        TypeError, ValueError: a parameter that is none; decays outside [0, 1].

    >>> kernel = EProp(tau_m=20.0)
    >>> leaky = EProp(response=((1.0, 0.9),))
    """

    words: ClassVar[str] = "e-prop"
    tau_m: Number = 20.0
    convention: Convention = field(default_factory=Convention)
    response: Response | None = None
    pseudo_derivative: Callable[[Tensor], Tensor] | None = None

    @property
    def post_side(self) -> str:
        """ψ, or what it is worked out from."""
        return "surrogate" if self.pseudo_derivative is None else "above_threshold"

    def __post_init__(self) -> None:
        require_parameters(self, ("tau_m",))
        if self.response is not None:
            object.__setattr__(self, "response", response_of(self.response))
        if self.pseudo_derivative is not None:
            require_callable("pseudo_derivative", self.pseudo_derivative, "from v − θ to ψ, or None")

    def init(self, pre: Tensor, post: Tensor) -> tuple[Tensor, ...]:
        """Silent input: one filter for each part of the response."""
        require_spikes(pre, post)
        return tuple(torch.zeros_like(pre) for _ in self.response or (None,))

    def step(
        self, pre: Tensor, post: Tensor, state: tuple[Tensor, ...], dt: float = 1.0
    ) -> tuple[Coincidence, tuple[Tensor, ...]]:
        """One step: ψ meets the filtered input, this step's included."""
        require_spikes(pre, post)
        self._require_state(state, pre)
        parts = self._parts(dt)
        filtered = tuple(x * decay + pre for x, (_, decay) in zip(state, parts, strict=True))
        seen = [x if c == 1.0 else c * x for x, (c, _) in zip(filtered, parts, strict=True)]
        return Coincidence((Pair(self._psi(post), sum(seen[1:], seen[0])),)), filtered

    @accepts_bool
    def window(
        self, pre: Tensor, post: Tensor, state: tuple[Tensor, ...] | None, dt: float = 1.0
    ) -> tuple[list[Term], StateAfter[tuple[Tensor, ...]]] | None:
        """Many steps (T, B, ...) at once; None where each neuron has a time constant of its own."""
        require_window(pre, post)
        if self.response is None and plain_numbers(self.tau_m) is None:
            return None
        if state is not None:
            self._require_state(state, pre[0])
        parts = self._parts(dt)
        leads = state or (None,) * len(parts)
        filters = [Filtered(pre, float(decay), lead) for (_, decay), lead in zip(parts, leads, strict=True)]
        psi = Values(self._psi_of_window(post))
        terms = [Term(c, psi, x) for (c, _), x in zip(parts, filters, strict=True)]
        return terms, lambda last: tuple(last(x) for x in filters)

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse time constants that do not fit these neurons, and steps longer than an Euler decay can take."""
        require_spikes(pre, post)
        if self.response is None:
            require_fit({"tau_m": self.tau_m}, pre, "pre")
            require_decays({"tau_m": self.tau_m}, dt, self.convention.spike_trace_decay)

    def _psi(self, post: Tensor) -> Tensor:
        if self.pseudo_derivative is None:
            return post
        psi = self.pseudo_derivative(post if post.is_floating_point() else post.float())
        if not isinstance(psi, Tensor) or psi.shape != post.shape:
            found = tuple(psi.shape) if isinstance(psi, Tensor) else known_as(psi)
            raise ValueError(f"pseudo_derivative gave {found} for v − θ {tuple(post.shape)}; expected one ψ for each.")
        return psi

    def _psi_of_window(self, post: Tensor) -> Tensor:
        """ψ of many steps, a few at a time: what a pseudo-derivative works out on its way stays in the cache."""
        steps = max(1, PSI_ENTRIES * len(post) // max(1, post.numel()))
        if self.pseudo_derivative is None or steps >= len(post):
            return self._psi(post)
        parts = map(self._psi, post.split(steps))
        first = next(parts)
        psi = first.new_empty(post.shape)
        psi[:steps] = first
        for room, part in zip(psi[steps:].split(steps), parts, strict=True):
            room.copy_(part)
        return psi

    def _parts(self, dt: float) -> Sequence[tuple[float, Number]]:
        """Weight and decay of each filter."""
        if self.response is not None:
            return self.response
        return ((1.0, decay_factor(self.tau_m, dt, self.convention.spike_trace_decay)),)

    def _require_state(self, state: tuple[Tensor, ...], pre: Tensor) -> None:
        expected = len(self.response or (None,))
        if not isinstance(state, tuple) or len(state) != expected:
            raise TypeError(f"state is {known_as(state)}; expected the {expected} filters of init(pre, post), a tuple.")
        for k, x in enumerate(state):
            require_real(f"state[{k}]", x)
            if x.shape != pre.shape or x.device != pre.device:
                raise ValueError(
                    f"state[{k}] has shape {tuple(x.shape)} on {x.device} beside pre {tuple(pre.shape)} on "
                    f"{pre.device}; expected the same. Start anew with init(pre, post)."
                )


def response_of(value: object) -> Response:
    """A response as ((c, λ), …) of numbers.

    Raises:
        TypeError, ValueError: another shape, or a decay outside [0, 1].

    >>> response_of([[1, 0.9]])
    ((1.0, 0.9),)
    """
    listed = isinstance(value, (tuple, list)) and len(value) > 0
    if not listed or not all(isinstance(part, (tuple, list)) and len(part) == 2 for part in value):  # type: ignore[union-attr]
        raise TypeError(f"response is {shown(value)}; expected ((c, λ), ...), as ((1.0, 0.9),) for a leaky membrane.")
    return tuple(
        (require_number("c of a response", c), require_number("λ of a response", decay, 0.0, 1.0))
        for c, decay in value  # type: ignore[union-attr]
    )


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
