"""Connections that learn from the gradient of a loss: their steps are noted, and no graph reaches over time.

    δ_t = ∂loss/∂(output of the synapse at step t)

A synapse's place in the graph is kept until the loss comes. Before each call of a neuron the states that it is
handed, and those that it holds, lose their graph: what a neuron remembers is carried by the trace of its own synapses,
and every other way through time is cut.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled, nn
from torch._C import _current_graph_task_id, _is_tracing
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._pytree import tree_map_only
from torch.utils.hooks import RemovableHandle

from .._descent import note, reads_gradient
from .._untracked import untraced
from ..connection import Connection
from ..kernels.online import OnlineGradient
from .adapter import NeuronCall, detach_state, never
from .hooks import DirectReading, Hook, StateHook, as_activity, awake
from .index import ModelIndex, Neuron
from .provenance import PairingError, SynapseCall
from .reading import AS_IT_CAME, Reading
from .recurrence import Recurrence
from .wiring import Wiring


class Output(NamedTuple):
    """What a synapse gave, before a neuron has read it."""

    pre: Tensor
    edge: GradientEdge
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

    def hook(self, manager: Any, index: ModelIndex, *, follows: bool) -> list[RemovableHandle]:
        """Hooks on these synapses, and on neurons whose states are cut, or are to be seen (`follows`)."""
        names = {synapse for (synapse, _), connection in self.edges.items() if reads_gradient(connection)}
        handles: list[RemovableHandle] = []
        for name in sorted(names & set(index.synapses)):
            module = index.synapses[name].module
            output: Any = OutputHook(manager, "", name, module)
            handles.append(module.register_forward_hook(output, with_kwargs=True))
        for neuron in index.neurons.values():
            kept: list[Any] = [StateHook(manager, "", neuron.name, neuron.module)] if follows else []
            for hook in [*kept, CutHook(manager, neuron)] if names else kept:
                handles.append(neuron.module.register_forward_pre_hook(hook, with_kwargs=True))
        return handles + (self.recurrence.hook(manager, index) if names else [])

    def __deepcopy__(self, memo: dict[int, Any]) -> GradientSteps:
        """What waits in a graph waits for the loss of the model that was copied."""
        return GradientSteps(copy.deepcopy(self.edges, memo))

    def on_output(self, wiring: Wiring, name: str, output: Tensor) -> None:
        """A synapse has computed; without a graph, there is nothing to note."""
        call = wiring.latest_call(name)
        self._settle(name)
        if call is None:
            return
        call.edge = get_gradient_edge(output) if output.requires_grad else None
        if call.edge is not None and call.pre is not None:
            self._unread[name] = Output(call.pre, call.edge, call.shape, call.synapse.sample_dims)

    def on_reading(
        self, connection: Connection, neuron: Neuron, call: NeuronCall, reading: Reading
    ) -> DirectReading | None:
        """A neuron has read what a synapse gave: its step waits for a loss. How it is read, where that was as it came.

        Raises:
            PairingError: it read something else than one output, sample by sample; or a sequence at once.
        """
        made: SynapseCall = reading.calls[0].roots[0]
        self._unread.pop(made.synapse.name, None)
        if made.edge is None or made.pre is None:
            return None
        if reading.chosen:
            raise PairingError(
                f"{neuron.name} was given a choice of samples, steps or units of {made.synapse.name}; expected its "
                "whole output, once for each step, so that the gradient that comes back is that of the step."
            )
        self._note(
            connection,
            Output(made.pre, made.edge, made.shape, made.synapse.sample_dims),
            begins=neuron.kind.starts(call),
        )
        connection.activity.see(made.pre, as_activity(call.spikes))
        if reading.rows is not AS_IT_CAME or reading.layer or made is not reading.calls[0] or neuron.kind.inner:
            return None
        starts = None if neuron.kind.starts is never else neuron.kind.starts
        return DirectReading(made.synapse.name, None, connection, made.pre.device, starts, neuron)

    def on_direct(self, connection: Connection, made: SynapseCall, spikes: Tensor) -> bool:
        """The same, where all is as it was; False, and nothing, for a connection that reads something else."""
        if not reads_gradient(connection):
            return False
        self._unread.pop(made.synapse.name, None)
        if made.edge is not None and made.pre is not None:
            note(connection, made.pre, made.edge, made.shape, begins=False)
            connection.activity.see(made.pre, spikes)
        return True

    def settle(self) -> None:
        """What no neuron has read by now is the output of a readout."""
        for name in tuple(self._unread):
            self._settle(name)

    def clear(self) -> None:
        """Drop what no neuron has read."""
        self._unread.clear()

    def _settle(self, name: str) -> None:
        output, connection = self._unread.pop(name, None), self.edges.get((name, None))
        if output is None or connection is None:
            return
        if isinstance(connection.config.eligibility.kernel, str):  # nothing is known to remember it
            connection.take_kernel(OnlineGradient(response=()))
        self._note(connection, output, begins=False)
        connection.activity.seen += 1

    def _note(self, connection: Connection, output: Output, *, begins: bool) -> None:
        pre, shape, leading = output.pre, output.shape, output.pre.dim() - output.sample_dims
        if leading > 1:
            raise PairingError(
                f"{connection.name} was called with {tuple(pre.shape)}, many steps at once; expected a call for each "
                "step, (B, ...), so that the gradient of each can be told from what came before."
            )
        if not leading:
            pre, shape = pre.unsqueeze(0), torch.Size((1, *shape))
        note(connection, pre, output.edge, shape, begins=begins)


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
        if awake(self.listener(), module, self.module()) is None or not is_grad_enabled() or _is_tracing():
            return None
        with torch._C.DisableTorchFunction():
            detach_state(self.proper)
            if args and not kwargs and type(args[0]) is not tuple:
                return (args[0], *map(_cut, args[1:])), kwargs
            given = kwargs.get(self.argument)
            kept = _cut(kwargs) if given is None else {**_cut(kwargs), self.argument: given}
            if not args:
                return args, kept
            first = (args[0][0], *_cut(args[0][1:])) if type(args[0]) is tuple else args[0]
            return (first, *_cut(args[1:])), kept


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
    if connection.attribute != "weight":
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


def _cut(states: Any) -> Any:
    """The same states without a graph."""
    if type(states) is Tensor:
        return states.detach() if states.requires_grad else states
    return tree_map_only(Tensor, lambda state: state.detach() if state.requires_grad else state, states)
