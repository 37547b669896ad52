"""The weights that can learn, as they stand in a model, and what counts as activity at their input."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import SparseLinear
from ..plasticity.dense import Dense
from ..plasticity.geometry import Geometry
from ..plasticity.synapses import geometry_of
from .neurons import Neuron, OwnWeight

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


LOOKS = 16  # calls that are looked at for a warning; only on the CPU, where looking is free


class Presynaptic:
    """The reading of a synapse's input: "raw" as it is, "binary" every non-zero as one spike, or any function.

    Args:
        choice: "raw", "binary", or a function of the input that keeps its shape.

    Raises:
        ValueError: another word.

    >>> import torch
    >>> Presynaptic("binary")("fc", torch.tensor([0.0, 3.0, -1.0]))
    tensor([0., 1., 1.])
    """

    def __init__(self, choice: str | Callable[[Tensor], Tensor]) -> None:
        if not callable(choice) and choice not in ("raw", "binary"):
            raise ValueError(f"pre = {choice!r}; expected 'raw', 'binary', or a function of a synapse's input.")
        self._function = _binary if choice == "binary" else choice if callable(choice) else None
        self._looks = LOOKS

    def keeps(self, on_cpu: bool) -> bool:
        """Whether activity counts as it is, and nobody looks at it."""
        return self._function is None and not (on_cpu and self._looks > 0)

    def __call__(self, name: str, activity: Tensor) -> Tensor:
        """The presynaptic activity in an input."""
        if self._function is not None:
            return self._function(activity)
        if self._looks > 0 and activity.device.type == "cpu":
            self._looks -= 1
            self._look(name, activity)
        return activity

    def _look(self, name: str, activity: Tensor) -> None:
        if not ((activity == 0) | (activity == 1) | activity.isnan()).all():  # NaN is refused elsewhere
            self._looks = 0
            warnings.warn(
                f"The input of {name} holds other values than 0 and 1, and each counts as that much presynaptic "
                "activity. If they are spikes of another height or sign, attach with pre='binary'; if they are meant, "
                "with pre=lambda x: x.",
                stacklevel=2,
            )


def _binary(activity: Tensor) -> Tensor:
    return (activity != 0).to(activity.dtype)
