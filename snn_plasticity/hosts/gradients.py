"""Connections that learn from the gradient of a loss: their steps are noted, and no graph reaches over time.

    δ_t = ∂loss/∂(output of the synapse at step t)

A synapse's place in the graph is kept until the loss comes. Before each call of a neuron the states that it is
handed, and those that it holds, lose their graph: what a neuron remembers is carried by the trace of its own synapses,
and every other way through time is cut.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled, nn
from torch._C import _current_graph_task_id, _is_tracing
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._pytree import tree_map_only
from torch.utils.hooks import RemovableHandle

from .._loss_changes import hears_by_feedback, note, reads_gradient
from .._noted_steps import FollowedStep, HeardStep, ReadoutStep
from .._untracked import untraced
from ..connection import Connection
from ..kernels.online import OnlineGradient
from .adapter import NeuronCall, detach_state, held_state, never, one_step
from .feedback_matrices import Population, way_down
from .hooks import DirectReading, Hook, StateHook, as_activity, awake
from .index import ModelIndex, Neuron
from .post_sides import linearised
from .provenance import PairingError, SynapseCall
from .reading import AS_IT_CAME, Reading
from .readout import Readout
from .recurrence import Recurrence
from .wiring import Wiring

Placing = Callable[[Tensor], tuple[Tensor, Tensor]]  # puts what is shaped like spikes beside the pre side


class Output(NamedTuple):
    """What a synapse gave, before a neuron has read it."""

    pre: Tensor
    edges: tuple[GradientEdge, ...]
    shape: torch.Size
    sample_dims: int


class GradientSteps:
    """The steps of the connections of one learner whose kernel reads gradients.

    Args:
        edges: the connections, by synapse and neuron.
    """

    def __init__(self, edges: Mapping[tuple[str, str | None], Connection]) -> None:
        self.edges, self.recurrence = edges, Recurrence()
        self._unread: dict[str, Output] = {}
        self.leaves: dict[str, list[Tensor]] = {}  # by neuron that is followed, the states that it began with
        self.readout = Readout()

    def hook(self, manager: Any, index: ModelIndex, *, follows: bool) -> list[RemovableHandle]:
        """Hooks on these synapses, and on neurons whose states are cut, or are to be seen (`follows`)."""
        names = {synapse for (synapse, _), connection in self.edges.items() if reads_gradient(connection)}
        handles: list[RemovableHandle] = []
        if names:
            self.readout.find(index)
        for name in sorted((names | {self.readout.name}) & set(index.synapses)):
            module = index.synapses[name].module
            output: Any = OutputHook(manager, "", name, module)
            handles.append(module.register_forward_hook(output, with_kwargs=True))
        holders = {index.own[name].neuron.name for name in names & set(index.own)}
        for neuron in index.neurons.values():
            if neuron.name in holders:
                apart: Any = ApartHook(manager, "", neuron.name, neuron.module)
                handles.append(neuron.module.register_forward_hook(apart, with_kwargs=True, prepend=True))
            kept: list[Any] = [StateHook(manager, "", neuron.name, neuron.module)] if follows else []
            for hook in [*kept, CutHook(manager, neuron)] if names else kept:
                handles.append(neuron.module.register_forward_pre_hook(hook, with_kwargs=True))
        if names:
            handles += [*self.readout.hook(manager, index), *self.recurrence.hook(manager, index)]
        return handles

    def __deepcopy__(self, memo: dict[int, Any]) -> GradientSteps:
        """What waits in a graph waits for the loss of the model that was copied."""
        return GradientSteps(copy.deepcopy(self.edges, memo))

    def on_output(self, wiring: Wiring, name: str, output: Tensor) -> None:
        """A synapse has computed; without a graph, there is nothing to note."""
        call, before = wiring.latest_call(name), self._unread.get(name)
        inside = call is not None and call.synapse.inside_of is not None
        if not inside:
            self._settle(name)
        if name == self.readout.name:
            self.readout.on_output(output)
        if call is None:
            return
        call.edges = (get_gradient_edge(output),) if output.requires_grad else ()
        if inside and before is not None and call.pre is not None and before.pre.data_ptr() == call.pre.data_ptr():
            call.edges = (*before.edges, *call.edges)  # a neuron may ask its recurrence twice in one step
        if call.edges and call.pre is not None:
            self._unread[name] = Output(call.pre, call.edges, call.shape, call.synapse.sample_dims)

    def on_reading(
        self, connection: Connection, neuron: Neuron, call: NeuronCall, reading: Reading
    ) -> DirectReading | None:
        """A neuron has read what a synapse gave: its step waits for a loss. How it is read, where that was as it came.

        Raises:
            PairingError: it read something else than one output, sample by sample; or a sequence at once.
        """
        made: SynapseCall = reading.calls[0].roots[0]
        self._unread.pop(made.synapse.name, None)
        if not made.edges or made.pre is None:
            return None
        if reading.chosen:
            raise PairingError(
                f"{neuron.name} was given a choice of samples, steps or units of {made.synapse.name}; expected its "
                "whole output, once for each step, so that the gradient that comes back is that of the step."
            )
        output = Output(made.pre, made.edges, made.shape, made.synapse.sample_dims)
        followed = self._followed(connection, neuron, call, made) if follows(connection) else None
        heard = self._heard(connection, neuron.name, call.spikes)
        readout = self._leads_to(neuron.name)
        self._note(connection, output, readout, begins=neuron.kind.starts(call), followed=followed, heard=heard)
        connection.activity.see(made.pre, as_activity(call.spikes))
        if (
            followed is not None
            or reading.rows is not AS_IT_CAME
            or reading.layer
            or made is not reading.calls[0]
            or neuron.kind.inner
        ):
            return None
        starts = None if neuron.kind.starts is never else neuron.kind.starts
        return DirectReading(made.synapse.name, None, connection, made.pre.device, starts, neuron)

    def on_direct(self, direct: DirectReading, made: SynapseCall, spikes: Tensor) -> bool:
        """The same, where all is as it was; False, and nothing, for a connection that reads something else."""
        connection, neuron = direct.connection, direct.reads
        if neuron is None or not reads_gradient(connection):
            return False
        self._unread.pop(made.synapse.name, None)
        if made.edges and made.pre is not None:
            three = connection.config.three_factor
            plain = three.feedback is None and three.firing_rate is None
            heard = None if plain else self._heard(connection, neuron.name, spikes)
            readout = self._leads_to(neuron.name)
            note(connection, made.pre, made.edges, made.shape, begins=False, heard=heard, readout=readout)
            connection.activity.see(made.pre, spikes)
        return True

    def on_own(self, connection: Connection, neuron: Neuron, call: NeuronCall, place: Placing) -> bool:
        """A neuron that holds a weight itself has worked; False, and nothing, where that reads no gradient.

        Raises:
            PairingError: its host does not tell of single steps.
        """
        if not reads_gradient(connection):
            return False
        if not call.spikes.requires_grad:
            return True
        step = one_step(neuron.proper, call)
        if step is None or len(step.after) != len(step.states):
            raise PairingError(
                f"{connection.name}: {neuron.name}, a {type(neuron.proper).__name__}, holds this weight itself, and "
                "its host does not tell of single steps and of the states after them; expected a layer of the model."
            )
        found, _ = linearised(connection.name, neuron, step, spikes=True)
        (pre, spikes), ends = place(call.spikes), (call.spikes, *step.after)
        edges = tuple(get_gradient_edge(end) if end.requires_grad else None for end in ends)
        rows = found.rows().detach()
        followed = FollowedStep(rows.view(*rows.shape[:2], *spikes.shape), (), edges)
        heard = self._heard(connection, neuron.name, spikes)
        note(
            connection, pre, (), spikes.shape, begins=neuron.kind.starts(call), followed=followed, heard=heard,
            readout=self._leads_to(neuron.name),
        )  # fmt: skip
        connection.activity.see(pre, as_activity(spikes))
        return True

    def settle(self) -> None:
        """What no neuron has read by now is the output of a readout."""
        for name in tuple(self._unread):
            self._settle(name)
        self.readout.last = ReadoutStep()

    def clear(self) -> None:
        """Drop what no neuron has read."""
        self._unread.clear()
        self.readout.clear()

    def _leads_to(self, neuron: str | None) -> ReadoutStep:
        """The step of the readout that this one of a neuron leads to, or is."""
        behind = neuron == self.readout.neuron or (self.readout.name, neuron) in self.edges
        return self.readout.last if behind else self.readout.coming

    def _heard(self, connection: Connection, neuron: str | None, spikes: Tensor) -> HeardStep | None:
        """What the neurons of a connection hear: of a loss by feedback, all but those of the readout; of their rate."""
        if not hears_by_feedback(connection) or (self.readout.name, neuron) in self.edges:
            return None if connection.config.three_factor.firing_rate is None else HeardStep(spikes, by_feedback=False)
        neurons = list(dict.fromkeys(fed for _, fed in self.edges if fed is not None))
        connection.noted.seed = neurons.index(neuron) if neuron in neurons else len(neurons)
        connection.noted.way = partial(self._way, connection)
        return HeardStep(spikes, by_feedback=True)

    def _way(self, connection: Connection) -> Tensor:
        """The weights from the neurons of a connection to the readout, (n_out, units).

        Raises:
            PairingError: they are not known.
        """
        groups: dict[str, Population] = {}
        for (synapse, neuron), known in self.edges.items():
            if synapse != self.readout.name and (self.readout.name, neuron) not in self.edges:
                groups.setdefault(neuron or known.name, Population([])).connections.append(known)
        weight = getattr(self.readout.layer(), "weight", None)
        found = None if weight is None else way_down(connection, list(groups.values())[::-1], weight)
        if found is None:
            raise PairingError(
                f"{connection.name}: its feedback needs the weights from there to {self.readout.name}, and these are "
                f"not known (taken for a chain: {', '.join(groups)}, {self.readout.name}). Take feedback='random'."
            )
        return found

    def _settle(self, name: str) -> None:
        output, connection = self._unread.pop(name, None), self.edges.get((name, None))
        if output is None or connection is None:
            return
        if isinstance(connection.config.eligibility.kernel, str):  # nothing is known to remember it
            connection.take_kernel(OnlineGradient(response=()))
        self._note(connection, output, self._leads_to(None), begins=False)
        connection.activity.count(output.pre)

    def _followed(self, connection: Connection, neuron: Neuron, call: NeuronCall, made: SynapseCall) -> FollowedStep:
        """The step of a neuron, run again, and the states that it began with.

        Raises:
            PairingError: its host does not tell of steps, or its units are not those of the layer.
        """
        name, kind = connection.name, type(neuron.proper).__name__
        leaves, step = self.leaves.setdefault(neuron.name, []), one_step(neuron.proper, call)
        if step is None or call.spikes.shape != made.shape:
            why = "its host does not tell of single steps" if step is None else "a pool lies in between"
            raise PairingError(
                f"{name}: the memory of {neuron.name}, a {kind}, is followed for each synapse, and {why}; expected a "
                "neuron right behind the layer, PlasticityConfig.online(carry=False), or a kernel of yours: "
                "EligibilityConfig(kernel=OnlineGradient(response=...))."
            )
        found, _ = linearised(name, neuron, step, spikes=False)
        known = {
            (leaf.data_ptr(), leaf.shape): get_gradient_edge(leaf) for leaf in leaves
        }  # given ones after held ones
        edges = tuple(known.get((h.data_ptr(), h.shape)) for h in step.states)
        return FollowedStep(found.rows().detach(), edges)

    def _note(
        self,
        connection: Connection,
        output: Output,
        readout: ReadoutStep,
        *,
        begins: bool,
        followed: FollowedStep | None = None,
        heard: HeardStep | None = None,
    ) -> None:
        pre, shape, leading = output.pre, output.shape, output.pre.dim() - output.sample_dims
        if leading > 1:
            raise PairingError(
                f"{connection.name} was called with {tuple(pre.shape)}, many steps at once; expected a call for each "
                "step, (B, ...), so that the gradient of each can be told from what came before."
            )
        if not leading:
            pre, shape = pre.unsqueeze(0), torch.Size((1, *shape))
            heard = None if heard is None else heard._replace(spikes=heard.spikes.unsqueeze(0))
        note(connection, pre, output.edges, shape, begins=begins, followed=followed, heard=heard, readout=readout)


class ApartHook(Hook):
    """After a call of a neuron: what it gave becomes views, whose gradients leave out what goes through one another."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> Any:
        """One call of the neuron."""
        if awake(self.listener(), module, self.module()) is None or not is_grad_enabled() or _is_tracing():
            return None
        known: dict[int, Tensor] = {}

        def apart(tensor: Tensor) -> Tensor:
            if id(tensor) not in known and tensor.is_floating_point():  # without a graph it answers a step later
                alone = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
                known[id(tensor)] = alone
            return known.get(id(tensor), tensor)

        with torch._C.DisableTorchFunction():
            return tree_map_only(Tensor, apart, output)


