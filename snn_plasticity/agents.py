"""Agents: Gymnasium's vectorised environments, so that an actor meets each transition as it really was.

    observation ─► net ─► actor.act ─► environments.step ─► Transition ─► actor.learn, actor.reset

Where an episode ends, Gymnasium starts the next in one of three ways (autoreset modes), and each is easy to learn
wrongly from. A `Transition` is the same in all of them: it ends in the last observation of its own episode, says
whether the episode is over by itself (terminated, no future) or was cut (truncated, the future counts), and whether
anything was chosen at all: in mode "NextStep" the step after the end is no step of anybody's.

Towers et al. 2024 (Gymnasium); Pardo et al. 2018 (time limits).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._checks import known_as, require_choice, require_count, require_device, require_kind, require_real, shown

__all__ = ["Environments", "Transition"]

_NEXT, _SAME, _NEVER = "NextStep", "SameStep", "Disabled"


class Transition(NamedTuple):
    """One step of B environments.

    Args:
        observation, next_observation: (B, ...) before and after, of the same episode.
        action: (B,) as it was given.
        reward: (B,); 0 where nothing was chosen.
        terminated: boolean (B,), over by itself: nothing follows.
        truncated: boolean (B,), cut by a limit: something would have followed.
        valid: boolean (B,), where something was chosen; else the environment has only started its next episode.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor

    @property
    def over(self) -> Tensor:
        """Boolean (B,): what was remembered of this episode does not belong to the next step."""
        return self.terminated | self.truncated | ~self.valid


class Environments:
    """Vectorised environments of Gymnasium, of any autoreset mode.

    Args:
        environments: a `gymnasium.vector.VectorEnv`, as `gymnasium.make_vec("CartPole-v1", num_envs=4)` gives.
        seed: of the environments; None takes one from the system.
        device: where tensors are put.

    What has been so far: `observation` (B, ...), on which to act next, and `returns`, the sums of rewards of the
    episodes that are over, in the order in which they ended.

    Raises:
        TypeError: no vectorised environments, or observations that are no arrays of numbers.
        ValueError: an unknown autoreset mode.
    """

    def __init__(self, environments: Any, seed: int | None = 0, device: torch.device | str | None = None) -> None:
        for name in ("reset", "step", "num_envs", "metadata"):
            if not hasattr(environments, name):
                raise TypeError(
                    f"environments is {known_as(environments)}, without {name}; expected a gymnasium.vector.VectorEnv, "
                    "as gymnasium.make_vec('CartPole-v1', num_envs=4) gives. One alone: num_envs=1."
                )
        mode = environments.metadata.get("autoreset_mode", _NEXT)
        self.mode = str(getattr(mode, "value", mode))
        if self.mode not in (_NEXT, _SAME, _NEVER):
            raise ValueError(f"autoreset_mode = {shown(mode)}; expected one of {_NEXT}, {_SAME}, {_NEVER}.")
        self.environments, self.device = environments, require_device("device", device)
        self.seed = None if seed is None else require_count("seed", seed, 0)
        self.reset()

    @classmethod
    def make(cls, name: str, count: int = 1, seed: int | None = 0, mode: str | None = None) -> Environments:
        """Environments by name, stepped one after the other in this process.

        Args:
            name: as Gymnasium knows it, such as "CartPole-v1".
            count: how many.
            seed: as above.
            mode: "NextStep", "SameStep" or "Disabled"; None is Gymnasium's own choice.

        Raises:
            ModuleNotFoundError: Gymnasium is not installed.
            ValueError: an unknown name or mode.
        """
        require_kind("name", name, str, "As 'CartPole-v1'.")
        count = require_count("count", count)
        if mode is not None:
            require_choice("mode", mode, (_NEXT, _SAME, _NEVER), "None")
        try:
            import gymnasium
        except ImportError:
            raise ModuleNotFoundError(
                'Environments by name come with Gymnasium, which is not installed: pip install "snn_plasticity[rl]".'
            ) from None
        settings = {} if mode is None else {"autoreset_mode": gymnasium.vector.AutoresetMode(mode)}
        try:
            made = gymnasium.make_vec(name, count, vectorization_mode="sync", vector_kwargs=settings)
        except gymnasium.error.Error as error:
            raise ValueError(f"name = {shown(name)}; Gymnasium says: {error}") from None
        return cls(made, seed)

    def __len__(self) -> int:
        """How many environments there are."""
        return self.environments.num_envs

    def reset(self) -> Tensor:
        """Start all of them anew, from the seed; the first observation (B, ...)."""
        first, _ = self.environments.reset(seed=self.seed)
        self.observation = self._tensor(first)
        self.returns: list[float] = []
        self._sums, self._ended = np.zeros(len(self)), np.zeros(len(self), dtype=bool)
        return self.observation

    def step(self, action: Tensor) -> Transition:
        """Act.

        Args:
            action: (B,), whole numbers, or (B, ...) where actions are continuous.

        Raises:
            TypeError, ValueError: no tensor, or not one row for each environment.
        """
        require_real("action", action)
        if action.dim() == 0 or len(action) != len(self) or action.is_meta:
            raise ValueError(f"action is {shown(action)}; expected ({len(self)},), one for each environment.")
        before, valid = self.observation, ~self._ended
        found, reward, terminated, truncated, info = self.environments.step(action.detach().cpu().numpy())
        reward, terminated = np.where(valid, reward, 0.0), terminated & valid
        over = terminated | (truncated & valid)
        last = self._last(found, over, info)
        self._sums += reward
        self.returns += self._sums[over].tolist()
        self._sums[over] = 0.0
        self._ended = over if self.mode == _NEXT else np.zeros_like(over)
        if self.mode == _NEVER and over.any():
            found, _ = self.environments.reset(options={"reset_mask": over})
        self.observation = self._tensor(found)
        flags = (torch.as_tensor(flag, device=self.device) for flag in (terminated, truncated & valid, valid))
        return Transition(before, action, self._tensor(reward), self._tensor(last), *flags)

    def _last(self, found: np.ndarray, over: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        """The observation after each step, of the episode that it belongs to."""
        if self.mode != _SAME or not over.any():
            return found
        last = np.array(found)
        for k in np.flatnonzero(over):
            last[k] = info["final_obs"][k]
        return last

    def _tensor(self, values: Any) -> Tensor:
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise TypeError(f"an observation is {known_as(values)}; expected an array of numbers.")
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def __repr__(self) -> str:
        return f"Environments({len(self)} × {tuple(self.observation.shape[1:])}, {self.mode}, seed={self.seed})"
