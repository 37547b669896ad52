"""The link between a model's hooks and the connections that learn."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..connection import Connection
from ..learner import PlasticityLearner
from .call import Call
from .dropped import farewell, withdraw
from .hooks import Hook, PassHook, as_activity, is_plain
from .neuron import Firing, Neuron
from .pairing import Pairing, PairingError
from .presence import Presence
from .presynaptic import Presynaptic
from .survey import Survey
from .synapse import OwnSynapse

LONELY = "no neuron found so far"


class Watcher:
    """Hears every call of the synapses and neurons of a model, and tells the connections what it means.

    Args:
        model, found: the model without wrappers, and its parts.
        pairing: who feeds whom.
        build: makes the connection from a synapse to a neuron; the first of a synapse bears its name.
        connections: those that exist from the start, by (synapse, neuron) or (synapse, None).
        named: synapses that the user named, for which feeding no neuron is an error.
        pre: what is made of the input of a synapse.
    """

    def __init__(
        self,
        model: nn.Module,
        found: Survey,
        pairing: Pairing,
        build: Callable[[str, str | None], Connection],
        connections: Mapping[tuple[str, str | None], Connection],
        *,
        named: Iterable[str],
        pre: Presynaptic,
    ) -> None:
        self.model, self.found, self.pairing, self.pre = model, found, pairing, pre
        self.edges, self.plastic = dict(connections), {synapse for synapse, _ in connections}
        self.own: dict[str, list[OwnSynapse]] = {}
        for synapse in found.own.values():
            self.own.setdefault(synapse.neuron.name, []).append(synapse)
        self.muted = False
        self._build, self._named = build, set(named)
        self._learner: Callable[[], PlasticityLearner | None] = lambda: None
        self._handles: list[RemovableHandle] = []
        self._places: dict[str, torch.device] = {}
        self._presence = Presence(model)

    @property
    def listening(self) -> bool:
        """Whether calls count: the learner lives and is not paused."""
        learner = self._learner()
        return learner is not None and learner.enabled and not self.muted

    def bind(self, learner: PlasticityLearner) -> None:
        """Put the hooks on the model, on behalf of a learner (which is not kept alive)."""
        self._learner = weakref.ref(learner)
        withdraw(self.model)
        parts = [(synapse, "on_synapse") for synapse in self.found.synapses.values()]
        neurons = [(neuron, "on_neuron") for neuron in self.found.neurons.values()]
        for part, method in (*parts, *neurons):
            hook: Any = Hook(self, method, part.name, part.module)
            self._handles.append(part.module.register_forward_hook(hook, with_kwargs=True))
            self._presence.hooked(part.module, hook, self._handles[-1])
        model = self.model
        if model not in {part.module for part, _ in (*parts, *neurons)}:
            begin, end = self._bracket(model)
            self._handles.append(model.register_forward_pre_hook(begin, with_kwargs=True))
            self._handles.append(model.register_forward_hook(end, with_kwargs=True))
        sites = [weakref.ref(module) for module in {self.model, *(part.module for part, _ in (*parts, *neurons))}]
        weakref.finalize(self, farewell, self._handles, learner.silence, sites).atexit = False
        torch.compiler.reset()  # code compiled before would not see the hooks

    def _bracket(self, model: nn.Module) -> tuple[Any, Any]:
        return PassHook(self, "on_pass_begin", "", model), PassHook(self, "on_pass_end", "", model)

    def remove(self) -> None:
        """Take the hooks off the model."""
        _remove(self._handles)
        self.reset()

    def reset(self) -> None:
        """Drop half-done calls."""
        self.pairing.clear()

    def lost(self, connections: Collection[Connection]) -> str | None:
        """Why one of these hears nothing any more; None while their layers and neurons are where they were."""
        for key, connection in self.edges.items():
            if connection in connections:
                for name, module in self._sites(*key):
                    if why := self._presence.lost(name, module):
                        return why
        return None

    def around(self, connection: Connection) -> list[nn.Module]:
        """The modules that the weight of a connection is in, from the model inwards."""
        sites = [site for key, known in self.edges.items() if known is connection for site in self._sites(*key)]
        return [outer for name, module in sites for outer in self._presence.around(name, module)]

    def _sites(self, synapse: str, neuron: str | None) -> Iterator[tuple[str, nn.Module]]:
        """The modules that are heard for an edge, by name."""
        if synapse in self.found.synapses:
            yield synapse, self.found.synapses[synapse].module
        if neuron is not None:
            yield neuron, self.found.neurons[neuron].module

    def on_pass_begin(self) -> None:
        """A forward pass of the whole model begins: what an interrupted one left behind is void."""
        self.pairing.clear()

    def on_pass_end(self) -> None:
        """It has ended: who still waits feeds no neuron."""
        lost = self._lost() if self._named else []
        self.pairing.clear()
        if lost:
            raise PairingError(
                f"{lost[0]} was named to learn, but its output reached no spiking neuron in this forward pass: it is a "
                "readout, which has no spikes to learn from. Leave it out, or name its neuron with pairs=."
            )

    def _lost(self) -> list[str]:
        """Synapses that the user named, that took part in this pass and have no neuron."""
        waiting = self.pairing.waiting & self._named - {synapse for synapse, neuron in self.edges if neuron}
        return [name for name in sorted(waiting) if self.found.synapses[name].layer.training]

    def on_synapse(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> None:
        """A synapse has computed: its call waits for a neuron."""
        synapse, pre = self.found.synapses[name], None
        given = synapse.input_of(args, kwargs)
        if name in self.plastic and not synapse.layer.training:
            self._seen_in_eval(name)
        elif name in self.plastic:
            activity = as_activity(given)
            pre = self.pre(name, activity)
            if pre is activity and is_plain(given):
                given = pre  # the same memory
        self.pairing.called(synapse, given, pre, output)

    def on_neuron(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """A neuron has fired: everything that fed it learns."""
        neuron = self.found.neurons[name]
        firing = neuron.read(args, kwargs, output)
        calls = self.pairing.fired(neuron, firing)
        if neuron.deafness:
            self._tell_readouts([call for call in calls if call.synapse.home is None], neuron)
            calls = [call for call in calls if call.synapse.home is not None]
        if neuron.module.training and not neuron.kind.refusal:
            self._learn(neuron, firing, calls)
        elif not neuron.module.training:
            for synapse in (
                *(call.synapse.name for call in calls if call.pre is not None),
                *_names(self.own.get(name)),
            ):
                self._seen_in_eval(synapse)

    def _seen_in_eval(self, synapse: str) -> None:
        for (known, _), connection in self.edges.items():
            if known == synapse:
                connection.seen_in_eval += 1

    def _learn(self, neuron: Neuron, firing: Firing, calls: Iterable[Call]) -> None:
        spikes, time_major = as_activity(firing.spikes), neuron.kind.time_major
        for call in calls:
            connection = self._connection(call.synapse.name, neuron.name)
            if connection is not None and call.pre is not None:
                pre, post = call.align(neuron.name, firing.current, spikes, time_major=time_major)
                self._observe(connection, neuron, firing, pre, post)
        if neuron.name in self.own:
            self._learn_own(neuron, firing, spikes)

    def _learn_own(self, neuron: Neuron, firing: Firing, spikes: Tensor) -> None:
        """The weights that a neuron holds itself."""
        time_major = neuron.kind.time_major
        for own in self.own[neuron.name]:
            connection = self._connection(own.name, neuron.name)
            if connection is not None:
                pre = self.pre(own.name, as_activity(own.weight.pre(firing, time_major)))
                batched = pre.dim() > 1 + time_major
                at = int(time_major)
                self._observe(
                    connection,
                    neuron,
                    firing,
                    *((pre, spikes) if batched else (pre.unsqueeze(at), spikes.unsqueeze(at))),
                )

    def _observe(self, connection: Connection, neuron: Neuron, firing: Firing, pre: Tensor, post: Tensor) -> None:
        if pre.dtype != post.dtype:
            kind = torch.promote_types(pre.dtype, post.dtype)
            pre, post = pre.to(kind), post.to(kind)
        if self._places.get(connection.name) != pre.device:
            self._places[connection.name] = pre.device
            _move(connection, pre.device)
        starts = neuron.kind.starts(firing)
        if neuron.kind.time_major:
            connection.observe_sequence(pre, post, new_sequence=starts)
            return
        if starts:
            connection.start_sequence()
        connection.observe(pre, post)

    def _connection(self, synapse: str, neuron: str) -> Connection | None:
        """From this synapse to this neuron; a second neuron of one synapse has traces of its own."""
        connection = self.edges.get((synapse, neuron))
        if connection is not None or synapse not in self.plastic:
            return connection
        connection = self.edges.pop((synapse, None), None) or self._build(synapse, neuron)
        self.edges[synapse, neuron] = connection
        connection.note = ""
        learner = self._learner()
        if learner is not None:
            learner.connections.setdefault(connection.name, connection)
        return connection

    def _tell_readouts(self, calls: Iterable[Call], neuron: Neuron) -> None:
        for name in (call.synapse.name for call in calls):
            if name in self._named:
                raise PairingError(readout(name, neuron))
            if (name, None) in self.edges:
                self.edges[name, None].note = f"feeds {neuron.name}: {neuron.deafness}"


def _names(own: Iterable[OwnSynapse] | None) -> list[str]:
    return [synapse.name for synapse in own or ()]


def readout(synapse: str, neuron: Neuron) -> str:
    """Why a synapse that the user named cannot learn from this neuron."""
    return (
        f"{synapse} feeds {neuron.name} ({type(neuron.module).__name__}), and {neuron.deafness}. Expected a spiking "
        f"neuron: leave {synapse} out of target_layers, layers and pairs."
    )


def _move(connection: Connection, device: torch.device) -> None:
    """Traces follow a model that moved."""
    connection.traces.to(device)
    if connection.mask is not None:
        connection.mask = connection.mask.to(device)


def _remove(handles: list[RemovableHandle]) -> None:
    while handles:
        handles.pop().remove()
