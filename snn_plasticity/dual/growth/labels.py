"""Labels: which unit each element of a tensor belongs to, and what operations make of that.

Every index of every axis of a weight has a label. Where two meet, element by element or in a sum of products, they are
one: they count the same unit. Of a tensor, a *plane* of its shape holds a label for each element; weights have a plane
for each axis, activations one for their units. What moves elements about moves planes the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")  # labels are there, whatever the default device
NO_UNIT, FIXED = -1, 0  # no unit that is known; what cannot grow, such as a feature of the input


class UnionFind:
    """Labels that turned out to be one. The smallest of them stands for all, so that FIXED always does."""

    def __init__(self) -> None:
        self._parent, self.unions = np.zeros(1, np.int64), 0

    def new(self, count: int) -> Tensor:
        """Labels that no tensor has yet."""
        first = len(self._parent)
        self._parent = np.concatenate([self._parent, np.arange(first, first + count)])
        return torch.arange(first, first + count, device=CPU)

    def roots(self, labels: Tensor) -> np.ndarray:
        """What stands for each label; NO_UNIT stays."""
        known = labels.numpy()
        found = np.where(known < 0, 0, known)
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                return np.where(known < 0, NO_UNIT, found)
            found = above

    def unify(self, one: Tensor, other: Tensor) -> None:
        """Element by element, after broadcasting; what is unknown is left out."""
        if one.shape == other.shape and torch.equal(one, other):
            return
        a, b = (self.roots(x) for x in (one, other))
        a, b = np.broadcast_arrays(a, b)
        apart = (a != b) & (a >= 0) & (b >= 0)
        if apart.any():
            for x, y in np.unique(np.stack([a[apart], b[apart]]), axis=1).T:
                low, high = sorted((self._find(x), self._find(y)))
                self._parent[high] = low
                self.unions += 1

    def _find(self, label: int) -> int:
        while self._parent[label] != label:
            label = self._parent[label]
        return int(label)


@dataclass(eq=False)
class Labels:
    """What is known of a tensor.

    Args:
        planes: labels, each plane of the tensor's shape.
        from_input: whether it depends on the sample.
        marks: numbers of the marks (`Algebra.marks`) of what went into it.
        makers: the weights since the last sum of products.
        parent: the labels of what this is a view of.
    """

    planes: tuple[Tensor, ...] = ()
    from_input: bool = False
    marks: frozenset[int] = frozenset()
    makers: frozenset[str] = frozenset()
    parent: Labels | None = None
    _small: tuple[Any, tuple[Tensor, ...]] | None = field(default=None, repr=False)

    @property
    def small(self) -> tuple[Tensor, ...]:
        """The planes that hold anything, compact; worked out once."""
        if self._small is None or self._small[0] is not self.planes:
            found = tuple(compact(plane) for plane in self.planes)
            self._small = self.planes, tuple(plane for plane in found if bool((plane >= 0).any()))
        return self._small[1]

    def forget(self) -> None:
        """Planes were written into."""
        self._small = None

    def with_planes(self, planes: Iterable[Tensor]) -> Labels:
        """The same with other planes."""
        return Labels(tuple(planes), self.from_input, self.marks, self.makers)

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return self.from_input or bool(self.small)


@dataclass
class Mark:
    """Units that an operation mixes, or one that is not followed: they cannot become more."""

    labels: Tensor
    operation: str
    where: str
    followed: bool = True


@dataclass
class SumOfProducts:
    """A sum of products with weights: their labels that it sums over, the units it reads, and those it makes."""

    consumed: Tensor
    read: Tensor
    made: Tensor
    makers: frozenset[str]


ShapedLabels = tuple[Sequence[int], Labels]


@dataclass
class Algebra:
    """What operations make of labels; remembers what was consumed, made, mixed and multiplied."""

    units: UnionFind = field(default_factory=UnionFind)
    marks: list[Mark] = field(default_factory=list)
    products: list[SumOfProducts] = field(default_factory=list)
    bilinear: list[tuple[Tensor, frozenset[str]]] = field(default_factory=list)
    where: Callable[[], str] = str

    def mark(self, labels: Tensor, operation: str, followed: bool = True) -> frozenset[int]:
        """Note units that are mixed here; the number of the mark."""
        self.marks.append(Mark(labels.unique(), operation, self.where(), followed))
        return frozenset({len(self.marks) - 1})

    def fix(self, labels: Tensor) -> None:
        """These cannot grow."""
        self.units.unify(labels, torch.tensor(FIXED, device=CPU))

    def pointwise(self, operands: Sequence[ShapedLabels], shape: Sequence[int]) -> Labels:
        """Element by element, with broadcasting: labels that meet are one."""
        merged: list[Tensor] = []
        for _, labels in operands:
            self._merge(merged, _aligned(labels, len(shape)))
        for own, labels in operands:
            if labels.known and (labels.planes or not labels.marks):  # what was mixed has lost its labels
                self._fix_uncovered(merged, own, labels, shape)
        if any(labels.from_input for _, labels in operands):  # an axis without a plane is fixed anyway
            merged = [plane for plane in merged if bool((self.units.roots(plane) != FIXED).any())]
        planes = tuple(plane.expand(*shape) for plane in merged)
        return _joined(planes, [labels for _, labels in operands])

    def _merge(self, merged: list[Tensor], planes: list[Tensor]) -> None:
        taken: set[int] = set()
        present = len(merged)
        for plane in sorted(planes, key=_changes):
            hits = [k for k in range(present) if _overlap(merged[k], plane)]
            free = sorted((k for k in hits if k not in taken), key=lambda k: _changes(merged[k]))
            if hits and not free:  # two kinds of units in one axis meet one kind: the outer one stays
                self.fix(plane)
            elif not free:
                merged.append(plane)
            else:
                chosen = free[:1] + [k for k in free[1:] if not _overlap(merged[k], merged[free[0]])]
                for k in chosen:
                    self.units.unify(merged[k], plane)
                    merged[k] = torch.where(merged[k] < 0, plane, merged[k])
                taken.update(chosen)
        met = [k for k in range(present) if k not in taken and any(_overlap(merged[k], merged[t]) for t in taken)]
        for k in reversed(met):
            self.fix(merged.pop(k))

    def _fix_uncovered(self, merged: list[Tensor], own: Sequence[int], labels: Labels, shape: Sequence[int]) -> None:
        """An axis that counts units here, and in one operand is as long but counts none, has a fixed length."""
        sizes = [1] * (len(shape) - len(own)) + list(own)
        covered = {axis for plane in _aligned(labels, len(shape)) for axis in varying(plane)}
        for plane in merged:
            if any(sizes[axis] > 1 and axis not in covered for axis in varying(plane)):
                self.fix(plane)

    def reduce(self, labels: Labels, dims: Iterable[int], operation: str, *, stays: bool = False) -> Labels:
        """Over some axes, which stay with length 1, or as they are: units there are mixed, or taken together."""
        dims, planes, marks = set(dims), [], labels.marks
        for plane in labels.planes:
            small = compact(plane)
            inner = dims.intersection(varying(small))
            if inner and not set(varying(small)) - dims:
                if labels.from_input and bool((small >= 0).any()):
                    marks |= self.mark(small, operation)
                if stays:
                    planes.append(plane)
                continue
            first = small
            for axis in inner:
                first = first.narrow(axis, 0, 1)
            self.units.unify(small, first)
            size = [n if stays or k not in dims else 1 for k, n in enumerate(plane.shape)]
            planes.append((small if stays else first).expand(*size))
        return Labels(tuple(planes), labels.from_input, marks, labels.makers)

    def contract(self, operands: Sequence[ShapedLabels], contracted: Sequence[int]) -> Labels:
        """A sum of products over some axes of operands that broadcast; those axes are gone."""
        shape = torch.broadcast_shapes(*[tuple(own) for own, _ in operands])
        inner, weights = set(contracted), [labels for _, labels in operands if not labels.from_input]
        mixed = any(labels.from_input for _, labels in operands)
        made, consumed = [], []
        for labels in weights:
            for plane in _aligned(labels, len(shape)):
                axes = set(varying(plane))
                (consumed if axes <= inner else made).append(plane.flatten())
        if mixed and not weights:
            left = next(labels for _, labels in operands if labels.from_input)
            silent = [p.flatten() for p in _aligned(left, len(shape)) if varying(p) and set(varying(p)) <= inner]
            self.bilinear += [(plane, left.makers) for plane in silent]
        joint = self.pointwise(operands, shape)
        summed = self.reduce(Labels(joint.planes, False), inner, "sum")
        makers = frozenset().union(*[labels.makers for labels in weights]) if weights else joint.makers
        if any(labels.known for labels in weights):
            summed_over = _together(consumed)
            self.products.append(SumOfProducts(summed_over, summed_over, _together(made if mixed else []), makers))
        planes = tuple(_drop(plane, inner) for plane in summed.planes)
        return Labels(planes, joint.from_input, joint.marks, makers)

    def look_up(self, table: Labels, shape: Sequence[int]) -> Labels:
        """Rows of a table of weights, which make units."""
        planes = []
        for plane in table.small:
            if plane.shape[0] > 1:
                self.fix(plane)
            else:
                planes.append(plane[0].expand(*shape))
        made = _together([compact(plane).flatten() for plane in planes])
        self.products.append(SumOfProducts(made[:0], made[:0], made, table.makers))
        return table.with_planes(planes)

    def convolve(
        self, x: ShapedLabels, weight: ShapedLabels, bias: ShapedLabels | None, groups: int, transposed: bool
    ) -> Labels:
        """A convolution: the channels it makes have a plane on axis 1. To groups, whole groups are added."""
        (x_shape, read), (w_shape, kernel) = x, weight
        channels = self.channels(read, x_shape[1])
        first, second = (self._weight_axis(kernel, axis, w_shape) for axis in (0, 1))
        rows, cols = (second, first) if transposed else (first, second)
        consumed = cols
        if groups > 1:
            rows, consumed = self._grouped(channels, rows, cols, groups, transposed)
        else:
            self.units.unify(channels, cols)
        if bias is not None:
            self.units.unify(rows, self._weight_axis(bias[1], 0, bias[0]))
        makers = kernel.makers | (bias[1].makers if bias else frozenset())
        self.products.append(SumOfProducts(consumed, channels, rows, makers))
        return Labels((rows,), read.from_input or kernel.from_input, read.marks | kernel.marks, makers)

    def _grouped(
        self, channels: Tensor, rows: Tensor, cols: Tensor, groups: int, transposed: bool
    ) -> tuple[Tensor, Tensor]:
        """Made and consumed labels; where the channels that are read are fixed, every group makes more of its own."""
        blocks, none = channels.reshape(groups, -1), cols[:0]
        if bool((channels < 0).all()):  # a constant, such as a state at its beginning
            return (rows.repeat(groups) if transposed else rows), none
        fixed = bool((self.units.roots(channels) == FIXED).all())
        if fixed and transposed:
            self.fix(cols)
            return rows.repeat(groups), none
        self.fix(rows if transposed else cols)
        if fixed:
            made = rows.reshape(groups, -1)
            self.units.unify(made, made[:1])
            return rows, none
        self.units.unify(blocks, blocks[:, :1])
        if transposed:
            self.units.unify(cols, channels)
            return blocks[:, :1].expand(groups, len(rows)).flatten(), none
        self.units.unify(rows.reshape(groups, -1), blocks[:, :1])
        return rows, none

    def channels(self, labels: Labels, size: int, axis: int = 1) -> Tensor:
        """The labels along one axis; what varies elsewhere within it is taken together."""
        known = labels.small
        if not known:
            return torch.full((size,), FIXED if labels.from_input else NO_UNIT, device=CPU)
        plane = min(known, key=lambda p: (p.shape[axis] == 1, _changes(p))).movedim(axis, 0)
        plane = plane.expand(size, *plane.shape[1:]).reshape(size, -1)
        self.units.unify(plane, plane[:, :1])
        return plane[:, 0].clone()

    def _weight_axis(self, labels: Labels, axis: int, shape: Sequence[int]) -> Tensor:
        found = torch.full((shape[axis],), NO_UNIT, device=CPU)
        for small in labels.small:
            if axis in varying(small):
                found = small.movedim(axis, 0).reshape(shape[axis], -1)[:, 0]
            elif set(varying(small)) - {0, 1}:
                self.fix(small)
        return found

    def join(self, parts: Sequence[ShapedLabels], axis: int) -> Labels:
        """Tensors one behind the other: their other axes are one."""
        across, along = [], []
        for shape, labels in parts:
            planes = labels.small
            inside = [plane for plane in planes if axis in varying(plane)]
            rest = tuple(p.narrow(axis, 0, 1) for p in planes if axis not in varying(p))
            across.append(([*shape[:axis], 1, *shape[axis + 1 :]], Labels(rest, labels.from_input)))
            along.append(inside)
        shape = [*parts[0][0][:axis], sum(s[axis] for s, _ in parts), *parts[0][0][axis + 1 :]]
        planes = [p.expand(*shape) for p in self.pointwise(across, across[0][0]).planes]
        for k in range(max(map(len, along))):
            pieces = []
            for (own, labels), inside in zip(parts, along, strict=True):
                other = torch.tensor(FIXED if labels.known else NO_UNIT, device=CPU)
                pieces.append((inside[k] if k < len(inside) else other).expand(*own))
            planes.append(torch.cat(pieces, axis))
        return _joined(tuple(planes), [labels for _, labels in parts])


def compact(plane: Tensor) -> Tensor:
    """The plane with length 1 along every axis on which it does not vary."""
    for axis, size in enumerate(plane.shape):
        if size > 1:
            first = plane.narrow(axis, 0, 1)
            if plane.stride(axis) == 0 or bool((plane == first).all()):
                plane = first
    return plane


def varying(plane: Tensor) -> tuple[int, ...]:
    """The axes along which a compact plane varies."""
    return tuple(axis for axis, size in enumerate(plane.shape) if size > 1)


def _overlap(one: Tensor, other: Tensor) -> bool:
    return any(a > 1 and b > 1 for a, b in zip(one.shape, other.shape, strict=True))


def _changes(plane: Tensor) -> int:
    """How often the label changes along the axes: more often, the further in its units lie."""
    return sum(int((plane.diff(dim=axis) != 0).sum()) for axis in varying(plane))


def _aligned(labels: Labels, ndim: int) -> list[Tensor]:
    return [plane.reshape(*[1] * (ndim - plane.dim()), *plane.shape) for plane in labels.small]


def _joined(planes: tuple[Tensor, ...], parts: Sequence[Labels]) -> Labels:
    return Labels(
        planes,
        any(part.from_input for part in parts),
        frozenset().union(*[part.marks for part in parts]),
        frozenset().union(*[part.makers for part in parts]),
    )


def _together(planes: list[Any]) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.int64, device=CPU), *planes])


def _drop(plane: Tensor, axes: set[int]) -> Tensor:
    index = tuple(0 if axis in axes else slice(None) for axis in range(plane.dim()))
    return plane[index]
