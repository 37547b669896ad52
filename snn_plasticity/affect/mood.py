"""Mood: affect, slowly; and how it colours what happens.

    mood         mood ← (1 − 1/τ_mood) · mood + (1/τ_mood) · affect
    colour       x_C = rpe + bias · mood_V · (1 − tanh²(rpe))
    perceived    r̃ = r · f^mood                                   (Eldar & Niv 2015)

The colour is full where the prediction error is ambiguous (zero) and gone where it is plain (large). Its slope in
mood is at most `bias`, which is what keeps mood from feeding on itself (see `config/affect.py`). Eldar and Niv's
mood multiplies the reward instead; with f > 1 that loop is self-reinforcing, and can oscillate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import require_number, require_operands, require_tensors, require_within
from ..decay import decay_factor


def update_mood(mood: Tensor, affect: Tensor, tau: float | Tensor = 100.0) -> Tensor:
    """One step of an average: (1 − 1/τ) · mood + (1/τ) · affect.

    Args:
        mood: (B, 3), or any shape, at least fp32.
        affect: of the same shape and precision.
        tau: steps, >= 1. A tensor keeps its gradient.

    Returns:
        The mood after this step.

    >>> update_mood(torch.zeros(1, 3), torch.tensor([[1.0, 0.5, 0.0]]), tau=10.0)
    tensor([[0.1000, 0.0500, 0.0000]])
    """
    require_tensors({"mood": mood, "affect": affect}, like="mood")
    if mood.dtype != affect.dtype or not mood.is_floating_point():
        raise TypeError(f"mood is {mood.dtype} and affect {affect.dtype}; expected floating point of one precision.")
    if isinstance(tau, Tensor):
        require_operands({"mood": mood, "tau": tau})
        return moving_average(mood, affect, tau)
    return moving_average(mood, affect, require_number("tau", tau, 1.0, infinite=True))


def moving_average(mood: Tensor, affect: Tensor, tau: float | Tensor) -> Tensor:
    """As `update_mood`, of what was checked already."""
    return torch.lerp(mood, affect, 1.0 - decay_factor(tau, mode="euler"))


def color_by_mood(rpe: Tensor, mood_valence: Tensor, bias: float | Tensor) -> Tensor:
    """A reward prediction error as somebody in this mood takes it: rpe + bias · mood · (1 − tanh²(rpe)).

    Args:
        rpe: (B,) reward prediction error.
        mood_valence: (B,) in [−1, 1].
        bias: in [0, 1]; up to there, better news never feels worse.

    Returns:
        (B,). Mood congruence: Bower 1981.

    >>> color_by_mood(torch.tensor([0.0, 3.0]), torch.tensor([-1.0, -1.0]), bias=0.5)
    tensor([-0.5000,  2.9951])
    """
    require_tensors({"rpe": rpe, "mood_valence": mood_valence}, like="rpe")
    require_operands({"rpe": rpe, "bias": bias})
    return shift_by_mood(rpe, mood_valence, bias)


def shift_by_mood(rpe: Tensor, mood_valence: Tensor, bias: float | Tensor) -> Tensor:
    """As `color_by_mood`, of what was checked already."""
    return rpe + bias * mood_valence * (1.0 - torch.tanh(rpe).square())


def perceived_reward(reward: Tensor, mood: Tensor, f: float | Tensor) -> Tensor:
    """A reward as somebody in this mood perceives it: r · f^mood.

    Args:
        reward: (B,).
        mood: (B,) in [−1, 1].
        f: > 0; above 1 a good mood makes rewards larger, below 1 smaller, at 1 mood does nothing.

    Returns:
        (B,). Eldar & Niv 2015.

    >>> perceived_reward(torch.tensor([10.0]), torch.tensor([1.0]), f=1.2)
    tensor([12.])
    """
    require_tensors({"reward": reward, "mood": mood}, like="reward")
    if isinstance(f, Tensor):
        require_operands({"reward": reward, "f": f})
        require_within("f", f, 0.0)
    else:
        f = require_number("f", f, 0.0, open_low=True)
    return reward * f**mood
