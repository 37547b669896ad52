"""The nets of the demo: two hidden layers of spiking neurons, and one that counts for each class."""

from __future__ import annotations

import torch
from seeking_data import STEPS, Split
from torch import Tensor, nn

from snn_plasticity.dual import OverTime, Trainee, WeightsMap, widen

WIDER = 4
LR = 2e-3


def snntorch_net(inputs: int, hidden: int, classes: int) -> nn.Module:
    """Of snnTorch's leaky integrate-and-fire neurons."""
    from snntorch import Leaky

    def neuron() -> nn.Module:
        return Leaky(beta=0.9, init_hidden=True)

    return nn.Sequential(
        nn.Linear(inputs, hidden), neuron(), nn.Linear(hidden, hidden), neuron(), nn.Linear(hidden, classes), neuron()
    )


def norse_net(inputs: int, hidden: int, classes: int) -> nn.Module:
    """Of Norse's. A unit of current moves the membrane by dt/tau = 0.1 here, so the threshold is 0.1 too."""
    from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState

    def neuron() -> nn.Module:
        return LIFBoxCell(LIFBoxParameters(v_th=torch.tensor(0.1)))

    return SequentialState(
        nn.Linear(inputs, hidden), neuron(), nn.Linear(hidden, hidden), neuron(), nn.Linear(hidden, classes), neuron()
    )


HOSTS = {"snntorch": snntorch_net, "norse": norse_net}


def show(net: nn.Module, x: Tensor) -> Tensor:
    """Spikes of each class: of x (B, inputs) held for eight steps, or of a sequence (B, steps, inputs)."""
    return OverTime(STEPS)(net, x) if x.dim() == 2 else OverTime()(net, x.transpose(0, 1))


def trainee(net: nn.Module) -> Trainee:
    """Surrogate gradients through all steps, and an optimizer of its own."""
    return Trainee(net, torch.optim.Adam(net.parameters(), lr=LR), run=show)


def newborn(host: str, data: Split, hidden: int, seed: int) -> tuple[Trainee, Trainee, WeightsMap]:
    """A base, a motivated net four times as wide, and where the one lies in the other."""
    torch.manual_seed(seed)
    base = HOSTS[host](data.x.shape[-1], hidden, int(data.y.max()) + 1)
    large, weights = widen(base, WIDER, seed=seed)
    return trainee(base), trainee(large), weights
