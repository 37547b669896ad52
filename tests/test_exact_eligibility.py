"""e-prop through `attach` is the gradient: autograd through the host's own net, with the same paths detached.

The loss is Σ_t Σ L_t·z_t, in the last steps only, so that what was carried up to them counts. What a neuron hands on to
itself is kept; the spikes that come back through recurrent weights are detached, and so is what later layers carry.
"""

from __future__ import annotations

import math

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import nn

from snn_plasticity import (
    Convention,
    EligibilityConfig,
    EProp,
    PairingError,
    PlasticityConfig,
    ThreeFactorConfig,
    attach,
)
from snn_plasticity.hosts import HostAdapter, NeuronKind, register_host
from snn_plasticity.layers import SparseLinear
from snn_plasticity.plasticity import EligibilityVectors

STEPS, LATE, B = 14, 6, 3  # the loss counts the last `LATE` steps
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def config(kernel="eprop"):
    """Δw goes into .grad, as it is: summed over samples and steps."""
    eligibility = EligibilityConfig(kernel=kernel, tau_e=1.0, clamp_range=None, convention=Convention(reduction="sum"))
    return PlasticityConfig(eligibility, three_factor=ThreeFactorConfig(mode="hybrid", lr=1.0, weight_clamp=None))


def signal(t, z):
    """L_t (B, N), which single precision holds exactly: snnTorch fires in it."""
    drawn = torch.randn(z.shape[:2], generator=torch.Generator().manual_seed(t))
    return drawn.to(z.dtype) * (t >= STEPS - LATE)


def loss_of(t, z):
    weight = signal(t, z)
    return (weight.view(*weight.shape, *[1] * (z.dim() - 2)) * z).sum()


def edges():
    sources, targets = torch.randint(16, (60,)), torch.randint(8, (60,))
    return SparseLinear(16, 8, torch.stack((sources, targets)), bias=False)


LAYERS = {
    "linear": (lambda: nn.Linear(16, 8, bias=False), (16,)),
    "conv2d": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), (2, 6, 5)),
    "edges": (edges, (16,)),
}


class Net(nn.Module):
    """A layer and its neurons, by steps; the state is handed on as the host hands it on."""

    def __init__(self, layer, neuron, scale):
        super().__init__()
        self.layer, self.neuron = layer, neuron
        with torch.no_grad():
            layer.weight.mul_(scale)

    def forward(self, x, state=()):
        out = self.neuron(self.layer(x), *state)
        return (out[0], out[1:]) if isinstance(out, tuple) else (out, ())


def inputs(shape, dtype, scale=1.0):
    torch.manual_seed(5)
    return scale * (torch.rand(STEPS, B, *shape) < 0.4).to(dtype)


def agree(found, exact, dtype):
    assert exact.norm() > 0
    assert (found - exact).norm() / exact.norm() <= TOLERANCE[dtype]


def differ(found, other):
    assert (found - other).norm() / other.norm() > 1e-3


def follow(net, xs, learner, detached=lambda state: state):
    """The gradient that the learner makes, step by step, and the one that autograd makes of it all."""
    state, fired, loss = (), 0.0, 0.0
    for t, x in enumerate(xs):
        with torch.no_grad():
            z, state = net(x, state)
        learner.step({name: -signal(t, z) for name in learner.connections})
        fired += float(z.mean()) / len(xs)
    assert 0.01 < fired < 0.9
    for name in ("mem", "syn", "syn_exc", "syn_inh", "spk"):
        if name in net.neuron._buffers:
            net.neuron._buffers[name] = torch.zeros(0)
    state = ()
    with learner.paused():
        for t, x in enumerate(xs):
            z, state = net(x, detached(state))
            loss = loss + loss_of(t, z)
    return loss


