"""Two nets that share weights by copying them, and their eligibility: up before the large one learns, down after."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._checks import known_as, require_kind
from ..connection import Connection
from ..learner import PlasticityLearner
from .distributed import group_of
from .nets import TrainableNet, hosts_of, owner_of, tensors_of
from .weights_map import Index, WeightsMap


class NetPair:
    """A base, a motivated net, and what they share: `up()` copies the base's part up, `down()` copies it back.

    Args:
        base, motivated: how each learns, a `Trainee` or a `PlasticTrainee`.
        weights: where the base lies in the motivated net.

    Raises:
        ValueError: the map does not fit, the nets are one and the same or of different hosts, or only one of them has
            a learner.
    """

    def __init__(self, base: TrainableNet, motivated: TrainableNet, weights: WeightsMap) -> None:
        for name, net in (("base", base), ("motivated", motivated)):
            if not isinstance(getattr(net, "model", None), nn.Module) or not callable(getattr(net, "train", None)):
                raise TypeError(f"{name} is {known_as(net)}; expected a Trainee or a PlasticTrainee.")
        require_kind("weights", weights, WeightsMap, "As from widen(base, 2).weights.")
        small, large = hosts_of(base.model), hosts_of(motivated.model)
        if small and large and small != large:
            raise ValueError(
                f"The base has neurons of {_names(small)} and the motivated net of {_names(large)}; expected the same "
                "host: their neurons do not compute the same thing. Build it with widen or deepen."
            )
        if (base.learner is None) != (motivated.learner is None):
            raise ValueError("One net learns by plasticity and the other one by gradients; expected the same for both.")
        if {id(p) for p in base.model.parameters()} & {id(p) for p in motivated.model.parameters()}:
            raise ValueError("The two nets hold the same parameters; expected two nets, which share by copying.")
        if (group_of(base.model) is None) != (group_of(motivated.model) is None):
            raise ValueError("One net is in DistributedDataParallel and the other one is not; expected both.")
        if _held(base) & _held(motivated):
            raise ValueError("The two optimizers hold the same parameters, of one loss; expected a loss for each net.")
        weights.check(base.model, motivated.model)
        self.base, self.motivated, self.weights = base, motivated, weights
        old, new = tensors_of(base.model), tensors_of(motivated.model)
        self._shared: list[tuple[tuple[nn.Module, str], tuple[nn.Module, str], Index]] = [
            (owner_of(base.model, n), owner_of(motivated.model, s.name), s.index(old[n], new[s.name]))
            for n, s in weights.slots.items()
        ]

    def shared(self) -> list[tuple[Tensor, Tensor, Index]]:
        """(tensor of the base, tensor of the motivated net, index into it), for every shared tensor."""
        return [(getattr(*mine), getattr(*other), index) for mine, other, index in self._shared]

    def up(self) -> None:
        """Weights, buffers and eligibility of the base into the motivated net."""
        with torch.no_grad():
            for mine, other, index in self.shared():
                other.detach()[index] = mine.detach()
        copy_eligibility(self.base, self.motivated, self.weights, up=True)

    def down(self) -> None:
        """Weights, buffers and eligibility of the shared part back into the base."""
        with torch.no_grad():
            for mine, other, index in self.shared():
                mine.detach().copy_(other.detach()[index])
        copy_eligibility(self.base, self.motivated, self.weights, up=False)


def _held(net: TrainableNet) -> set[int]:
    optimizer = getattr(net, "optimizer", None)
    return {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}


def _names(hosts: set[str]) -> str:
    return " and ".join(sorted(hosts))


def copy_eligibility(base: TrainableNet, motivated: TrainableNet, weights: WeightsMap, *, up: bool) -> None:
    """The traces of every shared weight from one learner to the other; those of extensions stay as they are.

    Raises:
        ValueError: a weight is plastic in one net only or with other settings, a path that keeps no eligibility of
            single samples, or a kernel whose state does not tell what belongs to a neuron.
    """
    if base.learner is None or motivated.learner is None:
        return
    small, large = _by_tensor(base), _by_tensor(motivated)
    for name, connection in small.items():
        slot = weights.slots.get(name)
        if slot is None:
            continue
        if slot.name not in large or slot.entries is not None:
            raise ValueError(
                f"{name} is plastic in the base, and {slot.name} is not in the motivated network, or they are mapped "
                "entry by entry; expected the same plastic layers in both, mapped axis by axis."
            )
        other, axes = large[slot.name], slot.axes
        places = (None, None) if axes is None else tuple(torch.tensor(list(axes[axis])) for axis in (0, 1))
        source, target = (connection, other) if up else (other, connection)
        post, pre = (_origin(p, other, axis) if up else p for axis, p in enumerate(places))
        target.traces.take_units(source.traces, pre, post)


def _by_tensor(net: TrainableNet) -> dict[str, Connection]:
    names = {id(tensor): name for name, tensor in tensors_of(net.model).items()}
    learner: Any = net.learner
    assert isinstance(learner, PlasticityLearner)
    return {names[id(c.weight)]: c for c in learner.connections.values() if id(c.weight) in names}


def _origin(places: Tensor | None, large: Connection, axis: int) -> Tensor | None:
    """For each unit of the motivated net along an axis of the weight, which unit of the base it is; −1 for none."""
    if places is None:
        return None
    origin = torch.full((large.weight.shape[axis],), -1)
    origin[places] = torch.arange(len(places))
    return origin
