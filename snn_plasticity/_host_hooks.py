"""What a learner asks of the hooks that feed its connections from a host; `hosts/` holds the ones there are."""

from __future__ import annotations

from collections.abc import Collection
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

    def reset(self) -> None:
        """Drop half-done calls."""
        ...