RESETS = ("subtract", "zero", "none")
SNNTORCH = {
    "Leaky": lambda **k: snntorch.Leaky(0.9, **k),
    "Leaky, reset at once": lambda **k: snntorch.Leaky(0.9, reset_delay=False, **k),
    "Leaky, decays of its own": lambda **k: snntorch.Leaky(torch.linspace(0.6, 0.95, 8), **k),
    "Leaky, learnt decay": lambda **k: snntorch.Leaky(0.9, learn_beta=True, **k),
    "Synaptic": lambda **k: snntorch.Synaptic(0.7, 0.8, **k),
    "Synaptic, reset at once": lambda **k: snntorch.Synaptic(0.7, 0.8, reset_delay=False, **k),
    "Alpha": lambda **k: snntorch.Alpha(0.9, 0.8, **k),
    "Lapicque": lambda **k: snntorch.Lapicque(R=2.0, C=5.0, **k),
}
SCALES = {"Lapicque": 12.0, "Alpha": 3.0}
ALIKE = {"Leaky", "Synaptic", "Lapicque"}  # with a filter for an answer, where nothing is cut


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", SNNTORCH)
def test_neurons_of_snntorch(name, reset, layer, dtype):
    if "of its own" in name and layer == "conv2d":
        pytest.skip("decays of single neurons do not fit the maps of a convolution")
    torch.manual_seed(0)
    build, shape = LAYERS[layer]
    hidden = reset == "zero"  # both ways of keeping the state
    net = Net(build(), SNNTORCH[name](reset_mechanism=reset, init_hidden=hidden), SCALES.get(name, 1.5)).to(dtype)
    learner = attach(net, config())
    loss = follow(net, inputs(shape, dtype), learner)
    found, net.layer.weight.grad = net.layer.weight.grad.clone(), None
    fires = torch.float32 if "at once" in name else dtype  # what is reset at once goes through single precision
    agree(found, torch.autograd.grad(loss, net.layer.weight)[0], fires)
    kernel = learner.connections["layer"].traces.rule.kernel
    cut = reset == "zero" or (name == "Alpha" and reset != "none") or name not in (*ALIKE, "Alpha")
    assert type(kernel) is (EligibilityVectors if cut else EProp)


NORSE = {
    "LIFCell": (norse.LIFCell, 40.0),
    "LIFBoxCell": (norse.LIFBoxCell, 20.0),
    "LSNNCell": (norse.LSNNCell, 60.0),
    "LIFRefracCell": (norse.LIFRefracCell, 60.0),
}


class NorseNet(Net):
    """The same for neurons that are handed their state."""

    def forward(self, x, state=()):
        z, after = self.neuron(self.layer(x), *state)
        return z, (after,)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", NORSE)
def test_neurons_of_norse(name, layer, dtype):
    torch.manual_seed(0)
    (build, shape), (cell, scale) = LAYERS[layer], NORSE[name]
    net = NorseNet(build(), cell(), scale).to(dtype)
    learner = attach(net, config())
    loss = follow(net, inputs(shape, dtype), learner)
    agree(net.layer.weight.grad, torch.autograd.grad(loss, net.layer.weight)[0], dtype)


def without_spikes(state):
    """What a recurrent neuron hands on, with the spikes that come back through its weights detached."""
    return tuple(
        h._replace(z=h.z.detach()) if hasattr(h, "z") else h._replace(lif=h.lif._replace(z=h.lif.z.detach()))
        for h in state
    )


