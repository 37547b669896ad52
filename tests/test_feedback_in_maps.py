"""Feedback to convolutions, pools and Norse's neurons: each layer's spikes meet the error through its own matrix."""

from __future__ import annotations

import copy

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from test_loss_feedback import kept
from test_online_gradient import chunks, error
from torch import Tensor, nn
from torch.nn import functional

from snn_plasticity import PairingError, PlasticityConfig, attach

STEPS, B = 12, 2
POOLS = {"none": nn.Identity, "average": lambda: nn.AvgPool2d(2), "largest": lambda: nn.MaxPool2d(2)}


class Maps(nn.Module):
    """Two convolutions and a readout; the first may reach its neurons through a pool."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.conv1, self.pool, self.lif1 = nn.Conv2d(1, 3, 3), POOLS[pool](), snn.Leaky(beta=0.8, threshold=0.3)
        self.conv2, self.lif2 = nn.Conv2d(3, 2, 2), snn.Leaky(beta=0.7, threshold=0.3)
        self.out = nn.Linear(2 * (9 if pool == "none" else 1), 3)
        with torch.no_grad():
            self.conv1.weight.mul_(2.0)
            self.conv2.weight.mul_(2.0)

    def start(self) -> list[Tensor]:
        return [self.lif1.reset_mem(), self.lif2.reset_mem()]

    def forward(self, x: Tensor, mems: list[Tensor], cut: bool = False) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        z1, mem1 = self.lif1(self.pool(self.conv1(x)), mems[0])
        z2, mem2 = self.lif2(self.conv2(z1.detach() if cut else z1), mems[1])
        return self.out(z2.flatten(1)), [mem1, mem2], [z1, z2]


def maps(pool: str) -> tuple[Maps, Tensor, Tensor]:
    torch.manual_seed(0)
    return Maps(pool), (torch.rand(STEPS, B, 1, 6, 6) < 0.5).float(), torch.rand(B, 3)


def aims(errors: list[Tensor], spikes: list[list[Tensor]], ways: list[Tensor]) -> list[Tensor]:
    """By layer, what its weights go down in e-prop."""
    return [
        sum((z[k] * (e @ way).view_as(z[k])).sum() for e, z in zip(errors, spikes, strict=True))
        for k, way in enumerate(ways)
    ]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("carry", [True, False])
def test_convolutions_and_pools_are_eprop_written_out(pool, carry):
    """What a largest one took at an earlier step, the trace does not know: exact without one only."""
    net, inputs, target = maps(pool)
    config = PlasticityConfig.online(1.0, feedback="random", mode="hybrid", carry=carry)
    for size in (1, 5):
        model = copy.deepcopy(net)
        with attach(model, config) as learner:
            mems = model.start()
            for steps in chunks(STEPS, size):
                loss = torch.zeros(())
                for t in steps:
                    y, mems, _ = model(inputs[t], mems)
                    loss = loss + (y - target).square().mean()
                learner.step(loss=loss)
            ways = [learner.connections[name].feedback.weights for name in ("conv1", "conv2")]
        assert ways[0].shape[1] == (48 if pool == "none" else 12)
        mems, errors, spikes = net.start(), [], []
        for x in inputs:
            mems = mems if carry else [mem.detach() for mem in mems]
            y, mems, fired = net(x, mems, cut=True)
            errors.append(2.0 * (y - target).detach() / y.numel())
            spikes.append(fired)
        assert 0.02 < torch.stack([z[0].mean() for z in spikes]).mean() < 0.9
        for name, aim in zip(("conv1", "conv2"), aims(errors, spikes, ways), strict=True):
            (expected,) = torch.autograd.grad(aim, getattr(net, name).weight, retain_graph=True)
            found = getattr(model, name).weight.grad
            moves = pool == "largest" and carry and name == "conv1"
            assert expected.norm() > 0 and (moves or error(found, expected) <= 1e-6), (name, size)
            assert torch.cosine_similarity(found.flatten(), expected.flatten(), 0) > 0.9
        net.start()


@pytest.mark.parametrize("pool", POOLS)
def test_adaptive_feedback_follows_convolutions(pool):
    net, inputs, target = maps(pool)
    side = 4 if pool == "none" else 2

    def through(z: Tensor) -> Tensor:
        return functional.conv2d(z.view(1, 3, side, side), net.conv2.weight).flatten() @ net.out.weight.T

    def way() -> Tensor:
        return torch.autograd.functional.jacobian(through, torch.zeros(3 * side * side))

    with attach(net, PlasticityConfig.online(0.1, feedback="adaptive")) as learner:
        mems, known = net.start(), []
        for x in inputs[:3]:
            before = way()
            y, mems, _ = net(x, mems)
            learner.step(loss=(y - target).square().mean())
            known.append((learner.connections["conv1"].feedback.weights, before))
    (first, began), _, (last, ended) = known
    assert (ended - began).norm() > 1e-3
    torch.testing.assert_close(last - first, ended - began)


def test_a_pool_behind_neurons_is_no_way_that_is_known():
    net = nn.Sequential(nn.Conv2d(1, 3, 3), snn.Leaky(0.8, threshold=0.3, init_hidden=True), nn.AvgPool2d(2))
    net.extend([nn.Flatten(), nn.Linear(12, 3)])
    with attach(net, PlasticityConfig.online(0.1, feedback="adaptive")) as learner:
        y = net((torch.rand(B, 1, 6, 6) < 0.5).float())
        before = copy.deepcopy(net.state_dict())
        with pytest.raises(PairingError, match="0: its feedback needs the weights from there to 4"):
            learner.step(loss=y.square().mean())
        assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


CELLS = {
    "LIFCell": (norse.LIFCell, 20.0),
    "LSNNCell": (norse.LSNNCell, 30.0),
    "LIFRecurrentCell": (norse.LIFRecurrentCell, 5.0),
    "LSNNRecurrentCell": (norse.LSNNRecurrentCell, 12.0),
}


class Cells(nn.Module):
    """One kind of cell of Norse, which may hold its weights, and a readout."""

    def __init__(self, name: str) -> None:
        super().__init__()
        cell, scale = CELLS[name]
        self.recurs = "Recurrent" in name
        self.fc = nn.Identity() if self.recurs else nn.Linear(6, 5)
        self.cell = cell(6, 5) if self.recurs else cell()
        self.out = nn.Linear(5, 3)
        with torch.no_grad():
            for n, weight in self.named_parameters():
                if n.endswith(("weight", "weights")) and not n.startswith("out"):
                    weight.mul_(scale)

    def forward(self, x: Tensor, states: list) -> tuple[Tensor, list, Tensor]:
        z, state = self.cell(self.fc(x), states[0])
        return self.out(z), [state], z


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_norse_hear_by_feedback(name):
    torch.manual_seed(0)
    dtype = torch.float64
    net = Cells(name).to(dtype)
    inputs, target = (torch.rand(STEPS, B, 6) < 0.5).to(dtype), torch.rand(B, 3).to(dtype)
    weights = {n: w for n, w in net.named_parameters() if n.endswith(("weight", "weights")) and not n.startswith("out")}
    for size in (1, 5):
        model, states = copy.deepcopy(net), [None]
        with attach(model, PlasticityConfig.eprop(1.0, feedback="random", mode="hybrid")) as learner:
            for steps in chunks(STEPS, size):
                loss = torch.zeros((), dtype=dtype)
                for t in steps:
                    y, states, _ = model(inputs[t], states)
                    loss = loss + (y - target).square().mean()
                learner.step(loss=loss)
            below = [c for n, c in learner.connections.items() if n != "out"]
        way = below[0].feedback.weights
        assert all(torch.equal(c.feedback.weights, way) for c in below)  # both of a cell end on the same neurons
        states, errors, spikes = [None], [], []
        for x in inputs:
            y, states, z = net(x, [kept(states[0])])
            errors.append(2.0 * (y - target).detach() / y.numel())
            spikes.append([z])
        assert 0.01 < torch.stack([z[0].mean() for z in spikes]).mean() < 0.9
        found = torch.autograd.grad(aims(errors, spikes, [way])[0], list(weights.values()))
        for (n, _), expected in zip(weights.items(), found, strict=True):
            if "recurrent" in n:  # no autapses
                expected = expected * (1 - torch.eye(len(expected), dtype=dtype))
            assert expected.norm() > 0
            assert error(dict(model.named_parameters())[n].grad, expected) <= 1e-10, (n, size)
