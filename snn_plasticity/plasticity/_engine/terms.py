"""A window of coincidences in factored form: what a kernel says about many steps, without saying it step by step.

    Σ_t G_t f_t = Σ_terms scale · Σ_t G_t post_t ⊗ pre_t

Each side of a term is `Spikes` (the trains themselves: mostly zeros), `Filtered` spikes (an exponential trace of them)
or `Values` (anything else). Where a side is filtered, the filter can be moved to the other side (`Filtered.adjoint`):
raw spikes remain, a matrix of zeros and ones, and one table per window instead of one per term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

from . import filters

Method = TypeVar("Method", bound=Callable)


def passes_on(window: Method) -> Method:
    """Mark a kernel's `window` that puts its trains into terms as they are, so that booleans may be given to it."""
    window.passes_on = True  # type: ignore[attr-defined]
    return window


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

    def values(self, out: Tensor | None = None) -> Tensor:
        """The trace at every step."""
        return filters.forward(self.trains, self.decay, self.lead, exclusive=self.exclusive, out=out)

    def adjoint(self, other: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The other side with the filter moved onto it, and what meets the lead, (B, ...)."""
        moved = filters.backward(other, self.decay, exclusive=self.exclusive, out=out)
        if self.lead is None:
            return moved, None
        met = moved[0] + other[0] if self.exclusive else moved[0]
        return moved, self.decay * met


Side = Spikes | Filtered | Values
State = TypeVar("State")
After = Callable[[Callable[[Filtered], Tensor]], State]  # a state, given what tells a trace after the window


class Term(NamedTuple):
    """One product over a window: scale · post ⊗ pre; `scale` is negative where it depresses."""

    scale: float
    post: Side
    pre: Side
