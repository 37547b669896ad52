"""Who feeds whom, from one dry run with a sample input: the same looks as in any forward, but nothing is observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .between import hooked
from .hooks import PassHook, as_activity, hooks_of
from .neuron import Neuron
from .provenance import PairingError
from .snapshot import restored
from .survey import Survey
from .wiring import Wiring


def discover(model: nn.Module, found: Survey, wiring: Wiring, sample: Any) -> dict[str, tuple[str, ...]]:
    """{synapse: neurons} for every synaptic layer outside of neurons; an empty tuple feeds none.

    Args:
        model: the model, without wrappers.
        found: its parts.
        wiring: follows what is computed.
        sample: an input; a tuple is several arguments, a dict keyword arguments.

    Raises:
        PairingError: it is not known what a neuron reads, as in any forward pass.
    """
    run = _Run(found, wiring)
    owners = [owner for hook in hooks_of(model) if (owner := hook.owner()) is not None]
    for owner in owners:
        owner.muted = True
    handles = [handle for _, _, handle in hooked(run, found)]
    for neuron in found.neurons.values():
        rest: Any = PassHook(run, "on_rest", neuron.name, neuron.module)
        handles.append(neuron.module.register_forward_pre_hook(rest, with_kwargs=True))
    wiring.ledger.know(list(model.buffers()))
    wiring.begin((sample,))
    try:
        with restored(model), torch.inference_mode(False), torch.no_grad():
            _try(model, sample)
    finally:
        wiring.clear()
        for handle in handles:
            handle.remove()
        for owner in owners:
            owner.muted = False
    return {name: tuple(dict.fromkeys(partners)) for name, partners in run.feeds.items()}


def _said_here(error: Exception) -> bool:
    """Whether an error is a sentence of this package, and not of the model."""
    return isinstance(error, PairingError) or "; expected" in str(error)


def _try(model: nn.Module, sample: Any) -> None:
    """Run the model once, and say so where the sample is no input of it."""
    try:
        _call(model, sample)
    except Exception as error:
        if _said_here(error):
            raise
        raise ValueError(
            f"sample= does not run through the model ({type(error).__name__}: {str(error).splitlines()[0]}); expected "
            "an input of its forward, a tuple of several, or a dict by keyword. Nothing was attached."
        ) from error


class _Run:
    """Hears what `Watcher` hears, and keeps who fed whom."""

    listening = watching = True

    def __init__(self, found: Survey, wiring: Wiring) -> None:
        self.found, self.wiring = found, wiring
        self.edges: dict[Any, Any] = {}
        self.muted = False
        self.feeds: dict[str, list[str]] = {s.name: [] for s in found.synapses.values() if s.home is None}

    def on_rest(self, given: Any) -> None:
        self.wiring.rest()

    def on_synapse(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> None:
        synapse = self.found.synapses[name]
        learns = name in self.wiring.plastic and synapse.layer.training
        given = synapse.input_of(args, kwargs)
        self.wiring.called(synapse, given, as_activity(given) if learns else None, output)

    def on_between(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            self.wiring.passed(args[0], output)

    def on_neuron(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        neuron: Neuron = self.found.neurons[name]
        firing = neuron.read(args, kwargs, output)
        for synapse in self.wiring.feeders(firing):
            self.feeds[synapse].append(name)
        spikes = as_activity(firing.spikes)
        for reading in self.wiring.fired(neuron, firing):
            reading.sides(spikes, neuron.kind.time_major)
            reached = reading.calls[0].synapse
            if reached.home is None and name not in self.feeds[reached.name]:
                self.feeds[reached.name].append(name)  # by the user's word
        self.wiring.resume(output)


def _call(model: nn.Module, sample: Any) -> None:
    if isinstance(sample, Mapping):
        model(**sample)
    elif isinstance(sample, (tuple, list)):
        model(*sample)
    else:
        model(sample)
