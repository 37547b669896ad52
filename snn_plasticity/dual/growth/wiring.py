"""The wiring of a net: families of units, the axes of tensors that count them, the layers that make and read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ...hosts.adapter import input_sizes
from ...hosts.index import index_model
from ..nets import clone, tensors_of
from .constants import constants_of
from .dry_run import FOLLOWED_STEPS, Failed, Follower, WatchedNet, as_double
from .labels import FIXED, Algebra, Labels, Mark, compact, varying

IN_SIZES = ("in_features", "input_size")


class Family(NamedTuple):
    """Units that occur in the same axes of the same tensors, equally often in each: they grow together.

    Args:
        name: the first layer that makes them; "" where none does.
        units: what stands for each, in the order of the first axis.
    """

    name: str
    units: tuple[int, ...]


Signature = tuple[tuple[str, int, int], ...]  # (tensor, axis, how often each unit occurs there)


class UnitWiring:
    """What one followed run tells of a net.

    Args:
        model: it is not changed.
        sample: an input, as its forward takes it.

    Raises:
        Failed: the forward raised an error.
    """

    def __init__(self, model: nn.Module, sample: Any) -> None:
        twin = as_double(clone(model)).eval()
        self.algebra, watched = Algebra(), WatchedNet(twin)
        self.algebra.where = lambda: watched.inside[-1]
        self._own: dict[tuple[str, int], Tensor] = {}
        labelled = {id(leaf): (leaf, Labels((), True)) for leaf in tree_leaves(sample) if isinstance(leaf, Tensor)}
        tensors = {**tensors_of(twin), **constants_of(twin)}
        for name, tensor in tensors.items():
            labelled[id(tensor)] = tensor, self._labels(name, tensor)
        _join_known(twin, self)
        run = Follower(self.algebra, labelled)
        outputs = watched.run([sample] * FOLLOWED_STEPS, run, lambda: self._learned(watched, run))
        self._labels_of, self.calls = run.labels_of, watched.calls
        self.axes = {name: self._roots_of(name, tensor) for name, tensor in tensors.items()}
        leaves = [leaf for output in outputs for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        reached = frozenset().union(*[run.labels_of(leaf).marks for leaf in leaves])
        self.marks: list[Mark] = [self.algebra.marks[k] for k in sorted(reached)]
        first = next((leaf for leaf in tree_leaves(outputs[-1]) if isinstance(leaf, Tensor)), None)
        self.answered = set() if first is None else self._set(*run.labels_of(first).planes)
        self.families = self._families()
        self.layers = self._layers(twin)

    def _learned(self, watched: WatchedNet, run: Follower) -> tuple[int, list[int]]:
        """How many labels are one, and how many planes the outputs of each module in the last step have."""
        calls, last = watched.calls, len(watched.calls)
        first = next((k + 1 for k in range(last - 2, -1, -1) if calls[k].path == calls[-1].path), 0)
        planes = [len(run.labels_of(tensor).small) for call in calls[first:] for tensor in call.made]
        return self.algebra.units.unions, planes

    def _labels(self, name: str, tensor: Tensor) -> Labels:
        planes = []
        for axis, size in enumerate(tensor.shape):
            if size > 1:
                own = self._own[name, axis] = self.algebra.units.new(size)
                planes.append(own.reshape(-1, *[1] * (tensor.dim() - axis - 1)).expand(*tensor.shape))
        return Labels(tuple(planes), makers=frozenset({name}))

    def _both(self, name: str) -> tuple[Tensor, Tensor] | None:
        """The labels of a matrix."""
        both = [self._own.get((name, axis)) for axis in (0, 1)]
        return None if both[0] is None or both[1] is None else (both[0], both[1])

    def _roots_of(self, name: str, tensor: Tensor) -> list[np.ndarray]:
        axes = []
        for axis, size in enumerate(tensor.shape):
            own = self._own.get((name, axis))
            axes.append(np.zeros(size, np.int64) if own is None else self.roots(own))
        return axes

    def roots(self, labels: Tensor) -> np.ndarray:
        """What stands for each label."""
        return self.algebra.units.roots(labels)

    def _set(self, *planes: Tensor) -> set[int]:
        return {int(root) for plane in planes for root in np.unique(self.roots(compact(plane)))} - {FIXED, -1}

    def _families(self) -> dict[Signature, Family]:
        where: dict[int, list[tuple[str, int, int]]] = {}
        for name, axes in self.axes.items():
            for axis, roots in enumerate(axes):
                for root, count in Counter(roots.tolist()).items():
                    where.setdefault(root, []).append((name, axis, count))
        found: dict[Signature, list[int]] = {}
        for root in dict.fromkeys(root for axes in self.axes.values() for roots in axes for root in roots.tolist()):
            if root != FIXED:
                found.setdefault(tuple(where[root]), []).append(root)
        self.family_of = {unit: signature for signature, units in found.items() for unit in units}
        made = self._makers()
        return {s: Family(next((made[u] for u in units if u in made), ""), tuple(units)) for s, units in found.items()}

    def _makers(self) -> dict[int, str]:
        """For each unit the first layer that makes it."""
        made: dict[int, str] = {}
        for product in self.algebra.products:
            name = _layer_name(product.makers)
            for unit in self._set(product.made) if name else ():
                made.setdefault(unit, name)
        return made

    def _layers(self, twin: nn.Module) -> dict[str, np.ndarray]:
        """For each layer what it makes, in order: the output of its call, or an axis of its weight."""
        inner = {n for neuron in index_model(twin).neurons.values() for n in _inside(neuron.name, neuron.module)}
        made = {}
        for product in self.algebra.products:
            name, units = _layer_name(product.makers), self._set(product.made)
            if not units or not name or name in inner or name in made:
                continue
            calls = [call for call in self.calls if call.path == name and call.made]
            order = self.along(calls[0].made[0]) if calls else None
            if order is None:
                own = {int(label) for label in product.made.unique()}
                order = next(self.roots(ids) for ids in self._own.values() if own.intersection(ids.tolist()))
            made[name] = order
        return made

    def along(self, tensor: Tensor) -> np.ndarray | None:
        """The units along the one axis of an activation that counts any."""
        found = self.where(tensor)
        return found[0][1] if len(found) == 1 and len(found[0][0]) == 1 else None

    def where(self, tensor: Tensor) -> list[tuple[tuple[int, ...], np.ndarray]]:
        """The axes of a tensor that count units together, and these along them, in a row."""
        planes = [p for p in self._labels_of(tensor).small if p.numel() > 1]
        return sorted(((varying(p), self.roots(p.flatten())) for p in planes), key=lambda found: found[0])

    def knows(self, tensor: Tensor) -> bool:
        """Whether an activation depends on the sample, or on weights whose units are known."""
        return self._labels_of(tensor).known

    def ignores(self, tensor: Tensor) -> bool:
        """Whether something went into an activation that mixes units and never reaches what the net gives."""
        reached = {id(mark) for mark in self.marks}
        return any(id(self.algebra.marks[k]) not in reached for k in self._labels_of(tensor).marks)

    def hidden(self) -> set[Signature]:
        """Families that a layer makes and that another one reads, and that are not what the net answers with."""
        found = set()
        for product in self.algebra.products:
            made = {self.family_of[u] for u in self._set(product.made) if u in self.family_of}
            read = {self.family_of[u] for u in self._set(product.read, product.consumed) if u in self.family_of}
            found |= read - made
        return {s for s in found if self.families[s].name and not self.answered & set(self.families[s].units)}

    def consumed(self) -> dict[str, set[frozenset[int]]]:
        """Of each weight the axes that are summed over, together where it is once: where units are read."""
        place_of = {int(label): place for place, own in self._own.items() for label in own}
        found: dict[str, set[frozenset[int]]] = {}
        for raw in {tuple(product.consumed.unique().tolist()) for product in self.algebra.products}:
            places = {place_of[label] for label in raw if label in place_of}
            for name in {name for name, _ in places}:
                found.setdefault(name, set()).add(frozenset(axis for own, axis in places if own == name))
        return found

    def silenced(self) -> list[tuple[set[int], frozenset[str]]]:
        """Units that two activations are summed over, and the weights of the first of them."""
        return [(self._set(units), makers) for units, makers in self.algebra.bilinear]


def wiring_of(model: nn.Module, sample: Any) -> tuple[UnitWiring, Any]:
    """The wiring, and the sample with which it was found.

    Args:
        model: any net.
        sample: an input; None tries zeros for a first layer that reads features.

    Raises:
        ValueError: no sample where one is needed.
        Failed: the sample does not run through the net.
    """
    if sample is not None:
        sample = tree_map(_as_double, sample)
        return UnitWiring(model, sample), sample
    sizes = [getattr(m, n) for m in model.modules() for n in (*IN_SIZES, *input_sizes()) if hasattr(m, n)]
    like, troubles = next(model.parameters(), torch.zeros(())), []
    for shape in ((2,), (2, 2)) if sizes else ():
        tried = torch.zeros(*shape, int(sizes[0]), dtype=torch.float64, device=like.device)
        try:
            return UnitWiring(model, tried), tried
        except Failed as error:
            troubles.append(error.reason)
    told = f" ({type(troubles[0]).__name__}: {troubles[0]})" if troubles else ""
    raise ValueError(
        f"No input for a dry run is known{told}; expected one that the net takes: give one with "
        "sample=torch.zeros(...), shaped like the first batch."
    ) from (troubles[0] if troubles else None)


def _as_double(leaf: Any) -> Any:
    return leaf.detach().double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _layer_name(makers: frozenset[str]) -> str:
    """The module that holds a weight; a weight of the net itself goes by its own name."""
    names = sorted((name for name in makers if ":" not in name), key=lambda name: "bias" in name)
    if not names:
        return ""
    if ".parametrizations." in f".{names[0]}":
        return f".{names[0]}".partition(".parametrizations.")[0].lstrip(".")
    path, _, own = names[0].rpartition(".")
    return path or own


def _inside(name: str, module: nn.Module) -> Iterator[str]:
    yield from (f"{name}.{path}" for path, _ in module.named_modules() if path)


def _join_known(twin: nn.Module, wiring: UnitWiring) -> None:
    """What modules of torch take for granted: a state is as wide as the units it is of, and heads are whole slices."""
    unify = wiring.algebra.units.unify
    for path, module in twin.named_modules():
        weights = {name: wiring._both(f"{path}.{name}" if path else name) for name in module._parameters}
        if isinstance(module, nn.MultiheadAttention) and (both := weights.get("in_proj_weight")):
            chunks = both[0].reshape(3, module.num_heads, -1)
            unify(chunks, chunks[:1, :, :1])
            unify(chunks[0].flatten(), both[1])
        elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and not getattr(module, "proj_size", 0):
            for name, both in weights.items():
                if name.startswith("weight_hh") and both is not None:
                    unify(both[0].reshape(-1, len(both[1])), both[1])
