"""The steps of attaching: look, choose, pair, connect. Nothing touches the model before all of them have succeeded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import require_callable, require_choice, require_flag, require_kind, require_number, require_real
from ..config import PlasticityConfig
from ..config.eligibility import TracePath
from ..config.validation import Serializable, require_config
from ..connection import Connection
from ..neuromodulation import NeuromodulatoryGate
from ..plasticity._engine.engine import PATHS
from ..weights import low_precision
from .adapter import NeuronKind
from .connections import readout
from .dry_run import discover
from .hooks import Presynaptic, hooks_of
from .index import ModelIndex, Neuron, index_model, unwrap
from .manager import NO_NEURON_YET, HookManager
from .wiring import Wiring


def assemble(
    model: nn.Module,
    config: PlasticityConfig,
    layers: Mapping[str, PlasticityConfig],
    pairs: Pairs,
    masks: Mapping[str, Tensor],
    *,
    sample: Any,
    pre: str | Callable[[Tensor], Tensor],
    dt: float | str | None,
    strict: bool,
    path: TracePath,
) -> tuple[HookManager, list[Connection]]:
    """A hook manager that is ready to be bound, and the connections it feeds."""
    index = index_model(model)
    chosen = plan(index, config, layers, pairs)
    refuse_twice(unwrap(model), index, chosen.plastic)
    activity, learning = Presynaptic(pre), masks_of(index, masks)
    build = ConnectionBuilder(index, config, layers, learning, dt=dt, strict=strict, path=path)
    inner_synapses: dict[str, list[str]] = {}
    for synapse in index.synapses.values():
        if synapse.inside_of is not None:
            inner_synapses.setdefault(synapse.inside_of, []).append(synapse.name)

    def wired() -> Wiring:
        return Wiring(inner_synapses, chosen.given, chosen.plastic, len(index.neurons))

    feeds = dict(chosen.given)
    if sample is not None:
        feeds = {**discover(unwrap(model), index, wired(), sample), **feeds}
    notes = readouts(index, chosen.named, feeds)
    edges = _edges(index, chosen, feeds, build)
    for (synapse, neuron), connection in edges.items():
        known = neuron is not None
        connection.note = "" if known else notes.get(synapse, NO_NEURON_YET)
    build.warn_of_low_precision(list(edges.values()))
    manager = HookManager(unwrap(model), index, wired(), build, edges, named=chosen.named, pre=activity)
    return manager, list(edges.values())


def _edges(
    index: ModelIndex, chosen: Plan, wiring: Mapping[str, tuple[str, ...]], build: ConnectionBuilder
) -> dict[tuple[str, str | None], Connection]:
    """One connection for each pair that is known, and one without a neuron for each synapse whose neuron is not."""
    edges: dict[tuple[str, str | None], Connection] = {}
    for name in chosen.plastic:
        for partner in _partners(index, name, wiring):
            edges[name, partner] = build(name, partner)
    return edges


def _partners(index: ModelIndex, name: str, wiring: Mapping[str, tuple[str, ...]]) -> tuple[str | None, ...]:
    if name in index.own:
        return (index.own[name].neuron.name,)
    inside_of = index.synapses[name].inside_of
    if inside_of is not None:
        return (inside_of,)
    return tuple(n for n in wiring.get(name, ()) if not index.neurons[n].why_not_post) or (None,)


Pairs = Mapping[str, str | Sequence[str]]


class Plan(NamedTuple):
    """Names of the weights that learn, those among them that the user named, and {synapse: neurons} as far as given."""

    plastic: tuple[str, ...]
    named: set[str]
    given: dict[str, tuple[str, ...]]


def plan(index: ModelIndex, config: PlasticityConfig, layers: Mapping[str, PlasticityConfig], pairs: Pairs) -> Plan:
    """Choose.

    Raises:
        ValueError: unknown names, or nothing that could learn.
        TypeError: a weight that would lose what it learns, or that is no synapse.
        PairingError: a synapse that is paired with something that gives no spikes.
    """
    targets = config.three_factor.target_layers
    chosen = () if isinstance(targets, str) else targets
    _require_known("target_layers, layers and pairs", {*chosen, *layers, *pairs}, index.known)
    aside = {name for name, partners in pairs.items() if not partners}  # paired with nothing: set aside by the user
    named = {*chosen, *layers, *pairs} - aside
    _refuse(index, named if chosen else {*named, *index.refused} - aside)
    plastic = chosen or (*index.eligible, *(name for name in index.optional if name in named))
    plastic = tuple(name for name in plastic if name not in aside)
    outside = sorted(set(layers) - set(plastic))
    if outside:
        raise ValueError(
            f"layers names {', '.join(outside)}, which target_layers leaves out: expected {', '.join(plastic)}."
        )
    given = _given(index, {name: partners for name, partners in pairs.items() if partners})
    _require_something(index, plastic)
    return Plan(plastic, named, given)


def readouts(index: ModelIndex, named: Collection[str], wiring: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """{synapse: why} for those that a dry run has shown to feed no spiking neuron.

    Raises:
        ValueError: one of them was named to learn.
    """
    notes: dict[str, str] = {}
    for name, partners in wiring.items():
        silent = [index.neurons[partner] for partner in partners if index.neurons[partner].why_not_post]
        if len(silent) < len(partners):
            continue
        reason = (
            readout(name, silent[0])
            if silent
            else f"{name} fed no neuron in the dry run: it is a readout. Leave it out."
        )
        if name in named:
            raise ValueError(reason)
        notes[name] = f"feeds {silent[0].name}: {silent[0].why_not_post}" if silent else "feeds no neuron"
    return notes


def refuse_twice(model: nn.Module, index: ModelIndex, plastic: Collection[str]) -> None:
    """A weight learns from one learner only.

    Raises:
        ValueError: another learner is attached to one of these weights.
    """
    listeners = {hook.listener() for hook in hooks_of(model)}
    edges = [connection for listener in listeners if listener for connection in listener.edges.values()]
    taken = {id(connection.weight): connection.name for connection in edges}
    for name in plastic:
        part = index.synapses.get(name) or index.own[name]
        other = taken.get(id(getattr(part.layer, part.attribute)))
        if other is not None:
            raise ValueError(
                f"{name} already learns, as {other!r} of another learner: both "
                "would change it. Call remove() on that learner first, or choose other weights with target_layers."
            )


def masks_of(index: ModelIndex, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{synapse: ones for the weights that learn}, also of the synapses that share a masked weight.

    Raises:
        ValueError: an unknown name, or a mask of another shape than its weight.
    """
    _require_known("masks", masks, index.names)
    parts = {name: index.synapses.get(name) or index.own[name] for name in index.names}
    weights = {name: getattr(part.layer, part.attribute, None) for name, part in parts.items()}
    found: dict[str, Tensor] = {}
    for name, mask in masks.items():
        weight = weights[name]
        if weight is None or mask.shape != weight.shape:
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(f"masks[{name!r}] has shape {tuple(mask.shape)}; expected {shape}, as the weight has.")
        mask = mask.detach().to(weight.device, torch.float32)
        for other in (other for other, shared in weights.items() if shared is weight):
            found[other] = found.get(other, 1.0) * mask
    for name, mask in found.items():
        own = parts[name].mask
        found[name] = mask if own is None else mask * own
    return found


