"""A window of coincidences in factored form: what a kernel says about many steps, without saying it step by step.

    Σ_t G_t f_t = Σ_terms scale · Σ_t G_t post_t ⊗ pre_t

Each side of a term is `Spikes` (the trains themselves: mostly zeros), `Filtered` spikes (an exponential trace of them)
or `Values` (anything else).

    forward    y_t = x_t + a·y_{t−1},  y_{−1} = lead          (exclusive: without this step's x_t)
    backward   r_t = x_t + a·r_{t+1},  r_T = 0                (exclusive: without this step's x_t)

The two filters are adjoint: ⟨forward(x), z⟩ = ⟨x, backward(z)⟩, so that a filter can be moved to the other side of a
term. Raw spikes remain: a matrix of zeros and ones, and one table instead of one per term.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

FILTER_STEPS = ((600, 16), (8000, 8))  # up to so many entries of a step: steps of one product; more: one by one


Method = TypeVar("Method", bound=Callable)


@lru_cache(maxsize=64)
def _triangle(a: float, exclusive: bool, steps: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lower triangle a^(t−s) of a few steps, and how a lead enters each of them, a^(t+1). Not to be changed."""
    t = torch.arange(steps, dtype=torch.float64)
    lag = t[:, None] - t[None, :]
    triangle = torch.where(lag >= float(exclusive), torch.tensor(a, dtype=torch.float64) ** lag.clamp(min=0.0), 0.0)
    return triangle.to(device, dtype), (a ** (t + 1.0)).to(device, dtype)


@lru_cache(maxsize=64)
def remaining(a: float, steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is left of each step at the end of a window, a^(T−1−t): (T,). Not to be changed."""
    return (a ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)).to(device, dtype)


def forward(x: Tensor, a: float, lead: Tensor | None = None, *, exclusive: bool = False) -> Tensor:
    """The filtered window.

    Args:
        x: (T, ...). a: what is left after one step, 0 <= a <= 1.
        lead: (...), the trace before the window; None is zero.
        exclusive: leave this step's x out.

    >>> forward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.0000, 0.5000, 1.2500])
    """
    flat = None if lead is None else lead.reshape(-1)
    return _filter(x.reshape(len(x), -1), a, flat, exclusive, back=False).view(x.shape)


def backward(x: Tensor, a: float, *, exclusive: bool = False) -> Tensor:
    """The adjoint filter: what is yet to come, discounted.

    >>> backward(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor([1.2500, 0.5000, 1.0000])
    """
    return _filter(x.reshape(len(x), -1), a, None, exclusive, back=True).view(x.shape)


def _filter(x: Tensor, a: float, lead: Tensor | None, exclusive: bool, *, back: bool) -> Tensor:
    """Blocks of steps of (T, N), each times a triangle; what enters a block is the same filter, over their ends."""
    size = 1
    for width, steps in reversed(FILTER_STEPS):
        size = steps if x.shape[1] <= width else size
    if size == 1:
        return _recursion(x, a, lead, exclusive, back=back)
    missing = -len(x) % size
    blocks = (torch.cat((x, x.new_zeros(missing, x.shape[1]))) if missing else x).view(-1, size, x.shape[1])
    triangle, entering = _triangle(a, exclusive, size, x.dtype, x.device)
    out = torch.matmul(triangle.T if back else triangle, blocks)
    ends = out[:, 0 if back else -1] + blocks[:, 0 if back else -1] if exclusive else out[:, 0 if back else -1]
    if len(ends) > 1:
        entered = _filter(ends[1:] if back else ends[:-1], a**size, lead, False, back=back).unsqueeze(1)
        (out[:-1] if back else out[1:]).addcmul_((entering.flip(0) if back else entering).view(1, size, 1), entered)
    if lead is not None:
        out[0].addr_(entering, lead)
    return out.view(-1, x.shape[1])[: len(x)]


def _recursion(x: Tensor, a: float, lead: Tensor | None, exclusive: bool, *, back: bool) -> Tensor:
    """Step by step, from the first or back from the last."""
    out, before = torch.empty_like(x), lead
    for come, now in list(zip(x.unbind(0), out.unbind(0), strict=True))[:: -1 if back else 1]:
        before = now.copy_(come) if before is None else torch.add(come, before, alpha=a, out=now)
    return out.sub_(x) if exclusive else out


def last(x: Tensor, a: float, lead: Tensor | None = None) -> Tensor:
    """The trace after the window, inclusive: Σ_t a^(T−1−t) x_t + a^T lead.

    >>> last(torch.tensor([1.0, 0.0, 1.0]), 0.5)
    tensor(1.2500)
    """
    total = (remaining(a, len(x), x.dtype, x.device) @ x.reshape(len(x), -1)).view(x.shape[1:])
    return total if lead is None else total + a ** len(x) * lead


class Spikes(NamedTuple):
    """Trains (T, B, ...), mostly zeros: numbers or booleans."""

    trains: Tensor


class Values(NamedTuple):
    """Anything (T, B, ...)."""

    tensor: Tensor


class Filtered(NamedTuple):
    """An exponential trace of trains (T, B, ...) that stood at `lead` (B, ...) before the window."""

    trains: Tensor
    decay: float
    lead: Tensor | None = None
    exclusive: bool = False

    def values(self) -> Tensor:
        """The trace at every step."""
        return forward(self.trains, self.decay, self.lead, exclusive=self.exclusive)


Side = Spikes | Filtered | Values


State = TypeVar("State")


StateAfter = Callable[[Callable[[Filtered], Tensor]], State]  # makes a state, given what tells a trace after the window


class Term(NamedTuple):
    """One product over a window: scale · post ⊗ pre; `scale` is negative where it depresses."""

    scale: float
    post: Side
    pre: Side


def accepts_bool(window: Method) -> Method:
    """Mark a kernel's `window` that puts its trains into terms as they are, so that booleans may be given to it."""
    window.accepts_bool = True  # type: ignore[attr-defined]
    return window


@runtime_checkable
class Windowed(Protocol):
    """A kernel that can say a whole window at once, and for which silence is the same as a fresh start."""

    def window(self, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[list[Term], Any] | None:
        """Terms of pre (T, B, ...) and post (T, B, ...), and the state after them; None where it cannot.

        The state may be a function that makes it, given what tells the trace after the window of a `Filtered` side.
        Booleans are given, where all spikes are ones, to a method that is marked with `accepts_bool`.
        """
        ...
