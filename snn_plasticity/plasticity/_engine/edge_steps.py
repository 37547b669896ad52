"""Pair STDP and a linear trace on edges, past a step or a window in one call of a compiled loop.

All pairs and nearest pairs, with a clamp or without; work is in proportion to spikes × edges per neuron, and one pass
over e. Taken by itself where numba is there (`compiled.suits`); elsewhere windows are folded as any other geometry.
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor

from ...decay import decay_factor
from ..edges import EdgeLists, Edges
from ..geometry import Geometry
from ..kernels import Kernel, PairSTDP, SpikeTraces, SymmetricSTDP
from ..parameters import constant, plain_number
from ..traces import Accumulating, Dutch, Trace, scale_of
from .compiled import NUMBERS, suits


@cache
def _loops() -> ModuleType:
    from . import edge_loops

    return edge_loops


class EdgeSteps:
    """What brings the traces of edges past a window.

    Args:
        kernel: `PairSTDP` with numbers for parameters.
        trace: linear, with numbers for parameters, and a clamp that holds zero or none.
        sign: of what a pre spike brings: −1 depresses.
        edges: the synapses.
    """

    def __init__(self, kernel: PairSTDP, trace: Trace, sign: float, edges: Edges) -> None:
        self.kernel, self.trace, self.sign, self.edges = kernel, trace, sign, edges
        convention = kernel.convention
        self._flags = (
            convention.pairing == "nearest",
            convention.coincidence == "none",
            convention.coincidence != "both",
        )

    @classmethod
    def of(cls, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor], geometry: Geometry) -> EdgeSteps | None:
        """What steps such a kernel and trace on these synapses; None where nothing does."""
        pair: Any = getattr(kernel, "_pair", kernel)
        if type(kernel) not in (PairSTDP, SymmetricSTDP) or not isinstance(geometry, Edges):
            return None
        if (
            type(trace) not in (Accumulating, Dutch)
            or not trace.linear
            or type(like[0]) is not Tensor
            or not suits(like[0])
        ):
            return None
        low, high = trace.clamp_range or (-math.inf, math.inf)
        numbers = (pair.tau_plus, pair.tau_minus, pair.a_plus, pair.a_minus, trace.tau_e, getattr(trace, "alpha", 0.0))
        if not low <= 0.0 <= high or not constant(*numbers):
            return None
        return cls(pair, trace, 1.0 if kernel is not pair else -1.0, geometry)

    def renewed(self, state: SpikeTraces | None, like: tuple[Tensor, Tensor]) -> SpikeTraces:
        """The spike traces in memory of their own, so that a mark in them stays what it was; None begins anew."""
        return self.kernel.init(*like) if state is None else SpikeTraces(state.x.clone(), state.y.clone())

    def step(self, e: Tensor, state: SpikeTraces, pre: Tensor, post: Tensor, dt: float) -> None:
        """In place: e (B, E) and the spike traces after a step, pre (B, N_pre) and post (B, N_post)."""
        self.window(e, state, pre.unsqueeze(0), post.unsqueeze(0), dt)

    def window(self, e: Tensor, state: SpikeTraces, pre: Tensor, post: Tensor, dt: float) -> None:
        """In place: e (B, E) and the spike traces after a window, pre (T, B, N_pre) and post (T, B, N_post)."""
        number, edges = NUMBERS[e.dtype], self.edges
        numbers, gains = self._numbers(len(pre), dt, number)
        room = np.zeros(edges.n_pre, number), np.zeros(edges.n_post, number)
        sides = listed(pre, number), listed(post, number)
        lists = _compact(edges)
        _loops().pair_edges(
            e.numpy(), state.x.numpy(), state.y.numpy(), *sides, numbers, self._flags, gains, *map(tuple, lists), *room
        )

    def _numbers(self, steps: int, dt: float, number: Any) -> tuple[tuple, np.ndarray]:
        """The factors of a window of so many steps, and what is left of each step at its end."""
        kernel, trace = self.kernel, self.trace
        scale, decay = plain_number(scale_of(trace)), kernel.convention.spike_trace_decay
        x, y = (decay_factor(plain_number(tau), dt, decay) for tau in (kernel.tau_plus, kernel.tau_minus))
        most = float(np.finfo(number).max)  # what is infinite times what is left of nothing would be NaN
        low, high = (min(max(end, -most), most) for end in trace.clamp_range or (-most, most))
        up, down = scale * plain_number(kernel.a_plus), self.sign * scale * plain_number(kernel.a_minus)
        beta = plain_number(trace.retained(dt))
        numbers = tuple(number(value) for value in (x, y, beta**steps, up, down, low, high))
        return numbers, (beta ** np.arange(steps - 1, -1, -1.0)).astype(number)


def delivered(edges: Edges, spikes: Tensor, weight: Tensor) -> Tensor | None:
    """The currents (R, N_post) of spikes (R, N_pre), in a compiled loop; None without one.

    Args:
        edges: the synapses.
        spikes: of R rows; row r is of sample r modulo B.
        weight: (E,), or (B, E) with weights of its own for each sample.
    """
    if not suits(spikes) or weight.dtype is not spikes.dtype:
        return None
    current = spikes.new_zeros(len(spikes), edges.n_post)
    of_pre = _compact(edges)[0]
    held = (tensor.detach().contiguous().numpy() for tensor in (current, spikes, weight.view(-1, edges.shape[0])))
    _loops().deliver(*held, tuple(of_pre))
    return current


def listed(spikes: Tensor, number: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where (T·B + 1,) the spikes of each step and sample begin, their neurons, and their values.

    >>> import torch
    >>> listed(torch.tensor([[[0.0, 1.0]], [[0.5, 0.0]]]), np.float32)[1].tolist()
    [1, 0]
    """
    flat = spikes.contiguous().numpy().ravel()
    at = np.flatnonzero(flat)
    row, neuron = np.divmod(at, spikes.shape[2])
    starts = np.searchsorted(row, np.arange(spikes.shape[0] * spikes.shape[1] + 1))
    return starts, neuron, flat[at].astype(number)


class _Compact(NamedTuple):
    """Where the edges of each neuron begin (N + 1,), which they are, and the neurons at their other ends, (E,) both."""

    starts: np.ndarray
    edges: np.ndarray
    far: np.ndarray

    @classmethod
    def of(cls, lists: EdgeLists, far: EdgeLists) -> _Compact:
        """In as few bytes as will do."""
        order = lists.edges.numpy()
        kind = np.int32 if len(order) < 2**31 else np.int64
        return cls(np.append(lists.starts.numpy(), len(order)), order.astype(kind), far.neuron[order].astype(kind))


def _compact(edges: Edges) -> tuple[_Compact, _Compact]:
    """The edges of each pre and of each post neuron; worked out once."""
    if edges not in _known:
        _known[edges] = _Compact.of(edges.of_pre, edges.of_post), _Compact.of(edges.of_post, edges.of_pre)
    return _known[edges]


_known: WeakKeyDictionary[Edges, tuple[_Compact, _Compact]] = WeakKeyDictionary()
