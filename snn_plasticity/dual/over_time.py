"""A net is run: once, or step by step over time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from .._checks import known_as, require_count, require_flag, require_kind, require_real, shown
from ..hosts.index import unwrap
from .nets import explain_errors, reset_hidden_state


def model_output(model: nn.Module, x: Any) -> Any:
    """The model's output; where it returns its state too, without it.

    A tuple or list is handed to `forward` as `forward(*x)`, a mapping as `forward(**x)`, all else as it is.
    """
    output = call_model(model, x)
    return output[0] if isinstance(output, tuple) else output


def call_model(model: nn.Module, x: Any, *state: Any) -> Any:
    """The model called on one or several inputs, and on a state that is passed along."""
    if type(x) in (tuple, list):
        return model(*x, *state)
    if isinstance(x, Mapping):
        return model(**x, **({"state": state[0]} if state else {}))
    return model(x, *state)


@lru_cache
def _takes_state(forward: Any) -> bool:
    return "state" in inspect.signature(forward).parameters


class OverTime:
    """Show a static input for some steps, or a sequence step by step, and add up what comes out.

        output = Σ_t model(x_t),  or with `lengths` of each sample  Σ_{t < length} model(x_t)

    Args:
        steps: how often to show x (B, ...); None: x is a sequence (T, B, ...).
        mean: divide by the number of steps.
        batch_first: sequences are (B, T, ...).
        lengths: x is (sequence, lengths) of padded samples, lengths (B,) whole numbers; what comes after the end of a
            sample does not count. With batches (x, y, lengths): `Trainee(..., unpack=Fields(0, 2, target=1))`.

    Takes nets that keep their state themselves (snnTorch's `init_hidden`) and nets that pass it along, as Norse's
    `SequentialState`; and several inputs, as a tuple for `forward(*x)` or a mapping for `forward(**x)`.

    Raises:
        ValueError: `batch_first` or `lengths` beside `steps`, which repeats an input without an axis of time.

    >>> OverTime(4)(nn.Identity(), torch.ones(1, 2))
    tensor([[4., 4.]])
    >>> OverTime(lengths=True, batch_first=True)(nn.Identity(), (torch.ones(2, 3, 1), torch.tensor([3, 1])))
    tensor([[3.],
            [1.]])
    """

    def __init__(
        self, steps: int | None = None, *, mean: bool = False, batch_first: bool = False, lengths: bool = False
    ) -> None:
        self.steps = None if steps is None else require_count("steps", steps)
        self.mean = require_flag("mean", mean)
        self.batch_first, self.lengths = require_flag("batch_first", batch_first), require_flag("lengths", lengths)
        if steps is not None and (batch_first or lengths):
            raise ValueError("steps repeats an input (B, ...), which has no axis of time; expected steps=None.")

    def __call__(self, model: nn.Module, x: Any) -> Tensor:
        """Run a model on x, (B, ...) or (T, B, ...), from a fresh hidden state; the sum or mean of its outputs."""
        require_kind("model", model, nn.Module, "The net to run.")
        x, lengths = self._split(x)
        tensors = [x] if isinstance(x, Tensor) else [t for t in tree_leaves(x) if isinstance(t, Tensor)] or [x]
        axis = int(self.batch_first)
        for one in tensors:
            require_real("x", one)
            if one.dim() <= axis or (self.steps is None and not one.shape[axis]):
                raise ValueError(
                    f"x has shape {tuple(one.shape)}; expected (B, ...), or a sequence {self._layout()} with T >= 1."
                )
        if self.steps is None and len({one.shape[axis] for one in tensors}) > 1:
            raise ValueError(f"x is {shown(x)}, sequences of several lengths; expected {self._layout()} with one T.")

        def message() -> str:
            return f"The model does not run on x {', '.join(f'{tuple(t.shape)}, {t.dtype}' for t in tensors)}"

        with explain_errors(message, "inputs that its forward takes"):
            return self._run(model, x, self.steps or tensors[0].shape[axis], lengths)

    def _split(self, x: Any) -> tuple[Any, Tensor | None]:
        if not self.lengths:
            return x, None
        if not isinstance(x, (tuple, list)) or len(x) != 2 or not isinstance(x[0], Tensor):
            raise TypeError(f"x is {known_as(x)}; expected (sequence, lengths), as lengths=True says.")
        lengths, axis = torch.as_tensor(x[1], device=x[0].device), 1 - self.batch_first
        if lengths.is_floating_point() or x[0].dim() <= axis or lengths.shape != x[0].shape[axis : axis + 1]:
            raise ValueError(
                f"lengths is {shown(x[1])} for x {shown(x[0])}; expected one whole number for each sample."
            )
        return x[0], lengths

    def _layout(self) -> str:
        return "(B, T, ...)" if self.batch_first else "(T, B, ...)"

    def _frames(self, x: Any, steps: int) -> Iterator[Any]:
        for t in range(steps):
            if self.steps is not None:
                yield x
            elif isinstance(x, Tensor):
                yield x.select(int(self.batch_first), t)
            else:
                yield tree_map_only(Tensor, lambda one, t=t: one.select(int(self.batch_first), t), x)

    def _run(self, model: nn.Module, x: Any, steps: int, lengths: Tensor | None) -> Tensor:
        reset_hidden_state(model)
        forward = unwrap(model).forward
        passes_state = _takes_state(getattr(forward, "__func__", forward))
        total, state = torch.zeros(()), None
        for t, frame in enumerate(self._frames(x, steps)):
            if passes_state:
                output, state = call_model(model, frame, state)
            else:
                output = model_output(model, frame)
            if lengths is not None:
                going = (t < lengths).reshape(-1, *[1] * (output.dim() - 1))
                output = torch.where(going, output, torch.zeros_like(output))
            total = output + total
        if not self.mean:
            return total
        if lengths is None:
            return total / steps
        return total / lengths.clamp(1, steps).reshape(-1, *[1] * (total.dim() - 1))
