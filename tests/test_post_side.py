"""What a kernel reads on the post side, as hosts supply it: spikes, surrogate derivatives, membranes, one's own."""

from __future__ import annotations

import copy

import pytest
import snntorch as snn
import torch
from conftest import trains
from snntorch import surrogate
from torch import nn

from snn_plasticity import EligibilityConfig, EProp, PairingError, PlasticityConfig, Rate, attach
from snn_plasticity.hosts.snntorch import SpikeSlope

STEPS, B, N_PRE, N_POST = 40, 3, 12, 7
NEURONS = {
    "leaky, subtract": lambda: snn.Leaky(0.9),
    "leaky, none": lambda: snn.Leaky(0.8, reset_mechanism="none"),
    "leaky, a threshold each": lambda: snn.Leaky(0.9, threshold=torch.linspace(0.5, 1.5, N_POST)),
    "leaky, fast sigmoid": lambda: snn.Leaky(0.9, spike_grad=surrogate.fast_sigmoid(slope=5)),
    "leaky, graded": lambda: snn.Leaky(0.9, graded_spikes_factor=0.5),
    "synaptic, subtract": lambda: snn.Synaptic(0.8, 0.9),
    "synaptic, none": lambda: snn.Synaptic(0.9, 0.7, reset_mechanism="none"),
    "alpha, none": lambda: snn.Alpha(0.9, 0.8, reset_mechanism="none"),
    "lapicque": lambda: snn.Lapicque(R=5.0, C=4.0, time_step=1.0),
}


class Net(nn.Module):
    """A layer and its neuron, whose states are handed on."""

    def __init__(self, neuron: nn.Module, bias: bool = True) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(N_PRE, N_POST, bias=bias), neuron

    def forward(self, steps):
        self.lif.reset_mem()
        states, spikes = (), []
        for x in steps:
            spike, *states = self.lif(self.fc(x), *states)
            spikes.append(spike)
        return torch.stack(spikes)


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype, least", [(torch.float32, 1e-6), (torch.float64, 1e-10)], ids=["fp32", "fp64"])
@pytest.mark.parametrize("name", NEURONS)
def test_eprop_is_the_gradient_of_the_host(name, dtype, least):
    torch.manual_seed(2)
    net = Net(NEURONS[name]()).to(dtype)
    net.fc.weight.data.mul_(2.0)
    steps, signal = trains(STEPS, B, N_PRE, seed=3).to(dtype), torch.randn(B, N_POST).to(dtype)  # spikes are fp32
    (gradient,) = torch.autograd.grad((signal * net(steps)).sum(), net.fc.weight)
    with attach(net, PlasticityConfig.eprop()) as learner, torch.no_grad():
        assert net(steps).mean() > 0.01
        e = learner.connections["fc"].eligibility
    assert relative((signal.unsqueeze(-1) * e).sum(0), gradient) < least


def test_hidden_states_and_sequences_are_read_alike():
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Linear(N_PRE, N_POST), snn.Leaky(0.9, init_hidden=True))
    shown = Net(snn.Leaky(0.9))
    shown.fc.load_state_dict(hidden[0].state_dict())
    steps = trains(STEPS, B, N_PRE, seed=1).float()
    with (
        torch.no_grad(),
        attach(hidden, PlasticityConfig.eprop()) as one,
        attach(shown, PlasticityConfig.eprop()) as two,
    ):
        for x in steps:
            hidden(x)
        shown(steps)
        torch.testing.assert_close(one.connections["0"].eligibility, two.connections["fc"].eligibility)


def test_membrane_and_functions():
    class Membrane(Rate):
        post_side = "membrane"

    torch.manual_seed(0)
    steps = trains(5, B, N_PRE, seed=1).float()
    found = []
    for kernel, post in ((Membrane(), None), (Rate(), lambda call: call.output[1])):
        torch.manual_seed(0)
        net = Net(snn.Leaky(0.9))
        config = PlasticityConfig(EligibilityConfig(kernel=kernel, clamp_range=None))
        with torch.no_grad(), attach(net, config, post=post) as learner:
            net(steps[:1])
            found.append(learner.connections["fc"].eligibility)
    torch.testing.assert_close(found[0], found[1])
    with torch.no_grad():
        expected = net.fc(steps[0]).unsqueeze(-1) * steps[0].unsqueeze(1)
    torch.testing.assert_close(found[0], expected)


