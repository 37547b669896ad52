"""Which weights of a model learn, and which were named: everything that can be refused is refused here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from ..config import PlasticityConfig
from .hooks import hooks_of
from .neuron import Neuron, NeuronKind
from .survey import Survey
from .watcher import readout

Pairs = Mapping[str, str | Sequence[str]]


class Plan(NamedTuple):
    """Names of the weights that learn, those among them that the user named, and {synapse: neurons} as far as given."""

    plastic: tuple[str, ...]
    named: set[str]
    given: dict[str, tuple[str, ...]]


def plan(found: Survey, config: PlasticityConfig, layers: Mapping[str, PlasticityConfig], pairs: Pairs) -> Plan:
    """Choose.

    Raises:
        ValueError: unknown names, or nothing that could learn.
        TypeError: a weight that would lose what it learns, or that is no synapse.
        PairingError: a synapse that is paired with something that gives no spikes.
    """
    targets = config.three_factor.target_layers
    chosen = () if isinstance(targets, str) else targets
    _require_known("target_layers, layers and pairs", {*chosen, *layers, *pairs}, found.known)
    aside = {name for name, partners in pairs.items() if not partners}  # paired with nothing: set aside by the user
    named = {*chosen, *layers, *pairs} - aside
    _refuse(found, named if chosen else {*named, *found.refused} - aside)
    plastic = chosen or (*found.eligible, *(name for name in found.optional if name in named))
    plastic = tuple(name for name in plastic if name not in aside)
    outside = sorted(set(layers) - set(plastic))
    if outside:
        raise ValueError(
            f"layers names {', '.join(outside)}, which target_layers leaves out: expected {', '.join(plastic)}."
        )
    given = _given(found, {name: partners for name, partners in pairs.items() if partners})
    _require_something(found, plastic)
    return Plan(plastic, named, given)


def readouts(found: Survey, named: Collection[str], wiring: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """{synapse: why} for those that a dry run has shown to feed no spiking neuron.

    Raises:
        ValueError: one of them was named to learn.
    """
    notes: dict[str, str] = {}
    for name, partners in wiring.items():
        deaf = [found.neurons[partner] for partner in partners if found.neurons[partner].deafness]
        if len(deaf) < len(partners):
            continue
        reason = (
            readout(name, deaf[0]) if deaf else f"{name} fed no neuron in the dry run: it is a readout. Leave it out."
        )
        if name in named:
            raise ValueError(reason)
        notes[name] = f"feeds {deaf[0].name}: {deaf[0].deafness}" if deaf else "feeds no neuron"
    return notes


def refuse_twice(model: nn.Module, found: Survey, plastic: Collection[str]) -> None:
    """A weight learns from one learner only.

    Raises:
        ValueError: another learner is attached to one of these weights.
    """
    owners = {hook.owner() for hook in hooks_of(model)}
    edges = [connection for owner in owners if owner for connection in owner.edges.values()]
    taken = {id(connection.weight): connection.name for connection in edges}
    for name in plastic:
        part = found.synapses.get(name) or found.own[name]
        other = taken.get(id(getattr(part.layer, part.attribute)))
        if other is not None:
            raise ValueError(
                f"{name} already learns, as {other!r} of another learner: both "
                "would change it. Call remove() on that learner first, or choose other weights with target_layers."
            )


def _require_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"{what}: there is no {', '.join(map(repr, unknown))} here; expected one of {', '.join(known)}."
        )


def _refuse(found: Survey, names: Collection[str]) -> None:
    for name in sorted(names):
        reason = found.refused.get(name) or found.excluded.get(name)
        if reason:
            raise TypeError(f"{name} cannot be plastic: {reason}. Or leave it out, with target_layers=.")


def _require_something(found: Survey, plastic: Collection[str]) -> None:
    hearing = [neuron for neuron in found.neurons.values() if not neuron.kind.refusal]
    if not plastic or not hearing:
        refused = "".join(f" {n.name}: {n.kind.refusal}." for n in found.neurons.values() if n.kind.refusal)
        raise ValueError(
            "Nothing in this model can be plastic: expected at least one Linear, convolution or recurrent weight, and "
            f"a spiking neuron of snnTorch or Norse that it feeds. {found.describe()}{refused}"
        )


def _given(found: Survey, pairs: Pairs) -> dict[str, tuple[str, ...]]:
    given: dict[str, tuple[str, ...]] = {}
    for synapse, partners in pairs.items():
        given[synapse] = (partners,) if isinstance(partners, str) else tuple(partners)
        if synapse in found.own:
            raise ValueError(f"pairs: {synapse} is held by its neuron; expected layers outside of neurons only.")
        for partner in given[synapse]:
            neuron = _neuron(found, partner)
            if neuron.deafness:
                raise ValueError(readout(synapse, neuron))
    return given


def _neuron(found: Survey, name: str) -> Neuron:
    """A neuron by name; a module of the user's own counts as one where it is named as such."""
    if name not in found.neurons:
        _require_known("pairs", [name], (*found.neurons, *(set(found.modules) - set(found.synapses))))
        found.neurons[name] = Neuron(name, found.modules[name], NeuronKind())
    return found.neurons[name]
