"""What a modulator makes of several weights: all of it, or nothing.

A weight that several connections share changes once, by the sum of what they come to, clamped once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ._checks import require_kind, shown
from ._untracked import untracked
from .connection import Connection
from .notices import notice
from .plasticity.three_factor import Landing
from .signals import GATE
from .third_factor import Factor, LayerFactors, factor_of


def by_name(connections: Sequence[Connection]) -> dict[str, Connection]:
    """Connections by their names.

    Raises:
        TypeError: no list of connections.
        ValueError: two of one name.
    """
    require_connections(connections, "A list of Connection.")
    named = {connection.name: connection for connection in connections}
    if len(named) != len(connections):
        names = ", ".join(connection.name for connection in connections)
        raise ValueError(f"connections are called {names}; expected a name of its own for each.")
    return named


def require_connections(connections: object, how: str) -> None:
    """Refuse what is no list of connections."""
    for connection in require_kind("connections", connections, (list, tuple), how):  # type: ignore
        require_kind("A member of connections", connection, Connection, "As Connection('fc1', layer).")


def addressed(
    connections: Mapping[str, Connection], layers: Collection[str] | None, modulator: Any = None
) -> tuple[list[Connection], Any]:
    """The connections that hear a modulator, and the modulator; `LayerFactors` where it is one for each of them.

    Args:
        connections: by name.
        layers: names of those that are meant; None is all, or all that the modulator names.
        modulator: as in `PlasticityLearner.step`.

    Raises:
        ValueError: names of nothing that there is.
        TypeError: layers by list and by modulator.
    """
    if isinstance(modulator, Mapping) and not all(name in GATE.ranges for name in modulator):
        known = [name for name in modulator if name in connections]
        strangers = [name for name in modulator if name not in connections]
        if strangers and (known or not any(name in GATE.ranges for name in strangers)):
            raise ValueError(
                f"the modulator is for {shown(strangers)}; expected names of connections ({', '.join(connections)}), "
                f"or of signals ({', '.join(GATE.ranges)}), not of both. Nothing was changed."
            )
        if known:
            if layers is not None:
                raise TypeError(f"layers = {shown(layers)}, and the modulator names {known}; expected one of the two.")
            return [connections[name] for name in known], LayerFactors(modulator)
    if layers is None:
        return list(connections.values()), modulator
    listed = isinstance(layers, (list, tuple, set, frozenset, dict))
    if not listed or not all(isinstance(name, str) and name in connections for name in layers):
        raise ValueError(f"layers = {shown(layers)}; expected a list of names among {', '.join(connections)}.")
    return [connections[name] for name in layers], modulator


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
    factor: Factor,
    lr_scale: float,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> tuple[dict[str, Tensor], list[Landing]]:
    """Δw by connection, and what each weight is to become, once; no weight is changed yet.

    Args:
        connections: those that hear it.
        factor: the third factor, or one for each of them.
        lr_scale: what every learning rate is multiplied by.
        reduce: what is made of every Δw before it lands.
    """
    found = []
    for connection in connections:
        mod = factor_of(factor, connection.name)
        with untracked(connection.weight):
            found.append((connection, connection.weight_change(mod, lr_scale)))
        if isinstance(mod, Tensor) and mod.dim() > 1:
            _warn_of_means(connection)
    return landings_of(found, reduce)


def _warn_of_means(connection: Connection) -> None:
    """Say, once, that places of a map heard the mean of their channel, where each was told something of its own."""
    running, noted = connection.running, connection.noted
    if running is not None and running.mixed and not noted.mixed:
        noted.mixed = True
        notice(
            f"{connection.name}: a signal for each place of its map met an eligibility that only tells channels apart, "
            "so that places heard the mean of their channel. From the next learner.reset() on, each place has its own, "
            "unless clamp_range is other than None or trace_type other than 'accumulating'.",
            stacklevel=5,
        )


def landings_of(
    found: Iterable[tuple[Connection, Tensor | None]], reduce: Callable[[Tensor], Tensor] | None = None
) -> tuple[dict[str, Tensor], list[Landing]]:
    """The changes that there are, by connection, and what each weight is to become, once; no weight is changed yet."""
    due: dict[int, list[tuple[Connection, Tensor]]] = {}
    for connection, change in found:
        if change is not None:
            due.setdefault(id(connection.weight), []).append((connection, change))
    changes, landings = {}, []
    for (first, total), *others in due.values():
        for _, change in others:
            total = total + change
        delta = first.update.clamp_(total)
        if reduce is not None:
            first.activity.worked_out(delta)
            delta = _reduced(first, reduce(delta))
        landings.append(first.landing(delta))
        for connection, _ in ((first, total), *others):
            changes[connection.name] = delta
    return changes, landings


def land_changes(
    changes: Sequence[tuple[Connection, Tensor]], reduce: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Change several weights by what was worked out elsewhere, all of them or none; errors as in `changes_of`."""
    landings = []
    for connection, change in changes:
        delta = change if connection.mask is None else change * connection.mask
        with untracked(connection.weight):
            delta = connection.update.clamp_(delta)
        landings.append(connection.landing(delta if reduce is None else _reduced(connection, reduce(delta))))
    for landing in landings:
        landing.land()


def _reduced(connection: Connection, reduced: object) -> Tensor:
    """What `reduce` made of a change."""
    if isinstance(reduced, Tensor):
        return reduced
    raise TypeError(
        f"{connection.name}: reduce returned {reduced!r}; expected the change as a tensor "
        f"{tuple(connection.weight.shape)}. One that works in place returns it, too. Nothing was changed."
    )