class Recurrent(nn.Module):
    """A recurrent cell of Norse, which holds all its weights."""

    def __init__(self, cell, scale):
        super().__init__()
        self.neuron = cell(16, 8)
        with torch.no_grad():
            self.neuron.input_weights.mul_(scale)
            self.neuron.recurrent_weights.mul_(scale)

    def forward(self, x, state=()):
        z, after = self.neuron(x, *state)
        return z, (after,)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "cell", [norse.LIFRecurrentCell, norse.LSNNRecurrentCell, norse.LIFRefracRecurrentCell], ids=lambda c: c.__name__
)
def test_recurrent_cells_of_norse(cell, dtype):
    torch.manual_seed(0)
    net = Recurrent(cell, 10.0).to(dtype)
    learner, xs = attach(net, config()), inputs((16,), dtype)
    weights = net.neuron.input_weights, net.neuron.recurrent_weights
    loss = follow(net, xs, learner, without_spikes)
    exact = torch.autograd.grad(loss, weights, retain_graph=True)
    for weight, gradient in zip(weights, exact, strict=True):
        agree(weight.grad, gradient, dtype)
    state, loss = (), 0.0
    for t, x in enumerate(xs):
        z, state = net(x, state)
        loss = loss + loss_of(t, z)
    differ(weights[0].grad, torch.autograd.grad(loss, weights[0])[0])  # backpropagation goes through the spikes, too


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(
    ("one_to_one", "dtype"), [(False, torch.float32), (True, torch.float32), (True, torch.float64)]
)
@pytest.mark.parametrize("kind", ["RLeaky", "RSynaptic"])
def test_recurrent_neurons_of_snntorch(kind, one_to_one, reset, dtype):
    """In double precision snnTorch's fully recurrent neurons do not run: their spikes are in single."""
    torch.manual_seed(0)
    decays = (0.7, 0.8) if kind == "RSynaptic" else (0.9,)
    inner = {"all_to_all": False, "V": 0.5} if one_to_one else {"linear_features": 8}
    neuron = getattr(snntorch, kind)(*decays, reset_mechanism=reset, **inner)
    net = Net(nn.Linear(16, 8, bias=False), neuron, 1.5).to(dtype)
    learner, xs = attach(net, config()), inputs((16,), dtype)

    class Handing(nn.Module):
        """Its spikes are the first of the states that it is given."""

        neuron = net.neuron

        def forward(self, x, state=()):
            z, *after = net.neuron(net.layer(x), *state)
            return z, (z, *after)

    loss = follow(Handing(), xs, learner, lambda state: (state[0].detach(), *state[1:]) if state else ())
    weights = [net.layer.weight, *(() if one_to_one else (neuron.recurrent.weight,))]
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        agree(weight.grad, gradient, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("kind", "scale"), [(norse.LIF, 40.0), (norse.LSNN, 60.0)], ids=["LIF", "LSNN"])
def test_sequences_in_chunks(kind, scale, dtype):
    torch.manual_seed(0)
    layer = nn.Linear(16, 8, bias=False)
    net, xs = norse.SequentialState(norse.Lift(layer), kind()).to(dtype), inputs((16,), dtype)
    with torch.no_grad():
        layer.weight.mul_(scale)
    learner = attach(net, config())
    (connection,) = learner.connections.values()
    total, state = 0.0, None
    for first, last in ((0, 1), (1, 6), (6, 8), (8, 9), (9, STEPS)):  # what each chunk ends with
        with torch.no_grad():
            z, state = net(xs[first:last], state)
        total = total + (signal(last, z[-1]).unsqueeze(2) * connection.eligibility).sum(0)
    with learner.paused():
        z = net(xs)[0]
    assert 0.01 < float(z.detach().mean()) < 0.9
    loss = sum(loss_of(last, z[last - 1]) for last in (1, 6, 8, 9, STEPS))
    agree(total, torch.autograd.grad(loss, layer.weight)[0], dtype)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [(norse.LIFRecurrent, norse.LIFRecurrentCell), (norse.LSNNRecurrent, norse.LSNNRecurrentCell)],
    ids=["LIF", "LSNN"],
)
def test_recurrent_sequences_are_their_cells_step_by_step(kind, cell):
    torch.manual_seed(0)
    net, xs = Recurrent(cell, 10.0), inputs((16,), torch.float32)
    weights = net.neuron.input_weights, net.neuron.recurrent_weights
    whole = kind(16, 8)
    with torch.no_grad():
        whole.input_weights.copy_(weights[0])
        whole.recurrent_weights.copy_(weights[1])
    learner, total, state = attach(whole, config()), [0.0, 0.0], None
    for first, last in ((0, 5), (5, STEPS)):
        with torch.no_grad():
            z, state = whole(xs[first:last], state)
        for k, connection in enumerate(learner.connections.values()):
            total[k] = total[k] + (signal(STEPS, z[-1]).unsqueeze(2) * connection.eligibility).sum(0)
    state, loss = (), 0.0
    for t, x in enumerate(xs):
        z, state = net(x, without_spikes(state))
        if t + 1 in (5, STEPS):
            loss = loss + loss_of(STEPS, z)
    apart = 1.0 - torch.eye(8)  # no neuron connects to itself
    exact = torch.autograd.grad(loss, weights)
    agree(total[0], exact[0], torch.float32)
    agree(total[1] * apart, exact[1], torch.float32)


