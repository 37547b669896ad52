"""State of the gate: what the modulators carry from one step to the next."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_device, require_dtype, require_flag, require_kind, require_real


class NeuromodState(NamedTuple):
    """Levels of the modulators, and the reward that is expected.

    Args:
        levels: (B, 4) levels of DA, ACh, NE, 5HT after the last step, without their tonic baselines.
        baseline: averages of the `RewardBaseline`, (B, contexts), or (contexts,) where the batch shares them.
    """

    levels: Tensor
    baseline: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> NeuromodState:
        """The same state on another device or in another precision; never below fp32."""
        device = require_device("device", device)
        wide = None if dtype is None else torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        return NeuromodState(*(tensor.to(device=device, dtype=wide or tensor.dtype) for tensor in self))


def require_state(state: NeuromodState, baseline_shape: tuple[int, ...], batch_size: int | None) -> None:
    """Refuse what is no state of this gate, or a state for another batch size."""
    if not isinstance(state, NeuromodState):
        raise TypeError(f"state is a {type(state).__name__}; expected the NeuromodState of gate.init(B).")
    require_real("state.levels", state.levels)
    require_real("state.baseline", state.baseline)
    if state.levels.dim() != 2 or state.levels.shape[1] != 4:
        shape = tuple(state.levels.shape)
        raise ValueError(f"state.levels has shape {shape}; expected (B, 4), as from gate.init(B).")
    held = len(state.levels)
    if batch_size is not None and batch_size != held:
        raise ValueError(
            f"asked for a batch of {batch_size} with a state for one of {held}; expected the same. "
            f"Start a new state with gate.init({batch_size})."
        )
    if tuple(state.baseline.shape) != baseline_shape:
        raise ValueError(
            f"state.baseline has shape {tuple(state.baseline.shape)}; this gate's has {baseline_shape}. "
            "It belongs to another reward_baseline, n_contexts or baseline_scope; start anew with gate.init."
        )


def reset_samples(state: NeuromodState, mask: Tensor, *, keep_baseline: bool = False) -> NeuromodState:
    """The state with some samples as new: their levels zero, and their reward baselines too.

    A baseline that the batch shares belongs to no sample, and stays.

    Args:
        state: of the gate; it is not changed.
        mask: (B,) bool, True where a sample starts anew.
        keep_baseline: whether what was learnt about reward outlives the reset (a new episode, not a new
            subject).

    Raises:
        TypeError: `mask` is not boolean.
        ValueError: `mask` is not (B,).

    >>> state = NeuromodState(levels=torch.ones(2, 4), baseline=torch.ones(2, 1))
    >>> reset_samples(state, torch.tensor([True, False])).levels
    tensor([[0., 0., 0., 0.],
            [1., 1., 1., 1.]])
    """
    require_kind("state", state, NeuromodState, "As from gate.init(B).")
    require_real("state.levels", state.levels)
    require_real("state.baseline", state.baseline)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask is {kind}; expected a boolean tensor ({len(state.levels)},), True resets.")
    if mask.shape != state.levels.shape[:1]:
        shape = tuple(mask.shape)
        raise ValueError(f"mask has shape {shape}; expected ({len(state.levels)},), the state's batch.")
    keep_baseline = require_flag("keep_baseline", keep_baseline)
    rows = mask.to(state.levels.device).unsqueeze(-1)
    shared = state.baseline.dim() == 1
    return NeuromodState(
        levels=state.levels.masked_fill(rows, 0.0),
        baseline=state.baseline if shared or keep_baseline else state.baseline.masked_fill(rows, 0.0),
    )