def test_a_mismatch_is_refused():
    net = Net(snn.Leaky(0.9))
    with pytest.raises(ValueError, match="post = 'spikes', and the kernel EProp reads 'surrogate'"):
        attach(net, PlasticityConfig(EligibilityConfig(kernel=EProp())), post="spikes")
    with pytest.raises(ValueError, match="post = 'surrogate', and the kernel PairSTDP reads 'spikes'"):
        attach(net, PlasticityConfig.dev(), post="surrogate")
    with pytest.raises(ValueError, match="post = 'voltage'; expected one of 'spikes'"):
        attach(net, PlasticityConfig.dev(), post="voltage")
    wrong = r"fc: post gave \(1, 7\); expected a tensor like the spikes, \(3, 7\)"
    with (
        attach(net, PlasticityConfig.dev(), post=lambda call: call.spikes[:1]),
        torch.no_grad(),
        pytest.raises(ValueError, match=wrong),
    ):
        net(torch.ones(1, B, N_PRE))


def test_a_neuron_that_does_not_tell_is_refused():
    class Silent(nn.Module):
        def forward(self, current):
            return (current > 0).float()

    net = nn.Sequential(nn.Linear(N_PRE, N_POST), Silent())
    config = PlasticityConfig(EligibilityConfig(kernel=EProp()))
    with (
        attach(net, config, pairs={"0": "1"}),
        torch.no_grad(),
        pytest.raises(PairingError, match="reads the surrogate derivative of 1, a Silent, which its host does not"),
    ):
        net(torch.ones(B, N_PRE))


def test_below_threshold_synapses_remember_too():
    torch.manual_seed(0)
    net = Net(snn.Leaky(0.9, threshold=100.0))
    with attach(net, PlasticityConfig.eprop()) as learner, torch.no_grad():
        assert not net(trains(STEPS, B, N_PRE, seed=1).float()).any()
        assert (learner.connections["fc"].eligibility.abs().sum((0, 2)) > 0).all()


def test_an_adaptive_optimizer_suits_gradients(recwarn):
    torch.manual_seed(0)
    net = Net(snn.Leaky(0.9))
    optimizer = torch.optim.Adam([net.fc.weight], 1e-2)
    before = net.fc.weight.detach().clone()
    with attach(net, PlasticityConfig.eprop(1.0, mode="hybrid")) as learner, torch.no_grad():
        net(trains(STEPS, B, N_PRE, seed=1).float())
        learner.step(torch.randn(B, N_POST))
        optimizer.step()
    assert not torch.equal(net.fc.weight, before)
    assert not [w for w in recwarn if "Adam" in str(w.message)]


def test_a_function_is_all_that_eprop_by_word_reads():
    """What it gives is ψ itself, as it is of a kernel that was given as an object."""
    steps, found = trains(STEPS, B, N_PRE, seed=1).float(), []
    for kernel in ("eprop", EProp(response=((1.0, 0.9),))):
        torch.manual_seed(0)
        net = Net(snn.Leaky(0.9))
        config = PlasticityConfig(EligibilityConfig(kernel=kernel, clamp_range=None))
        with torch.no_grad(), attach(net, config, post=lambda call: torch.ones_like(call.spikes)) as learner:
            net(steps)
            found.append(learner.connections["fc"].eligibility)
    torch.testing.assert_close(*found)


def other_than_it_is_called():
    """A spike function that bears the name of the library's, whose derivative is another."""
    alpha = 2.0

    def inner(x):
        return surrogate.fast_sigmoid(slope=alpha)(x)

    inner.__qualname__, inner.__module__ = "atan.<locals>.inner", "snntorch.surrogate"
    return inner


SPIKES = {
    "arctan": (surrogate.atan(), True),
    "wide arctan": (surrogate.atan(alpha=0.5), True),
    "fast sigmoid": (surrogate.fast_sigmoid(slope=5), True),
    "sigmoid": (surrogate.sigmoid(slope=5), False),
    "straight through": (surrogate.straight_through_estimator(), False),
    "another": (other_than_it_is_called(), False),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPIKES)
def test_psi_in_closed_form_is_what_autograd_finds(name, dtype):
    """Also once the function of a neuron was exchanged; what is no closed form of the library goes through autograd."""
    spike, closed = SPIKES[name]
    neuron = snn.Leaky(0.9, graded_spikes_factor=0.5)
    slope, v = SpikeSlope(neuron), torch.randn(50, 4, 9, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for now in (neuron.spike_grad, spike):
        neuron.spike_grad = now
        u = v.clone().requires_grad_()
        (0.5 * now(u)).sum().backward()
        torch.testing.assert_close(slope(v), u.grad)
    assert (slope._looked[1] or ("",))[0] in (("atan", "fast_sigmoid") if closed else ("", name))
    again = copy.deepcopy(slope)
    assert again.module is not neuron and torch.equal(again(v), slope(v))
