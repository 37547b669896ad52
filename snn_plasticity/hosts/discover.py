"""Who feeds whom, from one dry run with a sample input.

Each synapse's output is replaced by a leaf of the autograd graph, and what leaves a neuron is cut off from it. The
graph of a neuron's input then ends in exactly the synapses that reach it without crossing another neuron: through
BatchNorm, pooling, Dropout, Flatten and sums. Nothing of the run remains in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .graph import leaves
from .hooks import hooks_of
from .snapshot import restored
from .survey import Survey


def discover(model: nn.Module, found: Survey, sample: Any) -> dict[str, tuple[str, ...]]:
    """{synapse: neurons} for every synaptic layer outside of neurons; an empty tuple feeds none.

    Args:
        model: the model, without wrappers.
        found: its parts.
        sample: an input; a tuple is several arguments, a dict keyword arguments.
    """
    run = _Run(found)
    owners = [owner for hook in hooks_of(model) if (owner := hook.owner()) is not None]
    for owner in owners:
        owner.muted = True
    handles = run.hook()
    try:
        with restored(model), torch.inference_mode(False), torch.enable_grad():
            _call(model, sample)
    finally:
        for handle in handles:
            handle.remove()
        for owner in owners:
            owner.muted = False
    return {name: tuple(dict.fromkeys(partners)) for name, partners in run.wiring.items()}


class _Run:
    """Tags on the outputs of synapses, and the neurons at which they turned up."""

    def __init__(self, found: Survey) -> None:
        self.found, self.tags = found, dict[int, tuple[str, Tensor]]()
        self.outer = [synapse for synapse in found.synapses.values() if synapse.home is None]
        self.wiring: dict[str, list[str]] = {synapse.name: [] for synapse in self.outer}

    def hook(self) -> list[Any]:
        handles: list[Any] = []
        for synapse in self.outer:
            handles.append(synapse.module.register_forward_hook(self._tag(synapse.name)))
        for neuron in self.found.neurons.values():
            handles.append(neuron.module.register_forward_pre_hook(self._look(neuron.name), with_kwargs=True))
            handles.append(neuron.module.register_forward_hook(_cut))
        return handles

    def _tag(self, name: str) -> Any:
        def tag(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_()
            self.tags[id(leaf)] = (name, leaf)
            return leaf

        return tag

    def _look(self, name: str) -> Any:
        neuron = self.found.neurons[name]

        def look(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            current = neuron.input_of(args, kwargs)
            current = current[0] if isinstance(current, tuple) else current
            for leaf in (current, *leaves(current.grad_fn)):
                if id(leaf) in self.tags:
                    self.wiring[self.tags[id(leaf)][0]].append(name)

        return look


def _cut(module: nn.Module, args: Any, output: Any) -> Any:
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, output)


def _call(model: nn.Module, sample: Any) -> None:
    if isinstance(sample, Mapping):
        model(**sample)
    elif isinstance(sample, (tuple, list)):
        model(*sample)
    else:
        model(sample)