WHOLE = {
    "StateLeaky": lambda: (nn.Linear(16, 8, bias=False), snntorch.StateLeaky(0.9, 8)),
    "StateLeaky, graded": lambda: (nn.Linear(16, 8, bias=False), snntorch.StateLeaky(0.9, 8, graded_spikes_factor=0.7)),
    "StateLeaky, decays of its own": lambda: (
        nn.Linear(16, 8, bias=False),
        snntorch.StateLeaky(torch.linspace(0.6, 0.9, 8), 8),
    ),
    "LinearLeaky": lambda: (snntorch.LinearLeaky(0.9, 16, 8),),
}


@pytest.mark.parametrize("name", WHOLE)
def test_sequences_of_snntorch(name):
    torch.manual_seed(0)
    net, xs = nn.Sequential(*WHOLE[name]()), inputs((16,), torch.float32)
    learner = attach(net, config(), sample=xs)
    (connection,) = learner.connections.values()
    z = net(xs)[0]
    assert 0.01 < float(z.detach().mean()) < 0.9
    total = (signal(STEPS, z[-1]).unsqueeze(2) * connection.eligibility).sum(0)
    agree(total, torch.autograd.grad(loss_of(STEPS, z[-1]), connection.weight)[0], torch.float32)


def test_a_truncated_kernel_is_refused():
    net = nn.Sequential(nn.Linear(16, 8), snntorch.StateLeaky(0.9, 8, kernel_truncation_steps=4))
    learner = attach(net, config())
    with pytest.raises(PairingError, match="does not tell of single steps"):
        net(inputs((16,), torch.float32))
    assert learner.connections["0"].eligibility is None


@pytest.mark.parametrize("reset", RESETS)
def test_a_recurrent_convolution_of_snntorch(reset):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    neuron = snntorch.RLeaky(0.9, conv2d_channels=4, kernel_size=3, reset_mechanism=reset)
    net = nn.ModuleDict({"layer": layer, "neuron": neuron})
    learner, xs = attach(net, config()), inputs((2, 6, 5), torch.float32)

    def run():
        state = ()
        for t, x in enumerate(xs):
            z, *after = neuron(layer(x), *state)
            state = (z.detach(), *after)
            yield t, z

    for t, z in run():
        learner.step({name: -signal(t, z) for name in learner.connections})
    with learner.paused():
        neuron.spk, neuron.mem = torch.zeros(0), torch.zeros(0)
        loss = sum(loss_of(t, z) for t, z in run())
    weights = layer.weight, neuron.recurrent.weight
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        agree(weight.grad, gradient, torch.float32)


@pytest.mark.parametrize("cell", [norse.LIFCell, norse.LSNNCell])
def test_a_readout_that_leaks_filters_the_eligibility_as_it_filters_the_spikes(cell):
    """y ← exp(−1/τ)·y + z; the error comes in the last steps only."""
    tau = 4.0
    torch.manual_seed(0)
    net = Net(nn.Linear(16, 8, bias=False), cell(), 20.0)
    learner = attach(net, PlasticityConfig.eprop(1.0, tau_e=tau, mode="hybrid"))
    xs, state, y, loss = inputs((16,), torch.float32), (), 0.0, 0.0
    for t, x in enumerate(xs):
        z, state = net(x, state)
        y = math.exp(-1 / tau) * y + z
        loss = loss + loss_of(t, y)
        if t >= STEPS - LATE:
            learner.step({"layer": -B * signal(t, z)})  # of a mean over the batch
    found, net.layer.weight.grad = net.layer.weight.grad, None
    agree(found, torch.autograd.grad(loss, net.layer.weight)[0], torch.float32)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_what_was_saved_goes_on_where_the_neuron_is_known(reset):
    def build(**more):
        torch.manual_seed(0)
        net = Net(nn.Linear(16, 8, bias=False), snntorch.Leaky(0.9, reset_mechanism=reset, init_hidden=True), 1.5)
        return net, attach(net, PlasticityConfig.eprop(tau_e=5.0), **more)

    xs, (net, learner) = inputs((16,), torch.float32), build()
    with torch.no_grad():
        for x in xs[:5]:
            learner.step(signal(STEPS, net(x)[0]))
        kept = learner.state_dict()
        other, again = build()
        with pytest.raises(ValueError, match=r"attach\(\.\.\., sample=\.\.\.\)"):
            again.load_state_dict(kept)
        other, again = build(sample=xs[0])
        other.load_state_dict(net.state_dict())
        again.load_state_dict(kept)
        other.neuron.mem = net.neuron.mem.clone()
        for x in xs[5:]:
            for one, of in ((net, learner), (other, again)):
                of.step(signal(STEPS, one(x)[0]))
    assert torch.equal(net.layer.weight, other.layer.weight)


