"""The last good state: what a step that fails has to leave behind."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from .checkpoint import rng_state, set_rng_state
from .tensors import tensors_of
from .trainee import Learning


class Guard:
    """Remembers nets as they are, to put them back.

    Args:
        nets: what may change.
        whole: remember everything; else what changes before a failing step is noticed: buffers, traces, random numbers.
    """

    def __init__(self, nets: Sequence[Learning], *, whole: bool) -> None:
        self.nets = list(nets)
        kept = [tensors_of(net.model) for net in nets]
        self.tensors: list[tuple[Tensor, Tensor]] = [
            (t, t.detach().clone())
            for net, held in zip(nets, kept, strict=True)
            for t in held.values()
            if whole or net.learner is not None or not t.requires_grad
        ]
        self.states = [copy.deepcopy(n.state_dict()) if whole or n.learner is not None else None for n in nets]
        self.rng = rng_state()

    def restore(self) -> None:
        """Put everything back."""
        with torch.no_grad():
            for tensor, value in self.tensors:
                tensor.detach().copy_(value)
        for net, state in zip(self.nets, self.states, strict=True):
            if state is not None:
                net.load_state_dict(state)
        set_rng_state(self.rng)
