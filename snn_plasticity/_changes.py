"""What a modulator makes of several weights: all of it, or nothing.

A weight that several connections share changes once, by the sum of what they come to, clamped once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from ._untracked import untracked
from .connection import Connection
from .plasticity.three_factor import Landing


@contextmanager
def all_or_nothing(connections: Sequence[Connection], *, safe: bool) -> Iterator[None]:
    """Within it, whatever is raised leaves the connections as they were; `safe` as in `Connection.mark`."""
    marks = [connection.mark(safe=safe) for connection in connections]
    try:
        yield
    except BaseException:
        for connection, mark in zip(connections, marks, strict=True):
            connection.go_back(mark)
        raise


def changes_of(
    connections: Sequence[Connection],
    factor: float | Tensor,
    lr_scale: float,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> tuple[dict[str, Tensor], list[Landing]]:
    """Δw by connection, and what each weight is to become, once; no weight is changed yet.

    Args:
        connections: those that hear it.
        factor: the third factor.
        lr_scale: what every learning rate is multiplied by.
        reduce: what is made of every Δw before it lands.
    """
    due: dict[int, list[tuple[Connection, Tensor]]] = {}
    for connection in connections:
        with untracked(connection.weight):
            change = connection.weight_change(factor, lr_scale)
        if change is not None:
            due.setdefault(id(connection.weight), []).append((connection, change))
    changes, landings = {}, []
    for (first, total), *others in due.values():
        for _, change in others:
            total = total + change
        delta = first.update.clamp_(total)
        delta = delta if reduce is None else _reduced(first, reduce(delta))
        landings.append(first.landing(delta))
        for connection, _ in ((first, total), *others):
            changes[connection.name] = delta
    return changes, landings


def _reduced(connection: Connection, reduced: object) -> Tensor:
    """What `reduce` made of a change."""
    if isinstance(reduced, Tensor):
        return reduced
    raise TypeError(
        f"{connection.name}: reduce returned {reduced!r}; expected the change as a tensor "
        f"{tuple(connection.weight.shape)}. One that works in place returns it, too. Nothing was changed."
    )
