"""The hook manager: from the calls of a model's synapses and neurons to the connections that learn.

It puts the hooks on, knows at every step whether modules and hooks are still where they were, and takes them off; one
that was dropped before its first step leaves a word behind.
"""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .._silence import Silence
from ..connection import Connection
from ..learner import PlasticityLearner
from .builder import ConnectionBuilder
from .can_fire import why_silent
from .connections import Connections
from .dropped import remove_all, remove_of_dropped, withdraw_notices
from .hooked import hooked
from .hooks import BeginHook, Hook, PassHook, Presynaptic, as_activity, is_plain
from .index import ModelIndex, unwrap
from .pooling import pool_of_module
from .provenance import PairingError
from .wiring import Wiring


class HookManager:
    """Is told of every call of the synapses and neurons of a model, and tells the connections what it means.

    Args:
        model, index: the model without wrappers, and its parts.
        wiring: who feeds whom.
        build: makes the connection from a synapse to a neuron; the first of a synapse bears its name.
        connections: those that exist from the start, by (synapse, neuron) or (synapse, None).
        named: synapses that the user named, for which feeding no neuron is an error.
        pre: what is made of the input of a synapse.
    """

    def __init__(
        self,
        model: nn.Module,
        index: ModelIndex,
        wiring: Wiring,
        build: ConnectionBuilder,
        connections: Mapping[tuple[str, str | None], Connection],
        *,
        named: Iterable[str],
        pre: Presynaptic,
    ) -> None:
        self.model, self.index, self.wiring = model, index, wiring
        self.connections = Connections(index, build, connections, named, pre)
        self.muted = False
        self.learner: Callable[[], PlasticityLearner | None] = lambda: None
        self._handles: list[RemovableHandle] = []
        self._presence = Presence(model)
        self._watching_hooks: list[RemovableHandle] = []  # hooks that are needed only while operations are watched
        self._brackets = False  # whether the model as a whole has hooks of its own
        self._known_edges: tuple[tuple[str, str | None], ...] = ()  # the edges of which all was there at the last step

    @property
    def edges(self) -> dict[tuple[str, str | None], Connection]:
        """The connections, by synapse and neuron."""
        return self.connections.edges

    def bind(self, learner: PlasticityLearner) -> None:
        """Put the hooks on the model, on behalf of a learner (which is not kept alive)."""
        sites = {self.model, *(part.module for part in (*self.index.synapses.values(), *self.index.neurons.values()))}
        if not all("_forward_hooks" in vars(site) for site in sites):
            return  # a model that is being copied, and holds its learner itself: the first step says so
        self.learner = weakref.ref(learner)
        self.connections.bind(self.learner)
        withdraw_notices(self.model)
        own = set()
        for module, hook, handle in hooked(self, self.index, quick=True):
            self._handles.append(handle)
            if hook.method != "on_layer":
                own.add(module)
                self._presence.hooked(module, hook, handle)
        self._handles += self.connections.gradients.hook(self, self.index, follows=self.connections.follows_steps)
        model, self._brackets = self.model, self.model not in own
        if self._brackets:
            begin: Any = BeginHook(self, "on_pass_begin", "", model)
            self._handles.append(model.register_forward_pre_hook(begin, with_kwargs=True))
        if self._brackets and self.connections.named:
            self._handles.append(self._end_hook())
        refs = [weakref.ref(site) for site in sites]
        gone = (self._handles, self._watching_hooks, self.wiring.pause, learner.silence, refs)
        weakref.finalize(self, _take_off, *gone).atexit = False
        self.wiring.ledger.mark_unrelated(list(model.buffers()))
        self._update_watching_hooks()
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # code compiled before would not see the hooks

    def __deepcopy__(self, memo: dict[int, Any]) -> HookManager:
        """A hook manager of the copied model, that has seen nothing yet; the copied learner binds it."""
        copied = memo[id(self)] = object.__new__(type(self))
        self.connections.before.clear()
        fresh = {"wiring": self.wiring.renewed(), "learner": lambda: None, "_known_edges": ()}
        fresh |= {"_handles": [], "_watching_hooks": [], "_presence": None}
        for name, value in vars(self).items():
            setattr(copied, name, fresh[name] if name in fresh else copy.deepcopy(value, memo))
        for handles in (
            self._handles,
            self._watching_hooks,
        ):  # the copied modules have hooks, which are those of nobody
            remove_all(copy.deepcopy(handles, memo))
        copied.connections.bind(copied.learner)
        copied._presence = Presence(copied.model)
        return copied

    def _end_hook(self) -> RemovableHandle:
        end: Any = PassHook(self, "on_pass_end", "", self.model)
        return self.model.register_forward_hook(end, with_kwargs=True, always_call=True)

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handles in (self._handles, self._watching_hooks):
            remove_all(handles)
        self.reset()

    def reset(self) -> None:
        """Drop half-done calls."""
        self.wiring.clear()
        self.connections.gradients.clear()

    def settle(self) -> None:
        """What no neuron has read by now is the output of a readout."""
        self.connections.gradients.settle()

    def why_lost(self, connections: Collection[Connection]) -> str | None:
        """Why one of these hears nothing any more; None while their layers and neurons are where they were."""
        known = self.connections.edges
        edges, all_of_them = tuple(known), len(connections) == len(known)
        if all_of_them and edges == self._known_edges and self._presence.unchanged():
            return None
        sites = [site for key, c in self.edges.items() if c in connections for site in self._sites(*key)]
        for name, module in sites:
            if why := self._presence.why_lost(name, module):
                return why
        if all_of_them:
            self._known_edges = edges
            self._presence.remember(module for _, module in sites)
        return None

    def around(self, connection: Connection) -> list[nn.Module]:
        """The modules that the weight of a connection is in, from the model inwards."""
        sites = [site for key, known in self.edges.items() if known is connection for site in self._sites(*key)]
        return [outer for name, module in sites for outer in self._presence.around(name, module)]

    def why_silent(self, connection: Connection) -> str | None:
        """Why the neurons of a connection cannot fire; None where they could, or where more than it drives them."""
        self.wiring.pause()
        return why_silent(self.model, self.index, self.connections, connection)

    def _sites(self, synapse: str, neuron: str | None) -> Iterator[tuple[str, nn.Module]]:
        """The modules that are heard for an edge, by name."""
        if synapse in self.index.synapses:
            yield synapse, self.index.synapses[synapse].module
        if neuron is not None:
            yield neuron, self.index.neurons[neuron].module

    def on_pass_begin(self, given: Any) -> None:
        """A forward pass of the whole model begins: what an interrupted one left behind is void."""
        self.wiring.begin_pass(given)

    def on_pass_end(self, given: Any) -> None:
        """It has ended, or was left by an exception: who still waits feeds no neuron."""
        if self.wiring.watching:
            self.wiring.pause()
        lost = self._lost() if self.connections.named and sys.exc_info()[0] is None else []
        if lost:
            raise PairingError(
                f"{lost[0]} was named to learn, but its output reached no spiking neuron in this forward pass: it is a "
                "readout, which has no spikes to learn from. Leave it out, or name its neuron with pairs=."
            )

    def _lost(self) -> list[str]:
        """Synapses that the user named, that took part in this pass and have no neuron."""
        waiting = self.wiring.unread & self.connections.named - {synapse for synapse, neuron in self.edges if neuron}
        return [name for name in sorted(waiting) if self.index.synapses[name].layer.training]

    def on_neuron_begin(self, given: Any) -> None:
        """A neuron begins to work: what it does inside is its own."""
        self.wiring.pause()

    def on_synapse(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> None:
        """A synapse has computed: its call waits for a neuron."""
        synapse, pre, wiring, connections = self.index.synapses[name], None, self.wiring, self.connections
        given = args[0] if args and synapse.reads_input else synapse.input_of(args, kwargs)
        if name in connections.plastic and not synapse.layer.training:
            connections.seen_in_eval(name)
        elif name in connections.plastic:
            plain = is_plain(given)
            activity = given.detach() if plain else as_activity(given)
            pre = connections.pre(name, activity)
            if plain and pre is activity:
                given = None  # the same memory
        wiring.synapse_called(synapse, given, pre, output)
        if wiring.watching and not self._watching_hooks:
            self._update_watching_hooks()

    def on_layer(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """A layer that works unit by unit has computed."""
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            self.wiring.layer_called(args[0], output, pool_of_module(self.index.modules[name]))

    def on_neuron(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """A neuron has fired: everything that fed it learns."""
        neuron, wiring, connections = self.index.neurons[name], self.wiring, self.connections
        neuron_call = neuron.read(args, kwargs, output)
        try:
            readings = wiring.neuron_called(neuron, neuron_call)
            if connections.gradients.readout.name:
                connections.gradients.readout.on_neuron(neuron, wiring.feeders(neuron_call))
            if neuron.why_not_post():
                aside = [name for name in wiring.feeders(neuron_call) if neuron.why_not_post(name)]
                connections.note_readouts(aside, neuron)
            if not neuron.module.training:
                for synapse in (*(r.calls[0].synapse.name for r in readings), *connections.own_weights_of(name)):
                    connections.seen_in_eval(synapse)
            elif neuron.teaches:
                connections.observe(neuron, neuron_call, readings)
        finally:
            if wiring.watching or self._watching_hooks:
                self._update_watching_hooks()
        if wiring.watching:
            wiring.resume(output)

    def _update_watching_hooks(self) -> None:
        """While operations are watched, those inside of neurons and between passes are not: hooks tell of these."""
        if self.wiring.watching == bool(self._watching_hooks):
            return
        remove_all(self._watching_hooks)
        if self.wiring.watching:
            for neuron in self.index.neurons.values():
                hook: Any = PassHook(self, "on_neuron_begin", neuron.name, neuron.module)
                self._watching_hooks.append(neuron.module.register_forward_pre_hook(hook, with_kwargs=True))
            if self._brackets and not self.connections.named:
                self._watching_hooks.append(self._end_hook())


def _take_off(
    handles: list[RemovableHandle],
    begin_hooks: list[RemovableHandle],
    rest: Callable[[], None],
    silence: Silence,
    sites: list[weakref.ref[nn.Module]],
) -> None:
    """The hook manager is gone: so are its hooks, and what they would have been needed for."""
    rest()
    remove_all(begin_hooks)
    remove_of_dropped(handles, silence, sites)


class Link(NamedTuple):
    """One step of the way from the model to a module."""

    parent: nn.Module
    key: str
    child: nn.Module


class Presence:
    """The modules of one learner, where they were when it was attached.

    Args:
        model: the model without wrappers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._paths: dict[nn.Module, list[Link]] = {}
        self._hooks: dict[nn.Module, tuple[Hook, int]] = {}
        self._found: list[tuple[dict[Any, Any], Any, object]] = []  # dictionaries, and what was found in them

    def hooked(self, module: nn.Module, hook: Hook, handle: RemovableHandle) -> None:
        """Remember a hook."""
        self._hooks[module] = (hook, handle.id)

    def remember(self, modules: Iterable[nn.Module]) -> None:
        """These were all there: what has to be the same for them to be there still."""
        self._found = []
        for module in modules:
            hook, number = self._hooks[module]
            self._found += [(parent._modules, key, child) for parent, key, child in self._paths[module]]
            self._found.append((module._forward_hooks, number, hook))

    def unchanged(self) -> bool:
        """Whether all of them are still there, as one quick look tells."""
        for held, key, value in self._found:
            if held.get(key) is not value:
                return False
        return bool(self._found)

    def around(self, name: str, module: nn.Module) -> list[nn.Module]:
        """The modules that this one is in, and itself."""
        return [*(link.parent for link in self._path_to(name, module) or ()), module]

    def why_lost(self, name: str, module: nn.Module) -> str | None:
        """Why nothing of this module is heard any more; None if it is where it was."""
        way = self._paths.get(module)
        if way is None or any(parent._modules.get(key) is not child for parent, key, child in way):
            way = self._path_to(name, module)
            if way is None:
                return f"{name} is no longer in the model ({self._replacement_of(name)})"
            self._paths[module] = way
        hook, number = self._hooks.get(module, (None, 0))
        if not isinstance(hook, Hook):
            return (
                f"this learner is a copy whose hooks are not on {name} (copy.deepcopy((model, learner)) puts them on)"
            )
        if module._forward_hooks.get(number) is not hook:
            return f"the hook on {name} was taken off, so that nothing of it is heard"
        return None

    def _path_to(self, name: str, module: nn.Module) -> list[Link] | None:
        """From the model to the module, as it is named, or by whatever way there is now."""
        way = list(_links(self.model, name))
        if (way[-1].child if way else self.model) is module:
            return way
        now = next((path for path, inner in self.model.named_modules() if inner is module), None)
        return None if now is None else list(_links(self.model, now))

    def _replacement_of(self, name: str) -> str:
        way = [link for link in _links(self.model, name) if unwrap(link.parent) is link.parent]
        if len(way) < len(name.split(".")):
            return "nothing is in its place"
        return f"in its place is another {type(unwrap(way[-1].child)).__name__}"


def _links(model: nn.Module, path: str) -> Iterator[Link]:
    """The way along a path, through wrappers that a path does not mention; as far as it goes."""
    here = model
    for key in path.split(".") if path else ():
        child = here._modules.get(key)
        if child is None:
            return
        yield Link(here, key, child)
        inner = unwrap(child)
        while child is not inner:
            key = "module" if "module" in child._modules and "_orig_mod" not in child._modules else "_orig_mod"
            within = child._modules[key]
            assert within is not None
            yield Link(child, key, within)
            child = within
        here = inner
