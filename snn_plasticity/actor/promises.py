"""What a reward is measured against: the policy, a number, averages of rewards so far, or a critic."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .._checks import Signal, as_signal, known_as, require_choice, require_number
from ..neuromodulation import RewardBaseline, TDCritic
from ..neuromodulation.critic import CriticState

Promise = Literal["policy"] | float | RewardBaseline | TDCritic
Expected = Tensor | CriticState | None  # what is remembered of promises


def promise_of(promise: object) -> Promise:
    """What reward is measured against.

    Raises:
        TypeError: none of these.
        ValueError: another word, or no finite number.
    """
    if isinstance(promise, str):
        require_choice("promise", promise, ("policy",), "a number, a RewardBaseline or a TDCritic")
        return "policy"
    if isinstance(promise, (RewardBaseline, TDCritic)):
        return promise
    if isinstance(promise, bool) or not isinstance(promise, (int, float)):
        raise TypeError(
            f"promise is {known_as(promise)}; expected 'policy', a number, a RewardBaseline or a TDCritic. A tensor "
            "goes to actor.learn(reward, promise=...)."
        )
    return require_number("promise", promise)


def reward_error(
    promise: Promise, told: Signal | None, reward: Tensor, probability: Tensor, valid: Tensor, expected: Expected
) -> tuple[Tensor, Expected]:
    """r − promise (B,), zero where nothing was chosen, and what is remembered of promises.

    Args:
        promise: what it is measured against.
        told: in place of that, this time.
        reward: (B,).
        probability: (B,) π_a of the choice.
        valid: boolean (B,), where something was chosen.
        expected: what is remembered.
    """
    if told is not None or isinstance(promise, float):
        against: Signal = promise if told is None else told  # type: ignore[assignment]
        device, dtype = probability.device, probability.dtype
        error = reward - as_signal(against, len(reward), name="promise", device=device, dtype=dtype)
    elif isinstance(promise, RewardBaseline):
        state = _averages(promise, expected, reward)
        prediction = reward - promise.error(reward, 0, state)
        error, expected = promise.step(torch.where(valid, reward, prediction), 0, state)
    else:
        error = reward - probability
    return error * valid, expected


def _averages(baseline: RewardBaseline, state: object, like: Tensor) -> Tensor:
    """The state of a baseline for this batch; samples of another one go on from the mean over those before."""
    if not isinstance(state, Tensor):
        return baseline.init(len(like), like.device, like.dtype)
    if state.shape == baseline.state_shape(len(like)):
        return state
    return state.mean(0).expand(len(like), -1).clone()
