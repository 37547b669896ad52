"""A host that the library has never heard of: one adapter, in this file, is all that it takes."""

from __future__ import annotations

import math
from typing import NamedTuple

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from host_models import BATCH, CONFIG, N_IN, Record, changes, close, excitable, expected, trains
from torch import nn

from snn_plasticity import EligibilityConfig, PlasticityConfig, Rate, attach
from snn_plasticity.dual import Meter, OverTime, deepen, widen
from snn_plasticity.hosts import HostAdapter, NeuronCall, NeuronKind, OwnWeight, adapter, register_host

X = trains(9, BATCH, N_IN)
N = 4


class Constants(NamedTuple):
    """One threshold for each neuron."""

    threshold: torch.Tensor


class Accumulator(nn.Module):
    """Adds up what it is given, fires at its threshold and starts again; it keeps its sum itself."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.count, self.total = units, torch.zeros(())
        self.constants = Constants(torch.linspace(0.5, 1.0, units))

    def forward(self, current):
        total = self.total + current
        spikes = (total > self.constants.threshold).to(current)
        self.total = (total * (1 - spikes)).detach()
        return spikes + (current - current.detach())  # a gradient of one


class Lateral(Accumulator):
    """The same, with weights of its own: from what it is given, and from its spikes one step earlier."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(units)
        self.reads, self.spikes = inputs, torch.zeros(())
        self.feed = nn.Parameter(torch.rand(units, inputs, generator=torch.Generator().manual_seed(4)))
        self.lateral = nn.Parameter(torch.full((units, units), 0.1).fill_diagonal_(0.0))

    def forward(self, given):
        self.before = self.spikes.expand(len(given), self.count)
        self.spikes = super().forward(given @ self.feed.T + self.before @ self.lateral.T).detach()
        return self.spikes


