"""The steps of attaching: look, choose, pair, connect. Nothing touches the model before all of them have succeeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..config import PlasticityConfig
from ..connection import Connection
from .connect import Builder
from .discover import discover
from .plan import Pairs, Plan, plan, readouts, refuse_twice
from .presynaptic import Presynaptic
from .survey import Survey, survey, unwrap
from .watcher import LONELY, Watcher
from .wiring import Wiring


def assemble(
    model: nn.Module,
    config: PlasticityConfig,
    layers: Mapping[str, PlasticityConfig],
    pairs: Pairs,
    *,
    sample: Any,
    pre: str | Callable[[Tensor], Tensor],
    dt: float | str | None,
    strict: bool,
    path: str,
) -> tuple[Watcher, list[Connection]]:
    """A watcher that is ready to be bound, and the connections it feeds."""
    found = survey(model)
    chosen = plan(found, config, layers, pairs)
    refuse_twice(unwrap(model), found, chosen.plastic)
    reading, build = Presynaptic(pre), Builder(found, config, layers, dt=dt, strict=strict, path=path)
    homes: dict[str, list[str]] = {}
    for synapse in found.synapses.values():
        if synapse.home is not None:
            homes.setdefault(synapse.home, []).append(synapse.name)

    def wired() -> Wiring:
        return Wiring(homes, chosen.given, chosen.plastic, len(found.neurons))

    feeds = dict(chosen.given)
    if sample is not None:
        feeds = {**discover(unwrap(model), found, wired(), sample), **feeds}
    notes = readouts(found, chosen.named, feeds)
    edges = _edges(found, chosen, feeds, build)
    for (synapse, neuron), connection in edges.items():
        known = neuron is not None
        connection.note = "" if known else notes.get(synapse, LONELY)
    build.warn_of_low_precision(list(edges.values()))
    watcher = Watcher(unwrap(model), found, wired(), build, edges, named=chosen.named, pre=reading)
    return watcher, list(edges.values())


def _edges(
    found: Survey, chosen: Plan, wiring: Mapping[str, tuple[str, ...]], build: Builder
) -> dict[tuple[str, str | None], Connection]:
    """One connection for each pair that is known, and one without a neuron for each synapse whose neuron is not."""
    edges: dict[tuple[str, str | None], Connection] = {}
    for name in chosen.plastic:
        for partner in _partners(found, name, wiring):
            edges[name, partner] = build(name, partner)
    return edges


def _partners(found: Survey, name: str, wiring: Mapping[str, tuple[str, ...]]) -> tuple[str | None, ...]:
    if name in found.own:
        return (found.own[name].neuron.name,)
    home = found.synapses[name].home
    if home is not None:
        return (home,)
    return tuple(n for n in wiring.get(name, ()) if not found.neurons[n].deafness) or (None,)
