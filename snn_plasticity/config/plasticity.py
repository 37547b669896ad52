"""The settings together, with presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .._checks import require_flag
from .eligibility import EligibilityConfig, KernelName
from .neuromod import NeuromodConfig
from .three_factor import Mode, ThreeFactorConfig
from .validation import Serializable, require_part_field


@dataclass(frozen=True)
class PlasticityConfig(Serializable):
    """The three settings together, with presets.

    Presets do not sit at their clamp: amplitudes are those of Song, Miller & Abbott 2000 (0.005, depression 5 % above
    the kernel's `balance()`), so that at rates of 20 % on both sides the largest eligibility is a seventh of
    `clamp_range`, and that it cannot bind is known without a look at any of them.

    >>> PlasticityConfig.from_json(PlasticityConfig.dev().to_json()) == PlasticityConfig.dev()
    True
    """

    eligibility: EligibilityConfig = field(default_factory=EligibilityConfig)
    neuromod: NeuromodConfig = field(default_factory=NeuromodConfig)
    three_factor: ThreeFactorConfig = field(default_factory=ThreeFactorConfig)

    def __post_init__(self) -> None:
        for name, kind in self.parts().items():
            require_part_field(self, name, kind)

    @classmethod
    def minimal(cls) -> PlasticityConfig:
        """Rate correlation, phasic dopamine from reward: the smallest rule that has three factors.

        The clamp is as far as the trace of a coincidence at every step.
        """
        return cls(EligibilityConfig(clamp_range=(-20.0, 20.0)))

    @classmethod
    def dev(cls) -> PlasticityConfig:
        """Pair STDP with a memory of 200 steps; dopamine outlasts the reward a little.

        A reward of 1 moves a weight by some 0.005 at rates of 5 %.
        """
        return cls(
            EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_plus=0.005, a_minus=0.00552),
            NeuromodConfig(da_tau=20.0),
            ThreeFactorConfig(lr=0.5),
        )

    @classmethod
    def production(cls) -> PlasticityConfig:
        """Pair STDP, dopamine as reward above its running average (so that it cannot drift), soft-bounded weights.

        Kernel and trace are those of `dev`.
        """
        return cls(
            EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_plus=0.005, a_minus=0.00552),
            NeuromodConfig(
                combination_fn="gated_product",
                reward_baseline="running",
                baseline_scope="batch",
                da_tau=20.0,
                ne_tau=50.0,
            ),
            ThreeFactorConfig(lr=0.2, weight_clamp=(-0.1, 0.1), weight_bounds=(-1.0, 1.0), soft_bounds=1.0),
        )

    @classmethod
    def eprop(cls, lr: float = 0.01, *, tau_e: float = math.inf, mode: Mode = "online") -> PlasticityConfig:
        """e-prop: the surrogate derivative of each neuron times its filtered input, for a learning signal per neuron.

            Δw = lr · mean_B(L · e),   e ← exp(−1/τ_e)·e + ψ ⊗ x̄

        `attach` finds ψ and the filter of x̄ in the neurons. L (B, N_post) is what raises the aim: −∂E/∂z of a loss, or
        (r − promise)·(1{a} − π) of an action; hand it to `learner.step`.

        Args:
            lr: learning rate.
            tau_e: in steps: infinite, so that e is the sum over the episode; or the time constant of a leaky readout,
                with L at every step.
            mode: "online" changes the weight, "hybrid" adds −Δw to its gradient, for an optimizer.

        Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.

        >>> PlasticityConfig.eprop().eligibility.kernel
        'eprop'
        """
        return cls(
            EligibilityConfig(kernel="eprop", tau_e=tau_e, clamp_range=None),
            three_factor=ThreeFactorConfig(mode=mode, lr=lr, weight_clamp=None),
        )

    @classmethod
    def online(cls, lr: float | None = None, *, carry: bool = True, mode: Mode = "online") -> PlasticityConfig:
        """Online gradients of a loss: backpropagation within each step, and a trace of the input to carry time.

            Δw = −lr · Σ_t Σ_b δ_t ⊗ x̄_t,   δ_t = ∂loss/∂I_t within step t

        No graph reaches over time: `attach` takes the states of neurons out of it. Call `learner.step(loss=loss)` after
        each step, or after a whole sequence. How samples are weighed says the loss: they are summed here.

        Args:
            lr: learning rate; None is 0.01, and 1 in mode "hybrid".
            carry: x̄ is the answer of each neuron's membrane to its input (OTTT); else the input of the step (SLTT).
            mode: "online" changes the weight; "hybrid" adds −Δw to its gradient, for an optimizer.

        Raises:
            ValueError: a rate below 0, another mode, or a carry that is neither True nor False.

        Xiao, Meng, Zhang, He & Lin 2022 (OTTT); Meng, Xiao, Yan, Wang, Lin & Luo 2023 (SLTT).

        >>> PlasticityConfig.online(carry=False).eligibility.kernel
        'sltt'
        """
        kernel: KernelName = "online" if require_flag("carry", carry) else "sltt"
        rate = (1.0 if mode == "hybrid" else 0.01) if lr is None else lr
        return cls(
            EligibilityConfig(kernel=kernel), three_factor=ThreeFactorConfig(mode=mode, lr=rate, weight_clamp=None)
        )


PlasticityFullConfig = PlasticityConfig
"""Another name of `PlasticityConfig`."""
