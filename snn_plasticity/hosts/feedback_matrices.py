"""By which weights the neurons of each layer reach the readout, as one matrix for each layer.

    readout         M = 1
    below it        M_k = M_{k+1} · W_{k+1}         the vector-Jacobian product of every layer in between

Neurons of a convolution hear for themselves, each at its place; where that is not known to be, as behind a pool whose
windows overlap, a channel hears the mean over its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..connection import Connection
from ..layers.dense import Dense
from ..notices import notice
from ..plasticity.input_checks import places_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLS = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


class Population(NamedTuple):
    """Neurons, and the connections that end on them: the first is the one from below."""

    connections: list[Connection]


def matrices(groups: list[Population], n_out: int, like: Tensor) -> dict[str, Tensor]:
    """M (n_out, N_post) of each connection, from the readout downwards; it ends where a way down is not known."""
    found: dict[str, Tensor] = {}
    units = torch.eye(n_out, dtype=like.dtype, device=like.device)
    for above, group in zip((None, *groups), groups, strict=False):
        if above is not None:
            through = _through(above.connections[0], units, _post_shape(group.connections[0]))
            if through is None:
                break
            units = through
        for connection in group.connections:
            shape = neurons_of(connection)
            by_unit = units.flatten(1)
            if by_unit.shape[1] != torch.Size(shape).numel() and units.dim() > 2:
                by_unit = units.flatten(2).mean(2)
            if by_unit.shape[1] == torch.Size(shape).numel():
                found[connection.name] = by_unit
    return found


def neurons_of(connection: Connection) -> tuple[int, ...]:
    """The neurons that hear for themselves: those of a map at each place, or (N_post,)."""
    running, traces, noted = connection.running, connection.traces, connection.noted
    places = None if running is None or traces.path == "shared" else places_of(traces.rule, running.like[1])
    if places is None or noted.neurons is None:
        return (traces.rule.geometry.n_post,) if places is None else places[1:]
    if noted.readers is None and not noted.mixed:
        noted.mixed = True
        notice(
            f"{connection.name}: behind a pool whose windows overlap a place of its output belongs to several neurons, "
            "so that all places of a channel hear the mean of what these are told. Take windows side by side for a "
            "signal of each place.",
            stacklevel=4,
        )
    return (traces.rule.geometry.n_post,) if noted.readers is None else tuple(noted.neurons)


def _post_shape(connection: Connection) -> tuple[int, ...]:
    """Of one sample's post neurons, as far as it has been seen; behind a pool, those that hear."""
    heard = connection.noted.steps[-1].heard if connection.noted.steps else None
    if heard is not None:
        return tuple(heard.spikes.shape[1:])
    if connection.noted.neurons is not None:
        return tuple(connection.noted.neurons)
    running = connection.running
    if running is None:
        return (connection.traces.rule.geometry.n_post,)
    return tuple(running.like[1].shape[1 + getattr(connection.traces.rule.kernel, "post_axes", 0) :])


def _through(connection: Connection, units: Tensor, below: tuple[int, ...]) -> Tensor | None:
    """units · ∂(post)/∂(neurons below), (n_out, *below); None where it is not known how they are connected."""
    layer, weight = connection.module, connection.weight.detach()
    weight = weight.to(units.dtype)
    if isinstance(connection.traces.rule.geometry, Dense):
        fits = weight.shape == (units.flatten(1).shape[1], torch.Size(below).numel())
        return (units.flatten(1) @ weight).unflatten(1, below) if fits else None
    if type(layer) not in CONVOLUTIONS:
        return None
    silent = units.new_zeros(len(units), *below, requires_grad=True)
    with torch.enable_grad():
        try:
            out = layer._conv_forward(silent, weight, None)  # type: ignore[operator]
        except RuntimeError:
            return None
        if out.shape[1] != units.shape[1] or out.dim() != units.dim():
            return None
        if out.shape != units.shape:  # pooled in between: each place of a window has its share
            out = POOLS[out.dim() - 2](out, units.shape[2:])
        return torch.autograd.grad(out, silent, units)[0]


def way_down(connection: Connection, below: Sequence[Population], weight: Tensor) -> Tensor | None:
    """M (n_out, units) of the neurons of a connection, each place for itself; None where it is not known.

    Args:
        connection: whose neurons hear.
        below: the populations below the readout, downwards.
        weight: (n_out, N) of the readout.
    """
    first = _post_shape(below[0].connections[0]) if below else ()
    if weight.dim() != 2 or weight.shape[1] != torch.Size(first).numel():
        return None
    units = weight.detach().unflatten(1, first)
    for group, under in pairwise((*below, Population([]))):
        if connection in group.connections:
            return units.flatten(1)
        through = (
            _through(group.connections[0], units, _post_shape(under.connections[0])) if under.connections else None
        )
        if through is None:
            return None
        units = through
    return None
