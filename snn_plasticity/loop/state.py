"""State of the loop: what is felt, what is in the blood, and what of it is forgotten when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

from .._checks import known_as, require_device, require_dtype, require_kind, require_real, shown
from .._saved import require_parts, require_saved_count, require_tensor
from ..affect import AffectiveState, ModulationVector
from ..affect import reset_samples as reset_affect
from ..affect.state import require_affect_state
from ..neuromodulation import NeuromodState, for_batch
from ..neuromodulation import reset_samples as reset_gate
from ..neuromodulators import NAMES


class LoopState(NamedTuple):
    """All that the loop remembers.

    Args:
        affect: what is felt, (B,); one for all where the batch shares it.
        gate: levels of the modulators, and the reward that is expected.
        modulators: {"DA", "ACh", "NE", "5HT"} of the last step, each (B,); felt at the next.
        plasticity: the gate of the last step, (B,), before the factor of the learning rate.
    """

    affect: AffectiveState
    gate: NeuromodState
    modulators: dict[str, Tensor]
    plasticity: Tensor

    @property
    def modulation(self) -> ModulationVector:
        """Factors for learning rate, attention, exploration, memory and risk, each (B,), or (1,) where shared."""
        return self.affect.modulation

    @property
    def third_factor(self) -> Tensor:
        """What the synapses hear, (B,): factor of the learning rate · gate."""
        return self.affect.modulation.learning_rate_scale * self.plasticity

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LoopState:
        """The same state on another device or in another precision; never below fp32."""
        device = require_device("device", device)
        wide = None if dtype is None else torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        return tree_map_only(Tensor, lambda tensor: tensor.to(device=device, dtype=wide or tensor.dtype), self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain tensors that share no memory with the state."""
        return {
            "affect": clone_tensors(self.affect.to_dict()),
            "gate": clone_tensors(self.gate._asdict()),
            "modulators": clone_tensors(self.modulators),
            "plasticity": self.plasticity.detach().clone(),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> LoopState:
        """The state that `to_dict` described."""
        saved = require_kind("saved", saved, Mapping, "As from state.to_dict().")
        for name, kind in (("affect", Mapping), ("gate", Mapping), ("modulators", Mapping), ("plasticity", Tensor)):
            if not isinstance(saved.get(name), kind):
                found = known_as(saved[name]) if name in saved else "missing"
                raise TypeError(f"saved[{name!r}] is {found}; expected what state.to_dict() gave.")
        if not set(saved["gate"]) <= set(NeuromodState._fields) or not {"levels", "baseline"} <= set(saved["gate"]):
            raise ValueError(
                f"saved['gate'] holds {', '.join(map(str, saved['gate']))}; expected a NeuromodState's fields."
            )
        affect, gate = (
            AffectiveState.from_dict(clone_tensors(saved["affect"])),
            NeuromodState(**clone_tensors(saved["gate"])),
        )
        state = cls(affect, gate, clone_tensors(saved["modulators"]), saved["plasticity"].detach().clone())
        _require_fields(state)
        return state


def clone_tensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The same under the same names, sharing no memory."""
    return {n: value.detach().clone() if isinstance(value, Tensor) else value for n, value in tensors.items()}


def admitted(state: LoopState, *, shared: bool) -> LoopState:
    """The state, its affect in its precision; what is no state of a loop like this is refused."""
    if not isinstance(state, LoopState):
        raise TypeError(f"state is a {type(state).__name__}; expected the LoopState of loop.init(B).")
    _require_fields(state)
    held = len(state.plasticity)
    if len(state.affect.mood) != (1 if shared else held):
        raise ValueError(
            f"state.affect is for {len(state.affect.mood)}; expected {1 if shared else held}. It comes from a loop "
            f"with shared={not shared}; start anew with loop.init({held})."
        )
    require_affect_state(state.affect, None, state.plasticity.device)
    dtype = torch.promote_types(state.affect.mood.dtype, state.plasticity.dtype)
    return state if state.affect.mood.dtype == dtype else state._replace(affect=state.affect.to(dtype=dtype))


def require_one_batch(state: LoopState, size: int | None, device: torch.device | None) -> None:
    """Refuse a state for another batch size or device than the events'."""
    held, place = len(state.plasticity), state.plasticity.device
    if size is not None and size != held:
        raise ValueError(
            f"The events are for a batch of {size}, the state for one of {held}; expected the same. Start anew with "
            f"loop.init({size}), or with loop.reset(scope='all') where the loop holds the state."
        )
    if device is not None and device != place:
        raise ValueError(
            f"The events are on {device}, the state on {place}; expected the same device. Move the state with "
            f"state.to({str(device)!r})."
        )


def _require_fields(state: LoopState) -> None:
    """Refuse a state whose parts are of another kind, shape or device."""
    require_kind("state.affect", state.affect, AffectiveState, "As from loop.init(B).")
    require_kind("state.gate", state.gate, NeuromodState, "As from loop.init(B).")
    require_kind("state.modulators", state.modulators, Mapping, "As from loop.init(B).")
    for name, tensor in (("plasticity", state.plasticity), ("gate.levels", state.gate.levels)):
        require_real(f"state.{name}", tensor)
        if not tensor.dim() or not tensor.is_floating_point() or tensor.device != state.plasticity.device:
            raise ValueError(
                f"state.{name} is {shown(tensor)} on {tensor.device}; expected floats (B, ...), on one device."
            )
    if len(state.gate.levels) != len(state.plasticity) or not isinstance(state.affect.mood, Tensor):
        raise ValueError("state.gate, state.affect and state.plasticity are of different batches; expected one.")
    for name in NAMES:
        level = state.modulators.get(name)
        if not isinstance(level, Tensor) or level.shape != state.plasticity.shape:
            raise ValueError(
                f"state.modulators[{name!r}] is {known_as(level)}; expected {tuple(state.plasticity.shape)}."
            )


def reset_state(state: LoopState, fresh: LoopState, mask: Tensor | None, scope: str) -> LoopState:
    """The state after a reset of some samples, or of all; an affect that all share belongs to no sample.

    Raises:
        TypeError: `mask` is not boolean.
        ValueError: `mask` is not (B,).
    """
    place = state.plasticity.device
    rows = torch.ones(len(state.plasticity), dtype=torch.bool, device=place) if mask is None else mask
    gate = reset_gate(state.gate, rows, keep_baseline=scope == "episode")  # refuses a mask that does not fit
    rows = rows.to(place)
    if scope in ("affect", "all"):
        if len(state.affect.mood) == len(rows):
            state = state._replace(affect=reset_affect(state.affect, fresh.affect, rows))
        elif mask is None:
            state = state._replace(affect=fresh.affect)
    if scope in ("episode", "neuromodulators", "all"):
        levels = {name: level.masked_fill(rows, 0.0) for name, level in state.modulators.items()}
        plasticity = state.plasticity.masked_fill(rows, 0.0)
        state = state._replace(gate=gate, modulators=levels, plasticity=plasticity)
    return state


def resize_state(state: LoopState, fresh: LoopState) -> LoopState:
    """What was felt and learnt, for a batch of another size: every sample goes on from the mean over those before.

    Args:
        state: it is not changed.
        fresh: from `loop.init` for the new batch size.
    """

    def carried(old: Any, new: Any) -> Any:
        if not isinstance(old, Tensor) or old.shape == new.shape:
            return old
        return old.mean(0, keepdim=True).expand_as(new).clone()

    affect = tree_map(carried, state.affect, fresh.affect)
    felt = {name: level.mean().expand_as(fresh.plasticity) for name, level in state.modulators.items()}
    return fresh._replace(affect=affect, gate=for_batch(state.gate, fresh.gate), modulators=felt)


def empty_state(one: LoopState, two: LoopState) -> LoopState:
    """A fresh state for no sample, from those for one and for two: what grows is nothing, what is shared is there."""

    def nothing(a: Any, b: Any) -> Any:
        return a[:0] if isinstance(a, Tensor) and a.shape != b.shape else a

    return tree_map(nothing, one, two)


def read_loop_state(what: str, saved: Any, init: Callable[..., LoopState]) -> LoopState:
    """The state that `to_dict` described, held against a fresh one of its batch size.

    Raises:
        TypeError, ValueError: a part is missing, strange, shaped otherwise, or holds NaN.
    """
    require_parts(what, saved, ("affect", "gate", "modulators", "plasticity"))
    rows = require_tensor(f"{what}: plasticity", saved["plasticity"], (None,))
    if rows.dtype not in (torch.float32, torch.float64) or not len(rows):
        raise ValueError(f"{what}: plasticity is {rows.dtype} of {len(rows)} samples; expected float32 of 1 or more.")
    fresh = init(len(rows), rows.device, rows.dtype).to_dict()
    for group in ("affect", "gate", "modulators"):
        require_parts(f"{what}: {group}", saved[group], fresh[group])
        for name, new in fresh[group].items():
            if isinstance(new, Tensor):
                require_tensor(f"{what}: {name}", saved[group][name], tuple(new.shape), like=new)
            else:
                require_saved_count(f"{what}: {name}", saved[group][name])
    return LoopState.from_dict(saved)
