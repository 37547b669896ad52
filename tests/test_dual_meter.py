"""The ledger against counting by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from test_dual_nets import batches, norse_net, seeded, snntorch_net
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from snn_plasticity.dual import (
    Cost,
    Distill,
    DualModelTrainer,
    Every,
    Meter,
    Never,
    OverTime,
    Sandwich,
    Trainee,
    widen,
)
from snn_plasticity.layers import SparseLinear
from snn_plasticity.notices import PlasticityWarning

STEPS, B = 3, 5


class Attention(nn.Module):
    """Self-attention, its weights returned or not: two ways through torch."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.inner, self.need_weights = nn.MultiheadAttention(6, 2), need_weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, x, x, need_weights=self.need_weights)[0]


class ByHand(nn.Module):
    """Functions, and no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.linear(x, self.weight)
        return torch.einsum("tbo,sbo->bts", h, h) @ torch.ones(len(x), 2)


def macs(hidden: int) -> int:
    """A step of 4 -> hidden -> 2: forward, gradients of both weights, and of the inputs of the second layer."""
    return STEPS * B * (2 * 4 * hidden + 3 * hidden * 2)


def cost_of(condition, coupling=None, number: int = 4) -> list[Cost]:
    base = seeded(snntorch_net)
    large, weights = widen(base, {"0": 7})
    nets = [Trainee(n, torch.optim.SGD(n.parameters(), lr=0.1), run=OverTime(STEPS)) for n in (base, large)]
    return DualModelTrainer(*nets, weights, condition, coupling=coupling).fit(batches(number), 1, progress=False).costs


def test_steps_cost_the_passes_of_the_net_that_learns() -> None:
    assert [c.macs for c in cost_of(Never())] == [macs(3)] * 4
    assert [c.macs for c in cost_of(Every(2))] == [macs(3), macs(7)] * 2
    both = macs(3) + macs(7)
    assert [c.macs for c in cost_of(Every(2), Distill())] == [macs(3), both] * 2
    assert [c.macs for c in cost_of(Every(2), Sandwich())] == [macs(3), both] * 2


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
    assert meter.read() == Cost(STEPS * 6 * (12 + 6), STEPS * int(x.sum()) * 3 + spikes * 2, spikes)
    assert meter.read() == Cost()
    net(x)
    assert meter.read() == Cost()  # outside of the block nothing is counted


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
        out = OverTime(STEPS)(net, x)
    z = torch.stack(seen)
    inputs, recurrent, last = STEPS * 24 * hidden, int(z[:-1].sum()) * hidden, int(z.sum()) * 2
    forward = STEPS * 6 * (4 * hidden + hidden * hidden + hidden * 2)
    assert meter.read() == Cost(forward, inputs + recurrent + last, int(z.sum()) + int(out.sum()))
    assert recurrent > 0


def counted(model: nn.Module, run) -> Cost:
    with Meter(model) as meter:
        run()
    return meter.read()


X = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
IMAGES = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
KNOWN_TO_TORCH = {
    "linear": (nn.Linear(6, 3), X),
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGES),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), IMAGES),
    "GRU": (nn.GRU(6, 3), X),
    "cell": (nn.RNNCell(6, 3), X[0].detach().requires_grad_()),
    "attention with weights": (Attention(True), X),
    "by hand": (ByHand(), X),
}


@pytest.mark.parametrize("name", KNOWN_TO_TORCH)
def test_functions_and_backward_passes_as_torch_counts_them(name) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model, x = KNOWN_TO_TORCH[name]

    def run() -> None:
        tree_leaves(model(x))[0].sum().backward()

    with FlopCounterMode(display=False) as reference:
        run()
    assert 2 * counted(model, run).macs == reference.get_total_flops() > 0
    with torch.inference_mode():
        assert 0 < counted(model, lambda: model(x)).macs < reference.get_total_flops() // 2


@pytest.mark.parametrize(
    ("model", "x", "forward", "backward"),
    [
        (nn.LSTM(6, 3), X, 20 * 4 * 3 * (6 + 3), 2),
        (nn.LSTM(6, 3, 2, bidirectional=True), X, 20 * 2 * 4 * 3 * (6 + 3 + 6 + 3), 2),
        (nn.Bilinear(6, 6, 3), (X, X), 20 * 3 * 6 * 6, 3),
        (Attention(False), X, 20 * 4 * 6 * 6 + 4 * 5 * 5 * 2 * 6, None),
        (nn.TransformerEncoderLayer(6, 2, 8), X, 20 * (4 * 6 * 6 + 2 * 6 * 8) + 4 * 5 * 5 * 2 * 6, None),
        (nn.Conv2d(4, 6, 3, groups=2), IMAGES, 2 * 6 * 7 * 6 * 2 * 9, 2),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), IMAGES, IMAGES.numel() * 3 * 9, 2),
        (nn.EmbeddingBag(6, 3), torch.tensor([[1, 2]]), 0, None),
    ],
)
def test_closed_forms(model, x, forward, backward) -> None:
    x = x if isinstance(x, tuple) else (x,)
    assert counted(model, lambda: model(*x)).macs == forward
    if backward is not None:
        assert counted(model, lambda: tree_leaves(model(*x))[0].sum().backward()).macs == (1 + backward) * forward


def test_gradients_that_nobody_needs_are_not_counted() -> None:
    net, x = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), X.detach()

    def run() -> None:
        net(x).sum().backward()

    assert counted(net, run).macs == 20 * (2 * 24 + 3 * 12)
    net[0].requires_grad_(False)
    assert counted(net, run).macs == 20 * (24 + 2 * 12)


def test_spikes_on_either_side_of_a_product() -> None:
    net = ByHand()
    z = (torch.rand(7, 6) < 0.3).float()
    spikes = int(z.sum())
    for run in (lambda: net.weight @ z.T, lambda: z @ net.weight.T, lambda: F.linear(z, net.weight)):
        assert counted(net, run) == Cost(7 * 18, 3 * spikes)
    assert counted(net, lambda: torch.einsum("oi,i->o", net.weight, z[0])) == Cost(18, 3 * int(z[0].sum()))
    layer, images = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (IMAGES.detach() > 1).float()
    ones = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    nn.init.ones_(ones.weight)
    with torch.no_grad():
        assert counted(layer, lambda: layer(images)).synops == round(ones(images).sum().item())


def test_what_is_not_counted_is_named_once() -> None:
    meter = Meter(nn.Identity())
    with pytest.warns(PlasticityWarning, match="aten::_fft_r2c") as told:
        for _ in range(2):
            with meter:
                torch.fft.rfft(torch.ones(64, 64))
    assert len(told) == 1
    with meter:
        torch.fft.rfft(torch.ones(8))
        torch.linalg.vector_norm(torch.ones(64, 64))
        F.interpolate(torch.ones(1, 1, 64, 64), scale_factor=2, mode="bilinear")


def trainer_of(net: nn.Module, **settings) -> DualModelTrainer:
    return DualModelTrainer(Trainee(net, torch.optim.SGD(net.parameters(), lr=0.01), **settings))


@pytest.mark.parametrize("net", [nn.ConvTranspose2d(1, 1, 4), nn.Linear(8, 8), nn.LSTM(8, 8), nn.Bilinear(8, 8, 8)])
def test_any_net_takes_a_step(net) -> None:
    run = (lambda m, x: m(x, x)) if isinstance(net, nn.Bilinear) else (lambda m, x: tree_leaves(m(x))[0])
    x = torch.randn(4, 8, 8)
    shape = x[:, None] if isinstance(net, nn.ConvTranspose2d) else x
    cost = trainer_of(net, loss=lambda o, y: o.square().mean(), run=run).step((shape, x)).cost
    assert cost.macs > 0 and cost.synops > 0


class Exits(nn.Module):
    """Stops early where its input says so."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return h if x[0, 0] < 0 else self.second(h)


