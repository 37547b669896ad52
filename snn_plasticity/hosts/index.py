"""What a model holds: its synapses, its neurons, and the layers that cannot learn, each by name."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._weights import refusal_of
from ..layers import SparseLinear
from ..layers.dense import Dense
from ..layers.geometry import Geometry
from ..layers.synapses import geometry_of
from .adapter import (
    NeuronCall,
    NeuronKind,
    OwnWeight,
    first_tensor,
    kind_of,
    refusal_of_layer,
    repeated,
    why_not_post_of,
)

LOOKS = 2  # the first step of a sequence has no state yet


class Neuron:
    """One neuron of a model."""

    def __init__(self, name: str, module: nn.Module, kind: NeuronKind) -> None:
        self.name, self.module, self.kind = name, module, kind
        self.argument = next(iter(inspect.signature(module.forward).parameters), "input")
        self.looks = LOOKS  # at steps, for whether it is elementwise, that are left
        self._why_not_post = why_not_post_of(kind)
        self.read_by: Collection[str] = ()  # synapses that learn from its membrane, where it never fires

    @property
    def proper(self) -> nn.Module:
        """The module that holds its weights."""
        return getattr(self.module, self.kind.inside) if self.kind.inside else self.module

    def why_not_post(self, synapse: str = "") -> str | None:
        """Why a synapse from outside, or any that reads spikes, does not learn from it; None if it does."""
        return None if synapse in self.read_by else self._why_not_post

    @property
    def teaches(self) -> bool:
        """Whether any synapse, its own ones among them, learns from it."""
        return bool(not self.kind.refusal or self.read_by)

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> NeuronCall:
        """A call of it, whether the state came by position, by keyword, or in a tuple with the input."""
        current, state = args[0] if args else self.input_of(args, kwargs), kwargs.get("state")
        if len(args) > 1:
            state = args[1]
        if isinstance(current, tuple):
            current, state = current
        return NeuronCall(current, state, output if isinstance(output, Tensor) else first_tensor(output), output)

    def input_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the call was given first."""
        return args[0] if args else kwargs[self.argument]


RANKS: dict[type[nn.Module], int] = {nn.Linear: 1, nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4, SparseLinear: 1}


class Synapse:
    """One synaptic layer of a model.

    Args:
        name: path of the layer.
        layer: the module with the weight.
        site: the module whose calls are watched; another one than `layer` where a `Lift` repeats the layer over time.
        inside_of: the neuron that the layer is built into, where it is a neuron's own recurrence.
    """

    attribute = "weight"
    mask: Tensor | None = None

    def __init__(
        self, name: str, layer: nn.Module, *, site: nn.Module | None = None, inside_of: str | None = None
    ) -> None:
        self.name, self.layer, self.inside_of = name, layer, inside_of
        self.module = layer if site is None else site
        self.sample_dims = rank_of(layer)
        self.reads_input = not isinstance(layer, SparseLinear)  # else it is told by `input_of` what arrived

    def geometry(self) -> Geometry:
        """How its weights are laid out. A subclass is asked itself, as a copy without hooks."""
        if type(self.layer) in RANKS:
            return geometry_of(self.layer)
        bare = copy.copy(self.layer)
        bare._forward_hooks, bare._forward_pre_hooks = OrderedDict(), OrderedDict()
        return geometry_of(bare)

    @property
    def hides_arrivals(self) -> str | None:
        """Why it is not seen which spikes arrive when, if so."""
        if self.module is self.layer or not isinstance(self.layer, SparseLinear) or self.layer.delays is None:
            return None
        return (
            f"it has delays and is repeated by a {type(self.module).__name__}, which shows no single steps; expected "
            "the layer itself, which takes sequences (T, B, N) as they are"
        )

    def input_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """What the call was given; where spikes take their time, those that arrived at it."""
        if isinstance(self.layer, SparseLinear) and self.layer.arriving is not None:
            return self.layer.arriving
        return args[0] if args else next(iter(kwargs.values()))


class OwnSynapse:
    """A weight that a neuron holds itself.

    Args:
        name: path of the neuron, and the weight's name on it.
        neuron: whose spikes are its post side.
        weight: what drives it.
    """

    def __init__(self, name: str, neuron: Neuron, weight: OwnWeight) -> None:
        self.name, self.neuron, self.weight = name, neuron, weight
        self.layer, self.attribute = neuron.proper, weight.attribute

    @property
    def mask(self) -> Tensor | None:
        """Zeros where a neuron would connect to itself and must not."""
        if self.weight.autapses:
            return None
        weight = getattr(self.layer, self.attribute)
        return 1.0 - torch.eye(len(weight), device=weight.device)

    def geometry(self) -> Geometry:
        """A full matrix."""
        n_post, n_pre = getattr(self.layer, self.attribute).shape
        return Dense(n_pre, n_post)


def rank_of(layer: nn.Module) -> int:
    """Dimensions of one sample that goes in; 0 where the layer is no synapse."""
    return next((rank for kind, rank in RANKS.items() if isinstance(layer, kind)), 0)


