"""Feedback from a readout that leaks: what a neuron did is credited as long as the readout holds it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from test_online_gradient import TOLERANCE, chunks, error
from torch import Tensor, nn

from snn_plasticity import PlasticityConfig, attach
from snn_plasticity.feedback import RandomFeedback

STEPS, B, KAPPA = 20, 3, float(torch.tensor(0.8))  # as snnTorch keeps it
TAU = -1.0 / math.log(KAPPA)
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "Leaky": lambda: snn.Leaky(0.9, threshold=0.4),
    "Leaky none": lambda: snn.Leaky(0.9, threshold=0.8, reset_mechanism="none"),
    "Leaky zero": lambda: snn.Leaky(0.9, threshold=0.4, reset_mechanism="zero"),
    "Synaptic": lambda: snn.Synaptic(0.6, 0.85, threshold=0.5),
    "RLeaky": lambda: snn.RLeaky(0.9, linear_features=12, threshold=0.4),
    "LIFCell": norse.LIFCell,
}


class Net(nn.Module):
    """One layer of neurons, and integrators that leak by KAPPA. `cut`: spikes that come back have no graph."""

    def __init__(self, neuron: str) -> None:
        super().__init__()
        self.fc1, self.lif, self.fc2 = nn.Linear(8, 12), NEURONS[neuron](), nn.Linear(12, 3)
        self.readout = snn.Leaky(KAPPA, reset_mechanism="none", threshold=1e9)
        if neuron == "LIFCell":
            with torch.no_grad():
                self.fc1.weight.mul_(20.0)

    def start(self) -> list:
        state = self.lif.reset_mem() if hasattr(self.lif, "reset_mem") else None
        own = state if isinstance(state, tuple) else (state,)
        return [tuple(s if s is None else s.to(self.fc1.weight.dtype) for s in own), self.readout.reset_mem()]

    def forward(self, x: Tensor, states: list, cut: bool = False) -> tuple[Tensor, Tensor, list]:
        own = states[0]
        recurs = isinstance(self.lif, snn.RLeaky)
        if cut and recurs:
            own = (own[0].detach(), own[1])
        if cut and hasattr(own[0], "z"):
            own = (own[0]._replace(z=own[0].z.detach()),)
        z, *own = self.lif(self.fc1(x), *own)
        z = z.to(self.fc1.weight.dtype)  # surrogates of snnTorch give float32 whatever they are given
        _, mem = self.readout(self.fc2(z), states[1])
        return mem, z, [(z, *own) if recurs else tuple(own), mem]


def task(neuron: str, dtype: torch.dtype) -> tuple[Net, Tensor, Tensor]:
    torch.manual_seed(1)
    net = Net(neuron).to(dtype)
    return net, (torch.rand(STEPS, B, 8) < 0.5).to(dtype), torch.rand(B, 3).to(dtype)


def losses(outputs: list[Tensor], target: Tensor) -> Tensor:
    return sum((y - target).square().mean() for y in outputs)


def by_learner(net: Net, inputs: Tensor, target: Tensor, size: int, late: bool = False, **given: object) -> tuple:
    """What is added to the gradients, with a loss for every `size` steps, and the matrix of the feedback."""
    net.start()  # snnTorch keeps the last state, with its graph
    model = copy.deepcopy(net)
    with attach(model, PlasticityConfig.eprop(1.0, mode="hybrid", tau_e=TAU, **given)) as learner:
        states = model.start()
        for steps in chunks(STEPS, size):
            outputs = []
            for t in steps:
                y, _, states = model(inputs[t], states)
                outputs.append(y)
            learner.step(loss=losses(outputs[-3:] if late else outputs, target))
        way = learner.connections["fc1"].feedback.weights
    return {name: w.grad for name, w in model.named_parameters() if w.grad is not None}, way


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("neuron", [name for name in NEURONS if name != "RLeaky"])
def test_symmetric_feedback_is_backpropagation_through_time(neuron, dtype):
    """One hidden layer that is not recurrent: no path is left out, so that nothing has to be cut."""
    tolerance = TOLERANCE[dtype if neuron == "LIFCell" else torch.float32]  # snnTorch's spikes are float32
    net, inputs, target = task(neuron, dtype)
    states, outputs, fired = net.start(), [], 0.0
    for x in inputs:
        y, z, states = net(x, states)
        outputs.append(y)
        fired += float(z.detach().mean()) / STEPS
    assert 0.02 < fired < 0.9
    names = ("fc1.weight", "fc2.weight")
    expected = torch.autograd.grad(losses(outputs, target), [dict(net.named_parameters())[n] for n in names])
    for size in (1, 7, STEPS):
        found, _ = by_learner(net, inputs, target, size, feedback="symmetric")
        for name, gradient in zip(names, expected, strict=True):
            assert error(found[name], gradient) <= tolerance, (name, size)


@pytest.mark.parametrize("rate", [None, (0.2, 3.0)], ids=["", "rate"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_random_feedback_is_eprop_written_out(neuron, rate):
    """Filtered spikes with their graph meet, at every step, the error through the matrix."""
    dtype = torch.float64
    net, inputs, target = task(neuron, dtype)
    for size, late in ((1, False), (6, False), (STEPS, True)):
        found, way = by_learner(net, inputs, target, size, late, feedback=RandomFeedback(3), firing_rate=rate)
        states, filtered, aim = net.start(), torch.zeros(B, 12, dtype=dtype), torch.zeros((), dtype=dtype)
        for steps in chunks(STEPS, size):
            errors, spikes, behind = [], [], []
            for t in steps:
                y, z, states = net(inputs[t], states, cut=True)
                filtered = KAPPA * filtered + z
                errors.append(2.0 * (y - target).detach() / y.numel())
                spikes.append(z)
                behind.append(filtered)
            for k, (e, f) in enumerate(zip(errors, behind, strict=True)):
                if not late or k >= len(errors) - 3:
                    aim = aim + (f * (e @ way)).sum()
            if rate is not None:
                mean = torch.stack(spikes).mean(0)
                aim = aim + 0.5 * rate[1] * (rate[0] - mean).square().sum(1).mean()
        weights = {n: w for n, w in net.named_parameters() if n in ("fc1.weight", "lif.recurrent.weight")}
        expected = torch.autograd.grad(aim, list(weights.values()))
        for name, gradient in zip(weights, expected, strict=True):
            assert gradient.norm() > 0 and error(found[name], gradient) <= 1e-6, (name, size)


def test_the_filter_matters_and_a_reset_ends_it():
    net, inputs, target = task("Leaky", torch.float32)
    leaky, _ = by_learner(net, inputs, target, 1, feedback="symmetric")
    model = copy.deepcopy(net)
    with attach(model, PlasticityConfig.eprop(1.0, mode="hybrid", feedback="symmetric")) as learner:
        states = model.start()
        for x in inputs:
            y, _, states = model(x, states)
            learner.step(loss=losses([y], target))
    assert error(model.fc1.weight.grad, leaky["fc1.weight"]) > 0.1
    assert error(model.fc2.weight.grad, leaky["fc2.weight"]) < 1e-6
    twice = copy.deepcopy(net)
    with attach(twice, PlasticityConfig.eprop(1.0, mode="hybrid", feedback="symmetric", tau_e=TAU)) as learner:
        for _ in range(2):
            states = twice.start()
            learner.reset()
            for x in inputs:
                y, _, states = twice(x, states)
                learner.step(loss=losses([y], target))
    torch.testing.assert_close(twice.fc1.weight.grad, 2.0 * leaky["fc1.weight"])


def test_a_saved_learner_goes_on_with_what_the_readout_holds():
    net, inputs, target = task("Leaky", torch.float32)
    config, ends = PlasticityConfig.eprop(0.1, feedback="random", tau_e=TAU), []
    for saved in (False, True):
        model = copy.deepcopy(net)
        learner, states = attach(model, config), model.start()
        for t, x in enumerate(inputs):
            y, _, states = model(x, states)
            learner.step(loss=losses([y], target))
            states = [tuple(s.detach() for s in states[0]), states[1].detach()]
            if saved and t == 9:
                state, weights = copy.deepcopy(learner.state_dict()), copy.deepcopy(model.state_dict())
                model = copy.deepcopy(net)
                learner = attach(model, config)
                model(x, model.start())
                learner.reset()
                model.load_state_dict(weights)
                learner.load_state_dict(state)
        ends.append(model.fc1.weight.detach())
    assert torch.equal(*ends) and not torch.equal(ends[0], net.fc1.weight)


class Maps(nn.Module):
    """A convolution, a pool, neurons that may be cut by a reset, and integrators that leak by KAPPA."""

    def __init__(self, pool: nn.Module, reset: str) -> None:
        super().__init__()
        self.conv, self.pool, self.lif = nn.Conv2d(2, 3, 3), pool, snn.Leaky(0.9, threshold=0.4, reset_mechanism=reset)
        self.out = nn.LazyLinear(3)
        self.readout = snn.Leaky(KAPPA, reset_mechanism="none", threshold=1e9)

    def start(self) -> list[Tensor]:
        return [self.lif.reset_mem(), self.readout.reset_mem()]

    def forward(self, x: Tensor, mems: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        z, mem = self.lif(self.pool(self.conv(x)), mems[0])
        y, held = self.readout(self.out(z.flatten(1)), mems[1])
        return held, z, [mem, held]


@pytest.mark.parametrize("rate", [None, (0.2, 3.0)], ids=["", "rate"])
@pytest.mark.parametrize(
    ("pool", "reset"),
    [(nn.Identity, "subtract"), (lambda: nn.AvgPool2d(2), "subtract"), (nn.Identity, "zero")],
    ids=["", "average", "reset to zero"],
)
def test_neurons_that_share_weights_each_have_an_eligibility_of_their_own(pool, reset, rate):
    torch.manual_seed(0)
    net, inputs, target = Maps(pool(), reset), (torch.rand(12, B, 2, 6, 6) < 0.5).float(), torch.rand(B, 3)
    with torch.no_grad():
        net(inputs[0], net.start())
    for size in (1, 5):
        net.start()
        model = copy.deepcopy(net)
        config = PlasticityConfig.eprop(1.0, mode="hybrid", tau_e=TAU, feedback="random", firing_rate=rate)
        with attach(model, config) as learner:
            mems = model.start()
            for steps in chunks(12, size):
                outputs = []
                for t in steps:
                    y, _, mems = model(inputs[t], mems)
                    outputs.append(y)
                learner.step(loss=losses(outputs, target))
            way = learner.connections["conv"].feedback.weights
        mems, filtered, aim = net.start(), torch.zeros(()), torch.zeros(())
        for steps in chunks(12, size):
            spikes = []
            for t in steps:
                y, z, mems = net(inputs[t], mems)
                filtered = KAPPA * filtered + z
                spikes.append(z)
                aim = aim + (filtered.flatten(1) * (2.0 * (y - target).detach() / y.numel() @ way)).sum()
            if rate is not None:
                mean = torch.stack(spikes).mean(0)
                aim = aim + 0.5 * rate[1] * (rate[0] - mean).square().flatten(1).sum(1).mean()
        (expected,) = torch.autograd.grad(aim, net.conv.weight)
        assert expected.norm() > 0 and error(model.conv.weight.grad, expected) <= 1e-6, size


def test_neurons_that_share_places_are_refused_and_nothing_is_changed():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AvgPool2d(2, 1), snn.Leaky(0.9, threshold=0.1, init_hidden=True), nn.Flatten(),
        nn.Linear(18, 2),
    )  # fmt: skip
    with attach(net, PlasticityConfig.eprop(1.0, feedback="random", tau_e=20.0)) as learner:
        y = net(torch.ones(2, 1, 6, 6))
        before = copy.deepcopy(net.state_dict())
        with pytest.raises(ValueError, match="0: a leaky readout needs an eligibility for each neuron"):
            learner.step(loss=y.square().mean())
        assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_layer_that_was_not_run_waits():
    net = nn.ModuleDict({"fc": nn.Linear(4, 5), "lif": snn.Leaky(0.9, init_hidden=True), "a": nn.Linear(5, 2)})
    net["b"] = nn.Linear(5, 2)
    with attach(net, PlasticityConfig.online(1.0)) as learner:
        before = net["b"].weight.detach().clone()
        learner.step(loss=net["a"](net["lif"](net["fc"](torch.ones(2, 4)))).square().mean())
        assert torch.equal(net["b"].weight, before)
