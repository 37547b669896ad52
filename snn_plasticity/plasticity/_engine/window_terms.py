"""The terms of a window, worked out once: what a kernel says of it, its traces, its sparse matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ..._compiled import KINDS, NUMBERS, loops
from ...kernels.kernel_state import along, batch_axes, careful_step, forgotten
from ...kernels.terms import Filtered, Side, Spikes, Term, Values, Windowed, forward, last
from ...layers.spike_trains import MIN_ENTRIES, SpikeTrains, as_numbers

if TYPE_CHECKING:
    from ...kernels.stdp import Coincidence, Kernel, Pair


class WindowTerms:
    """The terms of a window; traces and sparse matrices of its trains are worked out once, when first needed.

    Args:
        kernel: who says it.
        pre, post: (T, B, ...), numbers or booleans.
        state: the kernel's state before the window; None is a fresh start.
        dt: step length.
        dtype: precision of everything.
        restarts: after how many steps samples in a mask (B,) start anew, or later than these; only where the kernel is
            no `Windowed` one.
        fast: whether compiled loops may be used.
    """

    def __init__(
        self,
        kernel: Kernel,
        pre: Tensor,
        post: Tensor,
        state: Any,
        dt: float,
        dtype: torch.dtype,
        restarts: Sequence[tuple[int, Tensor]] = (),
        fast: bool = False,
    ) -> None:
        self._dtype, self._length, self.fast = dtype, len(pre), fast
        large = fast and pre.is_cpu and max(pre.numel(), post.numel()) >= MIN_ENTRIES
        self.compiled = large and dtype in KINDS and loops() is not None
        self._numbers: dict[int, tuple[Tensor, Tensor]] = {}  # trains in another precision, and in this one
        self._values: dict[int, Tensor] = {}
        window = kernel.window if isinstance(kernel, Windowed) else lambda *_: None
        given = (pre, post) if hasattr(window, "accepts_bool") else (self.numbers(pre), self.numbers(post))
        found = window(*given, state, dt)
        if found is None:
            given = self.numbers(pre), self.numbers(post)
            found = _step_by_step(kernel, *given, state, dt, dtype, restarts)
        self.terms, self._after = found
        self._given = given
        trains = SpikeTrains(pre, dtype, fast=fast), SpikeTrains(post, dtype, fast=fast)
        self._trains = {id(given[0]): trains[0], id(given[1]): trains[1]}

    @cached_property
    def state_after(self) -> Any:
        """The kernel's state after the window."""
        after = self._after(self._last) if callable(self._after) else self._after
        return tree_map_only(Tensor, self._owned, after)

    def __len__(self) -> int:
        return self._length

    def _last(self, trace: Filtered) -> Tensor:
        return last(self.numbers(trace.trains), trace.decay, trace.lead)

    def _owned(self, state: Tensor) -> Tensor:
        """A part of the kernel's state that outlives this: no view of the caller's spikes."""
        pre, post = self._given
        lent = pre.untyped_storage().data_ptr(), post.untyped_storage().data_ptr()
        return state.clone() if state.untyped_storage().data_ptr() in lent else state

    def numbers(self, trains: Tensor) -> Tensor:
        """Trains in the precision of everything, while this is there."""
        if trains.dtype == self._dtype:
            return trains
        if id(trains) not in self._numbers:
            self._numbers[id(trains)] = trains, as_numbers(trains, self._dtype)
        return self._numbers[id(trains)][1]

    def values(self, side: Side) -> Tensor:
        """A side of a term at every step; not to be changed, and not to outlive this."""
        if isinstance(side, Values):
            return self.numbers(side.tensor)
        if isinstance(side, Spikes):
            return self.numbers(side.trains)
        if id(side) not in self._values:
            self._values[id(side)] = self._traces(side)
        return self._values[id(side)]

    def _traces(self, side: Filtered) -> Tensor:
        trains = self.for_loop(side.trains)
        if trains is not None:
            return add_filtered(None, trains, torch.ones(len(self), dtype=self._dtype), side, back=False)[0]
        return forward(self.numbers(side.trains), side.decay, side.lead, exclusive=side.exclusive)

    def for_loop(self, side: Tensor) -> Tensor | None:
        """Trains as the compiled filter reads them; None where it is not to be had, or not worth its call."""
        if not (self.compiled and side.numel() >= MIN_ENTRIES):
            return None
        trains = self.trains(side)
        return trains.spikes if trains.binary else self.numbers(side)

    def trains(self, side: Tensor) -> SpikeTrains:
        """Raw spikes of a term as sparse matrices."""
        if id(side) not in self._trains:
            self._trains[id(side)] = SpikeTrains(side, self._dtype, fast=self.fast)
        return self._trains[id(side)]


