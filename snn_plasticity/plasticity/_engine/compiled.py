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
from ..kernels import Kernel, PairSTDP, SpikeTraces, SymmetricSTDP
from ..parameters import constant, plain_number
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


class PairSteps:
    """Pair STDP and a linear trace of a full matrix, a step at a time.

    Args:
        kernel: `PairSTDP` with numbers for parameters.
        trace: linear, with numbers for parameters.
        sign: of what a pre spike brings: −1 depresses.
    """

    def __init__(self, kernel: PairSTDP, trace: Trace, sign: float) -> None:
        self.kernel, self.trace, self.sign = kernel, trace, sign
        convention = kernel.convention
        self._flags = (
            convention.pairing == "nearest",
            convention.coincidence == "none",
            convention.coincidence != "both",
        )
        self._dt, self._numbers = -1.0, ()
        self._held: Any = ()

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks at the memory of its own."""
        return {**vars(self), "_held": ()}

    @classmethod
    def of(cls, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor]) -> PairSteps | None:
        """What steps such a kernel and trace for spikes of this shape; None where nothing does."""
        pair = getattr(kernel, "_pair", kernel)
        if (
            type(kernel) not in (PairSTDP, SymmetricSTDP)
            or not trace.linear
            or like[0].dim() != 2
            or not suits(like[0])
        ):
            return None
        numbers = (pair.tau_plus, pair.tau_minus, pair.a_plus, pair.a_minus, trace.tau_e, getattr(trace, "alpha", 0.0))
        if type(trace) not in (Accumulating, Dutch) or not constant(*numbers):
            return None
        return cls(pair, trace, 1.0 if kernel is not pair else -1.0)

    def step(self, e: Tensor, state: SpikeTraces, pre: Tensor, post: Tensor, dt: float) -> None:
        """In place: e (B, N_post, N_pre) and the spike traces after a step."""
        held = self._held
        if not held or held[0] is not e or held[1] is not state:
            seen = np.empty(e.shape[1] + e.shape[2], NUMBERS[e.dtype])
            held = self._held = e, state, e.numpy(), state.x.numpy(), state.y.numpy(), seen
        if dt != self._dt:
            self._take(dt, NUMBERS[e.dtype])
        found = loops()
        assert found is not None
        found.pair_step(*held[2:5], pre.numpy(), post.numpy(), self._numbers, *self._flags, held[5])

    def _take(self, dt: float, number: Any) -> None:
        """The factors of a step length."""
        kernel, trace = self.kernel, self.trace
        scale, decay = plain_number(scale_of(trace)), kernel.convention.spike_trace_decay
        x, y = (decay_factor(plain_number(tau), dt, decay) for tau in (kernel.tau_plus, kernel.tau_minus))
        low, high = (-math.inf, math.inf) if trace.clamp_range is None else trace.clamp_range
        up, down = scale * plain_number(kernel.a_plus), self.sign * scale * plain_number(kernel.a_minus)
        numbers = (x, y, plain_number(trace.retained(dt)), up, down, low, high)
        self._dt, self._numbers = dt, tuple(number(value) for value in numbers)
