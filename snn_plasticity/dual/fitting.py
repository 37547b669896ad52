"""Whether a map fits two networks: every sentence names the tensor and the clash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .weights_map import Slot, WeightsMap


def require_fit(weights: WeightsMap, small: Mapping[str, Tensor], large: Mapping[str, Tensor]) -> None:
    """Refuse a map with a tensor that is missing, does not fit, or shares an entry with another one."""
    _require_complete(weights, small)
    taken: dict[str, Tensor] = {}
    for name, slot in weights.slots.items():
        if slot.name not in large:
            raise ValueError(
                f"{name} goes to {slot.name!r}, which the motivated network does not have; it has {', '.join(large)}."
            )
        source, target = small[name], large[slot.name]
        if source.dtype != target.dtype:
            raise ValueError(f"{name} is {source.dtype} and {slot.name} is {target.dtype}; expected the same type.")
        _require_inside(name, slot, source, target)
        seen = taken.setdefault(slot.name, torch.zeros(target.shape, dtype=torch.bool))
        index = slot.index(source, seen)
        if bool(seen[index].any()):
            where = tuple(torch.nonzero(_marked(seen, index))[0].tolist())
            raise ValueError(
                f"{name} and another base tensor both go to entry {where} of {slot.name}; "
                "expected a map that gives every entry to one of them at most."
            )
        seen[index] = True


def _require_complete(weights: WeightsMap, small: Mapping[str, Tensor]) -> None:
    known = {*weights.slots, *weights.private}
    unknown, missing = sorted(known - set(small)), [name for name in small if name not in known]
    if unknown:
        raise ValueError(f"The base has no {', '.join(unknown)}; it has {', '.join(small)}.")
    if missing:
        raise ValueError(
            f"{', '.join(missing)} of the base is not mapped; map it, or say private=({missing[0]!r}, ...) "
            "if the base shall keep it for itself."
        )


def _require_inside(name: str, slot: Slot, source: Tensor, target: Tensor) -> None:
    if slot.entries is not None:
        if len(slot.entries) != source.numel():
            raise ValueError(f"{name} has {source.numel()} entries, and its map {len(slot.entries)}; expected as many.")
        _require_indices(name, "entries", slot.entries, target.numel(), slot.name)
        return
    if slot.axes is None:
        if source.shape != target.shape:
            raise ValueError(
                f"{name} has shape {tuple(source.shape)} and {slot.name} {tuple(target.shape)}; "
                "expected the same, or a Slot with axes."
            )
        return
    sizes = tuple(len(axis) for axis in slot.axes)
    if sizes != tuple(source.shape) or len(sizes) != target.dim():
        raise ValueError(
            f"{name} has shape {tuple(source.shape)}, its map {sizes}, and {slot.name} {tuple(target.shape)}; "
            "expected one index for every index of every axis."
        )
    for axis, (indices, size) in enumerate(zip(slot.axes, target.shape, strict=True)):
        _require_indices(name, f"axis {axis}", indices, size, slot.name)


def _require_indices(name: str, what: str, indices: object, size: int, target: str) -> None:
    seen: dict[int, int] = {}
    for k, index in enumerate(indices):  # type: ignore[arg-type]
        if not 0 <= index < size:
            raise ValueError(f"{name}, {what}: {k} goes to {index}, and {target} has 0 to {size - 1} there.")
        if index in seen:
            raise ValueError(
                f"{name}, {what}: {seen[index]} and {k} both go to {index} of {target}; expected a map that gives "
                "every index to one of them at most."
            )
        seen[index] = k


def _marked(seen: Tensor, index: tuple) -> Tensor:
    mine = torch.zeros_like(seen)
    mine[index] = True
    return seen & mine
