"""snnTorch's neurons. Nothing is imported here: a model that holds its neurons has imported it already."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .adapter import HostAdapter, NeuronCall, NeuronKind

_STATES = ("mem", "syn", "spk", "syn_exc", "syn_inh")
_LSTM = "its output comes from gated LSTM state, and its weights are gates rather than synapses"


def _always(call: NeuronCall) -> bool:
    """Without state, every call is a sequence of its own."""
    return True


def _step(module: nn.Module) -> NeuronKind:
    return NeuronKind()


def _recurrent(module: nn.Module) -> NeuronKind:
    return NeuronKind(inner=("recurrent",))


def _state(module: nn.Module) -> NeuronKind:
    silent = None if module.output else "with output=False it returns its membrane potential, not spikes"
    return NeuronKind(time_major=True, starts=_always, refusal=silent)


def _linear_state(module: nn.Module) -> NeuronKind:
    silent = _state(module).refusal
    return NeuronKind(time_major=True, starts=_always, refusal=silent, takes_current=False, inner=("linear",))


def _refused(reason: str) -> Callable[[nn.Module], NeuronKind]:
    return lambda module: NeuronKind(refusal=reason)


# The first class that fits describes a module: subclasses stand before what they derive from.
_SNNTORCH_KINDS: tuple[tuple[str, Callable[[nn.Module], NeuronKind]], ...] = (
    ("SLSTM", _refused(_LSTM)),
    ("SConv2dLSTM", _refused(_LSTM)),
    ("AssociativeLeaky", _refused("its output is a query of associative memory, not spikes of neurons")),
    (
        "LeakyParallel",
        _refused("its weights are fused into an nn.RNN; use a Linear and a StateLeaky instead"),
    ),
    ("LinearLeaky", _linear_state),
    ("StateLeaky", _state),
    ("RLeaky", _recurrent),
    ("RSynaptic", _recurrent),
    ("SpikingNeuron", _step),
)


class SnnTorch(HostAdapter):
    """Its neurons keep their state themselves with `init_hidden`; their own recurrence is a layer inside of them."""

    output_sizes = ("linear_features", "channels")

    def kind_of(self, module: nn.Module) -> NeuronKind | None:
        """What a module is as a neuron of snnTorch; None if it is none."""
        library = sys.modules.get("snntorch")
        if library is None:
            return None
        for name, describe in _SNNTORCH_KINDS:
            known = getattr(library, name, None)
            if known is not None and isinstance(module, known):
                return describe(module)
        return None

    def forget_state(self, module: nn.Module) -> None:
        """Membranes and currents are zero."""
        if not hasattr(module, "init_hidden"):
            return
        for name in _STATES:
            state = getattr(module, name, None)
            if isinstance(state, Tensor):
                setattr(module, name, torch.zeros((), device=state.device))
