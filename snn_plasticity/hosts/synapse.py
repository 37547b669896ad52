"""A weight that can learn, as it stands in a model: in a layer of its own, or held by a neuron."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..plasticity.dense import Dense
from ..plasticity.geometry import Geometry
from ..plasticity.synapses import geometry_of
from .neuron import Neuron, OwnWeight

RANKS: dict[type[nn.Module], int] = {nn.Linear: 1, nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4}


class Synapse:
    """One synaptic layer of a model.

    Args:
        name: path of the layer.
        layer: the module with the weight.
        site: the module whose calls are watched; another one than `layer` where a `Lift` repeats the layer over time.
        home: the neuron that the layer is built into, where it is a neuron's own recurrence.
    """

    attribute = "weight"
    mask: Tensor | None = None

    def __init__(self, name: str, layer: nn.Module, *, site: nn.Module | None = None, home: str | None = None) -> None:
        self.name, self.layer, self.home = name, layer, home
        self.module = layer if site is None else site
        self.items = rank_of(layer)

    def geometry(self) -> Geometry:
        """How its weights are laid out. A subclass is asked itself, as a copy without hooks."""
        if type(self.layer) in RANKS:
            return geometry_of(self.layer)
        bare = copy.copy(self.layer)
        bare._forward_hooks, bare._forward_pre_hooks = OrderedDict(), OrderedDict()
        return geometry_of(bare)

    def input_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """What the call was given."""
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