def add_filtered(
    table: Tensor | None, spikes: Tensor, gains: Tensor, trace: Filtered, *, back: bool
) -> tuple[Tensor, Tensor]:
    """Gains (T,) or (T, B) and trains (T, B, ...), filtered as `trace` says, by the compiled loop of this name.

    Returns the table, a new one for None, to which they were added, and the trace after the last of them.
    """
    found, number = loops(), NUMBERS[gains.dtype]
    assert found is not None
    into = gains.new_empty(spikes.shape) if table is None else table.contiguous()
    after = gains.new_zeros(spikes.shape[1:])
    if trace.lead is not None and not back:
        after.copy_(trace.lead)
    given = (np.ascontiguousarray(side.numpy()) for side in (spikes.flatten(2), gains.view(len(gains), -1)))
    flags = trace.exclusive, back, table is None
    found.add_filtered(into.flatten(2).numpy(), *given, number(trace.decay), *flags, after.flatten(1).numpy())
    return into, after


def _step_by_step(
    kernel: Kernel, pre: Tensor, post: Tensor, state: Any, dt: float, dtype: torch.dtype, restarts: Sequence
) -> tuple[list[Term], Any]:
    """Any kernel's terms of a window, and its state after it; `state` None is a fresh start."""
    like = pre[0], post[0]
    state = kernel.init(*like) if state is None else state
    steps: list[Coincidence] = []
    for now_pre, now_post in zip(pre, post, strict=True):
        coincidence, state = careful_step(kernel, now_pre, now_post, state, dt)
        if coincidence.full is not None:
            raise ValueError(
                f"{type(kernel).__name__} gave f of each synapse (a FullCoincidence), which no window holds; expected "
                "a kernel to say so, with the attribute per_synapse = True."
            )
        steps.append(coincidence)
        for mask in (mask for at, mask in restarts if at == len(steps)):
            state = forgotten(kernel, like, batch_axes(kernel, like), state, mask)
    for at, mask in restarts:
        steps[:at] = [_without(coincidence, mask) for coincidence in steps[:at]]
    terms = []
    for scale, pairs in ((1.0, [c.ltp for c in steps]), (-1.0, [c.ltd for c in steps])):
        for nth in range(max(map(len, pairs))):
            products = [now[nth] if nth < len(now) else None for now in pairs]
            terms.append(Term(scale, *(_stacked(products, side, dtype) for side in ("post", "pre"))))
    return terms, state


def _without(coincidence: Coincidence, mask: Tensor) -> Coincidence:
    """The same products, zero for the samples in a mask (B,)."""

    def silent(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple(pair._replace(post=pair.post.masked_fill(along(mask, pair.post, 0), 0)) for pair in pairs)

    return coincidence._replace(ltp=silent(coincidence.ltp), ltd=silent(coincidence.ltd))


def _stacked(products: list[Pair | None], side: str, dtype: torch.dtype) -> Values:
    """A side of the products that a kernel names n-th in each step, zero where it names fewer."""
    silent = next(torch.zeros_like(getattr(product, side)) for product in products if product is not None)
    return Values(torch.stack([silent if now is None else getattr(now, side) for now in products]).to(dtype))
