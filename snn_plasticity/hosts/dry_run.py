"""Who feeds whom, from one dry run with a sample input: the same looks as in any forward, but nothing is observed.

Afterwards the model is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .hooks import PassHook, as_activity, hooked, hooks_of
from .index import ModelIndex, Neuron
from .provenance import PairingError
from .wiring import Wiring


def discover(model: nn.Module, index: ModelIndex, wiring: Wiring, sample: Any) -> dict[str, tuple[str, ...]]:
    """{synapse: neurons} for every synaptic layer outside of neurons; an empty tuple feeds none.

    Args:
        model: the model, without wrappers.
        index: its parts.
        wiring: follows what is computed.
        sample: an input; a tuple is several arguments, a dict keyword arguments.

    Raises:
        PairingError: it is not known what a neuron reads, as in any forward pass.
    """
    run = _Run(index, wiring)
    listeners = [listener for hook in hooks_of(model) if (listener := hook.listener()) is not None]
    for listener in listeners:
        listener.muted = True
    handles = [handle for _, _, handle in hooked(run, index)]
    for neuron in index.neurons.values():
        rest: Any = PassHook(run, "on_neuron_begin", neuron.name, neuron.module)
        handles.append(neuron.module.register_forward_pre_hook(rest, with_kwargs=True))
    wiring.ledger.mark_unrelated(list(model.buffers()))
    wiring.begin_pass((sample,))
    try:
        with restored(model), torch.inference_mode(False), torch.no_grad():
            _try(model, sample)
    finally:
        wiring.clear()
        for handle in handles:
            handle.remove()
        for listener in listeners:
            listener.muted = False
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
    """Hears what `HookManager` hears, and keeps who fed whom."""

    enabled = True  # it is its own learner

    def __init__(self, index: ModelIndex, wiring: Wiring) -> None:
        self.index, self.wiring = index, wiring
        self.edges: dict[Any, Any] = {}
        self.muted = False
        self.feeds: dict[str, list[str]] = {s.name: [] for s in index.synapses.values() if s.inside_of is None}

    @property
    def learner(self) -> Callable[[], _Run]:
        return lambda: self

    def on_neuron_begin(self, given: Any) -> None:
        self.wiring.pause()

    def on_synapse(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> None:
        synapse = self.index.synapses[name]
        learns = name in self.wiring.plastic and synapse.layer.training
        given = synapse.input_of(args, kwargs)
        self.wiring.synapse_called(synapse, given, as_activity(given) if learns else None, output)

    def on_layer(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            self.wiring.layer_called(args[0], output)

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


def _call(model: nn.Module, sample: Any) -> None:
    if isinstance(sample, Mapping):
        model(**sample)
    elif isinstance(sample, (tuple, list)):
        model(*sample)
    else:
        model(sample)


_REGISTRIES = ("_parameters", "_modules", "_buffers")


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Within it a model may run; afterwards its buffers, states, attributes and the random numbers are as before."""
    modules = list(model.modules())
    attributes = [{name: _shallow(value) for name, value in vars(module).items()} for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    values = [(b, b.detach().clone()) for held in buffers for b in held.values() if b is not None]
    states = torch.random.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        torch.random.set_rng_state(states[0])
        if states[1]:
            torch.cuda.set_rng_state_all(states[1])
        with torch.no_grad():
            for buffer, value in values:
                _write_back(buffer, value)
        for module, held, kept in zip(modules, buffers, attributes, strict=True):
            module._buffers.clear()
            module._buffers.update(held)
            _put_back(module, kept)


def _shallow(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set) else value


def _write_back(buffer: Tensor, value: Tensor) -> None:
    with torch.inference_mode(buffer.is_inference()):
        if not torch.equal(buffer, value):
            buffer.detach().copy_(value)


def _put_back(module: nn.Module, kept: dict[str, Any]) -> None:
    now = vars(module)
    for name in set(now) - set(kept):
        del now[name]
    for name, value in kept.items():
        if name in _REGISTRIES or name.endswith("_hooks") or "_hooks_" in name:
            continue
        if type(value) in (list, dict, set) and type(now.get(name)) is type(value):
            _refill(now[name], value)
        else:
            now[name] = value


def _refill(container: Any, value: Any) -> None:
    """Containers keep their identity: somebody else may hold them too."""
    container.clear()
    if isinstance(container, list):
        container.extend(value)
    else:
        container.update(value)
