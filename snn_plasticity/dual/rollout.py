"""A run over time for nets that take one step per call."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from ..checks import require_count, require_flag, require_kind, require_real
from .said import explained
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
        self.steps = None if steps is None else require_count("steps", steps)
        self.mean = require_flag("mean", mean)

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """Run it from a fresh start."""
        require_kind("model", model, nn.Module, "The net to run.")
        require_real("x", x)
        if not x.dim() or (self.steps is None and not len(x)):
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, ...), or a sequence (T, B, ...) with T >= 1.")
        with explained(f"The model does not run on x {tuple(x.shape)}, {x.dtype}", "inputs that its forward takes"):
            return self._run(model, x)

    def _run(self, model: nn.Module, x: Tensor) -> Tensor:
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
