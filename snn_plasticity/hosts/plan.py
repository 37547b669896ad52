"""The steps of attaching: look, choose, pair, connect. Nothing touches the model before all of them have succeeded.

Who feeds whom may be found out by a dry run with a sample input: the same looks as in any forward, but nothing is
observed, and afterwards the model is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._loss_changes import reads_gradient
from ..config import PlasticityConfig
from ..config.eligibility import TracePath
from ..connection import Connection
from ..kernels.named_kernels import kernel_of
from ..kernels.post_side import PostSide, post_side_of
from ..notices import notice
from .adapter import NeuronKind
from .builder import NO_NEURON_YET, ConnectionBuilder, masks_of, readout, require_known
from .hooked import hooked, hooks_of
from .hooks import PassHook, Presynaptic, as_activity
from .index import ModelIndex, Neuron, index_model, unwrap
from .manager import HookManager
from .pooling import pool_of_module
from .provenance import PairingError
from .restoring import restored, unheard
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
    post: PostSide | None,
) -> tuple[HookManager, list[Connection]]:
    """A hook manager that is ready to be bound, and the connections it feeds."""
    index = index_model(model)
    read_integrators(index, config, layers)
    chosen = plan(index, config, layers, pairs)
    refuse_twice(unwrap(model), index, chosen.plastic)
    activity, learning = Presynaptic(pre), masks_of(index, masks)
    build = ConnectionBuilder(index, config, layers, learning, dt=dt, strict=strict, path=path, post=post)
    inner_synapses: dict[str, list[str]] = {}
    for synapse in index.synapses.values():
        if synapse.inside_of is not None:
            inner_synapses.setdefault(synapse.inside_of, []).append(synapse.name)

    def new_wiring() -> Wiring:
        return Wiring(inner_synapses, chosen.given, chosen.plastic, len(index.neurons))

    feeds = dict(chosen.given)
    if sample is not None:
        inner = unwrap(model)
        feeds = {**discover(inner, index, new_wiring(), lambda: _run_once(inner, sample)), **feeds}
    edges = _edges(index, chosen, feeds, build)
    # from a loss, readouts learn as well
    named = chosen.named - {synapse for (synapse, _), connection in edges.items() if reads_gradient(connection)}
    notes = readouts(index, named, feeds)
    for (synapse, neuron), connection in edges.items():
        known = neuron is not None
        connection.note = "" if known else notes.get(synapse, NO_NEURON_YET)
    if all(connection.post_side != "spikes" for connection in edges.values()):
        activity.looks = 0  # what comes in counts as much as it is, whether it is spikes or a current
    build.warn_of_low_precision(list(edges.values()))
    manager = HookManager(unwrap(model), index, new_wiring(), build, edges, named=named, pre=activity)
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
    return tuple(n for n in wiring.get(name, ()) if not index.neurons[n].why_not_post(name)) or (None,)


def read_integrators(index: ModelIndex, config: PlasticityConfig, layers: Mapping[str, PlasticityConfig]) -> None:
    """Leaky integrators teach the synapses whose kernel reads derivatives; of spikes, they have none."""
    integrators = [neuron for neuron in index.neurons.values() if neuron.kind.integrates]
    if not integrators:
        return
    sides = {name: post_side_of(kernel_of(layers.get(name, config).eligibility)) for name in index.names}
    for neuron in integrators:
        neuron.read_by = {name for name, side in sides.items() if side != "spikes"}
        for own in [own for own in index.own.values() if own.neuron is neuron]:
            if sides[own.name] in ("spikes", "gradient"):
                index.excluded[own.name] = str(neuron.kind.refusal)
                del index.own[own.name]


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
    require_known("target_layers, layers and pairs", {*chosen, *layers, *pairs}, index.known)
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
    if not chosen:
        _tell_left_out(index, plastic, aside)
    return Plan(plastic, named, given)


def readouts(index: ModelIndex, named: Collection[str], wiring: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """{synapse: why} for those that a dry run has shown to feed no spiking neuron.

    Raises:
        ValueError: one of them was named to learn.
    """
    notes: dict[str, str] = {}
    for name, partners in wiring.items():
        silent = [index.neurons[partner] for partner in partners if index.neurons[partner].why_not_post(name)]
        if len(silent) < len(partners):
            continue
        reason = (
            readout(name, silent[0])
            if silent
            else f"{name} fed no neuron in the dry run: it is a readout. Leave it out."
        )
        if name in named:
            raise ValueError(reason)
        notes[name] = f"feeds {silent[0].name}: {silent[0].why_not_post(name)}" if silent else "feeds no neuron"
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


def _refuse(index: ModelIndex, names: Collection[str]) -> None:
    for name in sorted(names):
        reason = index.refused.get(name) or index.excluded.get(name)
        if reason:
            raise TypeError(f"{name} cannot be plastic: {reason}. Or leave it out, with target_layers=.")


def _require_something(index: ModelIndex, plastic: Collection[str]) -> None:
    spiking = [neuron for neuron in index.neurons.values() if neuron.teaches]
    if not plastic or not spiking:
        refused = "".join(f" {n.name}: {n.kind.refusal}." for n in index.neurons.values() if n.kind.refusal)
        raise ValueError(
            "Nothing in this model can be plastic: expected at least one Linear, convolution or recurrent weight, and "
            "a spiking neuron of snnTorch or Norse that it feeds. "
            f"{index.describe()}{_left_out(index, plastic)}{refused}"
        )


def _left_out(index: ModelIndex, plastic: Collection[str], aside: Collection[str] = ()) -> str:
    """Why weights that were found do not learn, and which of them do where they are named; not of those set aside."""
    reasons = {name: why for name, why in {**index.refused, **index.excluded}.items() if name not in aside}
    why = "".join(f" {name} cannot learn: {reason}." for name, reason in reasons.items())
    unnamed = [n for n in index.names if n in index.optional and n not in {*plastic, *aside, *reasons}]
    if not unnamed:
        return why
    kinds = ", ".join(f"{name} is a {type(index.modules[name]).__name__}" for name in unnamed)
    return (
        f"{why} Left out: {kinds}, which may do more than the class it derives from. Name it, and it learns: "
        f"ThreeFactorConfig(target_layers={(*plastic, *unnamed)!r})."
    )


def _tell_left_out(index: ModelIndex, plastic: Collection[str], aside: Collection[str]) -> None:
    """Nobody chose, and not all weights that were found learn."""
    left_out = _left_out(index, plastic, aside)
    if left_out:
        learn = ", ".join(plastic)
        notice(
            f"These layers learn: {learn}.{left_out} What is to be left out, without a word: pairs={{name: ()}}.",
            stacklevel=5,
        )


def _given(index: ModelIndex, pairs: Pairs) -> dict[str, tuple[str, ...]]:
    given: dict[str, tuple[str, ...]] = {}
    for synapse, partners in pairs.items():
        given[synapse] = (partners,) if isinstance(partners, str) else tuple(partners)
        if synapse in index.own:
            raise ValueError(f"pairs: {synapse} is held by its neuron; expected layers outside of neurons only.")
        for partner in given[synapse]:
            neuron = _neuron(index, partner)
            if neuron.why_not_post(synapse):
                raise ValueError(readout(synapse, neuron))
    return given


def _neuron(index: ModelIndex, name: str) -> Neuron:
    """A neuron by name; a module of the user's own counts as one where it is named as such."""
    if name not in index.neurons:
        require_known("pairs", [name], (*index.neurons, *(set(index.modules) - set(index.synapses))))
        index.neurons[name] = Neuron(name, index.modules[name], NeuronKind())
    return index.neurons[name]


