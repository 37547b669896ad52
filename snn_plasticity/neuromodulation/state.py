"""State of the gate: what the modulators carry from one step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import require_device, require_dtype, require_flag, require_kind, require_real, shown
from ..neuromodulators import NAMES

NOTHING = torch.empty(0)


class NeuromodState(NamedTuple):
    """Levels of the modulators, the reward that is expected, and how large signals usually are.

    Args:
        levels: (B, 4) levels of DA, ACh, NE, 5HT after the last step, without their tonic baselines.
        baseline: expectations of the `RewardBaseline`, (B, contexts), or (contexts,) where the batch shares them.
        pace: (B, contexts, 3), or (contexts, 3): how far and how fast each expectation may move, where dopamine is
            squashed.
        usual: (B, sources, 2), or (sources, 2): sums of squares and counts of each normalized source.
    """

    levels: Tensor
    baseline: Tensor
    pace: Tensor = NOTHING
    usual: Tensor = NOTHING

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> NeuromodState:
        """The same state on another device or in another precision; never below fp32."""
        device = require_device("device", device)
        wide = None if dtype is None else torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        return NeuromodState(*(tensor.to(device=device, dtype=wide or tensor.dtype) for tensor in self))


def require_state(state: NeuromodState, shapes: Mapping[str, tuple[int, ...]], batch_size: int | None) -> None:
    """Refuse what is no state of this gate, or a state for another batch size."""
    if not isinstance(state, NeuromodState):
        raise TypeError(f"state is a {type(state).__name__}; expected the NeuromodState of gate.init(B).")
    for name, part in zip(state._fields, state, strict=True):
        require_real(f"state.{name}", part)
    _require_one_place(state)
    if state.levels.dim() != 2 or state.levels.shape[1] != len(NAMES):
        shape = tuple(state.levels.shape)
        raise ValueError(f"state.levels has shape {shape}; expected (B, {len(NAMES)}), as from gate.init(B).")
    held = len(state.levels)
    if batch_size is not None and batch_size != held:
        raise ValueError(
            f"asked for a batch of {batch_size} with a state for one of {held}; expected the same. "
            f"Start a new state with gate.init({batch_size})."
        )
    for name, expected in shapes.items():
        found = tuple(getattr(state, name).shape)
        if found != expected and (name == "baseline" or 0 not in found or 0 not in expected):
            raise ValueError(
                f"state.{name} has shape {found}; this gate's has {expected}. It belongs to another reward_baseline, "
                "n_contexts, baseline_scope or to other sources; start anew with gate.init."
            )


def _require_one_place(state: NeuromodState) -> None:
    """Refuse a state that is spread over devices."""
    for name, part in zip(state._fields[1:], state[1:], strict=True):
        if part.device != state.levels.device and part.numel():
            raise ValueError(
                f"state.{name} is on {part.device}, state.levels on {state.levels.device}; expected one device."
            )


def require_parts(state: NeuromodState, name: str = "state") -> None:
    """Refuse what is no state of a gate, and parts that do not belong together."""
    require_kind(name, state, NeuromodState, "As from gate.init(B).")
    for field, part in zip(state._fields, state, strict=True):
        require_real(f"{name}.{field}", part)
        if part.numel() and not part.is_floating_point():
            raise TypeError(f"{name}.{field} is {shown(part)}; expected floating point.")
    _require_one_place(state)
    if state.levels.dim() != 2 or not state.baseline.dim():
        raise ValueError(f"{name}.levels is {shown(state.levels)}; expected (B, 4), as from gate.init(B).")
    for field, part in zip(state._fields[1:], state[1:], strict=True):
        if state.baseline.dim() > 1 and part.numel() and part.shape[:1] != state.levels.shape[:1]:
            raise ValueError(f"{name}.{field} is {shown(part)}, {name}.levels {shown(state.levels)}; expected one B.")


def for_batch(state: NeuromodState, fresh: NeuromodState) -> NeuromodState:
    """What was learnt, in a state for a batch of another size.

    Samples of another batch are others: levels start anew, and what each sample had learnt alone goes on from the mean
    of all. What the batch shares stays.

    Args:
        state: of the gate; it is not changed.
        fresh: from `gate.init` for the new batch size.

    >>> learnt = NeuromodState(levels=torch.ones(2, 4), baseline=torch.tensor([[1.0], [3.0]]))
    >>> for_batch(learnt, NeuromodState(torch.zeros(3, 4), torch.zeros(3, 1))).baseline
    tensor([[2.],
            [2.],
            [2.]])
    """
    require_parts(state)
    require_parts(fresh, "fresh")

    def carried(old: Tensor, new: Tensor) -> Tensor:
        if state.baseline.dim() == 1 or not len(state.levels) or not old.numel():
            return old if old.shape == new.shape else new
        if new.shape[1:] != old.shape[1:]:
            raise ValueError(
                f"fresh holds {tuple(new.shape)} beside {tuple(old.shape)}; expected a fresh state of the gate."
            )
        return old.mean(0).expand_as(new).clone()

    return NeuromodState(fresh.levels, *(carried(old, new) for old, new in zip(state[1:], fresh[1:], strict=True)))


def reset_samples(state: NeuromodState, mask: Tensor, *, keep_baseline: bool = False) -> NeuromodState:
    """The state with some samples as new: their levels zero, and what they learnt about reward and its size.

    What the batch shares belongs to no sample, and stays.

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
    require_parts(state)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask is {kind}; expected a boolean tensor ({len(state.levels)},), True resets.")
    if mask.is_meta != state.levels.is_meta or mask.layout is not torch.strided:
        raise ValueError(f"mask is on {mask.device}, {mask.layout}; expected a dense mask where the state is.")
    if mask.shape != state.levels.shape[:1]:
        shape = tuple(mask.shape)
        raise ValueError(f"mask has shape {shape}; expected ({len(state.levels)},), the state's batch.")
    keep_baseline = require_flag("keep_baseline", keep_baseline)
    rows = mask.to(state.levels.device).unsqueeze(-1)
    levels = state.levels.masked_fill(rows, 0.0)
    if keep_baseline or state.baseline.dim() == 1:
        return state._replace(levels=levels)
    sums = (part.masked_fill(rows.unsqueeze(-1), 0.0) if part.numel() else part for part in (state.pace, state.usual))
    return NeuromodState(levels, state.baseline.masked_fill(rows, 0.0), *sums)
