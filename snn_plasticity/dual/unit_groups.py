"""Which axes of which tensors count the same units: read off a dry run.

Every layer with weights makes units. Its output is replaced by a leaf of the autograd graph; whatever is reached from a
later layer's input, through neurons, norms, pooling, flattening and sums, are the units that layer reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..hosts.adapter import input_sizes, output_sizes
from ..hosts.index import ModelIndex, index_model, leaves
from .nets import clone, explain_errors, tensors_of

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
PER_CHANNEL = (nn.modules.batchnorm._NormBase, nn.PReLU)  # what they hold is by channel: each unit alone
OUTPUT_SIZES = ("out_features", "out_channels")
INPUT_SIZES = ("in_features", "in_channels")
MIXING_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


class Axis(NamedTuple):
    """An axis of a tensor: the units it counts (None: a fixed size), each of them `repeat` times in a row."""

    units: str | None
    repeat: int = 1


class UnitGroups(NamedTuple):
    """Groups of units, and the tensors they run through.

    Args:
        widths: {group: units}; a group is called after the layer that makes it.
        axes: {tensor: its axes}.
        hidden: groups that some layer reads.
        inputs: {module: the group at its input}.
        outputs: {module: the group at its output}.
    """

    widths: dict[str, int]
    axes: dict[str, tuple[Axis, ...]]
    hidden: set[str]
    inputs: dict[str, Axis]
    outputs: dict[str, str]


def unit_groups_of(model: nn.Module, sample: Any = None) -> UnitGroups:
    """The wiring of a network.

    Args:
        model: with layers and neurons of snnTorch or Norse.
        sample: an input for a dry run (a tuple: several arguments); None tries zeros for a first nn.Linear.

    Raises:
        ValueError: no sample where one is needed, layers whose inputs are put together in an order that cannot be
            told, or weights that no rule is known for.
    """
    run = _DryRun(clone(model))
    with explain_errors("sample= does not run through the net", "an input of its forward, a tuple of several, or None"):
        run.forward(sample)
    return run.unit_groups()


def mixes_units(norm: nn.Module, units: int) -> bool:
    """Whether what it makes of one unit depends on the others; a LayerNorm over a length of its own does not."""
    shape = getattr(norm, "normalized_shape", (units,))
    return isinstance(norm, MIXING_NORMS) and math.prod(shape) % units == 0


class _DryRun:
    def __init__(self, model: nn.Module) -> None:
        self.model, self.index = model.eval(), index_model(model)
        self.tags: dict[int, tuple[str, Tensor]] = {}
        self.sources: dict[str, set[str]] = {}
        self.names = {module: name for name, module in model.named_modules()}
        self.own = {own.neuron.proper: own.neuron.name for own in self.index.own.values()}
        self.inner = {child for n in self.index.neurons.values() for child in n.proper.modules()} - set(self.own)
        self.layers = [m for m in self.names if m in self.own or (isinstance(m, LAYERS) and m not in self.inner)]
        self.readers = [m for m in self.names if isinstance(m, (*PER_CHANNEL, *MIXING_NORMS)) or m in self._neurons()]

    def _neurons(self) -> set[nn.Module]:
        return {neuron.proper for neuron in self.index.neurons.values()} - set(self.own)

    def forward(self, sample: Any) -> None:
        for module in (*self.layers, *self.readers):
            module.register_forward_pre_hook(self._record_sources, with_kwargs=True)
        for module in self.layers:
            module.register_forward_hook(self._replace_output)
        with torch.enable_grad():
            if sample is None:
                self._try_zeros()
            elif isinstance(sample, tuple):
                self.model(*sample)
            else:
                self.model(sample)

    def _try_zeros(self) -> None:
        first = self.layers[0] if self.layers else None
        like = next(self.model.parameters(), torch.zeros(()))
        size = None if first is None or isinstance(first, nn.modules.conv._ConvNd) else _read_size(first)
        troubles: list[Exception] = []
        for shape in ((2,), (2, 2)):
            try:
                self.model(like.new_zeros(*shape, size) if size else None)
                return
            except Exception as error:  # whatever the user's forward raises for a shape it does not take
                troubles.append(error)
        raise ValueError(
            f"No input for a dry run is known ({type(troubles[0]).__name__}: {troubles[0]}); expected one that the net "
            "takes: give one with sample=torch.zeros(...), shaped like the first batch."
        ) from troubles[0]

    def _record_sources(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = args[0] if args else next(iter(kwargs.values()))
        given = given[0] if isinstance(given, tuple) else given
        ancestors = (given, *leaves(given.grad_fn))
        producers = {self.tags[id(leaf)][0] for leaf in ancestors if id(leaf) in self.tags}
        self.sources.setdefault(self.names[module], set()).update(producers)

    def _replace_output(self, module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            rest = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, output[1:])
            return (self._replace_output(module, args, output[0]), *rest)
        leaf = output.detach().requires_grad_()  # cuts the graph: later layers find this layer, not those before it
        self.tags[id(leaf)] = (self.names[module], leaf)
        return leaf

    def unit_groups(self) -> UnitGroups:
        made = {self.names[m]: _width(m) for m in self.layers}
        group = _grouped(made, [self.sources.get(self.names[m], set()) for m in (*self.layers, *self.readers)])
        widths = {g: made[g] for g in dict.fromkeys(group.values())}
        inputs = {}
        for module in (*self.layers, *self.readers):
            name = self.names[module]
            sources = {group[s] for s in self.sources.get(name, set())}
            if sources:
                units = sources.pop()
                size = _read_size(module)
                inputs[name] = Axis(units, 1 if size is None else _repeat(name, size, units, widths))
        outputs = {name: group[name] for name in made}
        hidden = {inputs[n].units for n in made if n in inputs} - {None}
        return UnitGroups(widths, self._axes(inputs, outputs, widths), hidden, inputs, outputs)  # type: ignore[arg-type]

    def _axes(self, inputs: dict[str, Axis], outputs: dict[str, str], widths: dict[str, int]) -> dict:
        axes: dict[str, tuple[Axis, ...]] = {}
        modules = dict(self.model.named_modules())
        inside = {self.names[child]: self._home(child) for child in self.inner}
        for name, tensor in tensors_of(self.model).items():
            path, _, attribute = name.rpartition(".")
            home = inside.get(path, path)
            axes[name] = _tensor_axes(modules[path], home, attribute, tensor, (inputs, outputs, widths), self.index)
        return axes

    def _home(self, child: nn.Module) -> str:
        homes = [n for n in (*self._neurons(), *self.own) if child in set(n.modules())]
        return self.names[homes[0]]


def _width(module: nn.Module) -> int:
    return int(next(getattr(module, name) for name in (*OUTPUT_SIZES, *output_sizes()) if hasattr(module, name)))


def _read_size(module: nn.Module) -> int | None:
    return next((int(getattr(module, name)) for name in (*INPUT_SIZES, *input_sizes()) if hasattr(module, name)), None)


def _repeat(name: str, size: int, units: str, widths: dict[str, int]) -> int:
    if size % widths[units]:
        raise ValueError(
            f"{name} reads {size} values, made of the {widths[units]} units of {units}: not a whole number of values "
            "each. Layers whose inputs are concatenated must be mapped by hand, with a WeightsMap."
        )
    return size // widths[units]


def _grouped(made: dict[str, int], met: Iterable[set[str]]) -> dict[str, str]:
    """Layers whose outputs are added up make the same units."""
    group = {name: name for name in made}
    for names in met:
        first = next((n for n in made if n in names), None)
        for other in names:
            if made[other] != made[first]:  # type: ignore[index]
                raise ValueError(
                    f"{first} makes {made[first]} units and {other} {made[other]}, and both are read together; "  # type: ignore[index]
                    "expected a sum of equal widths. Map it by hand, with a WeightsMap."
                )
            old, new = group[other], group[first]  # type: ignore[index]
            group = {name: new if g == old else g for name, g in group.items()}
    return group


def _tensor_axes(
    module: nn.Module, name: str, attribute: str, tensor: Tensor, groups: tuple[dict, dict, dict], index: ModelIndex
) -> tuple[Axis, ...]:
    inputs, outputs, widths = groups
    fixed = tuple(Axis(None) for _ in tensor.shape)
    if name in outputs:
        out, into = Axis(outputs[name]), inputs.get(name, Axis(None))
        if any(o.layer is module and o.attribute == attribute and o.weight.recurrent for o in index.own.values()):
            return (out, out)
        into = Axis(None) if getattr(module, "groups", 1) > 1 else into
        return (out, into, *fixed[2:])[: tensor.dim()]
    if name in inputs:
        units = inputs[name].units
        return tuple(Axis(units if size == widths[units] and k < 2 else None) for k, size in enumerate(tensor.shape))
    if isinstance(module, PER_CHANNEL) and tensor.numel() > 1:
        raise ValueError(f"{name}: nothing that it reads comes from a layer; it cannot be widened.")
    return fixed