def discover(
    model: nn.Module, index: ModelIndex, wiring: Wiring, run_model: Callable[[], object]
) -> dict[str, tuple[str, ...]]:
    """{synapse: neurons} for every synaptic layer outside of neurons; an empty tuple feeds none.

    Args:
        model: the model, without wrappers.
        index: its parts.
        wiring: follows what is computed.
        run_model: runs it once, or step by step.

    Raises:
        PairingError: it is not known what a neuron reads, as in any forward pass.
    """
    run = _SampleRun(index, wiring)
    with unheard(model), restored(model), torch.inference_mode(False), torch.no_grad():
        handles = [handle for _, _, handle in hooked(run, index)]
        parts = [(neuron.name, neuron.module, "on_neuron_begin") for neuron in index.neurons.values()]
        for name, module, method in (*parts, ("", model, "on_pass_begin")):
            rest: Any = PassHook(run, method, name, module)
            handles.append(module.register_forward_pre_hook(rest, with_kwargs=True))
        wiring.ledger.mark_unrelated(list(model.buffers()))
        try:
            run_model()
        finally:
            wiring.clear()
            for handle in handles:
                handle.remove()
    return {name: tuple(dict.fromkeys(partners)) for name, partners in run.feeds.items()}


def _is_our_error(error: Exception) -> bool:
    """Whether an error is a sentence of this package, and not of the model."""
    return isinstance(error, PairingError) or "; expected" in str(error)


def _run_once(model: nn.Module, sample: Any) -> None:
    """Run the model once, and say so where the sample is no input of it."""
    try:
        call_with(model, sample)
    except Exception as error:
        if _is_our_error(error):
            raise
        raise ValueError(
            f"sample= does not run through the model ({type(error).__name__}: {str(error).splitlines()[0]}); expected "
            "an input of its forward, a tuple of several, or a dict by keyword. Nothing was attached."
        ) from error


class _SampleRun:
    """Hears what `HookManager` hears, and keeps who fed whom."""

    enabled = True  # it is its own learner

    def __init__(self, index: ModelIndex, wiring: Wiring) -> None:
        self.index, self.wiring = index, wiring
        self.edges: dict[Any, Any] = {}
        self.muted = False
        self.feeds: dict[str, list[str]] = {s.name: [] for s in index.synapses.values() if s.inside_of is None}

    @property
    def learner(self) -> Callable[[], _SampleRun]:
        return lambda: self

    def on_pass_begin(self, given: Any) -> None:
        self.wiring.begin_pass(given)

    def on_neuron_begin(self, given: Any) -> None:
        self.wiring.pause()

    def on_synapse(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> None:
        synapse = self.index.synapses[name]
        learns = name in self.wiring.plastic and synapse.layer.training
        given = synapse.input_of(args, kwargs)
        self.wiring.synapse_called(synapse, given, as_activity(given) if learns else None, output)

    def on_layer(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            self.wiring.layer_called(args[0], output, pool_of_module(self.index.modules[name]))

    def on_neuron(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        neuron: Neuron = self.index.neurons[name]
        neuron_call = neuron.read(args, kwargs, output)
        for synapse in self.wiring.feeders(neuron_call):
            self.feeds[synapse].append(name)
        spikes = as_activity(neuron_call.spikes)
        for reading in self.wiring.neuron_called(neuron, neuron_call):
            reading.sides(spikes, neuron.kind.time_major)
            reached = reading.calls[0].synapse
            if reached.inside_of is None and name not in self.feeds[reached.name]:
                self.feeds[reached.name].append(name)  # by the user's word
        self.wiring.resume(output)


def call_with(model: nn.Module, sample: Any) -> None:
    """One call; a tuple is several arguments, a dict keyword arguments."""
    if isinstance(sample, Mapping):
        model(**sample)
    elif isinstance(sample, (tuple, list)):
        model(*sample)
    else:
        model(sample)
