"""Whether compiled loops can be used, and what they are called with: the one door from torch to `compiled_loops`.

They come with numba (`pip install snn-plasticity[fast]`) and are taken by themselves on the CPU, in single and double
precision; without it, or with path="torch", everything works as it does elsewhere, in torch.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...decay import decay_factor
from ..bounds import HardBounds, SoftBounds
from ..kernels import Kernel, PairSTDP, Rate, SpikeTraces, SymmetricSTDP
from ..parameters import plain_number
from ..traces import Accumulating, Dutch, Replacing, Trace, scale_of

KINDS = (torch.float32, torch.float64)
NUMBERS = {torch.float32: np.float32, torch.float64: np.float64}


def available() -> bool:
    """Whether numba is there; it is imported when the first loop is called."""
    return importlib.util.find_spec("numba") is not None


@cache
def loops() -> ModuleType | None:
    """The loops; None without numba."""
    if not available():
        return None
    from . import compiled_loops

    return compiled_loops


def suits(tensor: Tensor) -> bool:
    """Whether a tensor can be handed to a loop."""
    return tensor.is_cpu and tensor.dtype in KINDS and loops() is not None


def bounded(weight: Tensor, delta: Tensor, bounds: HardBounds | SoftBounds) -> Tensor | None:
    """What bounds make of a weight and a finite change; None where no loop can."""
    same = weight.dtype is delta.dtype and weight.shape == delta.shape and delta.is_cpu
    if not (same and suits(weight) and weight.is_contiguous() and delta.is_contiguous()):
        return None
    found, after, number = loops(), torch.empty_like(delta), NUMBERS[delta.dtype]
    assert found is not None
    arrays = weight.detach().view(-1).numpy(), delta.view(-1).numpy(), number(bounds.low), number(bounds.high)
    if isinstance(bounds, SoftBounds):
        found.soft_bounded(*arrays, number(bounds.mu_plus), number(bounds.mu_minus), after.view(-1).numpy())
    else:
        found.hard_bounded(*arrays, after.view(-1).numpy())
    return after


RowLoop = Callable[[Trace, Tensor, Tensor, Tensor, Any], None]


def row_loop_of(trace: Trace, e: Tensor) -> RowLoop | None:
    """The loop over rows for a trace; None where there is none."""
    plain = type(trace) in (Accumulating, Replacing, Dutch) and not isinstance(trace.tau_e, Tensor)
    if not plain or (isinstance(trace, Dutch) and isinstance(trace.alpha, Tensor)) or not suits(e):
        return None
    return _loop_rows


def _loop_rows(trace: Trace, rows: Tensor, left: Tensor, right: Tensor, retained: float) -> None:
    """In place: rows (R, N_pre) of one sample after a window, left (T, R, K) and right (T, K, N_pre)."""
    found, number = loops(), NUMBERS[rows.dtype]
    assert found is not None
    low, high = (-math.inf, math.inf) if trace.clamp_range is None else trace.clamp_range
    weights, other = np.ascontiguousarray(left.transpose(0, 1).numpy()), np.ascontiguousarray(right.numpy())
    window = rows.numpy(), weights, other, *found.sparse_lists(other), number(retained), number(low), number(high)
    if trace.linear:
        found.linear_rows(*window)
    elif isinstance(trace, Replacing):
        found.replacing_rows(*window)
    else:
        found.active_rows(*window, number(1.0 - trace.alpha))  # type: ignore[attr-defined]


class CompiledSteps:
    """A kernel and a linear trace of a full matrix, a step at a time: f = up · post ⊗ x + down · y ⊗ pre.

    Args:
        kernel: `PairSTDP` or `SymmetricSTDP` with numbers for parameters, or `Rate`.
        trace: linear, with numbers for parameters.
        like: one step's pre and post.
    """

    def __init__(self, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor]) -> None:
        self.kernel, self.trace, self.number = kernel, trace, NUMBERS[like[0].dtype]
        self._flags, self._dt, self._numbers = (False, False, False), -1.0, ()
        if not isinstance(kernel, Rate):
            convention = kernel.convention  # type: ignore[attr-defined]
            before = convention.coincidence == "none", convention.coincidence != "both"
            self._flags = (convention.pairing == "nearest", *before)
        self._shapes = like[0].shape, like[1].shape
        self._held: Any = ()

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks at memory of its own."""
        return {**vars(self), "_held": ()}

    @classmethod
    def of(cls, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor]) -> CompiledSteps | None:
        """What steps such a kernel and trace for spikes like these; None where nothing does."""
        known = type(kernel) in (PairSTDP, SymmetricSTDP, Rate) and type(trace) in (Accumulating, Dutch)
        if not known or not trace.linear or like[0].dim() != 2 or not suits(like[0]):
            return None
        names = () if isinstance(kernel, Rate) else ("tau_plus", "tau_minus", "a_plus", "a_minus")
        numbers = [getattr(kernel, name) for name in names] + [trace.tau_e, getattr(trace, "alpha", 0.0)]
        fixed = not any(isinstance(number, Tensor) for number in numbers)  # a tensor may be another number tomorrow
        return cls(kernel, trace, like) if fixed else None

    def step(self, e: Tensor, state: SpikeTraces | None, pre: Tensor, post: Tensor, dt: float) -> bool:
        """In place: e (B, N_post, N_pre) and the spike traces after a step; False, and nothing, where NaN is given."""
        held = self._held
        if not held or held[0] is not e or held[1] is not state:
            held = self._held = e, state, *self._arrays(e, state)
        if dt != self._dt:
            self._take(dt)
        return held[2](*held[3:], pre.numpy(), post.numpy(), self._numbers, *self._flags)

    def total(self, e: Tensor, mod: Tensor, factor: float) -> Tensor | None:
        """factor · Σ_b mod_b e_b of the e that was stepped last; None where it is not, or the total not finite."""
        held = self._held
        if not held or held[0] is not e:
            return None
        found, total = loops(), torch.empty(e.shape[1:], dtype=e.dtype)
        assert found is not None
        finite = found.total_change(held[3], mod.reshape(-1).numpy(), self.number(factor), total.numpy())
        return total if finite else None

    def _arrays(self, e: Tensor, state: SpikeTraces | None) -> tuple[Any, ...]:
        """The loop, and the memory that it works in."""
        found = loops()
        assert found is not None
        x, y = (np.zeros(shape, self.number) for shape in self._shapes) if state is None else (t.numpy() for t in state)
        return found.pair_step, e.numpy(), x, y, np.empty(e.shape[1] + e.shape[2], self.number)

    def _take(self, dt: float) -> None:
        """The factors of a step length."""
        kernel, trace, scale = self.kernel, self.trace, plain_number(scale_of(self.trace))
        x, y, up, down = 0.0, 0.0, scale, 0.0
        if isinstance(kernel, (PairSTDP, SymmetricSTDP)):
            decay, sign = kernel.convention.spike_trace_decay, -scale if isinstance(kernel, PairSTDP) else scale
            x, y = (decay_factor(plain_number(tau), dt, decay) for tau in (kernel.tau_plus, kernel.tau_minus))
            up, down = scale * plain_number(kernel.a_plus), sign * plain_number(kernel.a_minus)
        low, high = (-math.inf, math.inf) if trace.clamp_range is None else trace.clamp_range
        numbers = (x, y, plain_number(trace.retained(dt)), up, down, low, high)
        self._dt, self._numbers = dt, tuple(self.number(value) for value in numbers)
