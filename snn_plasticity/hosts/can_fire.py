"""Whether neurons can fire at all with the weights and inputs that they have.

    I_i = Σ_j (w⁺_ij · max x_j + w⁻_ij · min x_j) + b_i

is the most current that inputs like those seen can give: a neuron that it does not make fire, step after step, cannot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._activity import Extremes
from ..connection import Connection
from .adapter import NeuronCall, first_tensor, forget_states
from .connections import Connections
from .index import ModelIndex, Neuron
from .restoring import restored, unheard

ENOUGH = 1000  # steps of constant current


def why_silent(model: nn.Module, index: ModelIndex, observed: Connections, connection: Connection) -> str | None:
    """Why the neurons of a connection cannot fire; None where they could, or where more than it drives them."""
    inputs, ways = connection.activity.inputs(), observed.direct
    alone = next((name for name, way in ways.items() if way.connection is connection and way.layer is None), None)
    if inputs is None or alone is None or observed.pre.function is not None:
        return None
    neuron = index.neurons[alone]
    with unheard(model), restored(neuron.module), torch.inference_mode(False), torch.no_grad():
        current = most_current(connection.module, inputs)
        if current is None or not current.isfinite().all():
            return None
        if not (current > 0).any():
            return "with its weights and biases, no input like those gives them a current above zero"
        try:
            could = fires(neuron, current.unsqueeze(0))
        except (TypeError, ValueError, RuntimeError, LookupError):
            return None  # a neuron that is not driven by a current alone
    return (
        None if could else f"the most current that inputs like those can give, for {ENOUGH} steps on end, is too weak"
    )


def most_current(layer: nn.Module, inputs: Extremes) -> Tensor | None:
    """The most current that a layer can give each neuron; None where the layer is of another kind."""
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(weight, Tensor):
        return None
    up, down = weight.clamp(min=0.0), weight.clamp(max=0.0)
    low, high = (side.to(weight) for side in inputs)
    if type(layer) is nn.Linear:
        return functional.linear(high, up, bias) + functional.linear(low, down)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and type(layer) in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        most = layer._conv_forward(high.unsqueeze(0), up, bias) + layer._conv_forward(low.unsqueeze(0), down, None)
        return most.squeeze(0)
    return None


def fires(neuron: Neuron, current: Tensor) -> bool:
    """Whether any neuron fires when each step brings it the same current (1, ...)."""
    module, kind = neuron.module, neuron.kind
    forget_states(module)
    if kind.time_major:
        return bool(first_tensor(module.forward(current.expand(ENOUGH, *current.shape))).any())
    state: tuple[Tensor, ...] = ()
    for _ in range(ENOUGH):
        output = module.forward(current, *state)
        spikes = first_tensor(output)
        if spikes.any():
            return True
        if kind.starts(NeuronCall(current, None, spikes)):  # the state is handed on by the caller
            state = output[1:]
    return False
