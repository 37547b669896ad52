"""What a learner asks of the hooks that feed its connections from a host; `hosts/` holds the ones there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from torch import nn

from ._checks import known_as, require_kind
from .connection import Connection


class HostHooks(Protocol):
    """Hooks that can be removed, with calls that may be half done."""

    def bind(self, learner: Any) -> None:
        """Put the hooks on the model, on behalf of a learner."""
        ...

    def remove(self) -> None:
        """Take the hooks off the model."""
        ...

    def why_lost(self, connections: Collection[Connection]) -> str | None:
        """Why one of these connections hears nothing any more, if so."""
        ...

    def around(self, connection: Connection) -> list[nn.Module]:
        """The modules that a connection's weight is in."""
        ...

    def why_silent(self, connection: Connection) -> str | None:
        """Why the neurons of a connection cannot fire with its weights and inputs; None where they could, perhaps."""
        ...

    def reset(self) -> None:
        """Drop half-done calls."""
        ...

    def settle(self) -> None:
        """A loss is about to come down: what no neuron has read by now is the output of a readout."""
        ...


def require_hooks(hooks: object) -> None:
    """Refuse what is no list of hooks."""
    for one in require_kind("hooks", hooks, (list, tuple), "A list of what has remove() and reset()."):  # type: ignore[attr-defined]
        if not callable(getattr(one, "remove", None)) or not callable(getattr(one, "reset", None)):
            raise TypeError(f"hooks holds {known_as(one)}; expected what has remove() and reset().")


def why_silent(hooks: Sequence[HostHooks], connection: Connection) -> str | None:
    """Why the neurons of a connection cannot fire; None where they could, or where nobody knows."""
    return next((why for one in hooks if (why := one.why_silent(connection)) is not None), None)
