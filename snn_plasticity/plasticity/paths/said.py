"""What a kernel says about a window: at once where it can, else step by step; and what has been worked out of that."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ..kernels import Kernel
from ..scratch import Scratch
from ..sparse import Trains
from ..terms import Dense, Filtered, Side, Term


@runtime_checkable
class Windowed(Protocol):
    """A kernel that can say a whole window at once, and for which silence is the same as a fresh start."""

    def window(self, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Any] | None:
        """Terms of pre (T, B, ...) and post (T, B, ...), and the state after them, or a function that works it out.

        None where it cannot.
        """
        ...


class Said:
    """The terms of a window; traces and sparse matrices of its trains are worked out once, when first needed.

    Args:
        kernel: who says it.
        pre, post: (T, B, ...), numbers or booleans.
        state: the kernel's state before the window; None is a fresh start.
        dt: step length.
        dtype: precision of everything.
    """

    def __init__(self, kernel: Kernel, pre: Tensor, post: Tensor, state: Any, dt: float, dtype: torch.dtype) -> None:
        self._scratch = Scratch()
        self.pre, self.post = (self._numbers(trains, dtype) for trains in (pre, post))
        self.terms, self._after = window_of(kernel, self.pre, self.post, state, dt)
        self._trains = {
            id(numbers): Trains(numbers, given if given.dtype == torch.bool else None)
            for numbers, given in ((self.pre, pre), (self.post, post))
        }
        self._values: dict[int, Tensor] = {}

    @cached_property
    def after(self) -> Any:
        """The kernel's state after the window."""
        return tree_map_only(Tensor, self._owned, self._after())

    def __len__(self) -> int:
        return len(self.pre)

    def _numbers(self, trains: Tensor, dtype: torch.dtype) -> Tensor:
        if trains.dtype != torch.bool:
            return trains.to(dtype)
        return self._scratch.like(trains, dtype).copy_(trains.view(torch.uint8))  # faster than from booleans

    def _owned(self, state: Tensor) -> Tensor:
        """A part of the kernel's state that outlives this."""
        lent = {side.untyped_storage().data_ptr() for side in (self.pre, self.post)}
        return state.clone() if state.untyped_storage().data_ptr() in lent else state

    def only(self, terms: list[Term]) -> Said:
        """The same window with some of its terms, while this is there."""
        part = copy(self)
        part.terms = terms
        return part

    def values(self, side: Side) -> Tensor:
        """A side of a term at every step; not to be changed, and not to outlive this."""
        if not isinstance(side, Filtered):
            return side.values()
        if id(side) not in self._values:
            self._values[id(side)] = side.values(self._scratch.like(side.trains))
        return self._values[id(side)]

    def trains(self, numbers: Tensor) -> Trains:
        """Raw spikes of a term as sparse matrices."""
        return self._trains.setdefault(id(numbers), Trains(numbers))


def window_of(kernel: Kernel, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Callable[[], Any]]:
    """The terms of a window, pre (T, B, ...) and post (T, B, ...), and what works out the kernel's state after it.

    Kernels with a `window` method say it at once; any other is asked step by step. `state` None is a fresh start.
    """
    said = kernel.window(pre, post, state, dt) if isinstance(kernel, Windowed) else None
    terms, after = _step_by_step(kernel, pre, post, state, dt) if said is None else said
    return terms, after if callable(after) else lambda: after


def _step_by_step(kernel: Kernel, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Any]:
    state = kernel.init(pre[0], post[0]) if state is None else state
    said = []
    for now_pre, now_post in zip(pre, post, strict=True):
        coincidence, state = kernel.step(now_pre, now_post, state, dt)
        said.append([(1.0, pair) for pair in coincidence.ltp] + [(-1.0, pair) for pair in coincidence.ltd])
    terms = []
    for pairs in zip(*said, strict=True):
        sides = (torch.stack([getattr(pair, side) for _, pair in pairs]) for side in ("post", "pre"))
        terms.append(Term(pairs[0][0], *(Dense(side) for side in sides)))
    return terms, state
