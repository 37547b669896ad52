"""Online gradients: the gradient that arrives at a neuron within one step, times what its membrane remembers.

    f_t = δ_t ⊗ x̄_t        x̄_t = Σ_k c_k x_k,   x_k ← λ_k·x_k + pre

δ_t = ∂loss_t/∂I_t is what backpropagation through this step alone finds at the current of the neuron; time is carried
by x̄, the answer of its membrane to the spikes so far (OTTT). Without a memory, x̄ = pre (SLTT). Nothing of an earlier
step has to be held.

Xiao, Meng, Zhang, He & Lin 2022 (OTTT); Meng, Xiao, Yan, Wang, Lin & Luo 2023 (SLTT).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from ..conventions import Convention
from .eprop import EProp, Response, response_of
from .operands import require_parameters, require_spikes, require_window
from .parameters import Number
from .stdp import Coincidence, Pair
from .terms import Spikes, StateAfter, Term, Values, accepts_bool

NO_MEMORY: Response = ((1.0, 0.0),)


@dataclass(frozen=True)
class OnlineGradient:
    """Kernel whose `post` is the gradient δ (B, N_post) at the current of a neuron, and `pre` the spikes (B, N_pre).

        f = δ ⊗ Σ_k c_k x_k / Σ_k c_k

    The first answer of the membrane, Σ c, is in δ already: only the shape of the response counts.

    Args:
        tau_m: time constant of the post membrane, in the unit of dt; a tensor keeps its gradient.
        convention: only `spike_trace_decay` matters.
        response: the membrane's answer to a unit of current, n steps later, as ((c, λ), …) for Σ c·λⁿ; () is none
            beyond the step itself (SLTT). None: ((1, exp(−dt/τ_m)),).

    Raises:
        TypeError, ValueError: a parameter that is none; decays outside [0, 1]; a response that begins with 0, of which
            the gradient within a step knows nothing.

    >>> OnlineGradient(response=((1.0, 0.9),)).post_side
    'gradient'

    Xiao, Meng, Zhang, He & Lin 2022; Meng, Xiao, Yan, Wang, Lin & Luo 2023.
    """

    tau_m: Number = 20.0
    convention: Convention = field(default_factory=Convention)
    response: Response | None = None

    post_side: ClassVar[str] = "gradient"

    @property
    def words(self) -> str:
        """What it is called in print."""
        return "online gradients" + (", no memory of the input" if self.response == () else "")

    def __post_init__(self) -> None:
        require_parameters(self, ("tau_m",))
        if self.response is None:
            return
        if isinstance(self.response, (tuple, list)) and not self.response:
            object.__setattr__(self, "response", ())
            return
        response = response_of(self.response)
        first = sum(c for c, _ in response)
        if abs(first) <= 1e-9 * max(abs(c) for c, _ in response):
            raise ValueError(
                f"response = {response} begins with 0: the membrane answers a step later, and the gradient within a "
                "step knows nothing of that; expected Σ c other than 0."
            )
        object.__setattr__(self, "response", response if first == 1.0 else tuple((c / first, k) for c, k in response))

    @cached_property
    def filters(self) -> EProp:
        """The same filters of the input, beside whatever the post side is."""
        return EProp(self.tau_m, self.convention, self.response or (None if self.response is None else NO_MEMORY))

    def init(self, pre: Tensor, post: Tensor) -> tuple[Tensor, ...]:
        """Silent input: one filter for each part of the response."""
        require_spikes(pre, post)
        return () if self.response == () else self.filters.init(pre, post)

    def step(
        self, pre: Tensor, post: Tensor, state: tuple[Tensor, ...], dt: float = 1.0
    ) -> tuple[Coincidence, tuple[Tensor, ...]]:
        """One step: the gradient meets the filtered input, this step's included."""
        require_spikes(pre, post)
        if self.response == ():
            return Coincidence((Pair(post, pre),)), ()
        return self.filters.step(pre, post, state, dt)

    @accepts_bool
    def window(
        self, pre: Tensor, post: Tensor, state: tuple[Tensor, ...] | None, dt: float = 1.0
    ) -> tuple[list[Term], StateAfter[tuple[Tensor, ...]]] | None:
        """Many steps (T, B, ...) at once; None where each neuron has a time constant of its own."""
        require_window(pre, post)
        if self.response == ():
            return [Term(1.0, Values(post), Spikes(pre))], lambda last: ()
        return self.filters.window(pre, post, state, dt)

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse time constants that do not fit these neurons, and steps longer than an Euler decay can take."""
        require_spikes(pre, post)
        if self.response is None:
            self.filters.check_step(pre, post, dt)
