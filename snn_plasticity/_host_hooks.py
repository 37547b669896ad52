"""What a learner asks of the hooks that feed its connections from a host; `hosts/` holds the ones there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from torch import nn

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


def why_silent(hooks: Sequence[HostHooks], connection: Connection) -> str | None:
    """Why the neurons of a connection cannot fire; None where they could, or where nobody knows."""
    return next((why for one in hooks if (why := one.why_silent(connection)) is not None), None)