@pytest.mark.parametrize("trace", ({"trace_type": "replacing"}, {"trace_type": "dutch", "dutch_scope": "active"}))
def test_a_trace_that_is_not_linear_is_followed_as_well(trace):
    """Whose neuron it is turns out after its settings were read: "auto" stays "auto"."""

    def learned(path):
        torch.manual_seed(0)
        net = norse.SequentialState(nn.Linear(6, 5), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.1))))
        config = EligibilityConfig(kernel="eprop", clamp_range=None, **trace)
        learner, state = attach(net, PlasticityConfig(config), sample=torch.zeros(3, 6), path=path), None
        with torch.no_grad():
            for x in torch.ones(20, 3, 6):
                _, state = net(x, state)
        assert isinstance(learner.connections["0"].traces.rule.kernel, EligibilityVectors)
        before = net[0].weight.detach().clone()
        learner.step(1.0)
        return net[0].weight.detach() - before

    change = learned("auto")
    assert change.any() and torch.equal(change, learned("plain"))
    with pytest.raises(ValueError, match="path = 'rows', but EligibilityVectors"):
        learned("rows")


def test_a_lifted_cell_is_followed_step_by_step():
    torch.manual_seed(0)
    layer = nn.Linear(16, 8, bias=False)
    net, xs = nn.Sequential(norse.Lift(layer), norse.Lift(norse.LIFCell())), inputs((16,), torch.float32)
    with torch.no_grad():
        layer.weight.mul_(40.0)
    learner = attach(net, config())
    (connection,) = learner.connections.values()
    z = net(xs)[0]
    total = (signal(STEPS, z[-1]).unsqueeze(2) * connection.eligibility).sum(0)
    agree(total, torch.autograd.grad(loss_of(STEPS, z[-1]), layer.weight)[0], torch.float32)


class Squashed(nn.Module):
    """A neuron of the user's own: it keeps its membrane, which a slow current drives."""

    def __init__(self):
        super().__init__()
        self.v = None
        self.register_buffer("slow", torch.zeros(()))

    def forward(self, current):
        v = torch.zeros_like(current) if self.v is None else self.v
        self.slow = 0.8 * self.slow + (0.5 + torch.tanh(v)) * current
        self.v = torch.tanh(0.9 * v + self.slow)
        return torch.sigmoid(4 * self.v - 2)


class Mine(HostAdapter):
    def kind_of(self, module):
        return NeuronKind() if isinstance(module, (Squashed, Neighbours, Silent)) else None


@pytest.fixture
def my_host():
    forget = register_host(Mine())
    yield
    forget()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_neuron_of_ones_own_needs_no_formula(my_host, layer):
    torch.manual_seed(0)
    build, shape = LAYERS[layer]
    net = Net(build(), Squashed(), 1.0)
    learner, xs = attach(net, config()), inputs(shape, torch.float32)
    for t, x in enumerate(xs):
        with torch.no_grad():
            z, _ = net(x)
        learner.step({"layer": -signal(t, z)})
    net.neuron.v, net.neuron.slow, loss = None, torch.zeros(()), 0.0
    with learner.paused():
        for t, x in enumerate(xs):
            loss = loss + loss_of(t, net(x)[0])
    agree(net.layer.weight.grad, torch.autograd.grad(loss, net.layer.weight)[0], torch.float32)


