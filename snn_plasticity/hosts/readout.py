"""The readout: the last layer of a model, and what it gives at each step, or the neuron behind it."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any

from torch import Tensor, is_grad_enabled, nn
from torch._C import _is_tracing
from torch.autograd.graph import get_gradient_edge
from torch.utils.hooks import RemovableHandle

from .._noted_steps import ReadoutStep
from .._untracked import untraced
from .adapter import NeuronCall, membrane
from .hooks import Hook, awake
from .index import ModelIndex, Neuron


class Readout:
    """The readout of one learner, of which the layers below it hear.

    Attributes:
        name: of its layer; "" where there is none.
        neuron: the one behind it, as far as it is known by now.
    """

    def __init__(self) -> None:
        self.name, self.neuron, self.layer = "", "", lambda: None
        self.coming, self.last = ReadoutStep(), ReadoutStep()

    def find(self, index: ModelIndex) -> None:
        """The last layer of the model; none where a neuron with input weights of its own stands behind it."""
        place = {module: k for k, module in enumerate(index.modules.values())}
        outside = [synapse for synapse in index.synapses.values() if synapse.inside_of is None]
        holders = [own.neuron.module for own in index.own.values() if not own.weight.recurrent]
        if outside and place[outside[-1].module] > max((place[holder] for holder in holders), default=-1):
            self.name, self.layer = outside[-1].name, weakref.ref(outside[-1].layer)

    def hook(self, manager: Any, index: ModelIndex) -> list[RemovableHandle]:
        """Hooks on the neurons, one of which may be behind it."""
        handles = []
        for neuron in index.neurons.values():
            hook: Any = ReadoutHook(manager, neuron)
            handles.append(neuron.module.register_forward_hook(hook, with_kwargs=True))
        return handles

    def on_output(self, output: Tensor) -> None:
        """Its layer has computed: a step of it is there."""
        now = self.last = self.coming
        now.output = get_gradient_edge(output) if output.requires_grad else None
        now.shape, now.spikes, now.membrane = output.shape, output, output
        self.coming = ReadoutStep()

    def on_neuron(self, neuron: Neuron, feeders: Collection[str]) -> None:
        """A neuron has read layers: it may be the one behind it."""
        if not self.neuron and self.name in feeders:
            self.neuron = neuron.name

    def gave(self, neuron: Neuron, call: NeuronCall) -> None:
        """The neuron behind it has worked."""
        if neuron.kind.time_major:
            self.last.spikes = None
        else:
            self.last.membrane = membrane(neuron.proper, call)
            self.last.spikes = self.last.membrane if neuron.kind.integrates else call.spikes

    def clear(self) -> None:
        """Drop what it gave."""
        self.coming, self.last = ReadoutStep(), ReadoutStep()


class ReadoutHook(Hook):
    """After a call of the neuron behind a readout: what it gave is noted, with its graph."""

    def __init__(self, manager: Any, neuron: Neuron) -> None:
        super().__init__(manager, "", neuron.name, neuron.module)
        self.neuron = neuron

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """One call of the neuron."""
        manager = awake(self.listener(), module, self.module())
        if manager is None or manager.connections.gradients.readout.neuron != self.key:
            return
        if is_grad_enabled() and not _is_tracing():
            manager.connections.gradients.readout.gave(self.neuron, self.neuron.read(args, kwargs, output))
