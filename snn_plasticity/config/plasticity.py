"""The settings together, with presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from .._checks import require_flag, require_number, shown
from ..conventions import Convention
from .eligibility import EligibilityConfig, KernelName
from .neuromod import NeuromodConfig
from .three_factor import Mode, ThreeFactorConfig
from .validation import Serializable, require_part_field

LOSS_FIELDS = ("feedback", "firing_rate", "tau_readout")
LayerNames = str | tuple[str, ...]


@dataclass(frozen=True)
class PlasticityConfig(Serializable):
    """The three settings together, with presets by task.

    `reward_readout`, `delayed_reward`, `reward_all_layers` and `eprop` are for nets that choose, `unsupervised` is for
    features, `online` for a loss; `minimal`, `dev` and `production` are plain rules to begin with, one reward for all.

    These three do not sit at their clamp: amplitudes are those of Song, Miller & Abbott 2000 (0.005, depression 5 %
    above the kernel's `balance()`), so that at rates of 20 % on both sides the largest eligibility is a seventh of
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
        kernel, given = self.eligibility.kernel, {n: getattr(self.three_factor, n) for n in LOSS_FIELDS}
        reads = kernel in ("online", "sltt") or getattr(kernel, "post_side", None) == "gradient"
        for name, value in given.items():
            if value is not None and not reads:
                raise ValueError(
                    f"three_factor.{name} = {shown(value)}, and the kernel, {shown(kernel)}, learns from no loss; "
                    f"expected PlasticityConfig.online({name}=...), or None."
                )

    @classmethod
    def minimal(cls) -> PlasticityConfig:
        """Rate correlation, phasic dopamine from reward: the smallest rule that has three factors.

        To try something out, or to compare with: one output neuron, or a third factor of your own. It cannot tell the
        neurons of a layer apart: a reward that comes to all alike moves all of them the same way, and a net that is to
        choose among several stays at chance (`reward_readout`, `reward_all_layers`). The clamp is as far as the trace
        of a coincidence at every step.
        """
        return cls(EligibilityConfig(clamp_range=(-20.0, 20.0)))

    @classmethod
    def dev(cls) -> PlasticityConfig:
        """Pair STDP with a memory of 200 steps; dopamine outlasts the reward a little.

        To see a synapse learn: a reward of 1 moves a weight by some 0.005 at rates of 5 %. Rewards that are never
        negative only ever drift it; and as in `minimal`, a reward to all alike does not tell neurons apart.
        """
        return cls(
            EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_plus=0.005, a_minus=0.00552),
            NeuromodConfig(da_tau=20.0),
            ThreeFactorConfig(lr=0.5),
        )

    @classmethod
    def production(cls) -> PlasticityConfig:
        """Pair STDP, dopamine as reward above its running average (so that it cannot drift), soft-bounded weights.

        For long runs of one population that is rewarded as a whole. Kernel and trace are those of `dev`; as in
        `minimal`, a reward to all alike does not tell neurons apart.
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
    def reward_readout(
        cls, readout: LayerNames = "all_eligible", *, lr: float = 0.02, tau_e: float = 200.0
    ) -> PlasticityConfig:
        """Reward at the readout, the plain way: spikes tag synapses, and dopamine meets the neuron that was chosen.

            Δw = lr · mean_B((r − promise) · 1{a} · e),   less its means over inputs and over neurons

        Hand `learner.step` the third factor (B, N_post): reward above what was promised at the chosen neuron a, zero
        elsewhere; the probability of the choice is a good promise where rewards are 0 or 1. Only pairs that potentiate
        count, so that the sign of a change is that of the dopamine; synapses compete for what their neuron has, and
        neurons for what an input gives (`weight_bounds="sums"`), so that none of them falls silent or takes over. The
        layers below stay as they are; every neuron of the readout has to fire from the start (weights above zero, and
        `scale_to_rate`).

        Args:
            readout: the layer that learns, or several.
            lr: learning rate; a third of the largest weight is a good one.
            tau_e: how long a synapse remembers, in steps.

        >>> PlasticityConfig.reward_readout("fc2").three_factor.target_layers
        ('fc2',)
        """
        return cls(
            EligibilityConfig(kernel="stdp_pair", a_minus=0.0, tau_e=tau_e, clamp_range=None),
            three_factor=ThreeFactorConfig(lr=lr, weight_bounds="sums", target_layers=_named(readout)),
        )

    @classmethod
    def delayed_reward(
        cls, readout: LayerNames = "all_eligible", *, delay: float, lr: float = 0.02
    ) -> PlasticityConfig:
        """As `reward_readout`, where the reward comes `delay` steps after the choice: τ_e = 2 · delay.

        So much of a coincidence is left then: exp(−1/2), 61 %. Traces go on until `learner.reset()`, through calls of
        Norse without a state too. Whatever fires in between is rewarded as well, so that a net that is silent while it
        waits learns best.

        >>> PlasticityConfig.delayed_reward("fc2", delay=50).eligibility.tau_e
        100.0
        """
        delay = require_number("delay", delay, 0.0, open_low=True)
        config = cls.reward_readout(readout, lr=lr, tau_e=2.0 * delay)
        return replace(config, eligibility=replace(config.eligibility, carry=True))

    @classmethod
    def reward_all_layers(cls, lr: float = 1.0, *, mode: Mode = "hybrid") -> PlasticityConfig:
        """Reward to every layer: the settings of `eprop` for an `Actor` that hands each neuron its learning signal.

        With mode "hybrid" −Δw goes to the gradient of each weight, for an optimizer; `lr` is then best left at 1. An
        actor that is too sure too early never tries some answers: let its temperature be a few spikes. The reward may
        come late: traces go on until `learner.reset()`; `Actor(trace=1.0)` keeps that of a choice.

        >>> PlasticityConfig.reward_all_layers().three_factor.mode
        'hybrid'
        """
        config = cls.eprop(lr, mode=mode)
        return replace(config, eligibility=replace(config.eligibility, carry=True))

    @classmethod
    def unsupervised(cls, layers: LayerNames = "all_eligible", *, lr: float = 0.03) -> PlasticityConfig:
        """Features without reward: neurons grow alike what makes them fire, and their inputs compete.

            w_i ← (w_i + lr · mean_B(m · Σ_t post_i · pre)) · |w_i| / |…|

        Hebbian learning at constant norm, as Oja's: with inputs around zero (less their mean) and neurons that inhibit
        one another, each comes to stand for a kind of input. Nothing is learned before a modulator says so:
        `learner.step(1.0)` and `learner.reset()` after each batch.

        Args:
            layers: the layer that learns, or several.
            lr: learning rate.

        >>> PlasticityConfig.unsupervised().three_factor.weight_bounds
        'norm'

        von der Malsburg 1973; Oja 1982.
        """
        return cls(
            EligibilityConfig(kernel="rate", tau_e=math.inf, clamp_range=None),
            three_factor=ThreeFactorConfig(
                lr=lr, weight_clamp=None, weight_bounds="norm", target_layers=_named(layers)
            ),
        )

    @classmethod
    def eprop(
        cls,
        lr: float = 0.01,
        *,
        tau_e: float = math.inf,
        mode: Mode = "online",
        feedback: Any = None,
        firing_rate: tuple[float, float] | None = None,
    ) -> PlasticityConfig:
        """e-prop: the surrogate derivative of each neuron times its filtered input, for a learning signal per neuron.

            Δw = lr · mean_B(L · e),   e ← exp(−1/τ_e)·e + ψ ⊗ x̄

        `attach` finds ψ and the filter of x̄ in the neurons. L (B, N_post), or (B, C, *places) for a convolution, is
        what raises the aim: −∂E/∂z of a loss, or (r − promise)·(1{a} − π) of an action; hand it to `learner.step`. With
        `feedback` it comes from a loss instead, as in `online`: `learner.step(loss=loss)`.

        Args:
            lr: learning rate.
            tau_e: in steps: infinite, so that e is the sum over the episode; or the time constant of a leaky readout,
                with L at every step (its own weights then have e = x̄, which holds as much). With `feedback`, infinite
                is a readout that does not leak: each step's loss meets what that step did.
            mode: "online" changes the weight, "hybrid" adds −Δw to its gradient, for an optimizer.
            feedback: None where L is handed over; else how it comes down from a loss: "symmetric", "random",
                "adaptive", "broadcast", or a `Feedback`.
            firing_rate: with `feedback`, as in `online`; else add `kernels.firing_rate_signal` to L.

        Raises:
            ValueError: settings out of range; a firing rate without feedback.

        Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.

        >>> PlasticityConfig.eprop().eligibility.kernel
        'eprop'
        """
        if feedback is not None:
            made = cls.online(require_number("lr", lr, 0.0), mode=mode, feedback=feedback, firing_rate=firing_rate)
            tau = require_number("tau_e", tau_e, 0.0, open_low=True, infinite=True)
            leak = None if tau == math.inf else tau
            return replace(made, three_factor=replace(made.three_factor, tau_readout=leak))
        if firing_rate is not None:
            raise ValueError(
                f"firing_rate = {shown(firing_rate)}, and L is handed over; expected feedback as well, or None and "
                "kernels.firing_rate_signal added to L."
            )
        return cls(
            EligibilityConfig(
                kernel="eprop", tau_e=tau_e, clamp_range=None, convention=Convention(eligibility_decay="exponential")
            ),
            three_factor=ThreeFactorConfig(mode=mode, lr=lr, weight_clamp=None),
        )

    @classmethod
    def online(
        cls,
        lr: float | None = None,
        *,
        carry: bool = True,
        mode: Mode = "online",
        feedback: Any = None,
        firing_rate: tuple[float, float] | None = None,
    ) -> PlasticityConfig:
        """Online gradients of a loss: backpropagation within each step, and a trace of the input to carry time.

            Δw = −lr · Σ_t Σ_b δ_t ⊗ x̄_t,   δ_t = ∂loss/∂I_t within step t

        No graph reaches over time: `attach` takes the states of neurons out of it. Call `learner.step(loss=loss)` after
        each step, or after a whole sequence. How samples are weighed says the loss: they are summed here.

        Args:
            lr: learning rate; None is 0.01, and 1 in mode "hybrid".
            carry: x̄ is the answer of each neuron's membrane to its input (OTTT); else the input of the step (SLTT).
            mode: "online" changes the weight; "hybrid" adds −Δw to its gradient, for an optimizer.
            feedback: how the layers below the readout hear of the loss: None and "symmetric" by the weights above them,
                as in backpropagation within the step; "random", "adaptive", "broadcast" or a `Feedback` each straight
                from the readout, which is the last layer of the model (e-prop).
            firing_rate: (rate, strength), which neurons are brought to beside; see `ThreeFactorConfig`.

        Raises:
            ValueError: a rate below 0, another mode or feedback, or a carry that is neither True nor False.

        Xiao, Meng, Zhang, He & Lin 2022 (OTTT); Meng, Xiao, Yan, Wang, Lin & Luo 2023 (SLTT).

        >>> PlasticityConfig.online(carry=False).eligibility.kernel
        'sltt'
        """
        kernel: KernelName = "online" if require_flag("carry", carry) else "sltt"
        rate = (1.0 if mode == "hybrid" else 0.01) if lr is None else lr
        three_factor = ThreeFactorConfig(
            mode=mode, lr=rate, weight_clamp=None, feedback=feedback, firing_rate=firing_rate
        )
        return cls(EligibilityConfig(kernel=kernel), three_factor=three_factor)


def _named(layers: LayerNames) -> LayerNames:
    """As `target_layers`, where one name is that of one layer."""
    return (layers,) if isinstance(layers, str) and layers != "all_eligible" else layers


PlasticityFullConfig = PlasticityConfig
"""Another name of `PlasticityConfig`."""
