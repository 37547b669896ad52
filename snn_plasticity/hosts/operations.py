"""What one operation does to the places of a tensor: it keeps them, moves them, or mixes them.

Views need nothing: they show the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from .layout import Layout, elements_of
from .operation_kinds import FRESH, MOVES_MANY, MOVES_ONE, UNIT_BY_UNIT
from .provenance import Origin, Part, Places, added, compact, joined, unit_by_unit


class Operation:
    """One call of a torch function.

    Args:
        name, func, args, kwargs: the call.
        parts: the tensors in its arguments.
        written: those that it has written into.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        parts: Sequence[Part],
        written: Sequence[Part],
    ) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.parts, self.written = parts, written
        self.name = name.split(".")[0].strip("_") or name

    def origins(self, out: Tensor) -> list[Origin]:
        """Of a tensor that it has made."""
        if self.name in FRESH:
            return []
        if self.name in UNIT_BY_UNIT or (
            self.name == "where" and sum(part.image is not None for part in self.parts) < 2
        ):
            return unit_by_unit(self.parts, out, self.name)
        if self.name in MOVES_ONE:
            return self._moved(out, self.parts[:1])
        if self.name in MOVES_MANY:
            return self._moved(out, self.parts[1:] if self.name == "where" else self.parts)
        if self.name == "pad" and self._pads_with_a_constant():
            return self._moved(out, self.parts[:1])
        return self.stirred()

    def stirred(self) -> list[Origin]:
        """What is left of all parts where they are mixed."""
        return added([origin.stirred(self.name) for part in self.parts for origin in part.origins])

    def _pads_with_a_constant(self) -> bool:
        mode = self.kwargs.get("mode", self.args[2] if len(self.args) > 2 else "constant")
        return mode == "constant"

    def _moved(self, out: Tensor, data: Sequence[Part]) -> list[Origin]:
        """The same movement of the places: term by term, with none where a part has no such term."""
        found: list[Origin] = []
        whole = [origin for part in data for origin in part.origins if origin.places is None]
        terms = [[origin for origin in part.origins if origin.places is not None] for part in data]
        for k in range(max(map(len, terms), default=0)):
            chosen = [origins[k] if k < len(origins) else None for origins in terms]
            calls, places = joined(chosen)
            moved = self._replayed(out, data, places)
            found.append(compact(Origin(calls, moved)) if moved else Origin(calls, None, self.name))
        return added([*found, *(origin.stirred(self.name) for origin in whole)])

    def _replayed(self, out: Tensor, data: Sequence[Part], places: Sequence[Places | None]) -> Places | None:
        """The call again, with the places instead of the data; None where it does not work on them."""
        if any(part.tensor.layout is not torch.strided for part in data):
            return None
        seen, size, func = Layout.of(out), elements_of(out), self.func
        stand_ins = {
            id(part.tensor): Shown(place, Layout.of(part.tensor)) for part, place in zip(data, places, strict=True)
        }
        kwargs = {**self.kwargs, "value": -1} if self.name == "pad" else dict(self.kwargs)
        call = tree_map_only(Tensor, lambda tensor: stand_ins.get(id(tensor), tensor), (tuple(self.args), kwargs))

        def make() -> Tensor:
            args, kwargs = tree_map_only(Shown, Shown.value, call)
            memory = torch.full((size,), -1)
            seen.shown(memory).copy_(func(*args, **kwargs).to(memory.device))
            return memory

        key = None if any(id(part.tensor) not in stand_ins for part in self.parts) else _key(call)
        if key is not None:
            lasting = all(place is None or place.lasting for place in places)
            return Places((self.name, key, seen, size), size, make, lasting=lasting)
        try:  # tensors that say where to may change afterwards
            return Places.fixed(make())
        except (RuntimeError, TypeError, IndexError, ValueError):
            return None


class Shown:
    """What a tensor shows of places, in its stead."""

    __slots__ = ("layout", "places")

    def __init__(self, places: Places | None, layout: Layout) -> None:
        self.places, self.layout = places, layout

    def value(self) -> Tensor:
        """The places; −1 where there are none."""
        if self.places is None:
            return torch.full(self.layout.shape, -1)
        return self.layout.shown(self.places.value)


def _key(value: Any) -> Any:
    """What tells one call from another; None where nothing does."""
    if isinstance(value, Shown):
        return (value.layout, value.places and value.places.key)
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    if isinstance(value, Mapping):
        value = tuple(sorted(value.items()))
    if isinstance(value, (tuple, list)):
        keys = tuple(_key(item) for item in value)
        return None if any(key is None and item is not None for key, item in zip(keys, value, strict=True)) else keys
    try:
        hash(value)
    except TypeError:
        return None
    return value
