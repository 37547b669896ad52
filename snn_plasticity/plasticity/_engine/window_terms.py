"""What a kernel says about a window: at once where it can, else step by step; and what has been worked out of that."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ..kernel_state import along, batch_axes, careful_step, forgotten
from ..kernels import Coincidence, Kernel, Pair
from . import filters
from .bits import countable
from .terms import Filtered, Side, Spikes, Term, Values
from .trains import Trains


@runtime_checkable
class Windowed(Protocol):
    """A kernel that can say a whole window at once, and for which silence is the same as a fresh start."""

    def window(self, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Any] | None:
        """Terms of pre (T, B, ...) and post (T, B, ...), and the state after them; None where it cannot.

        The state may be a function that makes it, given what tells the trace after the window of a `Filtered` side.
        Booleans are given, where all spikes are ones, to a method that is marked with `passes_on`.
        """
        ...


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
    ) -> None:
        self._dtype, self._length = dtype, len(pre)
        self._made: dict[int, tuple[Tensor, Tensor]] = {}  # trains in another precision, and in this one
        self._values: dict[int, Tensor] = {}
        window = kernel.window if isinstance(kernel, Windowed) else _nothing
        taken = (pre, post) if hasattr(window, "passes_on") else (self.numbers(pre), self.numbers(post))
        said = window(*taken, state, dt)
        if said is None:
            taken = self.numbers(pre), self.numbers(post)
            said = _step_by_step(kernel, *taken, state, dt, dtype, restarts)
        self.terms, self._after = said
        self._taken, self._trains = taken, {}
        for side, given in zip(taken, (pre, post), strict=True):
            self._trains[id(side)] = Trains(given, dtype)

    @cached_property
    def after(self) -> Any:
        """The kernel's state after the window."""
        after = self._after(self._last) if callable(self._after) else self._after
        return tree_map_only(Tensor, self._owned, after)

    def __len__(self) -> int:
        return self._length

    def _last(self, trace: Filtered) -> Tensor:
        return filters.last(self.numbers(trace.trains), trace.decay, trace.lead)

    def _owned(self, state: Tensor) -> Tensor:
        """A part of the kernel's state that outlives this."""
        lent = {side.untyped_storage().data_ptr() for side in self._taken}
        return state.clone() if state.untyped_storage().data_ptr() in lent else state

    def numbers(self, trains: Tensor) -> Tensor:
        """Trains in the precision of everything, while this is there."""
        if trains.dtype == self._dtype:
            return trains
        if id(trains) not in self._made:
            self._made[id(trains)] = trains, countable(trains).to(self._dtype)
        return self._made[id(trains)][1]

    def only(self, terms: list[Term]) -> WindowTerms:
        """The same window with some of its terms, while this is there."""
        part = copy(self)
        part.terms = terms
        return part

    def values(self, side: Side) -> Tensor:
        """A side of a term at every step; not to be changed, and not to outlive this."""
        if isinstance(side, Values):
            return side.tensor
        numbers = self.numbers(side.trains)
        if isinstance(side, Spikes):
            return numbers
        if id(side) not in self._values:
            self._values[id(side)] = side._replace(trains=numbers).values()
        return self._values[id(side)]

    def trains(self, side: Tensor) -> Trains:
        """Raw spikes of a term as sparse matrices."""
        return self._trains.setdefault(id(side), Trains(side, self._dtype))


def _nothing(*window: object) -> None:
    """What a kernel says of a window that it can only be asked about step by step."""


def _step_by_step(
    kernel: Kernel, pre: Tensor, post: Tensor, state: Any, dt: float, dtype: torch.dtype, restarts: Sequence
) -> tuple[list[Term], Any]:
    """Any kernel's terms of a window, and its state after it; `state` None is a fresh start."""
    state = kernel.init(pre[0], post[0]) if state is None else state
    said: list[Coincidence] = []
    for now_pre, now_post in zip(pre, post, strict=True):
        coincidence, state = careful_step(kernel, now_pre, now_post, state, dt)
        said.append(coincidence)
        for mask in (mask for at, mask in restarts if at == len(said)):
            like = pre[0], post[0]
            state = forgotten(kernel, like, batch_axes(kernel, like), state, mask)
    for at, mask in restarts:
        said[:at] = [_without(coincidence, mask) for coincidence in said[:at]]
    terms = []
    for scale, pairs in ((1.0, [c.ltp for c in said]), (-1.0, [c.ltd for c in said])):
        for nth in range(max(map(len, pairs))):
            products = [now[nth] if nth < len(now) else None for now in pairs]
            terms.append(Term(scale, *(_stacked(products, side, dtype) for side in ("post", "pre"))))
    return terms, state


def _without(coincidence: Coincidence, mask: Tensor) -> Coincidence:
    """The same products, zero for the samples in a mask (B,)."""
    sides = ([Pair(p.post.masked_fill(along(mask, p.post, 0), 0), p.pre) for p in pairs] for pairs in coincidence)
    return Coincidence(*map(tuple, sides))


def _stacked(products: list[Pair | None], side: str, dtype: torch.dtype) -> Values:
    """A side of the products that a kernel names n-th in each step, zero where it names fewer."""
    silent = next(torch.zeros_like(getattr(product, side)) for product in products if product is not None)
    return Values(torch.stack([silent if now is None else getattr(now, side) for now in products]).to(dtype))
