"""The link between a model's hooks and the connections that learn."""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..connection import Connection
from ..learner import PlasticityLearner
from ..notices import notice
from ..silence import Silence
from .between import hooked
from .dropped import farewell, withdraw
from .hooks import PassHook, as_activity, is_plain
from .neuron import Firing, Neuron, never
from .presence import Presence
from .presynaptic import Presynaptic
from .provenance import PairingError
from .reading import Reading
from .survey import Survey
from .synapse import OwnSynapse
from .wiring import Wiring

LONELY = "no neuron found so far"


class Watcher:
    """Hears every call of the synapses and neurons of a model, and tells the connections what it means.

    Args:
        model, found: the model without wrappers, and its parts.
        wiring: who feeds whom.
        build: makes the connection from a synapse to a neuron; the first of a synapse bears its name.
        connections: those that exist from the start, by (synapse, neuron) or (synapse, None).
        named: synapses that the user named, for which feeding no neuron is an error.
        pre: what is made of the input of a synapse.
    """

    def __init__(
        self,
        model: nn.Module,
        found: Survey,
        wiring: Wiring,
        build: Callable[[str, str | None], Connection],
        connections: Mapping[tuple[str, str | None], Connection],
        *,
        named: Iterable[str],
        pre: Presynaptic,
    ) -> None:
        self.model, self.found, self.wiring, self.pre = model, found, wiring, pre
        self.edges, self.plastic = dict(connections), {synapse for synapse, _ in connections}
        self.own: dict[str, list[OwnSynapse]] = {}
        for synapse in found.own.values():
            self.own.setdefault(synapse.neuron.name, []).append(synapse)
        self.muted = False
        self._build, self._named = build, set(named)
        self._learner: Callable[[], PlasticityLearner | None] = lambda: None
        self._handles: list[RemovableHandle] = []
        self._places: dict[str, torch.device] = {}
        self._begun: dict[str, int] = {}  # steps of the learner when a call last began a sequence, else -1
        self._told = False  # whether it was said that a state gets lost
        self._units: dict[str, Tensor] = {}  # those that the neuron of a connection reads, where not all
        self._presence = Presence(model)
        self._rests: list[RemovableHandle] = []  # hooks that are needed only while operations are seen
        self._settled: tuple[tuple[str, str | None], ...] = ()  # the edges of which all was there at the last step

    @property
    def listening(self) -> bool:
        """Whether calls count: the learner lives and is not paused."""
        learner = self._learner()
        return learner is not None and learner.enabled and not self.muted

    @property
    def watching(self) -> bool:
        """Whether operations are seen at the moment."""
        return self.wiring.watching

    def bind(self, learner: PlasticityLearner) -> None:
        """Put the hooks on the model, on behalf of a learner (which is not kept alive)."""
        sites = {self.model, *(part.module for part in (*self.found.synapses.values(), *self.found.neurons.values()))}
        if not all("_forward_hooks" in vars(site) for site in sites):
            return  # a model that is being copied, and holds its learner itself: the first step says so
        self._learner = weakref.ref(learner)
        withdraw(self.model)
        own = set()
        for module, hook, handle in hooked(self, self.found):
            self._handles.append(handle)
            if hook.method != "on_between":
                own.add(module)
                self._presence.hooked(module, hook, handle)
        model = self.model
        if model not in own:
            begin, end = self._bracket(model)
            self._handles.append(model.register_forward_pre_hook(begin, with_kwargs=True))
            self._handles.append(model.register_forward_hook(end, with_kwargs=True, always_call=True))
        gone = (self._handles, self._rests, self.wiring.rest, learner.silence, [weakref.ref(site) for site in sites])
        weakref.finalize(self, _gone, *gone).atexit = False
        self.wiring.ledger.know(list(model.buffers()))
        self._watch_or_not()
        torch.compiler.reset()  # code compiled before would not see the hooks

    def __deepcopy__(self, memo: dict[int, Any]) -> Watcher:
        """A watcher of the copied model, that has seen nothing yet; the copied learner binds it."""
        copied = memo[id(self)] = object.__new__(type(self))
        fresh = {"wiring": self.wiring.renewed(), "_learner": lambda: None, "_places": {}, "_settled": ()}
        fresh |= {"_handles": [], "_rests": [], "_presence": None}
        for name, value in vars(self).items():
            setattr(copied, name, fresh[name] if name in fresh else copy.deepcopy(value, memo))
        for handles in (self._handles, self._rests):  # the copied modules have hooks, which are those of nobody
            _remove(copy.deepcopy(handles, memo))
        copied._presence = Presence(copied.model)
        return copied

    def _bracket(self, model: nn.Module) -> tuple[Any, Any]:
        return PassHook(self, "on_pass_begin", "", model), PassHook(self, "on_pass_end", "", model)

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handles in (self._handles, self._rests):
            _remove(handles)
        self.reset()

    def reset(self) -> None:
        """Drop half-done calls."""
        self.wiring.clear()

    def lost(self, connections: Collection[Connection]) -> str | None:
        """Why one of these hears nothing any more; None while their layers and neurons are where they were."""
        edges, all_of_them = tuple(self.edges), len(connections) == len(self.edges)
        if all_of_them and edges == self._settled and self._presence.as_settled():
            return None
        sites = [site for key, c in self.edges.items() if c in connections for site in self._sites(*key)]
        for name, module in sites:
            if why := self._presence.lost(name, module):
                return why
        if all_of_them:
            self._settled = edges
            self._presence.settle(module for _, module in sites)
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

    def on_pass_begin(self, given: Any) -> None:
        """A forward pass of the whole model begins: what an interrupted one left behind is void."""
        self.wiring.begin(given)

    def on_pass_end(self, given: Any) -> None:
        """It has ended, or was left by an exception: who still waits feeds no neuron."""
        self.wiring.rest()
        lost = self._lost() if self._named and sys.exc_info()[0] is None else []
        if lost:
            raise PairingError(
                f"{lost[0]} was named to learn, but its output reached no spiking neuron in this forward pass: it is a "
                "readout, which has no spikes to learn from. Leave it out, or name its neuron with pairs=."
            )

    def _lost(self) -> list[str]:
        """Synapses that the user named, that took part in this pass and have no neuron."""
        waiting = self.wiring.unread & self._named - {synapse for synapse, neuron in self.edges if neuron}
        return [name for name in sorted(waiting) if self.found.synapses[name].layer.training]

    def on_rest(self, given: Any) -> None:
        """A neuron begins to work: what it does inside is its own."""
        self.wiring.rest()

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
                given = None  # the same memory
        self.wiring.called(synapse, given, pre, output)
        if self.wiring.watching and not self._rests:
            self._watch_or_not()

    def on_between(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """A layer that works unit by unit has computed."""
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            self.wiring.passed(args[0], output)

    def on_neuron(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """A neuron has fired: everything that fed it learns."""
        neuron = self.found.neurons[name]
        firing = neuron.read(args, kwargs, output)
        try:
            readings = self.wiring.fired(neuron, firing)
            if neuron.deafness:
                self._tell_readouts(self.wiring.feeders(firing), neuron)
            if not neuron.module.training:
                for synapse in (*(r.calls[0].synapse.name for r in readings), *_names(self.own.get(name))):
                    self._seen_in_eval(synapse)
            elif not neuron.kind.refusal:
                self._learn(neuron, firing, readings)
        finally:
            if self.wiring.watching or self._rests:
                self._watch_or_not()
        if self.wiring.watching:
            self.wiring.resume(output)

    def _seen_in_eval(self, synapse: str) -> None:
        for (known, _), connection in self.edges.items():
            if known == synapse:
                connection.seen_in_eval += 1

    def _watch_or_not(self) -> None:
        """While operations are seen, those inside of neurons are not: neurons say when they begin."""
        if self.wiring.watching == bool(self._rests):
            return
        _remove(self._rests)
        if self.wiring.watching:
            for neuron in self.found.neurons.values():
                hook: Any = PassHook(self, "on_rest", neuron.name, neuron.module)
                self._rests.append(neuron.module.register_forward_pre_hook(hook, with_kwargs=True))

    def _learn(self, neuron: Neuron, firing: Firing, readings: Iterable[Reading]) -> None:
        """Every pair of sides is worked out and looked at before the first is observed: no half of a step is."""
        spikes, time_major = as_activity(firing.spikes), neuron.kind.time_major
        due = []
        for reading in readings:
            connection = self._connection(reading.calls[0].synapse.name, neuron.name)
            if connection is not None:
                if self._units or reading.rows.units is not None:
                    self._mask(connection, reading)
                due.append((connection, *reading.sides(spikes, time_major)))
        for own in self.own.get(neuron.name, ()):
            connection = self._connection(own.name, neuron.name)
            if connection is not None:
                due.append((connection, *self._own_sides(own, firing, spikes, time_major)))
        starts, due = neuron.kind.starts(firing), [(c, *self._beside(c, pre, post)) for c, pre, post in due]
        if len(due) > 1:
            for connection, pre, post in due:
                connection.check_sides(pre, post, window=time_major, new_sequence=starts)
        for connection, pre, post in due:
            self._observe(connection, neuron, pre, post, starts=starts)

    def _own_sides(self, own: OwnSynapse, firing: Firing, spikes: Tensor, time_major: bool) -> tuple[Tensor, Tensor]:
        """Of a weight that a neuron holds itself."""
        pre, at = self.pre(own.name, as_activity(own.weight.pre(firing, time_major))), int(time_major)
        return (pre, spikes) if pre.dim() > 1 + at else (pre.unsqueeze(at), spikes.unsqueeze(at))

    def _mask(self, connection: Connection, reading: Reading) -> None:
        """The units of a layer that a neuron does not read do not learn from it."""
        units, known = reading.rows.units, self._units.get(connection.name)
        if units is known:
            return
        if units is not None and known is None and connection.traces.batch_size is None:
            self._units[connection.name] = units
            connection.mask = _rows_of(connection.weight.detach(), units, prod(reading.sample))
        elif units is None or known is None or not torch.equal(units, known):
            raise PairingError(
                f"{connection.name}: other units of it were read before than now, and a neuron has one history for "
                "each. Give each part of the layer a neuron of its own, or make it several layers."
            )

    def _beside(self, connection: Connection, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides in the wider precision of the two, and the traces where they are."""
        if pre.dtype != post.dtype:
            kind = torch.promote_types(pre.dtype, post.dtype)
            pre, post = pre.to(kind), post.to(kind)
        if self._places.get(connection.name) != pre.device:
            self._places[connection.name] = pre.device
            _move(connection, pre.device)
        return pre, post

    def _observe(self, connection: Connection, neuron: Neuron, pre: Tensor, post: Tensor, *, starts: bool) -> None:
        if starts and not neuron.kind.time_major and connection.traces.batch_size is not None:
            self._tell_of_a_lost_state(connection, neuron)
        if neuron.kind.starts is not never:
            self._begun[connection.name] = self._steps() if starts else -1
        (connection.observe_sequence if neuron.kind.time_major else connection.observe)(pre, post, new_sequence=starts)

    def _steps(self) -> int:
        learner = self._learner()
        return 0 if learner is None else learner.silence.steps

    def _tell_of_a_lost_state(self, connection: Connection, neuron: Neuron) -> None:
        """Two sequences of one step each, and nothing was learned in between: a wrapper drops the state."""
        if self._told or connection.config.eligibility.carry or self._begun.get(connection.name) != self._steps():
            return
        self._told = True
        notice(
            f"{neuron.name} was called without a state again. Each such call begins a new sequence, and its traces "
            "begin anew: a step learns from the last only. Hand the state on, as SequentialState and Lift do; or "
            "say that traces go on across sequences, with EligibilityConfig(carry=True).",
            stacklevel=6,
        )

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

    def _tell_readouts(self, names: Iterable[str], neuron: Neuron) -> None:
        for name in names:
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


def _rows_of(weight: Tensor, units: Tensor, size: int) -> Tensor:
    """Ones for the weights of these units of `size` in a sample, zeros for the others."""
    keep = torch.zeros(len(weight), device=weight.device)
    keep[(units * len(weight) // size).to(weight.device)] = 1.0
    return keep.view(-1, *[1] * (weight.dim() - 1)).expand(weight.shape).clone()


def _gone(
    handles: list[RemovableHandle],
    rests: list[RemovableHandle],
    rest: Callable[[], None],
    silence: Silence,
    sites: list[weakref.ref[nn.Module]],
) -> None:
    """The watcher is gone: so are its hooks, and what they would have been needed for."""
    rest()
    _remove(rests)
    farewell(handles, silence, sites)


def _remove(handles: list[RemovableHandle]) -> None:
    while handles:
        handles.pop().remove()
