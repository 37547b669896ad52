"""A run over time for nets that take one step per call."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from .tensors import forget


class OverTime:
    """Show a static input for some steps, or a sequence step by step, and add up what comes out.

        output = Σ_t model(x_t)

    Args:
        steps: how often to show x (B, ...); None: x is a sequence (T, B, ...).
        mean: divide by the number of steps.

    Takes nets that keep their state themselves (snnTorch's `init_hidden`) and nets that pass it along, as Norse's
    `SequentialState`.

    >>> OverTime(4)(nn.Identity(), torch.ones(1, 2))
    tensor([[4., 4.]])
    """

    def __init__(self, steps: int | None = None, *, mean: bool = False) -> None:
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ValueError(f"steps = {steps!r}; expected a whole number >= 1, or None for sequences.")
        self.steps, self.mean = steps, mean

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """Run it from a fresh start."""
        forget(model)
        frames = x if self.steps is None else x.expand(self.steps, *x.shape)
        passes_state = "state" in inspect.signature(model.forward).parameters
        total, state = torch.zeros(()), None
        for frame in frames:
            if passes_state:
                output, state = model(frame, state)
            else:
                output = model(frame)
                output = output[0] if isinstance(output, tuple) else output
            total = output + total
        return total / len(frames) if self.mean else total
