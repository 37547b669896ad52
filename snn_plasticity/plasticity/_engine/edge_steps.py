"""Pair STDP and a linear trace on edges, past a step or a window in one call of a compiled loop.

All pairs and nearest pairs, with a clamp or without; work is in proportion to spikes × edges per neuron, and one pass
over e. Taken by itself where numba is there (`_compiled.suits`); elsewhere windows are folded as any other geometry.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ... import _compiled
from ...kernels.parameters import plain_number, plain_numbers
from ...kernels.stdp import Kernel, PairSTDP, SymmetricSTDP
from ...layers.edges import Edges
from ...layers.geometry import Geometry
from ..traces import Accumulating, Dutch, Trace
from .compiled import PARAMETERS, WEIGHT_KINDS, pair_factors, pair_flags

SPIKES = (torch.bool, torch.float32, torch.float64)
SURELY = {torch.float32: 1e38, torch.float64: 1e300}  # below which products are finite, whatever is rounded
LEAST = 1e-12  # of a trace, when its decay is no longer kept as one factor


Ends = tuple[float, ...]  # of a change, and of the weight
UNBOUNDED: Ends = (-math.inf, math.inf, -math.inf, math.inf)


class EdgeLanding(NamedTuple):
    """A change of weights that is known to be finite, for one pass over e and the weight: see `edge_loops.land`.

    Args:
        weight: (E,), or (B, E). told: e (B, E), modulators (B,) or (1,), and their factor. ends: as of `land`.
    """

    weight: Tensor
    told: tuple[np.ndarray, np.ndarray, np.floating]
    ends: tuple[np.floating, ...]
    into: str = "pass"

    def land(self) -> Tensor:
        """Change the weight."""
        weight = self.weight.detach()
        _compiled.loops_over_edges().land(weight.numpy().reshape(-1, self.told[0].shape[1]), *self.told, self.ends)
        increment_version(self.weight)  # a graph that needs the weight as it was finds out
        return weight


class EdgeSteps:
    """What brings the traces of edges past a window.

    Args:
        kernel: with numbers for parameters.
        trace: linear, with numbers for parameters, and a clamp that holds zero or none.
        edges: the synapses.
    """

    def __init__(self, kernel: PairSTDP | SymmetricSTDP, trace: Trace, edges: Edges) -> None:
        self.kernel, self.trace, self.edges, self._flags = kernel, trace, edges, pair_flags(kernel)
        self._known: Any = (0, 0.0, ())  # the numbers of the last window, by its length and dt
        self._ends: Any = (None, ())  # of the last change, as they were given and as numbers of e

    @classmethod
    def of(cls, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor], geometry: Geometry) -> EdgeSteps | None:
        """What steps such a kernel and trace on these synapses; None where nothing does."""
        if not (type(kernel) is PairSTDP or type(kernel) is SymmetricSTDP) or not isinstance(geometry, Edges):
            return None
        if (
            type(trace) not in (Accumulating, Dutch)
            or not trace.linear
            or type(like[0]) is not Tensor
            or not _compiled.suits(like[0])
        ):
            return None
        low, high = trace.clamp_range or (-math.inf, math.inf)
        numbers = [getattr(kernel, name) for name in PARAMETERS] + [trace.tau_e, getattr(trace, "alpha", 0.0)]
        return cls(kernel, trace, geometry) if low <= 0.0 <= high and plain_numbers(*numbers) else None

    def take_window(self, running: Any, pre: Tensor, post: Tensor, dt: float) -> bool:
        """A window as it came into running traces, where each window meets a modulator; False, and nothing, if not."""
        waits = running.unmet or running.queued or len(running.pending) or running.rule.trace.convention.lag
        fits = dt == running.admitted and all(
            type(side) is Tensor and side.dtype in SPIKES and side.is_cpu and side.dim() == 3
            and side.shape[1:] == own.shape and 0 < len(side) == len(pre)
            for side, own in zip((pre, post), running.like, strict=True)
        )  # fmt: skip
        if waits or running.strategy == "lazy" or not fits or not self.window(running.state, pre, post, dt):
            return False
        running._unmet(len(pre))
        return True

    def landing(
        self, running: Any, weight: Tensor, mod: float | Tensor, lr: float, ends: Ends | None
    ) -> EdgeLanding | None:
        """What weights come to by lr · Σ_b mod_b · e_b of running traces; None where that is not the way.

        It is where they cannot be written at once, where spikes wait, or where the change is not known to be finite.

        Args:
            weight: (E,), or (B, E) with weights of its own for each sample.
            mod: a number, (B,) or (). lr: learning rate, and of a mean its 1/B.
            ends: as `compiled.ends_of`; None where there is more to a change.
        """
        if ends is None or len(ends) > 4 or running.queued or not (type(mod) is float or running.meets(mod)):
            return None
        if running.visible and (running.strategy != "lazy" or weight.dim() > 1):
            running.fold()
        e, reach, kind = running.state.e, running.state.reach, running.like[1].dtype
        plain = type(weight) in WEIGHT_KINDS and weight.dtype is kind and weight.is_cpu
        if e is None or running.visible or reach is None or not plain:
            return None
        number = _compiled.NUMBERS[kind]
        mods = mod.detach().reshape(-1).numpy() if isinstance(mod, Tensor) else np.full(1, mod, number)
        largest = abs(float(mods[0])) if mods.size == 1 else float(np.abs(mods).max())
        finite = reach * abs(lr) * largest < SURELY[kind]
        if not finite or not weight.is_contiguous() or weight.is_inference():
            return None
        if self._ends[0] is not ends:
            self._ends = ends, tuple(number(end) for end in ends)
        return EdgeLanding(weight, (e.numpy(), mods, number(lr)), self._ends[1])

    def total(self, running: Any, mod: float | Tensor, factor: float) -> Tensor | None:
        """factor · Σ_b mod_b · e_b of running traces; None as in `landing`."""
        zeros = running.like[1].new_zeros(running.rule.geometry.shape)
        landing = self.landing(running, zeros, mod, factor, UNBOUNDED)
        return None if landing is None else landing.land()

    def window(self, state: Any, pre: Tensor, post: Tensor, dt: float) -> bool:
        """In place: e and the spike traces after a window; False, and nothing, where a spike is NaN or infinite.

        Args:
            state: e (B, E), the spike traces, and `reach`, which no |e| is above.
            pre, post: (T, B, N_pre) and (T, B, N_post), numbers or booleans. dt: step length.
        """
        e, reach = state.allocated(), state.reach
        if state.kernel is None:
            state.kernel = self.kernel.init(*state.like)
        if self._known[:2] != (len(pre), dt):
            self._known = len(pre), dt, self._numbers(len(pre), dt, _compiled.NUMBERS[e.dtype])
        held = e.numpy(), state.kernel.x.numpy(), state.kernel.y.numpy()
        if reach is None:
            reach = len(e) * float(np.abs(held[0]).max(initial=0.0))
        numbers, *others = self._known[2]
        written = _compiled.loops_over_edges().pair_edges(
            *held, _rows(pre), _rows(post), numbers, self._flags, *others, *self.edges.compact
        )
        if written < 0.0:
            return False
        state.bound, state.reach = None, reach * float(numbers[2]) + written
        return True

    def _numbers(self, steps: int, dt: float, number: Any) -> tuple[tuple, np.ndarray, int]:
        """The factors of a window of so many steps, as `pair_edges` takes them."""
        trace, (x, y, up, down) = self.trace, pair_factors(self.kernel, self.trace, dt)
        most = float(np.finfo(number).max)  # what is infinite times what is left of nothing would be NaN
        low, high = (min(max(end, -most), most) for end in trace.clamp_range or (-most, most))
        beta, longest, at = plain_number(trace.retained(dt)), steps, np.arange(float(steps))
        while longest > 1 and min(x, y) ** (longest - 1) < LEAST:
            longest //= 2
        gains = np.stack((beta ** at[::-1], x ** (at % longest), y ** (at % longest))).astype(number)
        return tuple(number(value) for value in (x, y, beta**steps, up, down, low, high)), gains, longest


def _rows(spikes: Tensor) -> np.ndarray:
    """Steps and samples one below the other."""
    return (spikes.detach() if spikes.requires_grad else spikes).reshape(-1, spikes.shape[-1]).numpy()
