"""Two nets that share weights by copying them: up before the large one learns, down after."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checks import known_as, require_kind
from .eligibility import carry
from .tensors import hosts_of, owner_of, tensors_of
from .trainee import Learning
from .weights_map import Index, WeightsMap


class Pair:
    """A base, a motivated net, and what they share.

    Args:
        base, motivated: how each learns.
        weights: where the base lies in the motivated net.

    Raises:
        ValueError: the map does not fit, the nets are one and the same or of different hosts, or only one of them has
            a learner.
    """

    def __init__(self, base: Learning, motivated: Learning, weights: WeightsMap) -> None:
        for name, net in (("base", base), ("motivated", motivated)):
            if not isinstance(getattr(net, "model", None), nn.Module) or not callable(getattr(net, "train", None)):
                raise TypeError(f"{name} is {known_as(net)}; expected a Trainee or a PlasticTrainee.")
        require_kind("weights", weights, WeightsMap, "As from widen(base, 2).weights.")
        small, large = hosts_of(base.model), hosts_of(motivated.model)
        if small and large and small != large:
            raise ValueError(
                f"The base has neurons of {_said(small)} and the motivated net of {_said(large)}; expected the same "
                "host: their neurons do not compute the same thing. Build it with widen or deepen."
            )
        if (base.learner is None) != (motivated.learner is None):
            raise ValueError("One net learns by plasticity and the other one by gradients; expected the same for both.")
        if {id(p) for p in base.model.parameters()} & {id(p) for p in motivated.model.parameters()}:
            raise ValueError("The two nets hold the same parameters; expected two nets, which share by copying.")
        weights.check(base.model, motivated.model)
        self.base, self.motivated, self.weights = base, motivated, weights
        old, new = tensors_of(base.model), tensors_of(motivated.model)
        self._shared: list[tuple[tuple[nn.Module, str], tuple[nn.Module, str], Index]] = [
            (owner_of(base.model, n), owner_of(motivated.model, s.name), s.index(old[n], new[s.name]))
            for n, s in weights.slots.items()
        ]

    def shared(self) -> list[tuple[Tensor, Tensor, Index]]:
        """(of the base, of the motivated net, where in it), for every shared tensor."""
        return [(getattr(*mine), getattr(*other), index) for mine, other, index in self._shared]

    def up(self) -> None:
        """Weights, buffers and eligibility of the base into the motivated net."""
        with torch.no_grad():
            for mine, other, index in self.shared():
                other.detach()[index] = mine.detach()
        carry(self.base, self.motivated, self.weights, up=True)

    def down(self) -> None:
        """And those of the shared part back into the base."""
        with torch.no_grad():
            for mine, other, index in self.shared():
                mine.detach().copy_(other.detach()[index])
        carry(self.base, self.motivated, self.weights, up=False)


def _said(hosts: set[str]) -> str:
    return " and ".join(sorted(hosts))
