"""Readouts that never fire: an actor prefers by their voltages, and its changes are autograd's through the host."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from conftest import trains
from torch import Tensor, nn

from snn_plasticity import Actor, EligibilityConfig, PlasticityConfig, PlasticityWarning, ThreeFactorConfig, attach
from snn_plasticity.hosts import scale_to_rate
from snn_plasticity.plasticity import EligibilityVectors

B, N_IN, N_HIDDEN, N, STEPS, LR = 5, 8, 12, 4, 9, 0.1
REWARD = torch.tensor([1.0, 0.0, 0.5, -1.0, 1.0])
KAPPA = float(torch.tensor(0.8))
BOX = norse.LIBoxParameters(tau_mem_inv=torch.tensor(200.0))  # 1 − dt/τ = 0.8
SAME = norse.LIParameters(tau_syn_inv=torch.tensor(100.0), tau_mem_inv=torch.tensor(100.0))
EACH = norse.LIParameters(tau_mem_inv=torch.linspace(50.0, 200.0, N))
READOUTS: dict[str, Callable[[], nn.Module]] = {
    "Leaky": lambda: snn.Leaky(KAPPA, reset_mechanism="none", threshold=1e9),
    "Leaky, beta learns": lambda: snn.Leaky(KAPPA, reset_mechanism="none", threshold=1e9, learn_beta=True),
    "Synaptic": lambda: snn.Synaptic(0.6, 0.85, reset_mechanism="none", threshold=1e9),
    "StateLeaky": lambda: snn.StateLeaky(0.8, N, output=False),
    "LICell": norse.LICell,
    "LICell, one constant": lambda: norse.LICell(SAME),
    "LICell, a constant each": lambda: norse.LICell(EACH),
    "LIBoxCell": lambda: norse.LIBoxCell(BOX),
    "LILinearCell": lambda: norse.LILinearCell(N_HIDDEN, N),
    "LI": norse.LI,
}
SEQUENCES = ("StateLeaky", "LI")
ANSWERS = {name: 0.1 if name.startswith("LI") else 1.0 for name in READOUTS}  # at once, to a unit of current
ANSWERS |= {"LIBoxCell": 0.2, "LICell, a constant each": 1e-3 * EACH.tau_mem_inv}


class Net(nn.Module):
    """A layer of leaky neurons of the host, and integrators. It keeps the hidden spikes and the voltages."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.host, self.whole = "norse" if name.startswith("LI") else "snntorch", name in SEQUENCES
        self.fc1 = nn.Linear(N_IN, N_HIDDEN, bias=False)
        self.lif = norse.LIFBoxCell() if self.host == "norse" else snn.Leaky(0.9, threshold=0.4)
        self.fc2 = nn.Identity() if name == "LILinearCell" else nn.Linear(N_HIDDEN, N, bias=False)
        self.readout = READOUTS[name]()
        if self.host == "norse":
            with torch.no_grad():
                self.fc1.weight.mul_(20.0)

    @property
    def plastic(self) -> list[nn.Parameter]:
        return [
            self.fc1.weight,
            self.readout.input_weights if hasattr(self.readout, "input_weights") else self.fc2.weight,
        ]

    def start(self) -> list:
        if self.host == "norse":
            return [None, None]
        states = [m.reset_mem() if hasattr(m, "reset_mem") else () for m in (self.lif, self.readout)]
        return [s if isinstance(s, tuple) else (s,) for s in states]

    def hidden(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        if self.host == "norse":
            return self.lif(self.fc1(x), state)
        z, *state = self.lif(self.fc1(x), *state)
        return z, state

    def read(self, z: Tensor, state: object) -> tuple[Tensor, object]:
        if self.host == "norse":
            return self.readout(self.fc2(z), state)
        _, *state = self.readout(self.fc2(z), *state)
        return state[-1], state

    def forward(self, steps: Tensor, states: list | None = None) -> Tensor:
        one, two = self.start() if states is None else states
        spikes, voltages = [], []
        for x in steps:
            z, one = self.hidden(x, one)
            spikes.append(z)
            if not self.whole:
                v, two = self.read(z, two)
                voltages.append(v)
        self.spikes, self.states = torch.stack(spikes), [one, two]
        if self.whole:
            given = self.readout(self.fc2(self.spikes))
            return given[0] if self.host == "norse" else given
        return torch.stack(voltages)


def made(name: str, **settings: object) -> tuple[Net, Actor]:
    torch.manual_seed(0)
    net = Net(name)
    return net, Actor(attach(net, PlasticityConfig.eprop(lr=LR, **settings)), temperature=2.0, promise=0.25)


def steps_of(seed: int = 1, steps: int = STEPS) -> Tensor:
    return trains(steps, B, N_IN, seed=seed, rate=0.4).float()


def log_policy(h: Tensor, action: Tensor) -> Tensor:
    return torch.log_softmax(h / 2.0, 1).gather(1, action.unsqueeze(1)).squeeze(1)


def changes(net: Net, before: Net) -> list[Tensor]:
    return [w.detach() - old.detach() for w, old in zip(net.plastic, before.plastic, strict=True)]


@pytest.mark.parametrize("name", READOUTS)
def test_voltages_are_preferences_and_the_readout_changes_by_the_policy_gradient(name):
    net, actor = made(name)
    net.start()
    before, x = copy.deepcopy(net), steps_of()
    with torch.no_grad():
        net(x)
    action, h = actor.act(), before(x).sum(0)
    assert before.spikes.any() and h.std() > 0
    chosen = log_policy(h, action)
    torch.testing.assert_close(actor.choice.probability, chosen.exp().detach(), rtol=1e-4, atol=1e-6)
    error = actor.learn(REWARD)
    (expected,) = torch.autograd.grad((error * chosen).mean(), before.plastic[1], retain_graph=True)
    found = changes(net, before)
    assert expected.norm() > 0
    torch.testing.assert_close(found[1], LR * expected, rtol=1e-4, atol=1e-7)
    # to the layer below every spike of the window counts alike
    signal = ANSWERS[name] * error.unsqueeze(1) * actor.choice.centred @ before.plastic[1].detach()
    aim = (before.spikes.sum(0) * signal).sum(1).mean()
    torch.testing.assert_close(found[0], LR * torch.autograd.grad(aim, before.plastic[0])[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["Leaky", "LIBoxCell"])
@pytest.mark.parametrize("each", [True, False], ids=["each step", "last"])
def test_with_the_time_constant_of_the_readout_it_is_backpropagation_through_time(name, each):
    """A choice by the voltages of now, at every step or at the last: both layers by autograd, nothing cut."""
    net, actor = made(name, tau_e=-1.0 / math.log(KAPPA), mode="hybrid")
    net.start()
    states, x, whole = None, steps_of(), copy.deepcopy(net)
    voltages, before = whole(x), [0.0, 0.0]
    for t in range(STEPS):
        with torch.no_grad():
            now = net(x[t : t + 1], states)[0]
        states = net.states
        if not each and t < STEPS - 1:
            continue
        action = actor.act(None if each else now)
        error, chosen = actor.learn(REWARD * (1 - t % 3)), log_policy(voltages[t], action)
        torch.testing.assert_close(actor.choice.probability, chosen.exp().detach(), rtol=1e-4, atol=1e-6)
        expected = torch.autograd.grad((error * chosen).mean(), whole.plastic, retain_graph=True)
        after = [w.grad.clone() for w in net.plastic]
        for new, old, gradient in zip(after, before, expected, strict=True):
            assert gradient.norm() > 0 or t == 0
            torch.testing.assert_close(old - new, LR * gradient, rtol=1e-4, atol=1e-6)
        before = after


@pytest.mark.parametrize("name", ["Leaky", "LICell", "LIBoxCell", "LICell, a constant each"])
def test_online_gradients_reach_the_readout_through_all_that_it_holds(name):
    """A loss at every step, by autograd through all of them."""
    torch.manual_seed(0)
    net = Net(name)
    net.start()
    whole, x, aim = copy.deepcopy(net), steps_of(), torch.rand(B, N)
    with attach(net, PlasticityConfig.online(mode="hybrid")) as learner:
        states = None
        for t in range(STEPS):
            loss = (net(x[t : t + 1], states)[0] - aim).square().mean()
            states = net.states
            learner.step(loss=loss)
    loss = sum((v - aim).square().mean() for v in whole(x))
    (expected,) = torch.autograd.grad(loss, whole.fc2.weight)
    torch.testing.assert_close(net.fc2.weight.grad, expected, rtol=1e-4, atol=1e-6)


def test_an_error_is_that_of_the_voltage_of_either_host():
    for name in ("Leaky", "LICell"):
        torch.manual_seed(0)
        net = Net(name)
        net.start()
        whole, x, error = copy.deepcopy(net), steps_of(), torch.randn(B, N)
        with attach(net, PlasticityConfig.online(mode="hybrid")) as learner:
            net(x)
            learner.step(error=error)
        (expected,) = torch.autograd.grad((whole(x).sum(0) * error).sum() / B, whole.fc2.weight)
        torch.testing.assert_close(net.fc2.weight.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["LICell", "LILinearCell", "StateLeaky"])
def test_kernels_of_spikes_leave_what_feeds_it_alone(name):
    net, weight = Net(name), "readout.input_weights" if name == "LILinearCell" else "fc2"
    if name == "LILinearCell":
        with pytest.warns(PlasticityWarning, match="learn: fc1. readout.input_weights cannot learn: .*voltage"):
            attach(net, PlasticityConfig.dev()).remove()
    learner = attach(net, PlasticityConfig.dev(), pairs={} if weight == "fc2" else {weight: ()})
    before = copy.deepcopy(net)
    net(steps_of())
    learner.step(1.0)
    moved = changes(net, before)
    assert moved[0].any() and not moved[1].any()
    learner.remove()
    with pytest.raises((TypeError, ValueError), match="voltage|membrane potential"):
        attach(net, PlasticityConfig.dev(), layers={weight: PlasticityConfig.dev()}, sample=steps_of())


def test_one_layer_may_read_spikes_and_the_readout_its_voltage():
    net = Net("LICell")
    spikes = PlasticityConfig(EligibilityConfig(kernel="stdp_pair"))
    learner = attach(net, spikes, layers={"fc2": PlasticityConfig.eprop()}, sample=steps_of())
    net(steps_of())
    assert type(learner.connections["fc2"].traces.rule.kernel).__name__ == "EProp"
    assert learner.connections["fc2"].eligibility.any() and learner.connections["fc1"].eligibility.any()


@pytest.mark.parametrize("name", ["Leaky", "LICell"])
def test_nobody_complains_that_it_does_not_fire(name, recwarn):
    net, actor = made(name)
    for trial in range(12):
        with torch.no_grad():
            net(steps_of(trial))
        actor.act()
        actor.learn(REWARD)
        actor.learner.reset()
    assert not any(issubclass(warning.category, PlasticityWarning) for warning in recwarn)
    net(steps_of())
    assert "not fired" not in str(actor.learner.diagnose())


def test_a_net_that_is_one_layer_and_integrators_learns():
    net = norse.SequentialState(nn.Linear(N_IN, N, bias=False), norse.LICell())
    actor, before = Actor(attach(net, PlasticityConfig.eprop())), net[0].weight.detach().clone()
    net(steps_of()[0])
    actor.act()
    actor.learn(REWARD)
    assert not torch.equal(net[0].weight, before)
    with pytest.raises(ValueError, match="it is a leaky integrator"):
        attach(norse.SequentialState(nn.Linear(N_IN, N), norse.LICell()), PlasticityConfig.dev())


def test_a_readout_that_fires_may_be_read_by_its_membrane():
    """With a kernel that reads the membrane, the readout changes by the policy gradient of that."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(N_IN, N, bias=False), snn.Leaky(0.9, init_hidden=True, output=True))
    of_membrane = EligibilityConfig(kernel=EligibilityVectors(of="membrane"), tau_e=math.inf, clamp_range=None)
    learner = attach(net, PlasticityConfig(of_membrane, three_factor=ThreeFactorConfig(lr=LR, weight_clamp=None)))
    actor, whole = Actor(learner, reads="membrane", temperature=2.0, promise=0.25), copy.deepcopy(net)
    with torch.no_grad():
        for x in steps_of():
            net(x)
    action, error = actor.act(), actor.learn(REWARD)
    chosen = log_policy(sum(whole(x)[1] for x in steps_of()), action)
    (expected,) = torch.autograd.grad((error * chosen).mean(), whole[0].weight)
    torch.testing.assert_close(net[0].weight.detach() - whole[0].weight.detach(), LR * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["Leaky", "LICell"])
def test_it_is_not_scaled_until_it_fires(name):
    net = Net(name)
    before = net.fc2.weight.detach().clone()
    scales = scale_to_rate(net, steps_of(), rate=0.1)
    assert list(scales) == ["fc1"] and torch.equal(net.fc2.weight, before)
