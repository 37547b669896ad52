"""The networks of the closed loop: 2 × (Linear, neurons) of either host, one call for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

STEPS, DENSITY = 64, 0.3  # of the trains that are played over and over
GAIN = {"snnTorch": 1.0, "Norse": 6.0}  # of the default weights, so that both layers fire


class Net(Protocol):
    """A network that is played step by step."""

    model: nn.Module

    def restart(self) -> None:
        """Neurons at rest."""
        ...

    def step(self, pre: Tensor) -> Tensor:
        """Spikes of the last layer."""
        ...

    def layers(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """The same step, layer by layer: the spikes of both."""
        ...


class SnnTorch:
    """Leaky neurons that keep their own state."""

    def __init__(self, n: int) -> None:
        import snntorch
        from snntorch import utils

        self.reset = utils.reset
        first, second = (snntorch.Leaky(beta=0.9, init_hidden=True) for _ in range(2))
        self.model = nn.Sequential(nn.Linear(n, n), first, nn.Linear(n, n), second)

    def restart(self) -> None:
        """Neurons at rest."""
        self.reset(self.model)

    def step(self, pre: Tensor) -> Tensor:
        """Spikes of the last layer."""
        return self.model(pre)

    def layers(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """The spikes of both layers."""
        first = self.model[1](self.model[0](pre))
        return first, self.model[3](self.model[2](first))


class Norse:
    """LIF cells in a SequentialState."""

    def __init__(self, n: int) -> None:
        import norse.torch as norse

        self.model = norse.SequentialState(nn.Linear(n, n), norse.LIFCell(), nn.Linear(n, n), norse.LIFCell())
        self.state = self.states = None

    def restart(self) -> None:
        """Neurons at rest."""
        self.state, self.states = None, (None, None)

    def step(self, pre: Tensor) -> Tensor:
        """Spikes of the last layer."""
        out, self.state = self.model(pre, self.state)
        return out

    def layers(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """The spikes of both layers."""
        linear, cell, next_linear, next_cell = self.model
        first, one = cell(linear(pre), self.states[0])
        second, two = next_cell(next_linear(first), self.states[1])
        self.states = one, two
        return first, second


HOSTS: dict[str, Callable[[int], Net]] = {"snnTorch": SnnTorch, "Norse": Norse}


def network(host: str, n: int) -> Net:
    """A network of this host with weights that make it fire; the same each time."""
    torch.manual_seed(0)
    net = HOSTS[host](n)
    with torch.no_grad():
        for linear in linears(net):
            linear.weight.mul_(GAIN[host])
    net.restart()
    return net


def linears(net: Net) -> list[nn.Linear]:
    """Its two layers of synapses."""
    return [module for module in net.model.modules() if isinstance(module, nn.Linear)]


def inputs(n: int, batch: int) -> tuple[Tensor, Tensor]:
    """Spikes (T, B, n) and rewards (T, B)."""
    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(STEPS, batch, n, generator=generator) < DENSITY).float()
    return spikes, torch.randn(STEPS, batch, generator=generator)


@torch.no_grad()
def rates(host: str, n: int) -> tuple[float, float]:
    """Spikes per neuron and step of both layers."""
    net, (spikes, _) = network(host, n), inputs(n, 8)
    fired = [net.layers(pre) for pre in spikes]
    first, second = (float(torch.stack(layer).mean()) for layer in zip(*fired, strict=True))
    return first, second
