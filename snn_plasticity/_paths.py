"""The way down: by which weights the neurons of each layer reach the readout, as one matrix for each layer.

    readout         M = 1
    below it        M_k = M_{k+1} · W_{k+1}         the vector-Jacobian product of every layer in between

Neurons of a convolution share their weights: what their channel hears is the mean over its places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .connection import Connection
from .hosts.manager import HookManager
from .kernels.post_side import OF_STEPS
from .layers.dense import Dense
from .learner import PlasticityLearner

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLS = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


class Population(NamedTuple):
    """Neurons, and the connections that end on them: the first is the one from below."""

    connections: list[Connection]


def populations(learner: PlasticityLearner, readout: str) -> list[Population]:
    """From the readout downwards: what ends on its neurons, then what ends on those before them, and so on.

    Layers are taken to follow one another in the order of their neurons in the model.
    """
    neurons: dict[str, tuple[str, bool]] = {}
    order: list[object] = []
    for hooks in learner.hooks:
        neurons |= _fed_neurons(hooks) if isinstance(hooks, HookManager) else {}
        order += hooks.index.neurons if isinstance(hooks, HookManager) else ()
    found: dict[object, list[Connection]] = {}
    for name, connection in learner.connections.items():
        neuron, recurrent = neurons.get(name, (("alone", name), False))
        found.setdefault(neuron, []).insert(len(found.get(neuron, ())) if recurrent else 0, connection)
    groups = [Population(found[neuron]) for neuron in sorted(found, key=lambda n: order.index(n) if n in order else -1)]
    last = next(k for k, group in enumerate(groups) if any(c.name == readout for c in group.connections))
    return groups[last::-1]


def _fed_neurons(hooks: HookManager) -> dict[str, tuple[str, bool]]:
    """The neuron that each connection is known to feed, and whether it comes from that very neuron, by name."""
    synapses, own = hooks.index.synapses, hooks.index.own
    return {
        connection.name: (neuron, own[s].weight.recurrent if s in own else synapses[s].inside_of is not None)
        for (s, neuron), connection in hooks.edges.items()
        if neuron is not None
    }


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
            n_post = connection.traces.rule.geometry.n_post
            by_unit = units.flatten(2).mean(2) if units.dim() > 2 else units
            if by_unit.shape[1] == n_post:
                found[connection.name] = by_unit
    return found


def _post_shape(connection: Connection) -> tuple[int, ...]:
    """Of one sample's post neurons, as far as it has been seen."""
    running = connection.running
    if running is None:
        return (connection.traces.rule.geometry.n_post,)
    return tuple(running.like[1].shape[3 if connection.post_side in OF_STEPS else 1 :])


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