def _require_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"{what}: there is no {', '.join(map(repr, unknown))} here; expected one of {', '.join(known)}."
        )


def _refuse(index: ModelIndex, names: Collection[str]) -> None:
    for name in sorted(names):
        reason = index.refused.get(name) or index.excluded.get(name)
        if reason:
            raise TypeError(f"{name} cannot be plastic: {reason}. Or leave it out, with target_layers=.")


def _require_something(index: ModelIndex, plastic: Collection[str]) -> None:
    hearing = [neuron for neuron in index.neurons.values() if not neuron.kind.refusal]
    if not plastic or not hearing:
        refused = "".join(f" {n.name}: {n.kind.refusal}." for n in index.neurons.values() if n.kind.refusal)
        raise ValueError(
            "Nothing in this model can be plastic: expected at least one Linear, convolution or recurrent weight, and "
            f"a spiking neuron of snnTorch or Norse that it feeds. {index.describe()}{refused}"
        )


def _given(index: ModelIndex, pairs: Pairs) -> dict[str, tuple[str, ...]]:
    given: dict[str, tuple[str, ...]] = {}
    for synapse, partners in pairs.items():
        given[synapse] = (partners,) if isinstance(partners, str) else tuple(partners)
        if synapse in index.own:
            raise ValueError(f"pairs: {synapse} is held by its neuron; expected layers outside of neurons only.")
        for partner in given[synapse]:
            neuron = _neuron(index, partner)
            if neuron.why_not_post:
                raise ValueError(readout(synapse, neuron))
    return given


