"""The networks beside which plasticity is measured: 784–1000–10, T = 100, B = 32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

STEPS, BATCH, N_IN, N_HIDDEN, N_OUT = 100, 32, 784, 1000, 10
GAIN = {"snnTorch": 3.5, "Norse": 10.0}  # of the default weights, for a few per cent of spikes in the hidden layer


class SnnTorch(nn.Module):
    """Leaky neurons that keep their own state."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch
        from snntorch import utils

        self.restart = utils.reset
        leaky = {"beta": 0.9, "init_hidden": True}
        self.net = nn.Sequential(
            nn.Linear(N_IN, N_HIDDEN, bias=False),
            snntorch.Leaky(**leaky),
            nn.Linear(N_HIDDEN, N_OUT, bias=False),
            snntorch.Leaky(**leaky),
        )

    def forward(self, trains: torch.Tensor) -> torch.Tensor:
        """Trains (T, B, 784) to spike counts (B, 10)."""
        self.restart(self.net)
        return torch.stack([self.net(now) for now in trains]).sum(0)


class Norse(nn.Module):
    """LIF cells in a SequentialState."""

    def __init__(self) -> None:
        super().__init__()
        import norse.torch as norse

        self.net = norse.SequentialState(
            nn.Linear(N_IN, N_HIDDEN, bias=False),
            norse.LIFCell(),
            nn.Linear(N_HIDDEN, N_OUT, bias=False),
            norse.LIFCell(),
        )

    def forward(self, trains: torch.Tensor) -> torch.Tensor:
        """Trains (T, B, 784) to spike counts (B, 10)."""
        state, spikes = None, []
        for now in trains:
            out, state = self.net(now, state)
            spikes.append(out)
        return torch.stack(spikes).sum(0)


HOSTS: dict[str, Callable[[], nn.Module]] = {"snnTorch": SnnTorch, "Norse": Norse}


def network(host: str) -> nn.Module:
    """A network of this host with weights that make it fire; the same each time."""
    torch.manual_seed(0)
    model = HOSTS[host]()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(GAIN[host])
    return model


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spikes (T, B, 784) at 5 %, labels (B,) and rewards (B,)."""
    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(STEPS, BATCH, N_IN, generator=generator) < 0.05).float()
    labels = torch.randint(N_OUT, (BATCH,), generator=generator)
    return spikes, labels, torch.randn(BATCH, generator=generator)


def hidden_rate(model: nn.Module, trains: torch.Tensor) -> float:
    """Spikes per hidden neuron and step."""
    counted: list[float] = []

    def count(module, arguments) -> None:
        counted.append(float(arguments[0].mean()))

    handle = model.net[2].register_forward_pre_hook(count)
    with torch.no_grad():
        model(trains)
    handle.remove()
    return sum(counted) / len(counted)
