"""WeightsMap: which entries of a large network are the small one's.

    motivated[slot.name][slot.index] = base[name]

An index map is a list of indices for every axis of the base's tensor, contiguous or not, or a list of entries, one for
each of the tensor's. It is data: it goes to and from JSON, and says nothing about how the networks were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._checks import require_kind, require_path, shown
from .nets import explain_errors, tensors_of

Indices = Sequence[int]
Index = tuple[slice | Tensor, ...]


class Slot(NamedTuple):
    """Where one tensor of the base lies in the motivated network.

    Args:
        name: the motivated network's tensor.
        axes: for each axis, where its indices go; None: the whole tensor, as it is.
        entries: instead of axes: where each entry goes, counted along the flattened tensor.
    """

    name: str
    axes: tuple[Indices, ...] | None = None
    entries: Indices | None = None

    def index(self, source: Tensor, target: Tensor) -> Index:
        """What `target[...]` is indexed with, so that it has the shape of `source`."""
        require_kind("source", source, Tensor, "A tensor of the base.")
        require_kind("target", target, Tensor, "A tensor of the motivated net.")
        message = f"The slot does not lead from {shown(source)} into {shown(target)}"
        with explain_errors(message, "indices for each axis of the base's tensor"):
            return self._index(source, target)

    def _index(self, source: Tensor, target: Tensor) -> Index:
        if self.entries is not None:
            flat = torch.tensor(list(self.entries), device=target.device).reshape(source.shape)
            return torch.unravel_index(flat, target.shape)
        if self.axes is None:
            return (slice(None),) * source.dim()
        if all(_is_run(axis) for axis in self.axes):
            return tuple(slice(axis[0], axis[-1] + 1) if len(axis) else slice(0) for axis in self.axes)
        # One index tensor for each axis, of length n_k along axis k and 1 elsewhere: they broadcast to the block.
        shapes = [[-1 if a == b else 1 for b in range(source.dim())] for a in range(source.dim())]
        lists = [torch.tensor(list(axis), device=target.device) for axis in self.axes]
        return tuple(axis.reshape(shape) for axis, shape in zip(lists, shapes, strict=True))

    def _plain(self) -> dict[str, Any]:
        axes = self.axes and [_to_plain(axis) for axis in self.axes]
        return {"name": self.name, "axes": axes, "entries": _to_plain(self.entries)}

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> Slot:
        axes = values["axes"]
        axes = None if axes is None else tuple(_from_plain(axis) or () for axis in axes)
        return cls(values["name"], axes, _from_plain(values["entries"]))


class WeightsMap:
    """Injective index maps from every tensor of a base into a motivated network.

    Args:
        slots: {name of a base tensor: where it lies}.
        private: base tensors that are not shared.

    Raises:
        TypeError: a slot is none.

    >>> small, large = nn.Linear(1, 2), nn.Linear(1, 4)
    >>> weights = WeightsMap({"weight": Slot("weight", ((3, 1), (0,))), "bias": Slot("bias", ((3, 1),))})
    >>> weights.copy_up(small, large)
    >>> bool((large.weight[[3, 1]] == small.weight).all())
    True
    """

    def __init__(self, slots: Mapping[str, Slot], private: Sequence[str] = ()) -> None:
        require_kind("slots", slots, Mapping, "As {'weight': Slot('weight')}.")
        require_kind("private", private, (list, tuple), "Names of tensors of the base.")
        for name in (*slots, *private):
            require_kind("A name of a tensor", name, str, "As 'fc1.weight'.")
        for name, slot in slots.items():
            if not isinstance(slot, Slot):
                raise TypeError(f"slots[{name!r}] is a {type(slot).__name__}; expected a Slot(name, axes).")
        with explain_errors("slots do not hold indices", "whole numbers for each axis, or None"):
            self.slots = {name: Slot._of(slot._plain()) for name, slot in slots.items()}
        self.private = tuple(private)

    @classmethod
    def identity(cls, base: nn.Module) -> WeightsMap:
        """Every tensor to the one of the same name and shape."""
        require_kind("base", base, nn.Module, "The net whose tensors are mapped.")
        return cls({name: Slot(name) for name in tensors_of(base)})

    def copy_up(self, base: nn.Module, motivated: nn.Module) -> None:
        """The base's weights and buffers into their part of the motivated network; errors as `check`."""
        self._copy(base, motivated, up=True)

    def copy_down(self, base: nn.Module, motivated: nn.Module) -> None:
        """The shared part of the motivated network back into the base; errors as `check`."""
        self._copy(base, motivated, up=False)

    def check(self, base: nn.Module, motivated: nn.Module) -> None:
        """Whether the map fits two networks.

        Raises:
            ValueError: a tensor that does not exist, is not mapped, has another shape or type, or shares an entry.
        """
        for name, net in (("base", base), ("motivated", motivated)):
            require_kind(name, net, nn.Module, "A net.")
        _require_fit(self, tensors_of(base), tensors_of(motivated))

    def then(self, other: WeightsMap) -> WeightsMap:
        """The map into a third network: `widen` after `deepen`.

        Raises:
            ValueError: the second map does not know where the first one leads to, or either maps single entries.
        """
        require_kind("other", other, WeightsMap, "The map from the second net into the third.")
        slots = {}
        for name, first in self.slots.items():
            second = other.slots.get(first.name)
            if second is None or first.entries is not None or second.entries is not None:
                raise ValueError(f"{name} goes to {first.name}, which the second map does not take on axis by axis.")
            if first.axes is None or second.axes is None:
                axes = first.axes or second.axes
            else:
                axes = tuple([b[i] for i in a] for a, b in zip(first.axes, second.axes, strict=True))
            slots[name] = Slot(second.name, axes)
        return WeightsMap(slots, self.private)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: runs of indices as "start:stop", others as lists."""
        slots = {name: slot._plain() for name, slot in self.slots.items()}
        return {"slots": slots, "private": list(self.private)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WeightsMap:
        """The map that `to_dict` described."""
        values = require_kind("values", values, Mapping, "As from weights.to_dict().")
        with explain_errors("values is no saved map", "what weights.to_dict() gave"):
            return cls({name: Slot._of(slot) for name, slot in values["slots"].items()}, values["private"])

    def to_json(self, path: str | Path | None = None) -> str:
        """The map as JSON text, written to `path` if one is given."""
        text = json.dumps(self.to_dict(), indent=1)
        if path is not None:
            require_path("path", path, new=True).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> WeightsMap:
        """The map from JSON text or from a file."""
        if not isinstance(source, str) or not source.lstrip().startswith(("{", "[")):
            source = require_path("source", source).read_text(encoding="utf-8", errors="replace")
        try:
            values = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"source is no JSON of a map ({type(error).__name__}); expected what to_json wrote."
            ) from None
        return cls.from_dict(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightsMap) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"WeightsMap({len(self.slots)} tensors: {', '.join(self.slots)})"

    def _copy(self, base: nn.Module, motivated: nn.Module, *, up: bool) -> None:
        self.check(base, motivated)
        small, large = tensors_of(base), tensors_of(motivated)
        with torch.no_grad():
            for name, slot in self.slots.items():
                source, target = small[name].detach(), large[slot.name].detach()
                index = slot.index(source, target)
                if up:
                    target[index] = source
                else:
                    source.copy_(target[index])


def _is_run(axis: Indices) -> bool:
    return all(b - a == 1 for a, b in zip(axis, axis[1:], strict=False)) and (not axis or axis[0] >= 0)


def _to_plain(axis: Indices | None) -> str | list[int] | None:
    if axis is None:
        return None
    axis = [int(i) for i in axis]
    return f"{axis[0]}:{axis[-1] + 1}" if axis and _is_run(axis) else axis


def _from_plain(axis: str | list[int] | None) -> Indices | None:
    if isinstance(axis, str):
        start, stop = axis.split(":")
        return range(int(start), int(stop))
    return None if axis is None else tuple(axis)


def _require_fit(weights: WeightsMap, small: Mapping[str, Tensor], large: Mapping[str, Tensor]) -> None:
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
            where = tuple(torch.nonzero(_overlap(seen, index))[0].tolist())
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


def _overlap(seen: Tensor, index: tuple) -> Tensor:
    mine = torch.zeros_like(seen)
    mine[index] = True
    return seen & mine
