"""Which rule of the algebra an operation follows, by its name in torch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .labels import CPU, NO_UNIT, Algebra, Labels, compact, varying
from .operation_names import (
    ALSO_POINTWISE,
    FACTORIES,
    MOVES,
    NO_TENSORS,
    OVER_AXES,
    PRODUCTS,
    SCANS,
    SPATIAL,
    WITH_BIAS,
)  # fmt: skip

Arguments = Mapping[str, Any]


class Rules:
    """From the labels of what an operation was given to those of what it gives.

    Args:
        algebra: works them out.
        labels_of: of a tensor.
    """

    def __init__(self, algebra: Algebra, labels_of: Callable[[Tensor], Labels]) -> None:
        self.algebra, self.labels_of = algebra, labels_of

    def apply(self, function: Any, name: str, given: Arguments, output: Any) -> Any:
        """Labels in the place of each tensor that came out; None: what it was given stays as it is."""
        if name.startswith(FACTORIES):
            return self._canvas(output)
        if name in NO_TENSORS:
            return None
        if name in MOVES:
            return self._move(function, name, given, output)
        rule = getattr(self, f"_{name.lstrip('_')}", None) or self._by_table(name)
        if rule is not None:
            return rule(name, given, output)
        if torch.Tag.pointwise in function.tags or name in ALSO_POINTWISE:
            return self._pointwise([value for value in given.values() if isinstance(value, Tensor)], output)
        tensors = [leaf for leaf in tree_leaves(dict(given)) if isinstance(leaf, Tensor)]
        return self._not_followed(name, tensors, output)

    def _by_table(self, name: str) -> Callable[[str, Arguments, Any], Any] | None:
        tables = ((SCANS, self._scan), (OVER_AXES, self._reduce), (SPATIAL, self._spatial))
        tables += ((PRODUCTS, self._product), (WITH_BIAS, self._biased))  # type: ignore[assignment]
        return next((rule for table, rule in tables if name in table), None)

    def _operand(self, tensor: Tensor) -> tuple[torch.Size, Labels]:
        return tensor.shape, self.labels_of(tensor)

    def _each(self, output: Any, labels: Labels) -> Any:
        """The same for every tensor of a shape; nothing is known of others."""
        shape = labels.planes[0].shape if labels.planes else None
        if isinstance(output, Tensor) and output.shape == shape:
            return labels
        unknown = Labels((), labels.from_input, labels.marks, labels.makers)
        return tree_map(lambda o: labels if shape is None or o.shape == shape else unknown, output)

    def _canvas(self, output: Any) -> Any:
        return tree_map(lambda o: Labels((torch.full(o.shape, NO_UNIT, device=CPU),)), output)

    def _pointwise(self, tensors: list[Tensor], output: Any) -> Any:
        first = _first(output)
        operands = [self._operand(t) for t in tensors if t.dim() <= first.dim()]
        return self._each(output, self.algebra.pointwise(operands, first.shape))

    def _move(self, function: Any, name: str, given: Arguments, output: Any) -> Any:
        moved = next(iter(given))
        labels = self._with_chosen(self.labels_of(given[moved]), given)
        others = {key: _on_cpu(value) for key, value in given.items() if key != moved}
        reshaped = name in ("view", "_unsafe_view", "_reshape_alias")

        def plane_of(plane: Tensor) -> Any:
            if reshaped:
                return plane.reshape(output.shape)
            return plane if name in ("detach", "alias") else function(plane, **others)

        if isinstance(output, Tensor):
            moved_planes = tuple(map(plane_of, labels.planes))
            return Labels(moved_planes, labels.from_input, labels.marks, labels.makers, labels)
        planes = [tree_leaves(plane_of(plane)) for plane in labels.planes]
        leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        parts = [
            Labels(tuple(p[k] for p in planes), labels.from_input, labels.marks, labels.makers, labels)
            for k in range(len(leaves))
        ]
        return type(output)(parts)

    def _with_chosen(self, labels: Labels, given: Arguments) -> Labels:
        """What is taken where depends on the indices, and on what these were made of."""
        if "indices" not in given and "index" not in given:
            return labels
        chosen = [leaf for leaf in tree_leaves([given.get("indices"), given.get("index")]) if isinstance(leaf, Tensor)]
        marks = labels.marks.union(*[self.labels_of(index).marks for index in chosen])
        return labels if marks == labels.marks else Labels(labels.planes, labels.from_input, marks, labels.makers)

    def _copy_(self, name: str, given: Arguments, output: Any) -> Any:
        """Into a tensor, or into a view of one, whose planes are views too."""
        target = self.labels_of(given["self"])
        source = self.algebra.pointwise([self._operand(given["src"])], given["self"].shape)
        return self._write(target, source, lambda plane, new: plane.copy_(new))

    def _index_put_(self, name: str, given: Arguments, output: Any) -> Any:
        target, values = self.labels_of(given["self"]), self._with_chosen(self.labels_of(given["values"]), given)
        where = [_on_cpu(i) for i in given["indices"]]
        return self._write(target, values, lambda plane, new: plane.index_put_(where, new))

    def _write(self, target: Labels, source: Labels, write: Callable[[Tensor, Tensor], Any]) -> Labels:
        canvas = [plane for plane in target.planes if 0 not in plane.stride()]
        for plane, new in zip(canvas, source.planes[:1], strict=False):
            write(plane, new)
        above: Labels | None = target
        while above is not None:
            above.forget()
            above.from_input |= source.from_input
            above.marks, above.makers = above.marks | source.marks, above.makers | source.makers
            above = above.parent
        if not canvas:
            target.planes = source.planes
        return target

    def _join(self, given: Arguments, output: Tensor, stacked: bool) -> Labels:
        axis = given.get("dim") or 0
        axis = axis + output.dim() if axis < 0 else axis
        parts = []
        for tensor in given["tensors"]:
            shape, labels = self._operand(tensor)
            if stacked:
                shape = torch.Size([*shape[:axis], 1, *shape[axis:]])
                labels = labels.with_planes(p.unsqueeze(axis) for p in labels.planes)
            if len(shape) == output.dim():
                parts.append((shape, labels))
        return self.algebra.join(parts, axis)

    def _cat(self, name: str, given: Arguments, output: Any) -> Labels:
        return self._join(given, output, False)

    def _stack(self, name: str, given: Arguments, output: Any) -> Labels:
        return self._join(given, output, True)

    def _scan(self, name: str, given: Arguments, output: Any) -> Any:
        x = given["self"]
        labels = self.algebra.reduce(self.labels_of(x), _axes(x, given.get("dim", -1)), name.strip("_"), stays=True)
        first = _first(output)
        if first.shape != x.shape:
            labels.planes = ()
        return self._each(output, labels)

    def _reduce(self, name: str, given: Arguments, output: Any) -> Any:
        x = given["self"]
        if isinstance(given.get("other"), Tensor):  # max(x, y) is element by element
            return self._pointwise([x, given["other"]], output)
        dims = _axes(x, given.get("dim"))
        labels = self.algebra.reduce(self.labels_of(x), dims, name.replace("linalg_", ""))
        shape = _first(output).shape
        labels.planes = tuple(plane.reshape(shape) for plane in labels.planes)
        return self._each(output, labels)

    def _spatial(self, name: str, given: Arguments, output: Any) -> Any:
        x = next(iter(given.values()))
        places = range(x.dim() - SPATIAL[name], x.dim())
        labels = self.algebra.reduce(self.labels_of(x), places, name.strip("_"))
        first = _first(output)
        labels.planes = tuple(plane.expand(*first.shape) for plane in labels.planes)
        return self._each(output, labels)

    def _constant_pad_nd(self, name: str, given: Arguments, output: Tensor) -> Labels:
        x, pads = given["self"], list(given["pad"])
        labels, planes = self.labels_of(x), []
        for plane in labels.small:
            amounts = [0 if plane.shape[-1 - k // 2] == 1 else pads[k] for k in range(len(pads))]
            planes.append(torch.constant_pad_nd(plane, amounts, NO_UNIT).expand(*output.shape))
        return labels.with_planes(planes)

    def _product(self, name: str, given: Arguments, output: Tensor) -> Labels:
        left, right = (v for v in given.values() if isinstance(v, Tensor))
        return self._contract(name, left, right)

    def _contract(self, name: str, left: Tensor, right: Tensor) -> Labels:
        operands = [_framed(*self._operand(t), frame) for t, frame in zip((left, right), PRODUCTS[name], strict=True)]
        return self.algebra.contract(operands, [len(operands[0][0]) - 1])

    def _biased(self, name: str, given: Arguments, output: Tensor) -> Labels:
        product, left, right = WITH_BIAS[name]
        made = self._contract(product, given[left], given[right])
        return self.algebra.pointwise([(output.shape, made), self._operand(given["self"])], output.shape)

    def _trilinear(self, name: str, given: Arguments, output: Tensor) -> Labels:
        operands = []
        for k in (1, 2, 3):
            shape, labels = self._operand(given[f"i{k}"])
            planes, shape = labels.planes, list(shape)
            for axis in given[f"expand{k}"]:
                planes, shape = tuple(p.unsqueeze(axis) for p in planes), [*shape[:axis], 1, *shape[axis:]]
            operands.append((torch.Size(shape), labels.with_planes(planes)))
        return self.algebra.contract(operands, given["sumdim"])

    def _convolution(self, name: str, given: Arguments, output: Tensor) -> Labels:
        bias = given.get("bias")
        operands = self._operand(given["input"]), self._operand(given["weight"])
        operands += (None if bias is None else self._operand(bias),)  # type: ignore[assignment]
        made = self.algebra.convolve(*operands, given["groups"], given["transposed"])  # type: ignore[call-arg]
        rows = made.planes[0].reshape(1, -1, *[1] * (output.dim() - 2))
        return made.with_planes([rows.expand(*output.shape)])

    def _native_batch_norm(self, name: str, given: Arguments, output: Any) -> Any:
        x = given["input"]
        operands = [self._operand(x)]
        for key in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(given.get(key), Tensor):
                operands.append(_along(*self._operand(given[key]), x.dim()))
        return self._each(output, self.algebra.pointwise(operands, x.shape))

    _native_batch_norm_legit = _native_batch_norm_legit_no_training = _native_batch_norm
    _cudnn_batch_norm = _miopen_batch_norm = _native_batch_norm

    def _native_layer_norm(self, name: str, given: Arguments, output: Any) -> Any:
        x, dims = given["input"], range(-len(given["normalized_shape"]), 0)
        dims = {axis + x.dim() for axis in dims}
        labels = self.labels_of(x)
        partly = any(0 < len(dims & v) < len(v) for v in map(_axes_of, labels.planes))
        normed = self.algebra.reduce(labels, dims, name, stays=True)
        affine = [self._operand(given[key]) for key in ("weight", "bias") if isinstance(given.get(key), Tensor)]
        if partly:
            for _, own in affine:
                for plane in own.planes:
                    self.algebra.fix(plane)
            affine = []
        return self._each(output, self.algebra.pointwise([(x.shape, normed), *affine], x.shape))

    _fused_rms_norm = _native_layer_norm

    def _native_group_norm(self, name: str, given: Arguments, output: Any) -> Any:
        x, groups, labels = given["input"], given["group"], self.labels_of(given["input"])
        units = self.algebra.channels(labels, x.shape[1])
        marks = labels.marks
        if groups == 1:
            marks |= self.algebra.mark(units, name)
        elif groups < len(units):
            blocks = units.reshape(groups, -1)
            self.algebra.units.unify(blocks, blocks[:, :1])
        for key in ("weight", "bias"):
            if isinstance(given.get(key), Tensor):
                for plane in self.labels_of(given[key]).planes:
                    self.algebra.units.unify(units, plane)
        return self._each(output, Labels(labels.planes, labels.from_input, marks, labels.makers))

    def _embedding(self, name: str, given: Arguments, output: Tensor) -> Labels:
        found = self.algebra.look_up(self.labels_of(given["weight"]), output.shape)
        return Labels(found.planes, True, self.labels_of(given["indices"]).marks, found.makers)

    def _weight_norm_interface(self, name: str, given: Arguments, output: Any) -> Any:
        return self._pointwise([given["v"], given["g"]], output)

    def _glu(self, name: str, given: Arguments, output: Tensor) -> Labels:
        own, dim = self.labels_of(given["self"]), given.get("dim", -1)
        halves = [own.with_planes(p.chunk(2, dim)[k] for p in own.planes) for k in (0, 1)]
        return self.algebra.pointwise([(output.shape, half) for half in halves], output.shape)

    def _not_followed(self, name: str, tensors: list[Tensor], output: Any) -> Any:
        known = [labels for labels in map(self.labels_of, tensors) if labels.known]
        if not known:
            return tree_map(lambda o: Labels(), output)
        marks = frozenset().union(*[labels.marks for labels in known])
        for labels in known:
            for plane in labels.planes:
                if bool((plane >= 0).any()):
                    marks |= self.algebra.mark(plane, name, followed=False)
        return tree_map(lambda o: Labels((), True, marks), output)


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else next(o for o in tree_leaves(output) if isinstance(o, Tensor))


def _axes(x: Tensor, dim: Any) -> set[int]:
    if dim is None or dim == []:
        return set(range(x.dim()))
    return {d % max(1, x.dim()) for d in (dim if isinstance(dim, (list, tuple)) else [dim])}


def _axes_of(plane: Tensor) -> set[int]:
    return set(varying(compact(plane)))


def _on_cpu(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, value)


def _framed(shape: torch.Size, labels: Labels, frame: str) -> tuple[torch.Size, Labels]:
    """Axes put where a frame has letters: "a.c" makes (2, 3) into (2, 1, 3), ".bc" makes (3, 4) into (1, 4, 3)."""
    letters = frame.replace(".", "")
    like = torch.empty(shape, device="meta")

    def put(tensor: Tensor) -> Tensor:
        tensor = tensor.transpose(-1, -2) if letters.endswith("bc") else tensor
        for axis, letter in enumerate(frame):
            tensor = tensor.unsqueeze(axis) if letter == "." else tensor
        return tensor

    return put(like).shape, labels.with_planes(map(put, labels.planes))


def _along(shape: torch.Size, labels: Labels, ndim: int) -> tuple[torch.Size, Labels]:
    """One number for each channel, as broadcast along axis 1."""
    if len(shape) != 1:
        return shape, labels
    wide = torch.Size([shape[0], *[1] * (ndim - 2)])
    return wide, labels.with_planes(plane.reshape(wide) for plane in labels.planes)
