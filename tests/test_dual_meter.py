"""The ledger against counting by hand."""

from __future__ import annotations

import pytest
import torch
from test_dual_nets import batches, norse_net, seeded, snntorch_net
from torch import nn

from snn_plasticity.dual import (
    Cost,
    Distill,
    DualModelTrainer,
    DualReport,
    Every,
    Meter,
    Never,
    OverTime,
    Sandwich,
    Trainee,
    widen,
)

STEPS, B = 3, 5


def macs(hidden: int) -> int:
    """Forward, of 4 -> hidden -> 2."""
    return STEPS * B * (4 * hidden + hidden * 2)


def cost_of(condition, coupling=None, number: int = 4) -> list[Cost]:
    base = seeded(snntorch_net)
    large, weights = widen(base, {"0": 7})
    nets = [Trainee(n, torch.optim.SGD(n.parameters(), lr=0.1), run=OverTime(STEPS)) for n in (base, large)]
    return DualModelTrainer(*nets, weights, condition, coupling=coupling).fit(batches(number), 1, progress=False).costs


def test_steps_cost_three_passes_of_the_net_that_learns() -> None:
    assert [c.macs for c in cost_of(Never())] == [3 * macs(3)] * 4
    assert [c.macs for c in cost_of(Every(2))] == [3 * macs(3), 3 * macs(7)] * 2
    both = 3 * macs(3) + 3 * macs(7)
    assert [c.macs for c in cost_of(Every(2), Distill())] == [3 * macs(3), both] * 2
    assert [c.macs for c in cost_of(Every(2), Sandwich())] == [3 * macs(3), both] * 2


def test_synaptic_operations_are_spikes_times_fan_out() -> None:
    from snntorch import Leaky

    net = nn.Sequential(nn.Linear(4, 3), Leaky(0.9, init_hidden=True), nn.Linear(3, 2))
    nn.init.constant_(net[0].weight, 0.4)
    x, spikes = (torch.rand(6, 4) < 0.5).float(), 0
    seen: list[torch.Tensor] = []
    net[1].register_forward_hook(lambda m, a, z: seen.append(z.detach()))
    with Meter(net) as meter, torch.no_grad():
        OverTime(STEPS)(net, x)
    spikes = int(torch.stack(seen).sum())
    assert spikes > 0
    assert meter.read() == Cost(STEPS * 6 * (12 + 6), STEPS * int(x.sum()) * 3 + spikes * 2)
    assert meter.read() == Cost(0, 0)
    net(x)
    assert meter.read() == Cost(0, 0)  # outside of the block nothing is counted


@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "dilation": 2}])
def test_convolutions_against_loops(settings) -> None:
    layer = nn.Conv2d(2, 4, 3, **settings)
    x = (torch.rand(2, 2, 7, 6) < 0.4).float()
    with Meter(layer) as meter, torch.no_grad():
        out = layer(x)
    ones = nn.Conv2d(2, 4, 3, bias=False, **settings)
    nn.init.ones_(ones.weight)
    operations = ones(x).sum()  # every spike arrives once per synapse
    per_output = 2 // settings.get("groups", 1) * 9
    assert meter.read() == Cost(out.numel() * per_output, round(operations.item()))


def test_recurrent_weights_of_norse_count() -> None:
    net, x, hidden = seeded(norse_net), torch.rand(6, 4), 3
    seen: list[torch.Tensor] = []
    net[0].register_forward_hook(lambda m, a, out: seen.append(out[0].detach()))
    with Meter(net) as meter:
        OverTime(STEPS)(net, x)
    z = torch.stack(seen)
    inputs, recurrent, last = STEPS * 24 * hidden, int(z[:-1].sum()) * hidden, int(z.sum()) * 2
    forward = STEPS * 6 * (4 * hidden + hidden * hidden + hidden * 2)
    assert meter.read() == Cost(3 * forward, inputs + recurrent + last)
    assert recurrent > 0


def test_a_run_may_cost_more_than_a_32_bit_number_holds() -> None:
    dear = Cost(2**31, 2**31)
    assert dear.plus(dear) == Cost(2**32, 2**32)
    assert DualReport(costs=[dear, dear]).cost.macs == 2**32
