"""Steps whose gradient is yet to come: what went into a synapse, and where in the graph its output is.

The output itself is not held, and neither is anything of an earlier step: the graph of each step ends at the states
that neurons brought along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


class NotedStep(NamedTuple):
    """One call of a synapse.

    Args:
        pre: what went in, (B, ...).
        version: of `pre`, when it was read.
        output: where the gradient of its output is found.
        shape: of the output.
        begins: whether a new sequence begins with it.
    """

    pre: Tensor
    version: int
    output: GradientEdge
    shape: torch.Size
    begins: bool


class NotedWindow(NamedTuple):
    """Steps of one sequence: pre (T, B, ...), δ (T, B, ...), and whether the sequence begins with them."""

    pre: Tensor
    delta: Tensor
    begins: bool


class NotedSteps:
    """The steps of a connection since the last loss."""

    def __init__(self) -> None:
        self.steps: list[NotedStep] = []
        self._forgotten: list[tuple[int, Tensor]] = []  # after so many steps the samples in a mask started anew

    def __deepcopy__(self, memo: dict[int, Any]) -> NotedSteps:
        return NotedSteps()  # the graph is that of the model that was copied

    def __len__(self) -> int:
        return len(self.steps)

    def clear(self) -> None:
        """Drop all of them."""
        self.steps, self._forgotten = [], []

    def forget(self, mask: Tensor | None) -> None:
        """Drop them, of all samples or of those in `mask` (B,)."""
        if mask is None:
            self.clear()
        elif self.steps:
            self._forgotten.append((len(self.steps), mask))

    def windows(self, gradients: Sequence[Tensor | None]) -> Iterator[NotedWindow]:
        """The steps beside their gradients; None is zero."""
        starts = [k for k, step in enumerate(self.steps) if step.begins and k]
        for first, end in pairwise((0, *starts, len(self.steps))):
            steps = self.steps[first:end]
            like = steps[0].pre.new_zeros(())
            delta = torch.stack([
                like.new_zeros(step.shape) if found is None else found.to(like.dtype).view(step.shape)
                for step, found in zip(steps, gradients[first:end], strict=True)
            ])  # fmt: skip
            pre = torch.stack([step.pre for step in steps])
            for at, mask in self._forgotten:
                dropped = mask.to(pre.device).nonzero().flatten()
                for side in (pre, delta):
                    side[: max(0, at - first)].index_fill_(1, dropped, 0)
            yield NotedWindow(pre, delta, steps[0].begins)