class Neighbours(Squashed):
    """Its units read one another's states."""

    def forward(self, current):
        z = super().forward(current)
        self.v = self.v + 0.1 * self.v.roll(1, -1)
        return z


class Silent(Squashed):
    """Its spikes have no derivative."""

    def forward(self, current):
        return (super().forward(current) > 0.5).float()


@pytest.mark.parametrize(("neuron", "why"), [(Neighbours, "one another's states"), (Silent, "have no derivative")])
def test_what_cannot_be_followed_is_refused_in_a_sentence(my_host, neuron, why):
    net = Net(nn.Linear(16, 8), neuron(), 1.0)
    learner = attach(net, config())
    with pytest.raises(PairingError, match=why):
        for x in inputs((16,), torch.float32):
            net(x)
    assert learner.enabled


def test_a_disabled_surrogate_is_refused():
    net = Net(nn.Linear(16, 8), snntorch.Leaky(0.9, surrogate_disable=True, reset_mechanism="zero"), 1.0)
    learner = attach(net, config())
    with pytest.raises(PairingError, match="surrogate gradient is disabled"):
        net(torch.ones(B, 16))
    assert learner.connections["layer"].eligibility is None


def test_the_membrane_in_place_of_the_spikes():
    torch.manual_seed(0)
    net = NorseNet(nn.Linear(16, 8, bias=False), norse.LIFCell(), 40.0)
    learner, xs = attach(net, config(EligibilityVectors(of="membrane"))), inputs((16,), torch.float32)
    state, loss = (), 0.0
    for t, x in enumerate(xs):
        z, state = net(x, state)
        learner.step({"layer": -signal(t, z)})
        loss = loss + loss_of(t, state[0].v)
    agree(net.layer.weight.grad, torch.autograd.grad(loss, net.layer.weight)[0], torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("reset", RESETS)
def test_two_layers(reset, dtype):
    """Of the first layer: L = ∂ℓ/∂z of the step, and what the second carries is detached."""
    torch.manual_seed(0)
    first, second = nn.Linear(16, 12, bias=False), nn.Linear(12, 8, bias=False)
    low, high = (snntorch.Leaky(0.9, reset_mechanism=reset) for _ in range(2))
    net = nn.ModuleDict({"first": first, "low": low, "second": second, "high": high}).to(dtype)
    with torch.no_grad():
        first.weight.mul_(1.5)
        second.weight.mul_(2.0)
    learner, xs = attach(net, config()), inputs((16,), dtype)

    def run(detach):
        below = above = None
        for t, x in enumerate(xs):
            z, below = low(first(x), below)
            above = None if above is None else detach(above)
            out, above = high(second(z.to(dtype)), above)  # snnTorch fires in single precision
            yield t, z, out

    fired = 0.0
    for t, z, out in run(lambda h: h.detach()):
        (spatial,) = torch.autograd.grad(loss_of(t, out), z, retain_graph=True)
        learner.step({"first": -spatial, "second": -signal(t, out)})
        fired += float(out.detach().mean()) / STEPS
    assert 0.01 < fired < 0.9
    with learner.paused():
        for neuron in (low, high):
            neuron.reset_mem()
        loss = sum(loss_of(t, out) for t, _, out in run(lambda h: h.detach()))
        (exact,) = torch.autograd.grad(loss, first.weight)
        for neuron in (low, high):
            neuron.reset_mem()
        loss = sum(loss_of(t, out) for t, _, out in run(lambda h: h))
        through, last = torch.autograd.grad(loss, (first.weight, second.weight))
    agree(first.weight.grad, exact, torch.float32)
    agree(second.weight.grad, last, dtype)
    differ(first.weight.grad, through)


def test_a_pool_of_overlapping_windows_before_a_neuron_that_is_followed_is_refused():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, stride=1), snntorch.Leaky(0.9, reset_mechanism="zero", init_hidden=True)
    )
    learner = attach(net, config())
    with pytest.raises(PairingError, match="behind a pool"):
        net(torch.ones(B, 1, 6, 6))
    assert learner.connections["0"].eligibility is None
