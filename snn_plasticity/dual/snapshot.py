"""The way back from a failed step: nets, learners and random numbers as they were."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..hosts.index import unwrap
from .nets import TrainableNet, tensors_of


def rng_state() -> dict[str, Any]:
    """torch's random numbers, on every device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Go on with saved random numbers."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


class Snapshot:
    """Remembers nets as they are, to put them back; taken before each step, so what it copies into is kept.

    Args:
        nets: what may change.
    """

    def __init__(self, nets: Sequence[TrainableNet]) -> None:
        self.nets = list(nets)
        self._modules = [list(unwrap(net.model).modules()) for net in self.nets]
        self._copies: dict[int, Tensor] = {}
        self.tensors: list[tuple[Tensor, Tensor]] = []
        self.places: list[tuple[dict[str, Tensor | None], str, Tensor | None]] = []
        self.states: list[Any] = []
        self.rng: dict[str, Any] = {}

    def take(self, *, whole: bool) -> Snapshot:
        """Remember everything; without `whole`, what changes before a failing step is noticed: buffers, traces, random
        numbers.
        """
        held: list[Tensor] = []
        self.places = []
        for net, modules in zip(self.nets, self._modules, strict=True):
            places = _places(modules)
            everything = whole or net.learner is not None
            held += tensors_of(net.model).values() if everything else _kept(modules, places)
            self.places += places
        kept = [self._copy_of(tensor) for tensor in held]
        if held:
            with torch.no_grad():
                torch._foreach_copy_(kept, held)  # type: ignore[attr-defined]
        self.tensors = list(zip(held, kept, strict=True))
        self._copies = {id(tensor): copied for tensor, copied in self.tensors}
        self.states = [copy.deepcopy(n.state_dict()) if whole or n.learner is not None else None for n in self.nets]
        self.rng = rng_state()
        return self

    def _copy_of(self, tensor: Tensor) -> Tensor:
        found = self._copies.get(id(tensor))
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype or found.device != tensor.device:
            found = self._copies[id(tensor)] = torch.empty_like(tensor.detach())
        return found

    def restore(self) -> None:
        """Put everything back; a buffer that another tensor took the place of is there again."""
        for buffers, name, tensor in self.places:
            buffers[name] = tensor
        with torch.no_grad():
            for tensor, value in self.tensors:
                tensor.detach().copy_(value)
        for net, state in zip(self.nets, self.states, strict=True):
            if state is not None:
                net.load_state_dict(state)
        set_rng_state(self.rng)


def _places(modules: Sequence[nn.Module]) -> list[tuple[dict[str, Tensor | None], str, Tensor | None]]:
    """Where a net keeps what it has beside its parameters, and what is there now."""
    return [
        (module._buffers, name, tensor)
        for module in modules
        for name, tensor in module._buffers.items()
        if name not in module._non_persistent_buffers_set
    ]


def _kept(modules: Sequence[nn.Module], places: Sequence[tuple[Any, str, Tensor | None]]) -> list[Tensor]:
    """Buffers, and parameters that no optimizer moves."""
    frozen = [p for m in modules for p in m._parameters.values() if p is not None and not p.requires_grad]
    return [tensor for _, _, tensor in places if tensor is not None] + frozen
