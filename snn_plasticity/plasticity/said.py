"""What a kernel says about a window: at once where it can, else step by step."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .kernels import Kernel
from .terms import Dense, Term


@runtime_checkable
class Windowed(Protocol):
    """A kernel that can say a whole window at once, and for which silence is the same as a fresh start."""

    def window(self, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Any] | None:
        """Terms of pre (T, B, ...) and post (T, B, ...), and the state after them; None where it cannot."""
        ...


def window_of(kernel: Kernel, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Any]:
    """The terms of a window, pre (T, B, ...) and post (T, B, ...), and the kernel's state after it.

    Kernels with a `window` method say it at once; any other is asked step by step. `state` None is a fresh start.
    """
    said = kernel.window(pre, post, state, dt) if isinstance(kernel, Windowed) else None
    return said if said is not None else _step_by_step(kernel, pre, post, state, dt)


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
