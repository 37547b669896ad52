"""Batches: what of one is the input and what the target, where it lies, and several that make one step."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .._checks import known_as, require_count, shown


class Fields:
    """Says what in a batch is the input and what the target, by names or by places: `Trainee(..., unpack=Fields(...))`.

        Fields("image", target="label")                      {"image", "label"} → model(image)
        Fields("input_ids", "attention_mask", target="labels")               → model(input_ids=..., attention_mask=...)
        Fields(0, 2, target=1)                               (x, y, lengths) → model(x, lengths)
        Fields(0, target=(1, 2))                             (x, y, lengths) → loss(output, (y, lengths))

    Args:
        inputs: one name or place: the input as it is; several: all of them, for `forward` by name or in this order.
        target: one name or place, or several, which the loss gets as a tuple.

    Raises:
        TypeError, ValueError: neither names nor places, or both among the inputs.

    >>> Fields("x", target="y")({"x": 1, "y": 2, "id": 3})
    (1, 2)
    >>> Fields(0, 2, target=1)(("x", "y", "lengths"))
    (('x', 'lengths'), 'y')
    """

    def __init__(self, *inputs: str | int, target: str | int | tuple[str | int, ...]) -> None:
        targets = target if isinstance(target, (tuple, list)) else (target,)
        for key in (*inputs, *targets):
            if not isinstance(key, str):
                require_count("A field", key, 0, sys.maxsize)
        if not inputs or not targets or len({isinstance(key, str) for key in inputs}) > 1:
            raise TypeError(f"The inputs are {inputs!r}; expected names alone, or places alone, and one at least.")
        self.inputs, self.target = inputs, tuple(targets) if isinstance(target, (tuple, list)) else target

    def __call__(self, batch: Any) -> tuple[Any, Any]:
        """(input, target) of a batch.

        Raises:
            TypeError: a batch that has no such field.
        """
        found = tuple(self._field(batch, key) for key in self.inputs)
        x: Any = found[0] if len(found) == 1 else found
        if len(found) > 1 and isinstance(self.inputs[0], str):
            x = dict(zip(self.inputs, found, strict=True))
        if isinstance(self.target, tuple):
            return x, tuple(self._field(batch, key) for key in self.target)
        return x, self._field(batch, self.target)

    def _field(self, batch: Any, key: str | int) -> Any:
        try:
            if isinstance(batch, (str, bytes, Tensor)):
                raise TypeError
            return batch[key]
        except (TypeError, LookupError):
            has = f"a mapping with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else known_as(batch)
            raise TypeError(f"batch is {has}; expected one with {key!r}, as {self!r} says.") from None

    def __repr__(self) -> str:
        return f"Fields({', '.join(map(repr, self.inputs))}, target={self.target!r})"


def unpack_pair(batch: Any) -> tuple[Any, Any]:
    """A batch as (x, target).

    Raises:
        TypeError: anything but two things in a row.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        more = isinstance(batch, (tuple, list, Mapping)) and len(batch) > 2
        how = (
            " Say what its fields are: Trainee(..., unpack=Fields(0, 2, target=1)) or Fields('x', target='y')."
            if more or isinstance(batch, Mapping)
            else ""
        )
        raise TypeError(f"batch is {known_as(batch)}; expected (x, target).{how}")
    return batch[0], batch[1]


def pair_of(unpack: Callable[[Any], Any], batch: Any) -> tuple[Any, Any]:
    """(x, target) of a batch, as `unpack` says; what it returns is looked at."""
    pair = unpack(batch)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"unpack returned {known_as(pair)}; expected (x, target).")
    return pair[0], pair[1]


def to_device(value: Any, device: torch.device) -> Any:
    """Whatever can be moved in a nest of tuples, lists and mappings, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    return tree_map(lambda leaf: leaf.to(device) if _movable(leaf) else leaf, value, is_leaf=_movable)


def _movable(leaf: Any) -> bool:
    return callable(getattr(leaf, "to", None))


class BatchGroup(tuple):
    """Several batches that make one step: their gradients add up as if they were one batch.

    >>> step_of_two = BatchGroup([("x", "y"), ("x", "y")])    # for trainer.step or trainee.train
    """


def shares_of(group: BatchGroup, unpack: Callable[[Any], tuple[Any, Any]]) -> list[float]:
    """Of all samples, how many each batch holds; samples are counted along the first axis of the target."""
    sizes = [_samples(pair_of(unpack, batch)[1]) for batch in group]
    return [size / sum(sizes) for size in sizes]


def require_samples(target: Any) -> None:
    """Refuse the target of a batch without a sample: a mean over nothing is NaN."""
    leaves = [target] if isinstance(target, Tensor) else tree_leaves(target)
    if any(isinstance(leaf, Tensor) and not leaf.numel() for leaf in leaves):
        raise ValueError(
            f"The batch holds no sample, target is {shown(target)}; expected one at least. Leave such batches out, as "
            "DataLoader(..., drop_last=True) does with small ones."
        )


def _samples(target: Any) -> int:
    first = next((leaf for leaf in tree_leaves(target) if isinstance(leaf, Tensor) and leaf.dim()), None)
    if first is None or not len(first):
        raise TypeError(
            f"The target is {known_as(target)}; expected a tensor (B, ...), to add up gradients by samples."
        )
    return len(first)


def grouped(batches: Iterable[Any], size: int) -> Iterator[BatchGroup]:
    """Batches, `size` at a time; the last group may be smaller.

    >>> [len(group) for group in grouped(range(5), 2)]
    [2, 2, 1]
    """
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield BatchGroup(group)
            group = []
    if group:
        yield BatchGroup(group)