def _neuron(index: ModelIndex, name: str) -> Neuron:
    """A neuron by name; a module of the user's own counts as one where it is named as such."""
    if name not in index.neurons:
        _require_known("pairs", [name], (*index.neurons, *(set(index.modules) - set(index.synapses))))
        index.neurons[name] = Neuron(name, index.modules[name], NeuronKind())
    return index.neurons[name]


class ConnectionBuilder:
    """Makes the connections of one learner.

    Args:
        index: the parts of the model.
        config, layers: the settings, and those of single layers.
        masks: ones for the weights that learn, where not all of a synapse do.
        dt: None for that of the settings, "auto" for that of the neuron, or a number.
        strict: whether a change of batch size is an error.
        path: how the traces are worked out.
    """

    def __init__(
        self,
        index: ModelIndex,
        config: PlasticityConfig,
        layers: Mapping[str, PlasticityConfig],
        masks: Mapping[str, Tensor],
        *,
        dt: float | str | None,
        strict: bool,
        path: TracePath,
    ) -> None:
        if isinstance(dt, str) and dt != "auto":
            raise ValueError(f"dt = {dt!r}; expected None, 'auto' or a step length.")
        self.index, self.config, self.layers, self.masks = index, config, layers, masks
        self.dt, self.strict = dt, strict
        self.path: TracePath = path
        self._named: set[str] = set()

    def __call__(self, synapse: str, neuron: str | None) -> Connection:
        """The connection from a synapse to a neuron, where that is known. The first of a synapse bears its name."""
        part = self.index.synapses.get(synapse) or self.index.own[synapse]
        name = f"{synapse}->{neuron}" if synapse in self._named else synapse
        self._named.add(synapse)
        config = self._with_dt(self.layers.get(synapse, self.config), synapse, neuron)
        geometry, mask = part.geometry(), self.masks.get(synapse, part.mask)
        return Connection(
            name, part.layer, part.attribute, config, geometry=geometry, mask=mask, strict=self.strict, path=self.path
        )

    def warn_of_low_precision(self, connections: Sequence[Connection]) -> None:
        """Once, for all weights that round small changes away."""
        low = [connection.name for connection in connections if low_precision(connection.weight)]
        if low:
            warnings.warn(
                f"{', '.join(low)}: weights in half precision round small changes away (0.5 + 0.0001 is 0.5); "
                "traces are kept in float32, and plastic weights should be too.",
                stacklevel=4,
            )

    def _with_dt(self, config: PlasticityConfig, synapse: str, neuron: str | None) -> PlasticityConfig:
        if self.dt is None:
            return config
        dt = self._dt_of(synapse, neuron) if isinstance(self.dt, str) else float(self.dt)
        return config if dt is None else replace(config, eligibility=replace(config.eligibility, dt=dt))

    def _dt_of(self, synapse: str, neuron: str | None) -> float | None:
        own = self.index.own.get(synapse)
        if own is not None:
            return own.neuron.kind.dt
        if neuron is not None:
            return self.index.neurons[neuron].kind.dt
        known = {n.kind.dt for n in self.index.neurons.values() if not n.why_not_post}
        if len(known) > 1:
            raise ValueError(
                f"dt='auto', but the neurons have different step lengths ({', '.join(map(str, known))}) and it is "
                f"not yet known which of them {synapse} feeds. Give attach sample= or pairs=, or a number as dt."
            )
        return next(iter(known), None)