class Host(HostAdapter):
    """All that has to be known of them."""

    output_sizes = ("count",)
    input_sizes = ("reads",)

    def kind_of(self, module):
        if isinstance(module, Lateral):
            feed = OwnWeight("feed", lambda call, time_major: call.current)
            lateral = OwnWeight("lateral", lambda call, time_major: module.before, autapses=False, recurrent=True)
            return NeuronKind(weights=(feed, lateral), takes_current=False)
        return NeuronKind() if isinstance(module, Accumulator) else None

    def forget_state(self, module):
        if isinstance(module, Accumulator):
            module.total = torch.zeros(())
        if isinstance(module, Lateral):
            module.spikes = torch.zeros(())

    def widen_constants(self, module, small, large):
        if isinstance(module, Accumulator):
            wide = module.constants.threshold.repeat(-(-large // small))[:large]
            module.constants = Constants(wide)


@pytest.fixture
def host():
    forget = register_host(Host())
    yield
    forget()


def net() -> nn.Sequential:
    return excitable(nn.Sequential(nn.Linear(N_IN, N), Accumulator(N), nn.Linear(N, 3), Accumulator(3)))


def run(model) -> None:
    with torch.no_grad():
        for x in X:
            model(x)


def test_without_an_adapter_there_is_no_neuron():
    with pytest.raises(ValueError, match="the neurons none"):
        attach(net())


def test_its_layers_learn(host):
    model = net()
    first, second = Record(model[0], model[1]), Record(model[2], model[3])
    moved = changes(model, attach(model, CONFIG), lambda: run(model))
    close(moved["0"], first.change())
    close(moved["2"], second.change())


def test_weights_that_it_holds_itself_learn_but_no_autapses(host):
    model = nn.Sequential(Lateral(N_IN, N))
    learner, inputs, before, spikes = attach(model, CONFIG), [], [], []
    model[0].register_forward_hook(lambda m, args, out: inputs.append(args[0]))
    model[0].register_forward_hook(lambda m, args, out: before.append(m.before))
    model[0].register_forward_hook(lambda m, args, out: spikes.append(out))
    moved = changes(model, learner, lambda: run(model))
    assert set(moved) == {"0.feed", "0.lateral"}
    post = torch.stack(spikes)
    close(moved["0.feed"], expected(torch.stack(inputs), post))
    wanted = torch.as_tensor(expected(torch.stack(before), post))
    close(moved["0.lateral"], wanted.fill_diagonal_(0.0))
    assert float(wanted.abs().max()) > 0.0


def test_a_run_starts_from_a_fresh_state(host):
    model = net()
    once, again = OverTime()(model, X), OverTime()(model, X)
    assert torch.equal(once, again)
    assert model[1].total.dim() == 2  # there is something to forget


@pytest.mark.parametrize("lateral", [False, True])
def test_it_grows(host, lateral):
    """The base's units spike in the wider net as they do in the base, and every size tells the new width."""
    hidden = [Lateral(N_IN, N)] if lateral else [nn.Linear(N_IN, N), Accumulator(N)]
    base = excitable(nn.Sequential(*hidden, nn.Linear(N, 3), Accumulator(3)))
    wide, _ = widen(base, 2, init="preserving")
    depth = len(hidden)
    neuron, small = wide[depth - 1], base[depth - 1]
    assert neuron.count == 2 * N and wide[depth].in_features == 2 * N
    assert torch.equal(neuron.constants.threshold, small.constants.threshold.repeat(2))
    if lateral:
        assert neuron.lateral.shape == (2 * N, 2 * N) and neuron.feed.shape == (2 * N, N_IN)
        assert torch.equal(neuron.lateral[:N, :N], small.lateral)
        assert not neuron.lateral[N:, N:].diagonal().any() and neuron.lateral[N:].any(1).all()
    with torch.no_grad():
        wanted, spikes = (OverTime()(model[:depth], X) for model in (base, wide))
    assert wanted.any() and torch.equal(spikes[:, :N], wanted)


def test_it_becomes_deeper(host):
    base = net()
    deep, _ = deepen(base, "1", init="preserving")
    assert [type(module) for module in deep] == [nn.Linear, Accumulator, nn.Linear, Accumulator, nn.Linear, Accumulator]
    with torch.no_grad():
        relayed, spikes = deep[:4], base[:2]
        assert torch.equal(OverTime()(relayed, X), OverTime()(spikes, X))


def test_its_operations_are_counted(host):
    model, spikes = nn.Sequential(Lateral(N_IN, N)), []
    model[0].register_forward_hook(lambda m, args, out: spikes.append(m.before))
    with Meter(model) as meter:
        run(model)
    cost = meter.read()
    assert cost.macs == len(X) * BATCH * N * (N_IN + N)
    assert cost.synops == N * int(X.count_nonzero() + torch.stack(spikes).count_nonzero())


@pytest.mark.parametrize("given", [object(), Host, None])
def test_what_is_no_adapter_is_refused(given):
    with pytest.raises(TypeError, match="adapter is .*expected an instance of a class that inherits from HostAdapter"):
        register_host(given)


def test_what_is_no_kind_is_refused(host):
    class Wrong(HostAdapter):
        def kind_of(self, module):
            return isinstance(module, Accumulator)

    forget = register_host(Wrong())
    try:
        with pytest.raises(TypeError, match="Wrong.kind_of returned .*expected a NeuronKind, or None"):
            attach(net())
    finally:
        forget()


def test_the_latest_is_asked_first(host):
    class Silent(HostAdapter):
        def kind_of(self, module):
            return NeuronKind(refusal="its output is a membrane potential") if isinstance(module, Accumulator) else None

    forget = register_host(Silent())
    try:
        with pytest.raises(ValueError, match="1: its output is a membrane potential"):
            attach(net())
    finally:
        forget()
    assert set(attach(net(), CONFIG).connections) == {"0", "2"}


class Boastful(Host):
    """Has an answer to everything, also of neurons that it says it does not know."""

    def membrane(self, module, call):
        return torch.full_like(call.spikes, 9.0)

    above_threshold = surrogate = membrane

    def pseudo_derivative(self, module):
        return torch.ones_like

    def response(self, module):
        return ((1.0, 0.5),)


class Derived(snn.Leaky):
    """A class of the user's own, of which snnTorch's adapter takes nothing for granted."""


class Showing(HostAdapter):
    """Adds the membrane of one class to what another host knows of it."""

    def kind_of(self, module):
        return NeuronKind() if isinstance(module, snn.Leaky) else None

    def membrane(self, module, call):
        return 2.0 * call.output[-1]


def test_only_hosts_that_know_a_neuron_are_asked_of_it():
    forget, (x, lif) = register_host(Boastful()), (torch.rand(2, N), snn.Leaky(0.9))
    out = lif(x, lif.reset_mem())
    call = NeuronCall(x, None, out[0], out)
    try:
        assert torch.equal(adapter.membrane(lif, call), out[1])
        assert torch.equal(adapter.above_threshold(lif, call), (out[1] - 1.0).detach())
        assert adapter.response(lif) == ((1.0, float(torch.tensor(0.9))),)
        own = Accumulator(N)
        assert (adapter.membrane(own, call) == 9.0).all() and adapter.response(own) == ((1.0, 0.5),)
        assert adapter.membrane(nn.Linear(N, N), call) is None
        cell = norse.LIFCell()
        z, state = cell(x)
        assert torch.equal(adapter.membrane(cell, NeuronCall(x, None, z, (z, state))), state.v)
        assert adapter.response(cell) is adapter.surrogate(cell, call) is adapter.pseudo_derivative(cell) is None
    finally:
        forget()


class OfMembrane(Rate):
    """e = Σ v ⊗ pre."""

    post_side = "membrane"


@pytest.mark.parametrize("neuron", [Derived, snn.Leaky])
def test_an_adapter_may_add_the_membrane_of_another_hosts_neuron(neuron):
    """It is asked first; what it does not tell, the other does. Forgotten, all is as it was."""
    x, model = trains(9, BATCH, N_IN), nn.Sequential(nn.Linear(N_IN, N), neuron(0.9, init_hidden=True, output=True))
    settings = PlasticityConfig(EligibilityConfig(kernel=OfMembrane(), tau_e=math.inf, clamp_range=None))
    forget = register_host(Showing())
    try:
        assert adapter.response(model[1]) == (((1.0, float(torch.tensor(0.9))),) if neuron is snn.Leaky else None)
        with attach(model, settings) as learner, torch.no_grad():
            shown = sum(2.0 * model(now)[1].unsqueeze(2) * now.unsqueeze(1) for now in x)
            torch.testing.assert_close(learner.connections["0"].eligibility, shown)
    finally:
        forget()
    spikes, mem = model(x[0])
    told = adapter.membrane(model[1], NeuronCall(x[0], None, spikes, (spikes, mem)))
    assert told is mem if neuron is snn.Leaky else told is None