def test_steps_of_one_kind_are_counted_once_and_where_their_work_varies_each() -> None:
    y = torch.tensor([0, 1])
    short, long = (torch.full((2, 4), value) for value in (-1.0, 1.0))
    trainer = trainer_of(Exits())
    cheap = trainer.step((short, y)).cost.macs
    with pytest.warns(PlasticityWarning, match="depends on the data"):
        dear = trainer.step((long, y)).cost.macs
    assert cheap == 2 * 2 * 8 and dear == 2 * (2 * 8 + 3 * 4)
    assert [trainer.step((x, y)).cost.macs for x in (short, long, long, short)] == [cheap, dear, dear, cheap]
    steady = trainer_of(nn.Linear(4, 2))
    steady.fit([(long, y), (long[:1], y[:1])] * 20, 1, progress=False)
    assert {kind.times for kind in steady.report.books.kinds.values()} == {20}
    assert [c.macs for c in steady.report.costs] == [2 * 2 * 8, 2 * 8] * 20


def test_spikes_between_two_looks_lie_on_a_line() -> None:
    """Looked at before steps 0, 1, 2, 4, 8, 16, 32 and 64; after the last look they are held."""
    net, y = nn.Linear(4, 2), torch.tensor([0, 1])
    trainer = trainer_of(net)
    inputs = [(torch.arange(8).reshape(2, 4) < k % 9).float() for k in range(70)]
    for x in inputs:
        trainer.step((x, y))
    looks = [0, 1, 2, 4, 8, 16, 32, 64]
    line = np.interp(range(70), looks, [2 * int(inputs[step].sum()) for step in looks])
    assert np.abs(line - [cost.synops for cost in trainer.report.costs]).max() <= 0.5


def test_synapses_in_a_list_count_as_a_matrix_with_as_many() -> None:
    mask = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    layer, z = SparseLinear(6, 3, mask.t().contiguous()), (X > 0.5).float().detach().requires_grad_()
    edges, spikes = int(mask.sum()), int((z.detach() @ mask.float()).sum())
    with torch.no_grad():
        assert counted(layer, lambda: layer(z)) == Cost(20 * edges, spikes)
    assert counted(layer, lambda: layer(z)) == Cost(20 * edges, spikes)
    assert counted(layer, lambda: layer(z).sum().backward()) == Cost(3 * 20 * edges, spikes)


class Spread(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16))

    def forward(self, x):
        return (x[:, None] * self.weight).sum(-1)


def test_layer_written_element_by_element_is_not_counted_and_said() -> None:
    net = Spread()
    with pytest.warns(PlasticityWarning, match="a weight that is multiplied element by element.*too low"), Meter(net):
        net(torch.randn(8, 16))
    with warnings.catch_warnings(), Meter(net):
        warnings.simplefilter("error")
        torch.randn(8, 16, 16) * net.weight[:1]