def require_model(model: object) -> None:
    """Refuse what is no module.

    Raises:
        TypeError: says what it is, and how layers become a model.
    """
    listed = isinstance(model, (list, tuple))
    how = "Wrap the layers: nn.Sequential(*layers)." if listed else "Give attach the model that holds the layers."
    require_kind("model", model, nn.Module, how)


def require_settings(config: object, layers: object, pairs: object) -> PlasticityConfig:
    """The settings; what is no config, no {layer: config} and no {synapse: neurons} is refused.

    Raises:
        TypeError: another kind, or names that are no strings.
    """
    how = "As in {'fc1': PlasticityConfig.dev()}."
    for name, own in require_kind("layers", {} if layers is None else layers, Mapping, how).items():
        require_kind("A name in layers", name, str, how)
        require_kind(f"layers[{name!r}]", own, Serializable, "A PlasticityConfig.")
        require_config(own, PlasticityConfig, name=f"layers[{name!r}]")
    how = "As in {'fc1': 'lif1'}, or {'fc1': ('lif1', 'lif2')}."
    for name, partners in require_kind("pairs", {} if pairs is None else pairs, Mapping, how).items():
        require_kind("A name in pairs", name, str, how)
        require_kind(f"pairs[{name!r}]", partners, (str, Sequence), how)
        for partner in partners:  # type: ignore[attr-defined]
            require_kind(f"A neuron in pairs[{name!r}]", partner, str, how)
    return require_config(config, PlasticityConfig)


def require_masks(masks: object) -> None:
    """Refuse what is no {synapse: zeros and ones}; shapes are for those who know the weights.

    Raises:
        TypeError: another kind, or names that are no strings.
        ValueError: other numbers than zeros and ones, or no numbers at all.
    """
    how = "As in {'fc1': fc1.weight != 0}."
    for name, mask in require_kind("masks", {} if masks is None else masks, Mapping, how).items():
        require_kind("A name in masks", name, str, how)
        label = f"masks[{name!r}]"
        require_real(label, require_kind(label, mask, Tensor, "Booleans, or zeros and ones, shaped like the weight."))
        if mask.is_meta:  # type: ignore[attr-defined]
            raise ValueError(f"{label} is on the meta device and holds no values; expected a tensor that does.")
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError(f"{label} holds other numbers than zeros and ones; expected booleans: mask != 0.")


def require_choices(gate: Any, pre: Any, dt: Any, strict: Any, path: Any, reduce: Any) -> None:
    """Refuse choices that are none.

    Raises:
        TypeError: a gate of another kind, or no function to reduce with.
        ValueError: an unknown word, no step length, or neither True nor False.
    """
    if gate is not None:
        require_kind("gate", gate, NeuromodulatoryGate, "Build one: NeuromodulatoryGate(config.neuromod).")
    if not callable(pre):
        require_choice("pre", pre, ("raw", "binary"), "a function of a synapse's input")
    if isinstance(dt, str) or dt is None:
        require_choice("dt", dt or "auto", ("auto",), "a step length, or None for that of the settings")
    else:
        require_number("dt", dt, 0.0, open_low=True)
    require_flag("strict", strict)
    require_choice("path", path, PATHS)
    if reduce is not None:
        require_callable("reduce", reduce, "from a Δw to a tensor of its shape, or None")
