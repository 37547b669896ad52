"""The nets of the demo: two hidden layers of spiking neurons and ten that count."""

from __future__ import annotations

import torch
from torch import nn

STEPS = 8


def snntorch_net(inputs: int, hidden: int) -> nn.Module:
    """Of snnTorch's leaky integrate-and-fire neurons."""
    from snntorch import Leaky

    def neuron() -> nn.Module:
        return Leaky(beta=0.9, init_hidden=True)

    return nn.Sequential(
        nn.Linear(inputs, hidden), neuron(), nn.Linear(hidden, hidden), neuron(), nn.Linear(hidden, 10), neuron()
    )


def norse_net(inputs: int, hidden: int) -> nn.Module:
    """Of Norse's. A unit of current moves the membrane by dt/tau = 0.1 here, so the threshold is 0.1 too."""
    from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState

    def neuron() -> nn.Module:
        return LIFBoxCell(LIFBoxParameters(v_th=torch.tensor(0.1)))

    return SequentialState(
        nn.Linear(inputs, hidden), neuron(), nn.Linear(hidden, hidden), neuron(), nn.Linear(hidden, 10), neuron()
    )


HOSTS = {"snntorch": snntorch_net, "norse": norse_net}
