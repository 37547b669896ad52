"""A learning signal for each place of a convolution's map: Δw is that of autograd through the host, place by place."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from functools import partial

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from snntorch import utils
from test_online_gradient import error
from torch import Tensor, nn
from torch.nn import functional

from snn_plasticity import Actor, PlasticityConfig, attach

STEPS, B = 9, 3
CONVS = {
    "1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 11)),
    "2d": (lambda: nn.Conv2d(2, 4, 3), (2, 6, 7)),
    "2d strided": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0)), (2, 9, 10)),
    "2d grouped": (lambda: nn.Conv2d(2, 4, 3, padding="same", groups=2, dilation=2), (2, 6, 6)),
    "2d circular": (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), (2, 6, 6)),
    "3d": (lambda: nn.Conv3d(2, 4, 2), (2, 4, 5, 4)),
}
AVERAGES = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Net(nn.Module):
    """A convolution, a pool, and neurons."""

    def __init__(self, conv: nn.Module, pool: nn.Module, flat: bool = False) -> None:
        super().__init__()
        self.conv, self.pool, self.lif = conv, pool, snn.Leaky(beta=0.8, threshold=0.3)
        self.flat = nn.Flatten() if flat else nn.Identity()
        with torch.no_grad():
            conv.weight.mul_(2.0)

    def forward(self, xs: Tensor) -> Tensor:
        mem, spikes = self.lif.reset_mem(), []
        for x in xs:
            z, mem = self.lif(self.flat(self.pool(self.conv(x))), mem)
            spikes.append(z)
        return torch.stack(spikes)


def prepared(name: str, pool: nn.Module, flat: bool = False) -> tuple[Net, Tensor, Tensor]:
    torch.manual_seed(0)
    make, size = CONVS[name]
    net, xs = Net(make(), pool, flat), (torch.rand(STEPS, B, *size) < 0.5).float()
    with torch.no_grad():
        return net, xs, torch.randn(net(xs).shape[1:])


def found(net: Net, xs: Tensor, signal: Tensor, **settings) -> Tensor:
    """Δw · B of one sequence."""
    net.lif.reset_mem()
    model = copy.deepcopy(net)
    with attach(model, PlasticityConfig.eprop(1.0, mode="hybrid", **settings)) as learner:
        with torch.no_grad():
            model(xs)
        learner.step({"conv": signal})
    return -B * model.conv.weight.grad


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("name", CONVS)
def test_each_place_hears_for_itself(name, pool, flat):
    between = AVERAGES[len(CONVS[name][1]) - 1](2) if pool else nn.Identity()
    net, xs, signal = prepared(name, between, flat)
    z = net(xs)
    assert 0.05 < z.mean() < 0.9
    (expected,) = torch.autograd.grad((z * signal).sum(), net.conv.weight)
    assert error(found(net, xs, signal), expected) <= 1e-6


@pytest.mark.parametrize("name", ["1d", "2d grouped"])
def test_the_largest_hears_where_it_was_taken_from(name):
    """L of a window meets ψ at the winner of each step, beside what that place received."""
    dims = len(CONVS[name][1]) - 1
    net, xs, signal = prepared(name, (nn.MaxPool1d, nn.MaxPool2d)[dims - 1](2))
    conv, bare, x = net.conv, copy.deepcopy(net.conv), torch.zeros_like(xs[0])
    bare.bias, mem, aim = None, net.lif.reset_mem(), torch.zeros(())
    largest = functional.max_pool1d if dims == 1 else functional.max_pool2d
    for now in xs:
        current, taken = largest(conv(now), 2, return_indices=True)
        _, mem = net.lif(current, mem)
        above = mem.detach().sub(net.lif.threshold).requires_grad_()
        (psi,) = torch.autograd.grad(net.lif.spike_grad(above).sum(), above)
        x = 0.8 * x + now
        aim = aim + (bare(x).flatten(2).gather(2, taken.flatten(2)).view_as(psi) * psi * signal).sum()
    (expected,) = torch.autograd.grad(aim, bare.weight)
    assert error(found(net, xs, signal), expected) <= 1e-6


def test_a_signal_may_have_the_shape_of_the_convolutions_own_output():
    net, xs, signal = prepared("2d", nn.AvgPool2d(2))
    whole = torch.zeros(B, 4, 4, 5)
    whole[..., :4] = signal.repeat_interleave(2, 2).repeat_interleave(2, 3)  # the last column is in no window
    assert error(found(net, xs, whole), found(net, xs, signal)) <= 1e-6
    each = torch.randn(B, 4)
    assert error(found(net, xs, each.view(B, 4, 1, 1).expand(signal.shape)), found(net, xs, each)) <= 1e-6


@pytest.mark.parametrize("path", ["auto", "fold", "plain"])
@pytest.mark.parametrize("every", [1, 3])
def test_signals_that_come_one_after_the_other(path, every):
    """Spikes that wait, e of each place, and both together: Σ_r L_r · e_r."""
    net, xs, _ = prepared("2d strided", nn.AvgPool2d(2))
    z = net(xs)
    signals = torch.randn(STEPS // every, *z.shape[1:])
    aim = sum((z[: every * (k + 1)] * signal).sum() for k, signal in enumerate(signals))
    (expected,) = torch.autograd.grad(aim, net.conv.weight)
    mem = net.lif.reset_mem()
    with attach(net, PlasticityConfig.eprop(1.0, mode="hybrid"), path=path) as learner:
        learner.connections["conv"].traces.by_place = True
        with torch.no_grad():
            for k, signal in enumerate(signals):
                for x in xs[every * k : every * (k + 1)]:
                    _, mem = net.lif(net.pool(net.conv(x)), mem)
                learner.step({"conv": signal})
    assert error(-B * net.conv.weight.grad, expected) <= 1e-6


def test_an_eligibility_of_channels_alone_is_told_of_once():
    net, xs, signal = prepared("2d", nn.Identity())
    each = found(net, xs, signal.mean((2, 3)))
    (expected,) = torch.autograd.grad((net(xs) * signal).sum(), net.conv.weight)
    net.lif.reset_mem()
    with attach(net, PlasticityConfig.eprop(1.0, mode="hybrid"), path="plain") as learner:
        for wanted in (each, expected):
            net.conv.weight.grad = None
            with torch.no_grad():
                net(xs)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                learner.step({"conv": signal})
            assert ["heard the mean of their channel" in str(one.message) for one in told] == [True] * (wanted is each)
            assert error(-B * net.conv.weight.grad, wanted) <= 1e-6
            learner.reset()


def test_what_cannot_be_told_apart_is_refused():
    net, xs, signal = prepared("2d", nn.AvgPool2d(3, 1, padding=1))
    with attach(net, PlasticityConfig.eprop(1.0)) as learner, torch.no_grad():
        net(xs)
        before = net.conv.weight.clone()
        with pytest.raises(ValueError, match="conv: .* windows overlap .* one for each channel, \\(B, 4\\)"):
            learner.step({"conv": signal})
        with pytest.raises(ValueError, match="or \\(3, 4, 4, 5\\) for one per place"):
            learner.step({"conv": signal[:, :, :2]})
        assert torch.equal(before, net.conv.weight)
        learner.step({"conv": signal.mean((2, 3))})
    net, xs, _ = prepared("2d", nn.Identity())
    with attach(net, PlasticityConfig.eprop(1.0), path="shared") as learner, torch.no_grad():
        net(xs)
        with pytest.raises(ValueError, match="shared"):
            learner.step({"conv": torch.zeros(B, 4, 4, 5)})


def test_a_saved_learner_goes_on_place_by_place():
    net, xs, signal = prepared("2d", nn.AvgPool2d(2))
    twin, grads = copy.deepcopy(net), []
    config = PlasticityConfig.eprop(1.0, mode="hybrid")
    with attach(net, config, path="plain") as learner, attach(twin, config, path="plain") as other, torch.no_grad():
        learner.connections["conv"].traces.by_place = True
        net(xs)
        twin(xs[:1])
        other.load_state_dict(learner.state_dict())
        for one, model in ((learner, net), (other, twin)):
            one.reset(torch.tensor([True, False, False]))
            one.step({"conv": signal})
            grads.append(model.conv.weight.grad)
    assert torch.equal(*grads)
    z = net(xs)[:, 1:]
    (expected,) = torch.autograd.grad((z * signal[1:]).sum(), net.conv.weight)
    assert error(-B * grads[0], expected) <= 1e-6


class Cells(nn.Module):
    """The same of Norse, whose resets cut what its neurons remember."""

    def __init__(self, conv: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.conv, self.pool, self.cell = conv, pool, norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.3)))
        with torch.no_grad():
            conv.weight.mul_(6.0)

    def forward(self, xs: Tensor) -> Tensor:
        state, spikes = None, []
        for x in xs:
            z, state = self.cell(self.pool(self.conv(x)), state)
            spikes.append(z)
        return torch.stack(spikes)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("name", ["1d", "2d", "2d grouped"])
def test_cells_of_norse_hear_place_by_place(name, pool):
    torch.manual_seed(0)
    make, size = CONVS[name]
    between = AVERAGES[len(size) - 1](2) if pool else nn.Identity()
    net, xs = Cells(make(), between).double(), (torch.rand(STEPS, B, *size) < 0.5).double()
    z = net(xs)
    assert 0.02 < z.mean() < 0.9
    signal = torch.randn(z.shape[1:]).double()
    (expected,) = torch.autograd.grad((z * signal).sum(), net.conv.weight)
    with attach(net, PlasticityConfig.eprop(1.0, mode="hybrid"), pre=lambda x: x) as learner:
        learner.connections["conv"].traces.by_place = True
        with torch.no_grad():
            net(xs)
        learner.step({"conv": signal})
    assert error(-B * net.conv.weight.grad, expected) <= 1e-10


class Chooser(nn.Module):
    """Two convolutions with pools, and a readout."""

    def __init__(self, pool: Callable[[int], nn.Module]) -> None:
        super().__init__()
        leaky = partial(snn.Leaky, 0.8, threshold=0.3, init_hidden=True)
        self.conv1, self.pool1, self.lif1 = nn.Conv2d(1, 3, 3), pool(2), leaky()
        self.conv2, self.lif2 = nn.Conv2d(3, 2, 2), leaky()
        self.out, self.lif3 = nn.Linear(2 * 4, 3), leaky()
        with torch.no_grad():
            self.conv1.weight.mul_(2.0)
            self.conv2.weight.mul_(2.0)

    def forward(self, xs: Tensor, cut: bool = False) -> list[Tensor]:
        total: list[Tensor] = []
        utils.reset(self)
        for x in xs:
            z1 = self.lif1(self.pool1(self.conv1(x)))
            z2 = self.lif2(self.conv2(z1.detach() if cut else z1))
            self.lif3(self.out(z2.flatten(1)))
            total = [z1, z2] if not total else [total[0] + z1, total[1] + z2]
        return total


def test_an_actor_says_where_only_channels_can_hear():
    net, xs = Chooser(lambda size: nn.AvgPool2d(3, 2, padding=1)), (torch.rand(STEPS, B, 1, 8, 8) < 0.5).float()
    with attach(net, PlasticityConfig.eprop(1.0)) as learner, torch.no_grad():
        actor = Actor(learner, feedback={"conv1": "symmetric", "conv2": "symmetric"})
        for heard in ("conv1: .* windows overlap", None):
            net(xs)
            actor.act()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                actor.learn(1.0)
            assert len(told) == (heard is not None)
            assert all(re.match(str(heard), str(one.message)) for one in told)
            learner.reset()


@pytest.mark.parametrize("feedback", ["symmetric", "random", "adaptive", "broadcast"])
@pytest.mark.parametrize("trace", [None, 1.0])
def test_an_actor_speaks_to_each_place(feedback, trace):
    torch.manual_seed(0)
    net, xs = Chooser(nn.AvgPool2d), (torch.rand(STEPS, B, 1, 8, 8) < 0.5).float()
    totals, ways = net(xs, cut=True), {}
    reward = torch.tensor([1.0, 0.0, 1.0])
    with attach(net, PlasticityConfig.eprop(1.0, mode="hybrid")) as learner:
        actor = Actor(learner, feedback=feedback, trace=trace, promise=0.5)
        with torch.no_grad():
            net(xs)
        actor.act()
        said = (reward - 0.5).unsqueeze(1) * actor.choice.centred
        actor.learn(reward)
        ways = {name: state.weights for name, state in actor._learnt.feedback.items()}
    if feedback == "symmetric":
        down = functional.conv_transpose2d(net.out.weight.detach().view(3, 2, 2, 2), net.conv2.weight.detach())
        torch.testing.assert_close(ways["conv1"], down.flatten(1))
        torch.testing.assert_close(ways["conv2"], net.out.weight.detach())
    for name, total in zip(("conv1", "conv2"), totals, strict=True):
        aim = (total * (said @ ways[name]).view_as(total)).sum()
        (expected,) = torch.autograd.grad(aim, getattr(net, name).weight, retain_graph=True)
        assert expected.norm() > 0
        assert error(-B * getattr(net, name).weight.grad, expected) <= 1e-5, name  # float32


def test_a_saved_actor_goes_on_place_by_place():
    """One that is saved in mid-life draws and learns as the one that was not; its feedback is that of each place."""
    xs, ends = (torch.rand(STEPS, B, 1, 8, 8) < 0.5).float(), []
    for saved in (False, True):
        torch.manual_seed(0)
        model = Chooser(nn.MaxPool2d)  # snnTorch resets no copies
        begun = model.conv1.weight.detach().clone()
        learner = attach(model, PlasticityConfig.eprop(0.1))
        actor = Actor(learner, feedback="random", seed=1)
        for life in range(3):
            with torch.no_grad():
                model(xs)
            actor.act()
            actor.learn(torch.tensor([1.0, 0.0, 1.0]))
            learner.reset()
            if saved and life == 1:
                state, weights = actor.state_dict(), model.state_dict()
                assert state["feedback"]["conv1"][0].shape == (3, 27)
                model = Chooser(nn.MaxPool2d)
                model.load_state_dict(weights)
                learner = attach(model, PlasticityConfig.eprop(0.1))
                actor = Actor(learner, feedback="random", seed=2)
                with pytest.raises(ValueError, match="seed"):
                    actor.load_state_dict(state)
                actor = Actor(learner, feedback="random", seed=1)
                actor.load_state_dict(state)
        ends.append(model.conv1.weight.detach())
    assert torch.equal(*ends) and not torch.equal(ends[0], begun)
