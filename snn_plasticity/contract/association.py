"""A toy with delayed reward: which of two actions belongs to which cue, told only after a silence.

A cue makes its pre neurons spike, a noisy competition picks an action, the chosen post neuron spikes with the cue; then
nothing happens for `delay` steps, and only then comes a reward of ±1. Learning needs a memory that spans the gap.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..config import EligibilityConfig, NeuromodConfig
from ..neuromodulation import NeuromodulatoryGate
from ..plasticity import EligibilityTraceModule

CUES, ACTIONS, PER_CUE = 4, 2, 5


class LearningCurve(NamedTuple):
    """Per trial: share of rewarded choices, and mean squared distance of the policy from the right one."""

    accuracy: list[float]
    loss: list[float]


def learn(
    tau_e: float = 50.0,
    *,
    delay: int = 30,
    trials: int = 40,
    batch: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LearningCurve:
    """Run the toy with one time constant of eligibility; `tau_e = 1` (one step) remembers nothing.

    >>> course = learn(trials=2)
    >>> len(course.accuracy)
    2
    """
    generator = torch.Generator().manual_seed(seed)
    traces = EligibilityTraceModule(CUES * PER_CUE, ACTIONS, EligibilityConfig(tau_e=tau_e, clamp_range=None))
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", baseline_scope="batch"))
    weights, state = torch.zeros(ACTIONS, CUES * PER_CUE, device=device), None
    silence = torch.zeros(batch, CUES * PER_CUE, device=device), torch.zeros(batch, ACTIONS, device=device)
    curve = LearningCurve([], [])
    for _ in range(trials):
        cue = torch.randint(CUES, (batch,), generator=generator)
        noise = torch.randn(batch, ACTIONS, generator=generator).to(device)
        pattern = torch.eye(CUES)[cue].repeat_interleave(PER_CUE, dim=1).to(device)
        right = (cue % ACTIONS).to(device)
        action = (pattern @ weights.T + noise).argmax(1)
        chosen = torch.nn.functional.one_hot(action, ACTIONS).to(pattern)
        traces.reset(batch, device)
        for pre, post in [(pattern, chosen)] * 5 + [silence] * delay:
            traces.observe(pre, post)
        reward = 2.0 * (action == right).to(pattern) - 1.0
        _, plasticity, state = gate.step({"reward": reward}, state)
        _record(curve, weights, action == right)
        weights = traces.apply_update(weights, plasticity, lr=0.1)
    return curve


def _record(curve: LearningCurve, weights: Tensor, rewarded: Tensor) -> None:
    patterns = torch.eye(CUES, device=weights.device).repeat_interleave(PER_CUE, dim=1)
    target = torch.eye(ACTIONS, device=weights.device)[torch.arange(CUES, device=weights.device) % ACTIONS]
    policy = torch.softmax(patterns @ weights.T, dim=1)
    curve.accuracy.append(float(rewarded.float().mean()))
    curve.loss.append(float((policy - target).square().mean()))
