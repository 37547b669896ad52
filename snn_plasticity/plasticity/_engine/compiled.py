"""Single steps of full matrices in compiled loops, and what the loops are called with."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from ... import _compiled
from ..._untracked import untracked
from ...decay import decay_factor
from ...kernels.parameters import plain_number
from ...kernels.stdp import Coincidence, Kernel, PairSTDP, Rate, SpikeTraces, SymmetricSTDP
from ..bounds import HardBounds, SoftBounds, free
from ..traces import Accumulating, Dutch, Replacing, Trace, scale_of

MOST = 4  # products of a step
WEIGHT_KINDS = (Tensor, nn.Parameter)  # that loops change where they lie
PARAMETERS = ("tau_plus", "tau_minus", "a_plus", "a_minus")


def why_not(trace: Trace, shared: bool) -> str | None:
    """Why no loop joins the steps of such a trace, as the end of a sentence; None where one does."""
    if type(trace) not in (Accumulating, Replacing, Dutch):
        return f"no loop knows a {type(trace).__name__} trace"
    if isinstance(trace.tau_e, Tensor) or isinstance(getattr(trace, "alpha", 0.0), Tensor):
        return "the parameters of the trace are tensors"
    if shared and trace.clamp_range is not None:
        return "the path 'shared' cannot clamp sample by sample: clamp_range=None"
    return None


def bounded(weight: Tensor, delta: Tensor, bounds: HardBounds | SoftBounds) -> Tensor | None:
    """What bounds make of a weight and a finite change; None where no loop can."""
    alike = weight.dtype is delta.dtype and weight.shape == delta.shape
    if not (alike and _compiled.suits(delta) and weight.is_contiguous() and delta.is_contiguous()):
        return None
    ends, kind = ends_of(None, bounds), _compiled.NUMBERS[delta.dtype]
    after = weight.detach().clone()
    return None if ends is None else BoundLanding(after, delta.numpy(), np.array(ends, kind)).land()


class BoundLanding(NamedTuple):
    """A finite change of a weight, not clamped yet, for one pass over the weight.

    Args:
        weight: contiguous. change: like it. ends: as `dense_loops.land` takes them.
    """

    weight: Tensor
    change: np.ndarray
    ends: np.ndarray
    into: str = "pass"

    def land(self) -> Tensor:
        """Change the weight."""
        found = _compiled.loops()
        assert found is not None
        found.land(self.change, self.ends, self.weight.data_ptr())
        increment_version(self.weight)  # a graph that needs the weight as it was finds out
        return self.weight


def ends_of(clamp: tuple[float, float] | None, bounds: object) -> tuple[float, ...] | None:
    """Of one change, and of the weight, then the exponents of soft bounds; None where something else limits them."""
    of_change = clamp or (-math.inf, math.inf)
    if bounds is free:
        return *of_change, -math.inf, math.inf
    if type(bounds) is HardBounds:
        return *of_change, bounds.low, bounds.high
    return (*of_change, *astuple(bounds)) if type(bounds) is SoftBounds else None


def joins(trace: Trace, dt: float) -> tuple[float, float, float, float]:
    """What is kept of e in a step, the clamp, and what is left of e where it meets f (negative: the larger stays)."""
    low, high = (-math.inf, math.inf) if trace.clamp_range is None else trace.clamp_range
    spared = 1.0 if trace.linear else 1.0 - plain_number(getattr(trace, "alpha", 0.0))
    return plain_number(trace.retained(dt)), low, high, -1.0 if isinstance(trace, Replacing) else spared


def pair_flags(kernel: PairSTDP | SymmetricSTDP) -> tuple[bool, bool, bool]:
    """Nearest pairs; whether a spike meets x, and y, as they were before those of its own step."""
    convention = kernel.convention
    return convention.pairing == "nearest", convention.coincidence == "none", convention.coincidence != "both"


def pair_factors(kernel: PairSTDP | SymmetricSTDP, trace: Trace, dt: float) -> tuple[float, float, float, float]:
    """What is kept of x and y in a step, then up and down in f = up · post ⊗ x + down · y ⊗ pre."""
    scale, decay = plain_number(scale_of(trace)), kernel.convention.spike_trace_decay
    x, y = (decay_factor(plain_number(tau), dt, decay) for tau in (kernel.tau_plus, kernel.tau_minus))
    sign = -scale if isinstance(kernel, PairSTDP) else scale
    return x, y, scale * plain_number(kernel.a_plus), sign * plain_number(kernel.a_minus)


class CompiledSteps:
    """Steps of a full matrix: any kernel with a few products, any trace of this library.

    The vectors of the neurons are worked out when a step comes; e is `due` then, until it is read or a modulator comes:
    with that one, e changes and the change of the weights is summed in one pass over e.

    Args:
        kernel: any; numbers in `PairSTDP` and `SymmetricSTDP`, and `Rate`, have a loop of their own.
        trace: with numbers for parameters.
        like: one step's pre and post.
        shared: whether e is summed over the batch.
    """

    _e: Any  # whose step is due, or was taken last; its memory, like all of `_MEMORY`, is not that of a copy
    _state: Any
    _left: Any  # (K, B, N_post), and (K, B, N_pre): the products of a step, and how arrays see them
    _right: Any
    _terms: Any
    _flat: Any
    _pair_terms: Any
    _pass: Any
    _number: Any  # one modulator for all, and where it lies
    _number_at: Any
    _room: Any  # spike traces of a rate, which has none
    _row: Any
    _change: Any

    def __init__(self, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor], shared: bool) -> None:
        self.kernel, self.trace, self.like, self.shared = kernel, trace, like, shared
        self.due, self.number, self._dt = False, _compiled.NUMBERS[like[0].dtype], -1.0
        self._ends: Any = (None, None)  # of the last change, as they were given and as an array
        self.pairs = type(kernel) is Rate or (
            type(kernel) in (PairSTDP, SymmetricSTDP)
            and not any(isinstance(getattr(kernel, name), Tensor) for name in PARAMETERS)  # it may be another tomorrow
        )
        self._flags = (
            tuple(map(int, pair_flags(kernel))) if isinstance(kernel, (PairSTDP, SymmetricSTDP)) else (0, 0, 0)
        )
        still = (1.0, -math.inf, math.inf, 1.0 if trace.linear else -1.0, 0.0)  # e stays, and is summed
        self._still = np.array(still, self.number)
        self._let_go()

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks at memory of its own; what is due, e brings up to date before it is copied."""
        return {name: value for name, value in vars(self).items() if name not in _MEMORY}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.due = False
        self._let_go()

    @classmethod
    def of(cls, kernel: Kernel, trace: Trace, like: tuple[Tensor, Tensor], shared: bool) -> CompiledSteps | None:
        """What steps such a kernel and trace for spikes like these; None where nothing does."""
        found = why_not(trace, shared) is None and like[0].dim() == 2 and min(like[0].numel(), like[1].numel()) > 0
        return cls(kernel, trace, like, shared) if found and _compiled.placed(like[0]) is None else None

    def step(self, e: Tensor | None, state: SpikeTraces | None, pre: Tensor, post: Tensor, dt: float) -> bool:
        """One step of spikes as they came; e is due then. False, and nothing, where NaN is given or no loop is there.

        Args:
            e: (B, N_post, N_pre), or (N_post, N_pre) when shared, as it is: nothing is due.
            state: spike traces, changed in place.
            pre, post: (B, N_pre) and (B, N_post).
            dt: step length.
        """
        if e is None or (state is None and type(self.kernel) is not Rate):  # not begun yet
            return False
        if (e is not self._e or state is not self._state or len(self._flat[0]) != 2) and not self._hold(e, state, 2):
            return False
        if dt != self._dt:
            self._take(dt)
        x, y = state or self._room
        self.due = self._pair_terms(
            x.data_ptr(), y.data_ptr(), pre.data_ptr(), post.data_ptr(), self._numbers, *self._flags, *self._flat
        )
        return self.due

    def join(self, e: Tensor, coincidence: Coincidence, dt: float) -> bool:
        """The same of what a kernel says; False, and nothing, where it is too much for a loop, or not finite."""
        pairs, shapes = (*coincidence.ltp, *coincidence.ltd), (self.like[1].shape, self.like[0].shape)
        most = MOST if self.trace.linear else 2
        if coincidence.full is not None or not 0 < len(pairs) <= most:
            return False
        if any((p.post.shape, p.pre.shape) != shapes for p in pairs):
            return False
        if (e is not self._e or len(pairs) != len(self._flat[0])) and not self._hold(e, None, len(pairs)):
            return False
        if dt != self._dt:
            self._take(dt)
        scale, found = plain_number(scale_of(self.trace)), _compiled.loops()
        assert found is not None
        for k, (post, pre) in enumerate(pairs):
            self._left[k].copy_(post).mul_(scale if k < len(coincidence.ltp) else -scale)
            self._right[k].copy_(pre)
        self.due = found.all_finite(*self._flat)
        return self.due

    def flush(self) -> None:
        """What is due, into e."""
        if self.shared:
            self._flush_shared()
        else:
            self._sum(0.0, 0.0, self._row)
        self.due = False

    def total(self, e: Tensor | None, mod: float | Tensor, factor: float) -> Tensor | None:
        """Σ_b factor · mod_b · e_b with what is due, which goes into e; None where no loop can or it is not finite."""
        if e is None or self.shared or (e is not self._e and (self.due or not self._hold(e, None, 2))):
            return None
        total = e.new_empty(e.shape[1:])
        return total if self._sum(mod, factor, total.numpy()) else None

    def landing(
        self, running: Any, weight: Tensor, mod: float | Tensor, factor: float, ends: tuple[float, ...] | None
    ) -> BoundLanding | None:
        """What a weight comes to by factor · Σ_b mod_b · e_b of running traces; None where that is not the way.

        Args:
            weight: (N_post, N_pre). mod: a number, (B,) or ().
            ends: as `ends_of`; None where there is more to a change.
        """
        e, change = running.state._e, self._change
        if (
            ends is None or e is None or self.shared or running.queued or (running.pending.blocks and running.visible)
            or (e is not self._e and (self.due or not self._hold(e, None, 2)))
            or weight.dtype is not e.dtype or weight.shape != e.shape[1:] or weight.is_inference() or weight.is_neg()
            or not (type(weight) in WEIGHT_KINDS and weight.is_cpu and weight.layout is torch.strided)
            or not weight.is_contiguous() or not (type(mod) is float or running.meets(mod))
        ):  # fmt: skip
            return None
        if change is None:
            change = self._change = np.empty(tuple(weight.shape), self.number)
        if self._ends[0] is not ends:
            self._ends = ends, np.array(ends, self.number)
        return BoundLanding(weight, change, self._ends[1]) if self._sum(mod, factor, change) else None

    def _sum(self, mod: float | Tensor, factor: float, change: np.ndarray) -> bool:
        """In place: e with what is due, and change = Σ_b factor · mod_b · e_b; whether that is finite."""
        given = mod.contiguous() if isinstance(mod, Tensor) else None
        if given is None:
            self._number[0] = mod
        at, count = (self._number_at, 1) if given is None else (given.data_ptr(), given.numel())
        if not self.due:  # the same sum to the last bit, of an e that stays
            self._terms[0].fill(0.0)
        numbers, self.due = self._joins if self.due else self._still, False
        numbers[4] = factor
        return self._pass(self._e.data_ptr(), *self._terms, numbers, at, count, change)

    def _flush_shared(self) -> None:
        """Terms that are mostly zeros spike by spike, the others in one product."""
        left_out, dense = self._pass(self._e.data_ptr(), *self._terms, self._joins[0])
        if left_out:
            every = left_out == len(dense)
            left, right = (side if every else side[torch.from_numpy(dense)] for side in (self._left, self._right))
            beta = float(self._joins[0]) if every else 1.0
            with untracked(self._e):
                self._e.addmm_(left.flatten(0, 1).t(), right.flatten(0, 1), beta=beta)

    def _hold(self, e: Tensor, state: SpikeTraces | None, terms: int) -> bool:
        """Look at the memory of e and of the spike traces; False where no loop can."""
        found = _compiled.loops()
        if found is None or not e.is_contiguous() or not all(side.is_contiguous() for side in state or ()):
            return False
        self._e, self._state, self._pair_terms = e, state, found.pair_terms
        self._pass = found.add_terms if self.trace.linear else found.join_terms
        self._pass = found.add_shared if self.shared else self._pass
        self._left, self._right = (torch.zeros(terms, *side.shape, dtype=side.dtype) for side in reversed(self.like))
        self._terms = self._left.numpy(), self._right.numpy()
        self._flat = tuple(side.reshape(terms, -1) for side in self._terms)
        self._room = tuple(map(torch.zeros_like, self.like)) if state is None else None
        self._row = np.empty((1, e.shape[-1]), self.number)
        self._number = np.zeros(1, self.number)
        self._number_at = self._number.ctypes.data
        return True

    def _let_go(self) -> None:
        """Look at no memory."""
        vars(self).update(dict.fromkeys(_MEMORY))

    def _take(self, dt: float) -> None:
        """The factors of a step length."""
        kernel, trace = self.kernel, self.trace
        factors = (0.0, 0.0, plain_number(scale_of(trace)), 0.0)  # of a rate
        if self.pairs and isinstance(kernel, (PairSTDP, SymmetricSTDP)):
            factors = pair_factors(kernel, trace, dt)
        self._dt, self._numbers = dt, np.array(factors, self.number)
        self._joins = np.array((*joins(trace, dt), 0.0), self.number)


_MEMORY = tuple(CompiledSteps.__annotations__)  # what the class only declares
