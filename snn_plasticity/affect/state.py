"""State of affect: what is felt now, and what travels on to the next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

from .._checks import known_as, require_device, require_dtype, require_finite, require_kind, require_real
from .appraisal import AppraisalResult
from .modulation import ModulationVector


class AffectiveState(NamedTuple):
    """What is felt now, why, what it does, and what is left of before.

    Args:
        valence, arousal, dominance: (B,), each in [−1, 1].
        appraisal: the scores behind them.
        modulation: the factors they make.
        mood: (B, 3) averages of valence, arousal, dominance.
        step_count: estimates since the reset.
        expected: (B, 2) relevance and coping that one has got used to, above their values at rest.
        usual: (B, 2, 2) sums of squares and counts of the errors so far, of reward and of prediction: their usual size.
    """

    valence: Tensor
    arousal: Tensor
    dominance: Tensor
    appraisal: AppraisalResult
    modulation: ModulationVector
    mood: Tensor
    step_count: int
    expected: Tensor
    usual: Tensor

    @property
    def point(self) -> Tensor:
        """Valence, arousal and dominance as one (B, 3)."""
        return torch.stack([self.valence, self.arousal, self.dominance], dim=-1)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> AffectiveState:
        """The same state on another device or in another precision; never below fp32."""
        device = require_device("device", device)
        wide = None if dtype is None else torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        return tree_map_only(Tensor, lambda tensor: tensor.to(device=device, dtype=wide or tensor.dtype), self)

    def to_dict(self) -> dict[str, Tensor | int]:
        """Everything under its name, as in "mood" or "appraisal.coping": plain tensors, and the count of steps."""
        flat: dict[str, Tensor | int] = {}
        for name, value in zip(self._fields, self, strict=True):
            parts = value._asdict() if isinstance(value, (AppraisalResult, ModulationVector)) else {"": value}
            flat |= {f"{name}.{part}".rstrip("."): leaf for part, leaf in parts.items()}
        return flat

    @classmethod
    def from_dict(cls, values: Mapping[str, Tensor | int]) -> AffectiveState:
        """The state that `to_dict` described.

        Raises:
            ValueError: a name is missing, or there is one too many.
        """
        values = require_kind("values", values, Mapping, "As from state.to_dict().")
        nested: dict[str, Any] = {"appraisal": {}, "modulation": {}}
        for name, value in values.items():
            room, _, part = name.partition(".")
            if part:
                nested.setdefault(room, {})[part] = value
            else:
                nested[room] = value
        try:
            appraisal = AppraisalResult(**nested.pop("appraisal"))
            state = cls(appraisal=appraisal, modulation=ModulationVector(**nested.pop("modulation")), **nested)
        except TypeError as error:
            raise ValueError(f"values is no saved state ({error}); expected what state.to_dict() gave.") from error
        require_affect_state(state, None, None)
        return state

    def detach(self) -> AffectiveState:
        """The same state without its history of gradients."""
        return tree_map_only(Tensor, Tensor.detach, self)


def require_affect_state(
    state: AffectiveState, batch_size: int | None, device: torch.device | None, *, whole: bool = True
) -> None:
    """Refuse what is no state, or a state for another batch size or device; `whole` looks at every field."""
    if not isinstance(state, AffectiveState):
        raise TypeError(f"state is a {type(state).__name__}; expected the AffectiveState of estimator.reset(B).")
    if whole:
        _require_fields(state)
    for name in ("mood", "expected", "usual"):
        part = getattr(state, name)
        require_real(f"state.{name}", part)
        if not part.is_floating_point():
            raise TypeError(f"state.{name} is {part.dtype}; expected floats, as from estimator.reset(B).")
        if part.device != state.mood.device:
            raise ValueError(f"state.mood is on {state.mood.device}, state.{name} on {part.device}; move one.")
    require_kind("state.step_count", state.step_count, int, "As from estimator.reset(B).")
    held = state.mood.shape[0] if state.mood.dim() else 0
    shapes = tuple(state.mood.shape), tuple(state.expected.shape), tuple(state.usual.shape)
    if shapes != ((held, 3), (held, 2), (held, 2, 2)):
        raise ValueError(
            "state.mood has shape {}, state.expected {} and state.usual {}; ".format(*shapes)
            + "expected (B, 3), (B, 2) and (B, 2, 2), as from estimator.reset(B)."
        )
    if batch_size is not None and batch_size != held:
        raise ValueError(
            f"signals are for a batch of {batch_size}, the state for one of {held}; expected the same. "
            f"Start a new state with estimator.reset({batch_size})."
        )
    if device is not None and device != state.mood.device:
        raise ValueError(
            f"signals are on {device}, the state on {state.mood.device}; expected the same device. "
            f"Move the state with state.to({str(device)!r})."
        )
    require_finite("state.mood", state.mood)
    require_finite("state.expected", state.expected)
    require_finite("state.usual", state.usual)


def _require_fields(state: AffectiveState) -> None:
    """Refuse a state whose fields are not what `estimator.reset(B)` puts there."""
    if not (isinstance(state.appraisal, AppraisalResult) and isinstance(state.modulation, ModulationVector)):
        raise TypeError("state.appraisal and state.modulation are not those of an AffectiveState; expected both whole.")
    require_real("state.mood", state.mood)
    shape, device = state.mood.shape[:1], state.mood.device
    rows = (state.valence, state.arousal, state.dominance, *state.appraisal, *state.modulation)
    for tensor in rows:
        if not isinstance(tensor, Tensor) or tensor.is_complex() or tensor.layout is not torch.strided:
            raise TypeError(f"The state holds {known_as(tensor)}; expected dense tensors of real numbers.")
        if tensor.shape != shape or tensor.device != device:
            raise ValueError(
                f"The state holds a tensor {tuple(tensor.shape)} on {tensor.device} beside a mood "
                f"{tuple(state.mood.shape)} on {device}; expected (B,) beside (B, 3), as from estimator.reset(B)."
            )


def reset_samples(state: AffectiveState, fresh: AffectiveState, mask: Tensor) -> AffectiveState:
    """The state with some samples as new; `step_count`, which the batch shares, goes on.

    Args:
        state: of the estimator; it is not changed.
        fresh: from `estimator.reset(B)`.
        mask: (B,) bool, True where a sample starts anew.

    Raises:
        TypeError: `mask` is not boolean.
        ValueError: `mask` is not (B,), or the states differ in batch size.
    """
    require_affect_state(state, None, None)
    held = len(state.mood)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask is {kind}; expected a boolean tensor ({held},), True resets.")
    require_real("mask", mask)
    if mask.is_meta and not state.mood.is_meta:
        raise ValueError("mask is on the meta device and holds no values; expected a boolean tensor that does.")
    if mask.shape != (held,):
        raise ValueError(f"mask has shape {tuple(mask.shape)}; expected ({held},), the state's batch.")
    require_affect_state(fresh, held, state.mood.device)
    rows = mask.to(state.mood.device)

    def chosen(new: Any, old: Any) -> Any:
        if not isinstance(old, Tensor):
            return old
        return torch.where(rows.reshape(-1, *[1] * (old.dim() - 1)), new.to(old.dtype), old)

    return tree_map(chosen, fresh, state)
