"""Critic: a linear value function whose TD error is what dopamine reports.

    V(φ) = w·φ                                     φ: features, or spike counts
    δ    = r + γ V(φ′) − V(φ)                      V(φ′) is 0 where the episode terminated
    accumulating   e ← γλ e + φ                               w ← w + α δ e
    replacing      e ← γλ e or φ, whichever is larger         w ← w + α δ e
    dutch          e ← γλ e + (1 − α γλ e·φ) φ                w ← w + α (δ + V − V°) e − α (V − V°) φ

    α learning rate     γ discount     λ trace decay     V° value of φ as estimated one step before

The last line is true online TD(λ): after every step the weights are exactly those of the online λ-return
algorithm (van Seijen & Sutton 2014). The TD error as dopamine: Schultz, Dayan & Montague 1997; Frémaux,
Sprekeler & Gerstner 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._checks import (
    Signal,
    array_of,
    as_signal,
    known_as,
    require_count,
    require_device,
    require_dtype,
    require_finite,
    require_kind,
    require_real,
    shown,
)
from .._checks import require_count as require_whole
from .._saved import FORMAT, described, require_format, require_settings, require_tensor
from ..config.neuromod import LearningScope
from ..config.validation import Serializable, require_count_field, require_number_field, require_word_field


@dataclass(frozen=True)
class TDCriticConfig(Serializable):
    """Settings of a `TDCritic`.

    Args:
        n_features: length of the feature vector.
        gamma: discount per step, in [0, 1].
        lam: trace decay λ, in [0, 1].
        lr: learning rate α > 0; stable roughly up to 1 / |φ|².
        trace_type: "dutch" (true online), "accumulating" or "replacing".
        scope: every "sample" of the batch learns weights of its own, or the "batch" shares one vector, moved
            by the mean of what its samples ask for.

    Raises:
        ValueError: a field out of range, naming field, value and range.
    """

    n_features: int
    gamma: float = 0.99
    lam: float = 0.8
    lr: float = 0.1
    trace_type: Literal["dutch", "accumulating", "replacing"] = "dutch"
    scope: LearningScope = "sample"

    def __post_init__(self) -> None:
        require_count_field(self, "n_features")
        require_number_field(self, "gamma", 0.0, 1.0)
        require_number_field(self, "lam", 0.0, 1.0)
        require_number_field(self, "lr", 0.0, open_low=True)
        require_word_field(self, "trace_type", ("dutch", "accumulating", "replacing"))
        require_word_field(self, "scope", ("sample", "batch"))


class CriticState(NamedTuple):
    """What a critic has learnt, and what it remembers of the episode.

    Args:
        weights: (B, n_features), or (n_features,) where the batch shares them.
        trace: (B, n_features).
        old_value: (B,) V°, the value of the current features under the weights of the step before.
    """

    weights: Tensor
    trace: Tensor
    old_value: Tensor


def _flag(value: Any, like: Tensor, name: str) -> Tensor:
    """A bool, or a boolean array of shape () or (B,), as (B,)."""
    if isinstance(value, (bool, np.bool_)):
        return torch.full_like(like, bool(value), dtype=torch.bool)
    if not isinstance(value, (Tensor, np.ndarray, list, tuple)) or (isinstance(value, Tensor) and value.is_meta):
        raise TypeError(f"{name} is {known_as(value)}; expected a bool or a boolean tensor ({len(like)},).")
    flag = torch.as_tensor(value if isinstance(value, Tensor) else array_of(name, value), device=like.device)
    if flag.dtype != torch.bool or flag.layout is not torch.strided:
        shape = f"({len(like)},)"
        raise TypeError(f"{name} is {flag.dtype}, {flag.layout}; expected a bool or a dense boolean tensor {shape}.")
    if flag.dim() > 0 and flag.shape != (len(like),):
        raise ValueError(f"{name} has shape {tuple(flag.shape)}; expected () or ({len(like)},).")
    return flag.expand(len(like))


class TDCritic:
    """Linear TD(λ) critic; it holds no state, `step` takes one and returns the next.

    Args:
        config: a `TDCriticConfig`.

    Raises:
        TypeError: settings of another kind.

    >>> critic = TDCritic(TDCriticConfig(n_features=2, gamma=1.0, lr=0.5))
    >>> here, there = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> td_error, state = critic.step(here, 1.0, there, critic.init(batch_size=1), terminated=True)
    >>> td_error, critic.value(here, state)
    (tensor([1.]), tensor([0.5000]))
    """

    def __init__(self, config: TDCriticConfig) -> None:
        if isinstance(config, (int, np.integer)) and not isinstance(config, bool):
            raise TypeError(
                f"config is {config!r}, a number; expected a TDCriticConfig. For {config} features: "
                f"TDCritic(TDCriticConfig(n_features={config}))."
            )
        self.config = require_kind("config", config, TDCriticConfig, "For instance TDCriticConfig(n_features=16).")

    def __repr__(self) -> str:
        return f"TDCritic({self.config!r})"

    def init(
        self, batch_size: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> CriticState:
        """Weights and traces zero; anything narrower than float32 becomes float32."""
        batch_size, device = require_count("batch_size", batch_size), require_device("device", device)
        wide = torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        trace = torch.zeros(batch_size, self.config.n_features, device=device, dtype=wide)
        weights = torch.zeros_like(trace if self.config.scope == "sample" else trace[0])
        return CriticState(weights, trace, torch.zeros_like(trace[:, 0]))

    def for_batch(self, state: CriticState, batch_size: int) -> CriticState:
        """What was learnt, in a state for a batch of another size: a new episode of other samples.

        Weights that the batch shares stay; those of single samples go on from the mean over them. Traces start anew.

        Args:
            state: it is not changed.
            batch_size: B; 0 is a batch with nobody in it.

        Raises:
            TypeError: `state` is of another kind.
            ValueError: `batch_size` is no whole number, 0 or more.

        >>> critic = TDCritic(TDCriticConfig(n_features=2))
        >>> learnt = critic.init(2)._replace(weights=torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        >>> critic.for_batch(learnt, 1).weights
        tensor([[2., 0.]])
        """
        self._admit("state.trace", state.trace if isinstance(state, CriticState) else state, state)
        trace = state.trace.new_zeros(require_whole("batch_size", batch_size, 0), self.config.n_features)
        weights = state.weights
        if self.config.scope == "sample":
            mean = weights.mean(0) if len(weights) else weights.new_zeros(self.config.n_features)
            weights = mean.expand_as(trace).clone()
        return CriticState(weights, trace, trace.new_zeros(len(trace)))

    def state_dict(self, state: CriticState) -> dict[str, Any]:
        """A state beside the critic's settings, as plain values and tensors, for `load_state`."""
        self._admit("state.trace", state.trace if isinstance(state, CriticState) else state, state)
        parts = {name: part.detach().clone() for name, part in state._asdict().items()}
        return {"format": FORMAT, "settings": described(self.config), **parts}

    def load_state(self, saved: Mapping[str, Any]) -> CriticState:
        """The state that `state_dict` described, bit for bit.

        Raises:
            TypeError: no such state.
            ValueError: another format or other settings, a part that is missing, strange or shaped otherwise, NaN.

        >>> critic = TDCritic(TDCriticConfig(n_features=2))
        >>> critic.load_state(critic.state_dict(critic.init(1))).weights
        tensor([[0., 0.]])
        """
        what = "The saved critic"
        require_format(what, saved, ("settings", *CriticState._fields))
        require_settings(what, saved["settings"], described(self.config))
        trace = require_tensor(f"{what}: trace", saved["trace"], (None, self.config.n_features))
        if trace.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{what}: trace has dtype {trace.dtype}; expected float32 or float64. Nothing was changed.")
        shapes = {"weights": tuple(trace.shape) if self.config.scope == "sample" else tuple(trace.shape[1:])}
        shapes |= {"trace": tuple(trace.shape), "old_value": tuple(trace.shape[:1])}
        parts = {
            name: require_tensor(f"{what}: {name}", saved[name], shape, like=trace) for name, shape in shapes.items()
        }
        return CriticState(**{name: part.detach().clone() for name, part in parts.items()})

    def value(self, features: Tensor, state: CriticState) -> Tensor:
        """V(φ) = w·φ, (B,), of features (B, n_features)."""
        return (self._admit("features", features, state) * state.weights).sum(-1)

    @torch.no_grad()
    def step(
        self,
        features: Tensor,
        reward: Signal,
        next_features: Tensor,
        state: CriticState,
        *,
        terminated: Any = False,
        truncated: Any = False,
    ) -> tuple[Tensor, CriticState]:
        """Learn from one transition, outside autograd: features are data here.

        Args:
            features: (B, n_features) before the transition.
            reward: float, (), (B,) or (B, 1), received on it.
            next_features: (B, n_features) after it; at the end of an episode those of its last observation,
                not of the first of the next.
            state: from `init` or the last step; it is not changed.
            terminated: bool or (B,); there the value of what follows is 0, and the trace starts anew.
            truncated: bool or (B,); there the value of what follows counts, but the trace starts anew.

        Returns:
            (td_error (B,), new state); the error is the signal "td_error" of a gate with
            `da_source="td_error"`.

        Raises:
            TypeError: features that are no tensor of real numbers, a flag that is not boolean.
            ValueError: a wrong shape or batch size, NaN.
        """
        phi = self._admit("features", features, state)
        following = self._admit("next_features", next_features, state)
        reward = as_signal(reward, len(phi), name="reward", device=phi.device, dtype=phi.dtype)
        terminated = _flag(terminated, reward, "terminated")
        over = terminated | _flag(truncated, reward, "truncated")
        value = (phi * state.weights).sum(-1)
        next_value = (following * state.weights).sum(-1).masked_fill(terminated, 0.0)
        td_error = reward + self.config.gamma * next_value - value
        trace = self._trace(phi, state.trace)
        change = self._change(phi, trace, td_error, value - state.old_value)
        if self.config.scope == "batch" and len(phi):  # of an empty batch, nothing is learnt
            change = change.mean(0)
        weights = state.weights + change if len(phi) else state.weights
        return td_error, CriticState(
            weights, trace.masked_fill(over.unsqueeze(-1), 0.0), next_value.masked_fill(over, 0.0)
        )

    def _trace(self, phi: Tensor, trace: Tensor) -> Tensor:
        """Eligibility (B, n_features) of the weights after seeing `phi`."""
        decayed = self.config.gamma * self.config.lam * trace
        if self.config.trace_type == "accumulating":
            return decayed + phi
        if self.config.trace_type == "replacing":
            return torch.where(phi.abs() >= decayed.abs(), phi, decayed)
        return decayed + (1.0 - self.config.lr * (decayed * phi).sum(-1, keepdim=True)) * phi

    def _change(self, phi: Tensor, trace: Tensor, td_error: Tensor, drift: Tensor) -> Tensor:
        """Change (B, n_features) of the weights; `drift` is V − V°."""
        if self.config.trace_type != "dutch":
            return self.config.lr * td_error.unsqueeze(-1) * trace
        return self.config.lr * ((td_error + drift).unsqueeze(-1) * trace - drift.unsqueeze(-1) * phi)

    def _admit(self, name: str, features: Tensor, state: CriticState) -> Tensor:
        """Checked features, on the state's device, in fp32 or fp64."""
        if not isinstance(state, CriticState):
            raise TypeError(f"state is a {type(state).__name__}; expected the CriticState of critic.init(B).")
        for field, tensor in zip(state._fields, state, strict=True):
            require_real(f"state.{field}", tensor)
            if not tensor.is_floating_point():
                raise TypeError(f"state.{field} is {tensor.dtype}; expected floating point, as from critic.init(B).")
        for field, tensor in zip(state._fields, state, strict=True):
            if tensor.device != state.trace.device:
                raise ValueError(f"state.{field} is on {tensor.device}, state.trace on {state.trace.device}; move one.")
        shape = state.trace.shape if self.config.scope == "sample" else state.trace.shape[1:]
        if state.weights.shape != shape or state.old_value.shape != state.trace.shape[:1]:
            raise ValueError(
                f"state.weights is {shown(state.weights)}, state.old_value {shown(state.old_value)}; expected "
                f"{tuple(shape)} and {tuple(state.trace.shape[:1])}, as from critic.init(B)."
            )
        require_real(name, features)
        if features.is_meta and not state.trace.is_meta:
            raise ValueError(f"{name} is on the meta device, which holds no values; expected a tensor that does.")
        expected = tuple(state.trace.shape)
        if tuple(features.shape) != expected:
            raise ValueError(
                f"{name} has shape {tuple(features.shape)}; expected {expected}, as in the state of "
                "critic.init(batch_size); flatten what has more dimensions, and for a batch of another size take "
                "critic.for_batch(state, batch_size)."
            )
        require_finite(name, features)
        dtype = torch.promote_types(features.dtype, state.trace.dtype)
        return features.to(device=state.trace.device, dtype=dtype)
