"""A recurrent net of LIF and adaptive LIF neurons with a leaky readout, and e-prop for it from pure parts.

    v ← α·v + ζ·(W_in·x + W_rec·z) − θ·z        z = 1 where v ≥ θ + β·a and the neuron is not refractory
    a ← ρ·a + z                                 y ← κ·y + (1 − κ)·W_out·z

The neurons are those of Bellec et al. 2020 as NEST computes them: ζ = 1, or 1 − α ("normalised").

    hidden     Δw = η·Σ_t L̄_t·e_t      e = ψ·(x̄ − β·ε)    L̄: the errors fed back, filtered by κ, plus the rate's signal
    readout    Δw = η·Σ_t E_t·z̄_t      E = target − y     z̄: the spikes, filtered by κ
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from snn_plasticity import EligibilityConfig, EligibilityTraceModule
from snn_plasticity.kernels import EProp, adaptive_post, firing_rate_signal, future_signal, piecewise_linear

ALONE = {"tau_e": 1.0, "clamp_range": None}  # no filter over e: it is what this step says


@dataclass(frozen=True)
class Neurons:
    """What the neurons of a net are like: time constants in steps; β is zero for LIF neurons, or one for each (N,)."""

    tau_m: float = 20.0
    threshold: float = 0.6
    beta: float | Tensor = 0.0
    tau_a: float = 2000.0
    refractory: int = 0
    normalised: bool = False
    tau_out: float = 20.0

    @property
    def zeta(self) -> float:
        """What a unit of input adds to the membrane."""
        return 1.0 - math.exp(-1.0 / self.tau_m) if self.normalised else 1.0

    @property
    def kappa(self) -> float:
        """What the readout keeps per step."""
        return math.exp(-1.0 / self.tau_out)

    @property
    def rho(self) -> float:
        """What the adaptation keeps per step."""
        return math.exp(-1.0 / self.tau_a)


class Weights(NamedTuple):
    """Of the input (N, n_in), of the recurrent synapses (N, N), without autapses, and of the readout (n_out, N)."""

    into: Tensor
    recurrent: Tensor
    out: Tensor


class Course(NamedTuple):
    """What became of a batch of sequences: input, spikes, ψ (T, B, N), readout (T, B, n_out)."""

    inputs: Tensor
    spikes: Tensor
    psi: Tensor
    readout: Tensor

    @property
    def earlier(self) -> Tensor:
        """The spikes that reach the recurrent synapses: those of the step before."""
        return torch.cat([torch.zeros_like(self.spikes[:1]), self.spikes[:-1]])


@torch.no_grad()
def simulate(weights: Weights, inputs: Tensor, neurons: Neurons) -> Course:
    """All steps of (T, B, n_in) spikes, from rest."""
    alpha, theta = math.exp(-1.0 / neurons.tau_m), neurons.threshold
    drive = inputs @ weights.into.T
    v = a = z = rest = torch.zeros_like(drive[0])
    y = z @ weights.out.T
    spikes, membranes, thresholds, resting, readout = [], [], [], [], []
    for current in drive:
        v = alpha * v + neurons.zeta * (current + z @ weights.recurrent.T) - theta * z
        a = neurons.rho * a + z
        raised, refractory = theta + neurons.beta * a, rest > 0
        z = ((v >= raised) & ~refractory).to(v)
        rest = (rest + neurons.refractory * z - 1).clamp(min=0)
        y = neurons.kappa * y + (1 - neurons.kappa) * z @ weights.out.T
        for kept, now in zip(
            (spikes, membranes, thresholds, resting, readout), (z, v, raised, refractory, y), strict=True
        ):
            kept.append(now)
    z, v, raised, refractory, y = map(torch.stack, (spikes, membranes, thresholds, resting, readout))
    psi = piecewise_linear(v, raised, height=0.3 / theta, width=theta, refractory=refractory)
    return Course(inputs, z, psi, y)


@dataclass(frozen=True)
class Rule:
    """e-prop for a net: what each weight is to become by, from the error at the readout and a rate to keep.

    Args:
        neurons: of the net.
        rate, strength: spikes per step of a hidden neuron, and how much they weigh.
    """

    neurons: Neurons
    rate: float = 0.01
    strength: float = 300.0

    def changes(self, course: Course, error: Tensor, learning: Tensor) -> Weights:
        """Δw of each weight for a rate of one, averaged over the batch.

        Args:
            course: what became of the batch.
            error: target − readout (T, B, n_out), what raises the readout where it is too low.
            learning: `error` fed back to the hidden neurons (T, B, N).
        """
        made, kappa = self.neurons, self.neurons.kappa
        signal = (1 - kappa) * future_signal(learning, kappa)
        signal = signal + firing_rate_signal(course.spikes, self.rate, self.strength)
        post = adaptive_post(course.psi, signal, beta=made.beta, rho=made.rho)
        hidden = [made.zeta * summed(pre, post, made.tau_m) for pre in (course.inputs, course.earlier)]
        hidden[1].fill_diagonal_(0.0)
        return Weights(*hidden, (1 - kappa) * summed(course.spikes, error, made.tau_out))


def summed(pre: Tensor, post: Tensor, tau: float) -> Tensor:
    """Σ_t post_t ⊗ filtered pre_t, averaged over the batch."""
    traces = EligibilityTraceModule(pre.shape[-1], post.shape[-1], EligibilityConfig(kernel=EProp(tau_m=tau), **ALONE))
    return traces.modulate_window(pre, post, post.new_ones(len(post)))
