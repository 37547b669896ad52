"""The world of the demo: neurons hear the same frozen noise each second and are to draw a sum of four sines.

All is drawn as NEST's own example of e-prop draws it, so that one seed gives the same task there and here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from eprop_nets import Neurons, Weights
from torch import Tensor

from snn_plasticity import ThreeFactorConfig

N, STEPS, PERIODS = 100, 1000, (1000, 500, 333, 200)
NEURONS = Neurons(tau_m=30.0, threshold=0.03, normalised=True, tau_out=30.0)
DESCENT = ThreeFactorConfig(lr=1e-4, weight_clamp=None)


class Task(NamedTuple):
    """Weights to begin with, feedback (1, N), input (T, 1, N) and target (T, 1, 1)."""

    weights: Weights
    feedback: Tensor
    inputs: Tensor
    target: Tensor


def nest_task(seed: int) -> Task:
    """Weights, frozen noise and target of a seed, in this order, in double precision."""
    rng = np.random.RandomState(seed)
    into, recurrent, out, feedback = (_weights(rng, width) for width in (N, N, 1, 1))
    noise = rng.rand(STEPS, N) < 0.05
    noise[0] = False
    amplitudes, phases = rng.uniform(0.5, 2.0, len(PERIODS)), rng.uniform(0.0, 2 * np.pi, len(PERIODS))
    waves = [
        amplitude * np.sin(np.linspace(phase, phase + 2 * np.pi * (STEPS // period), STEPS))
        for amplitude, phase, period in zip(amplitudes, phases, PERIODS, strict=True)
    ]
    target = sum(waves) - sum(wave[0] for wave in waves)
    target = torch.tensor(target / np.abs(target).max()).view(STEPS, 1, 1)
    weights = Weights(into, recurrent.fill_diagonal_(0.0), out)
    return Task(weights, feedback, torch.tensor(noise).double()[:, None], target)


def _weights(rng: np.random.RandomState, width: int) -> Tensor:
    """(width, N) of N(0, 1)/√N, rounded to single precision."""
    return torch.tensor((rng.randn(N, width).T / np.sqrt(N)).astype(np.float32)).double()
