"""Reward baseline: what reward to expect, so that dopamine reports only the difference.

    prediction   b_c(t)                                 c: the context of this step
    error        δ = r − b_c(t)
    update       b_c(t+1) = b_c(t) + (1 − exp(−dt/τ)) φ(δ)

    linear       φ = δ                                  where dopamine is s·δ: b_c is the mean reward
    squashed     φ = p tanh(s δ), within ±|δ|           where dopamine is tanh(s·δ): b_c is where mean dopamine is zero
                 p = max(1/s, min(⟨|δ|⟩, 1/(s ⟨1 − tanh²(s δ)⟩)))

The pace p keeps τ what it says: 1/s where errors are small, more where dopamine is mostly saturated (Newton's step to
the zero of its mean), and never more than the usual error. Its averages ⟨ ⟩ are over 3 τ, 30 rewards at least.

With a baseline per context, the mean change of a linear three-factor rule is Cov(reward, Hebb); without one, a rule
whose Hebbian term has a mean drifts whatever is rewarded (Frémaux, Sprekeler & Gerstner 2010). A mean reward is not
enough where dopamine is squashed: of a reward of 10 with a probability of 0.1, tanh keeps 1 of the 9 above the mean,
and 0.76 of the 1 below it. The squashed update stands still on average only where tanh(s δ) is zero on average,
whatever the reward's distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks as checks
from .._checks import (
    Signal,
    as_signal,
    length_of,
    require_count,
    require_device,
    require_dtype,
    require_real,
    require_tensors,
    require_within,
    shown,
)
from .._usual_size import LARGEST
from ..config import NeuromodConfig
from ..config.neuromod import BaselineKind, LearningScope
from ..config.validation import require_config, require_count_field, require_number_field, require_word_field
from ..decay import decay_factor
from .modulators import IN_ARRAYS, IN_NUMBERS, IN_TENSORS, Arithmetic

TINY = 1e-30


@dataclass(frozen=True)
class RewardBaseline:
    """Running expectation of reward: none, one, or one per context.

    Args:
        kind: "none" (the error is the reward), "running" (one average) or "context" (one per context).
        tau: time constant of the average, in the unit of `dt`. Every call counts, with a reward of zero too:
            where reward comes once per trial, call it once per trial (the gate does: a missing reward is no call).
        n_contexts: number of contexts.
        scope: "sample": every sample of a batch has averages of its own. "batch": all share one per context,
            moved by the mean error of the samples that are in that context.
        dt: step length.

    Raises:
        ValueError: an argument out of range.

    >>> baseline = RewardBaseline("context", tau=2.0, n_contexts=2)
    >>> state = baseline.init(batch_size=1)
    >>> error, state = baseline.step(1.0, context=0, state=state)
    >>> error, state
    (tensor([1.]), tensor([[0.3935, 0.0000]]))
    """

    kind: BaselineKind = "running"
    tau: float = 100.0
    n_contexts: int = 1
    scope: LearningScope = "sample"
    dt: float = 1.0

    def __post_init__(self) -> None:
        require_word_field(self, "kind", ("none", "running", "context"))
        require_word_field(self, "scope", ("sample", "batch"))
        require_number_field(self, "tau", 0.0, open_low=True, infinite=True)
        require_number_field(self, "dt", 0.0, open_low=True)
        require_count_field(self, "n_contexts")

    @classmethod
    def of(cls, config: NeuromodConfig) -> RewardBaseline:
        """The baseline that `config` describes."""
        config = require_config(config, NeuromodConfig)
        return cls(
            config.reward_baseline,
            config.reward_baseline_tau,
            config.n_contexts,
            config.baseline_scope,
            config.dt,
        )

    def state_shape(self, batch_size: int) -> tuple[int, ...]:
        """Shape of the state: (B, contexts), or (contexts,) where the batch shares it."""
        batch_size = require_count("batch_size", batch_size, 0)
        columns = {"none": 0, "running": 1, "context": self.n_contexts}[self.kind]
        return (columns,) if self.scope == "batch" else (batch_size, columns)

    def init(
        self, batch_size: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Averages before the first reward: zero, of shape `state_shape(batch_size)`."""
        device, dtype = require_device("device", device), require_dtype("dtype", dtype)
        return torch.zeros(self.state_shape(batch_size), device=device, dtype=dtype)

    def error(self, reward: Signal, context: Signal, state: Tensor) -> Tensor:
        """Reward prediction error of this step, (B,); nothing is learnt. Arguments as in `step`."""
        reward = self._admit(reward, context, state)
        return self.difference(reward, self._index(context, reward), state)

    def difference(self, reward: Tensor, context: Tensor | None, state: Tensor) -> Tensor:
        """As `error`, of a reward (B,), an index (B,) or None for 0, and a state that were checked before."""
        return self._against(reward, context, state)[1]

    def step(self, reward: Signal, context: Signal, state: Tensor) -> tuple[Tensor, Tensor]:
        """Reward prediction error of this step, and the averages after it.

        Args:
            reward: float, (), (B,) or (B, 1).
            context: index of the context, likewise; read only where there is one average per context.
            state: averages from `init` or the last step; it is not changed.

        Returns:
            (error (B,), new state).

        Raises:
            ValueError: a shape that does not fit, NaN, or a context that does not exist.
        """
        reward = self._admit(reward, context, state)
        return self.moved(reward, self._index(context, reward), state)

    def moved(self, reward: Tensor, context: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        """As `step`, of a reward (B,), an index (B,) or None for 0, and a state that were checked before."""
        member, error = self._against(reward, context, state)
        correction = self._by_context(error.unsqueeze(-1), member).squeeze(-1)
        return error, state + self._rate * correction

    def squashed_step(
        self, reward: Signal, context: Signal, state: Tensor, pace: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `step`, where dopamine is tanh(scale · error): what is learnt leaves no dopamine on average.

        Args:
            reward, context, state: as in `step`.
            pace: running sums of |error|, of the slope of tanh, and their count, (B, contexts, 3), or (contexts, 3)
                where the batch shares them; zeros at first. It is not changed.
            scale: > 0, a number or (B,).

        Returns:
            (error (B,), new state, new pace).

        Raises:
            ValueError: as `step`.

        >>> baseline = RewardBaseline("running", tau=2.0)
        >>> state, pace = baseline.init(1), torch.zeros(1, 1, 3)
        >>> error, state, pace = baseline.squashed_step(3.0, 0, state, pace, scale=1.0)
        >>> error, state
        (tensor([3.]), tensor([[0.3915]]))
        """
        reward = self._admit(reward, context, state)
        if not (isinstance(scale, float) and 0.0 < scale < math.inf):
            scale = _positive("scale", scale, reward)
        require_real("pace", pace)
        if pace.shape != (*state.shape, 3) or pace.device != state.device:
            raise ValueError(f"pace is {shown(pace)}; expected {(*state.shape, 3)}, beside the state.")
        return self.squashed(reward, self._index(context, reward), state, pace, scale)

    def squashed(
        self, reward: Tensor, context: Tensor | None, state: Tensor, pace: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `squashed_step`, of a reward (B,), an index (B,) or None for 0, and a state that were checked before."""
        member, error = self._against(reward, context, state)
        if not error.numel():
            return error, state, pace
        dopamine, width = torch.tanh(scale * error), 1.0 / scale
        one = torch.ones_like(error)
        met = [error.abs().clamp(max=LARGEST), torch.addcmul(one, dopamine, dopamine, value=-1.0), one, dopamine]
        met = self._by_context(
            torch.stack([*met, width.expand_as(error)] if isinstance(width, Tensor) else met, dim=-1), member
        )
        distance, _, here, dopamine, *widths = met.unbind(-1)  # zero in the contexts where nobody is
        sums = pace.clamp(min=TINY).unbind(-1)
        after = state + self._move(sums, distance, dopamine, widths[0] if widths else width, IN_TENSORS)
        if self.kind == "context":
            pace = (1.0 - self._forgotten * here.unsqueeze(-1)) * pace + met[..., :3]
        else:
            pace = torch.add(met[..., :3], pace, alpha=1.0 - self._forgotten)
        return error, after, pace

    def squashed_plain(self, reward: Any, state: Any, pace: Sequence[Any], scale: float) -> tuple[Any, Any, list[Any]]:
        """As `squashed`, with one context: of numbers, for one sample, or of arrays (B,)."""
        of = IN_NUMBERS if type(reward) is float else IN_ARRAYS
        error = reward - state
        dopamine, distance = of.tanh(scale * error), of.lesser(abs(error), LARGEST)
        slope = 1.0 - dopamine * dopamine
        if of is IN_ARRAYS and self.scope == "batch":  # the mean over samples moves what they share
            of = IN_NUMBERS
            dopamine, distance, slope = (float(np.add.reduce(part)) / len(part) for part in (dopamine, distance, slope))
        sums = [of.at_least(part, TINY) for part in pace]
        after = state + self._move(sums, distance, dopamine, 1.0 / scale, of)
        met, kept = (distance, slope, 1.0), 1.0 - self._forgotten
        return error, after, [kept * before + now for before, now in zip(pace, met, strict=True)]

    def _move(self, sums: Sequence[Any], distance: Any, dopamine: Any, width: Any, of: Arithmetic) -> Any:
        """By how much an expectation moves: (1 − exp(−dt/τ)) φ; sums of |δ|, of slopes, and their count."""
        distances, slopes, count = sums
        pace = of.at_least(of.lesser(width * count / slopes, distances / count), width)
        return of.clamp(self._rate * pace * dopamine, -distance, distance)

    @cached_property
    def _rate(self) -> float:
        return 1.0 - decay_factor(self.tau, self.dt)

    @cached_property
    def _forgotten(self) -> float:
        """What the averages of the pace forget at each reward."""
        return 1.0 / max(3.0 * self.tau / self.dt, 30.0)

    def _against(self, reward: Tensor, context: Tensor | None, state: Tensor) -> tuple[Tensor | None, Tensor]:
        """Which average each sample reads (None: the only one), and the error of each, (B,)."""
        if self.kind == "running":
            return None, reward - state[..., 0]
        member = self._membership(context, reward)
        return member, reward - (member * state).sum(-1)

    def _admit(self, reward: Signal, context: Signal, state: Tensor) -> Tensor:
        """The reward (B,), beside a state that fits."""
        require_real("state", state)
        if state.is_meta:
            raise ValueError("state is on the meta device, which holds no values; expected a tensor that does.")
        columns = self.state_shape(0)[-1]
        if (
            state.dim() != (2 if self.scope == "sample" else 1)
            or state.shape[-1] != columns
            or state.dtype == torch.bool
        ):
            expected = f"(B, {columns})" if self.scope == "sample" else f"({columns},)"
            raise ValueError(f"state of the baseline is {shown(state)}; expected {expected}, as from init(B).")
        found_size = next((size for size in map(length_of, (reward, context)) if size is not None), 1)
        batch_size = len(state) if self.scope == "sample" else found_size
        return as_signal(reward, batch_size, name="reward", device=state.device, dtype=state.dtype)

    def _by_context(self, met: Tensor, member: Tensor | None) -> Tensor:
        """What samples met, (B, n), in the context of each, (B, contexts, n), or its mean over them, (contexts, n)."""
        if member is None:
            return met.unsqueeze(1) if self.scope == "sample" else met.mean(0, keepdim=True)
        met = member.unsqueeze(-1) * met.unsqueeze(1)
        return met if self.scope == "sample" else met.sum(0) / member.sum(0).clamp(min=1.0).unsqueeze(-1)

    def _index(self, context: Signal, like: Tensor) -> Tensor | None:
        """The context of each sample (B,), where it is read at all."""
        if self.kind != "context":
            return None
        return as_signal(context, len(like), name="context", device=like.device, dtype=like.dtype)

    def _membership(self, index: Tensor | None, like: Tensor) -> Tensor:
        """One-hot (B, contexts): which average each sample reads and moves."""
        if self.kind == "none":
            return like.new_ones(len(like), 0)
        if index is None:
            index = torch.zeros_like(like)
        require_within("context", index, 0.0, self.n_contexts - 1.0)
        require_within("the fractional part of context", index % 1.0, 0.0, 0.0)
        return (index.unsqueeze(-1) == torch.arange(self.n_contexts, device=like.device)).to(like.dtype)


def _positive(name: str, value: object, like: Tensor) -> float | Tensor:
    """A number above zero, or a tensor () or (B,) beside `like`."""
    if isinstance(value, Tensor):
        require_tensors({"the error": like, name: value if value.dim() else value.expand_as(like)}, like="the error")
        return value
    return checks.require_number(name, value, 0.0, open_low=True)
