"""The small nets that the tests of the dual trainer train, and what training them by hand gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snn_plasticity.dual import OverTime, Trainee

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.003, momentum=0.5, weight_decay=0.01),
}
RUN = OverTime(3)


def snntorch_net(hidden: int = 3, *, norm: bool = True, learn: bool = True) -> nn.Module:
    """Linear, BatchNorm, Leaky with its own threshold and decay for each neuron, Linear, Leaky."""
    from snntorch import Leaky

    neuron = Leaky(
        beta=torch.full((hidden,), 0.9), threshold=torch.full((hidden,), 0.5), learn_beta=learn,
        learn_threshold=learn, init_hidden=True,
    )  # fmt: skip
    middle = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(nn.Linear(4, hidden), *middle, neuron, nn.Linear(hidden, 2), Leaky(0.8, init_hidden=True))


def norse_net(hidden: int = 3) -> nn.Module:
    """The same shape, of Norse."""
    from norse.torch import LIFBoxCell, LIFBoxParameters, LIFParameters, LIFRecurrentCell, SequentialState

    cell = LIFRecurrentCell(4, hidden, p=LIFParameters(v_th=torch.full((hidden,), 0.02)), autapses=False)
    return SequentialState(cell, nn.Linear(hidden, 2), LIFBoxCell(LIFBoxParameters(v_th=torch.tensor(0.02))))


class HandWritten(nn.Module):
    """As users write them: a loop over time, states passed along, convolutions."""

    def __init__(self, channels: int = 2, hidden: int = 4) -> None:
        from snntorch import Leaky, RLeaky

        super().__init__()
        self.conv, self.bn, self.lif1 = nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), Leaky(0.9, threshold=0.3)
        self.fc1, self.lif2 = nn.Linear(channels * 4, hidden), RLeaky(0.9, linear_features=hidden, threshold=0.1)
        self.fc2, self.lif3 = nn.Linear(hidden, 2), Leaky(0.9, threshold=0.05)

    def forward(self, x: Tensor) -> Tensor:
        m1, (z2, m2), m3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        self.spikes = [[], [], []]
        for _ in range(5):
            z1, m1 = self.lif1(self.bn(self.conv(x)), m1)
            z2, m2 = [*self.lif2(self.fc1(nn.functional.max_pool2d(z1, 2).flatten(1)), z2, m2)]
            z3, m3 = self.lif3(self.fc2(z2), m3)
            for seen, z in zip(self.spikes, (z1, z2, z3), strict=True):
                seen.append(z)
        return torch.stack(self.spikes[2]).sum(0)


def batches(number: int = 6, seed: int = 0, size: int = 5) -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return [
        (2.0 * torch.rand(size, 4, generator=rng), torch.randint(0, 2, (size,), generator=rng)) for _ in range(number)
    ]


def seeded(build, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def trainee(net: nn.Module, optimizer: str = "adam", **settings) -> Trainee:
    return Trainee(net, OPTIMIZERS[optimizer](net.parameters()), run=RUN, **settings)


def by_hand(net: nn.Module, data: list, epochs: int, optimizer: str = "adam") -> list[float]:
    """The training loop that everybody writes."""
    steps, losses = OPTIMIZERS[optimizer](net.parameters()), []
    for _ in range(epochs):
        for x, y in data:
            steps.zero_grad()
            loss = nn.functional.cross_entropy(RUN(net, x), y)
            loss.backward()
            steps.step()
            losses.append(float(loss.detach()))
    return losses


def bits(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("build", [snntorch_net, norse_net])
def test_the_nets_spike_and_learn(build) -> None:
    """Else the other tests would compare silence with silence."""
    net = seeded(build)
    before = bits(net)
    assert bool(RUN(net, batches()[0][0]).sum() > 0)
    by_hand(net, batches(), 1)
    assert not same(before, bits(net))