class ModelIndex(NamedTuple):
    """The parts of a model; names are module paths without those of wrappers.

    `own` are the weights that neurons hold themselves; `refused` tells which weights would lose what they learn, and
    why; `excluded` which layers are no synapses; `optional` are layers that learn only when they are named.
    """

    synapses: dict[str, Synapse]
    own: dict[str, OwnSynapse]
    optional: set[str]
    refused: dict[str, str]
    excluded: dict[str, str]
    neurons: dict[str, Neuron]
    modules: dict[str, nn.Module]

    @property
    def names(self) -> tuple[str, ...]:
        """All weights, whether they can learn or not."""
        return (*self.synapses, *self.own)

    @property
    def known(self) -> tuple[str, ...]:
        """All names that a user may say, also of layers that cannot learn."""
        return tuple(dict.fromkeys((*self.names, *self.excluded)))

    @property
    def eligible(self) -> tuple[str, ...]:
        """Weights that learn when nobody chooses."""
        return tuple(n for n in self.names if n not in {*self.optional, *self.refused, *self.excluded})

    def describe(self) -> str:
        """The findings in one sentence."""
        neurons = ", ".join(f"{n} ({type(x.module).__name__})" for n, x in self.neurons.items())
        return f"Found the weights {', '.join(self.names) or 'none'}; and the neurons {neurons or 'none'}."


def index_model(model: nn.Module) -> ModelIndex:
    """Walk through a model once."""
    index = ModelIndex({}, {}, set(), {}, {}, {}, {})
    _visit(unwrap(model), "", index, set())
    return index


def unwrap(module: nn.Module) -> nn.Module:
    """The user's own module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`."""
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif "_orig_mod" in module._modules:
            module = module._modules["_orig_mod"]  # type: ignore[assignment]
        else:
            return module


def join(path: str, name: str) -> str:
    """A path one step further in."""
    return f"{path}.{name}" if path else name


def _visit(module: nn.Module, path: str, index: ModelIndex, seen: set[nn.Module]) -> None:
    if module in seen:
        return
    seen.add(module)
    index.modules[path] = module
    kind = kind_of(module)
    if kind is not None:
        _add_neuron(module, join(path, kind.inside) if kind.inside else path, kind, index)
        return
    child = repeated(module)
    if child and rank_of(getattr(module, child)):
        _add_synapse(Synapse(join(path, child), getattr(module, child), site=module), index)
        return
    if rank_of(module):
        _add_synapse(Synapse(path, module), index)
        _refuse_neurons_inside(module, path, index)
        return
    for name, inner in module.named_children():
        _visit(unwrap(inner), join(path, name), index, seen)


def _refuse_neurons_inside(layer: nn.Module, path: str, index: ModelIndex) -> None:
    """A layer that holds its neuron gives spikes: what the neuron was given is never seen."""
    neurons = [join(path, name) for name, inner in layer.named_modules() if inner is not layer and kind_of(inner)]
    if neurons:
        index.excluded[path] = (
            f"it is a {type(layer).__name__} that holds the neuron {neurons[0]} inside, so that its output is spikes "
            "and what the neuron was given is not seen; make the layer and the neuron two modules side by side"
        )


def _add_synapse(synapse: Synapse, index: ModelIndex) -> None:
    name, layer = synapse.name, synapse.layer
    index.synapses[name] = synapse
    foreign = refusal_of_layer(layer) or synapse.hides_arrivals
    lost = refusal_of(layer, synapse.attribute)
    if foreign:
        index.excluded[name] = foreign
    elif lost:
        index.refused[name] = lost
    elif type(layer) not in RANKS:
        index.optional.add(name)


def _add_neuron(module: nn.Module, name: str, kind: NeuronKind, index: ModelIndex) -> None:
    index.neurons[name] = neuron = Neuron(name, module, kind)
    for child in kind.inner if kind.refusal is None else ():
        layer = getattr(neuron.proper, child, None)
        if layer is not None and rank_of(layer):
            _add_synapse(Synapse(join(name, child), layer, inside_of=name), index)
        elif isinstance(layer, nn.Module):
            _exclude_inside(layer, join(name, child), index)
    for weight in kind.weights:
        own = OwnSynapse(join(name, weight.attribute), neuron, weight)
        index.own[own.name] = own
        if lost := refusal_of(own.layer, own.attribute):
            index.refused[own.name] = lost


def _exclude_inside(recurrent: nn.Module, path: str, index: ModelIndex) -> None:
    """Layers in a recurrence that is no single layer: which spikes and which currents they stand for is not known."""
    for name, inner in recurrent.named_modules():
        if rank_of(inner):
            index.excluded[join(path, name)] = (
                f"it is a part of {path}, a {type(recurrent).__name__} inside of a neuron: expected a Linear or a "
                "convolution there. Put the recurrence outside of the neuron, as layers of the model, and they learn"
            )