class OutputHook(Hook):
    """Tells of an output of a synapse, with its graph."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """One call of the synapse."""
        manager = awake(self.listener(), module, self.module())
        if manager is None or not isinstance(output, Tensor) or _is_tracing() or _current_graph_task_id() != -1:
            return
        if is_grad_enabled() and not is_inference_mode_enabled() and not output.requires_grad:
            output.requires_grad_()  # weights that are frozen for optimizers learn here all the same
        with torch._C.DisableTorchFunction():
            manager.connections.gradients.on_output(manager.wiring, self.key, output)


class CutHook(Hook):
    """Before a call of a neuron: what it is handed beside its current, and what it holds, loses its graph."""

    def __init__(self, manager: Any, neuron: Neuron) -> None:
        super().__init__(manager, "", neuron.name, neuron.module)
        self.argument, self.proper = neuron.argument, neuron.proper

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, output: Any = None) -> Any:
        """A neuron is about to work."""
        manager = awake(self.listener(), module, self.module())
        if manager is None or not is_grad_enabled() or _is_tracing():
            return None
        with torch._C.DisableTorchFunction():
            if self.key in manager.connections.gradients.leaves:
                return self._as_leaves(manager.connections.gradients, args, kwargs)
            detach_state(self.proper)
            return self._cut(_cut, args, kwargs)

    def _as_leaves(self, steps: GradientSteps, args: tuple[Any, ...], kwargs: Any) -> Any:
        """The same, and the gradients of these states will be asked for."""
        leaves = steps.leaves[self.key] = []

        def leaf(state: Any) -> Any:
            if isinstance(state, Tensor) and state.requires_grad:
                leaves.append(state.detach().requires_grad_())
                return leaves[-1]
            return state

        held = [n for n, h in held_state(self.proper).items() if isinstance(h, Tensor) and h.requires_grad]
        detach_state(self.proper)
        for name in held:
            leaves.append(held_state(self.proper)[name].requires_grad_())
        return self._cut(lambda states: tree_map_only(Tensor, leaf, states), args, kwargs)

    def _cut(self, cut: Callable[[Any], Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """What a call is given, its states cut."""
        if args and not kwargs and type(args[0]) is not tuple:
            return (args[0], *map(cut, args[1:])), kwargs
        given = kwargs.get(self.argument)
        kept = cut(kwargs) if given is None else {**cut(kwargs), self.argument: given}
        if not args:
            return args, kept
        first = (args[0][0], *cut(args[0][1:])) if type(args[0]) is tuple else args[0]
        return (first, *cut(args[1:])), kept


def require_gradient(neuron: Neuron, connection: Connection) -> None:
    """Refuse a neuron whose synapses have no gradient of a single step.

    Raises:
        PairingError: it reads whole sequences, or holds the weight itself.
    """
    kind, name = type(neuron.proper).__name__, connection.name
    if neuron.kind.time_major:
        raise PairingError(
            f"{name}: {neuron.name}, a {kind}, works through a whole sequence in one call, in which no state can be "
            "cut; expected a neuron that is called for each step."
        )
    if connection.attribute != "weight" and not follows(connection):
        raise PairingError(
            f"{name}: {neuron.name}, a {kind}, holds this weight itself and shows no current of it alone, so that its "
            "gradient is not seen; expected a layer of the model, or a neuron with a layer inside."
        )


def require_no_second(synapse: str, neuron: str, edges: Mapping[tuple[str, str | None], Connection]) -> None:
    """Refuse a second neuron of one synapse that learns from gradients: what comes back is the sum of both."""
    known = [other for (name, other), c in edges.items() if name == synapse and other and reads_gradient(c)]
    if known:
        raise PairingError(
            f"{synapse} feeds {known[0]} and {neuron}, and the gradient at its output is the sum of both; expected one "
            "neuron for each layer that learns from a loss."
        )


def follows(connection: Connection) -> bool:
    """Whether the memory of its neuron is followed for each synapse."""
    return getattr(connection.traces.rule.kernel, "per_synapse", False)


def _cut(states: Any) -> Any:
    """The same states without a graph."""
    if type(states) is Tensor:
        return states.detach() if states.requires_grad else states
    return tree_map_only(Tensor, lambda state: state.detach() if state.requires_grad else state, states)
