"""Online gradients against autograd through the very host net, with the same paths through time cut, and no others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from snn_plasticity import EligibilityConfig, PairingError, PlasticityConfig, SparseLinear, ThreeFactorConfig, attach
from snn_plasticity.kernels import OnlineGradient

snn = pytest.importorskip("snntorch")

STEPS, BATCH = 24, 2
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def linear(n_in: int, n_out: int) -> nn.Module:
    return nn.Linear(n_in, n_out)


def conv(n_in: int, n_out: int) -> nn.Module:
    return nn.Conv2d(n_in, n_out, 3, padding=1, stride=1)


def recurrent(which: str, **given: object) -> Callable[[int, bool], nn.Module]:
    def build(n: int, in_maps: bool) -> nn.Module:
        inside = {"conv2d_channels": n, "kernel_size": (3, 3)} if in_maps else {"linear_features": n}
        return getattr(snn, which)(**given, **inside)

    return build


def plain(which: str, **given: object) -> Callable[[int, bool], nn.Module]:
    return lambda n, in_maps: getattr(snn, which)(**given)


NEURONS = {
    "Leaky": plain("Leaky", beta=0.9),
    "Leaky none": plain("Leaky", beta=0.8, reset_mechanism="none", threshold=2.0),
    "Synaptic": plain("Synaptic", alpha=0.6, beta=0.85),
    "Synaptic none": plain("Synaptic", alpha=0.5, beta=0.8, reset_mechanism="none", threshold=3.0),
    "Lapicque": plain("Lapicque", beta=0.9, threshold=0.3),
    "Leaky zero": plain("Leaky", beta=0.9, reset_mechanism="zero"),
    "Leaky at once": plain("Leaky", beta=0.9, reset_mechanism="zero", reset_delay=False),
    "Synaptic zero": plain("Synaptic", alpha=0.6, beta=0.85, reset_mechanism="zero"),
    "Alpha none": plain("Alpha", alpha=0.8, beta=0.7, reset_mechanism="none", threshold=0.5),
    "RLeaky zero": recurrent("RLeaky", beta=0.9, reset_mechanism="zero"),
    "RLeaky": recurrent("RLeaky", beta=0.9),
    "RSynaptic": recurrent("RSynaptic", alpha=0.5, beta=0.8),
}


class Net(nn.Module):
    """One or two layers of one kind; states travel as tuples. `keep` names the layer whose own carry has a graph."""

    def __init__(self, neuron: str, synapse: Callable[[int, int], nn.Module], sizes: tuple[int, ...]) -> None:
        super().__init__()
        in_maps = synapse is conv
        self.synapses = nn.ModuleList(synapse(*pair) for pair in zip(sizes, sizes[1:], strict=False))
        self.neurons = nn.ModuleList(NEURONS[neuron](n, in_maps) for n in sizes[1:])

    def start(self) -> list[tuple[Tensor, ...]]:
        states = [neuron.reset_mem() for neuron in self.neurons]
        return [state if isinstance(state, tuple) else (state,) for state in states]

    def forward(self, x: Tensor, states: list, keep: int | None = None) -> tuple[Tensor, list]:
        after = []
        for k, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
            if keep is not None:
                recurs = type(neuron).__name__.startswith("R")  # its first state is the spikes that come back
                states[k] = tuple(
                    s if k == keep and not (recurs and not i) else s.detach() for i, s in enumerate(states[k])
                )
            x, *state = neuron(synapse(x), *states[k])
            x = x.to(synapse.weight.dtype)  # surrogates of snnTorch give float32 whatever they are given
            after.append((x, *state) if type(neuron).__name__.startswith("R") else tuple(state))
        return x, after


def weights_of(net: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in net.named_parameters() if name.endswith("weight")}


def loss_of(spikes: Tensor, state: tuple[Tensor, ...], target: Tensor) -> Tensor:
    """Of one step: the membrane and the spikes of the last layer."""
    return ((state[-1] - target) ** 2).mean() / STEPS + (spikes.flatten(1).mean(1) - 0.3).square().mean() / STEPS


def by_autograd(net: Net, inputs: Tensor, target: Tensor, keep: int | None) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients of the summed loss, with all carries cut but that of layer `keep`; None cuts none. And the spikes."""
    states, loss, seen = net.start(), torch.zeros((), dtype=inputs.dtype), []
    for x in inputs:
        spikes, states = net(x, states, keep)
        loss = loss + loss_of(spikes, states[-1], target)
        seen.append(spikes.detach())
    weights = weights_of(net)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return dict(zip(weights, found, strict=True)), torch.stack(seen)


def chunks(steps: int, size: int) -> Iterator[range]:
    for start in range(0, steps, size):
        yield range(start, min(steps, start + size))


def by_learner(net: Net, inputs: Tensor, target: Tensor, size: int, kernel: str = "online") -> dict[str, Tensor]:
    """What a learner adds to `.grad`, with a loss for every `size` steps; the weights stay as they are."""
    config = PlasticityConfig(
        EligibilityConfig(kernel=kernel), three_factor=ThreeFactorConfig(mode="hybrid", lr=1.0, weight_clamp=None)
    )
    states = net.start()
    with attach(net, config) as learner:
        for steps in chunks(len(inputs), size):
            loss = torch.zeros((), dtype=inputs.dtype)
            for t in steps:
                spikes, states = net(inputs[t], states)
                loss = loss + loss_of(spikes, states[-1], target)
            learner.step(loss=loss)
    return {name: weight.grad for name, weight in weights_of(net).items()}


def task(neuron: str, synapse: Callable, layers: int, dtype: torch.dtype) -> tuple[Net, Tensor, Tensor]:
    torch.manual_seed(0)
    sizes = (6, 5, 4)[: layers + 1]
    net, spread = Net(neuron, synapse, sizes).to(dtype), (4, 4) if synapse is conv else ()
    inputs = (torch.rand(STEPS, BATCH, sizes[0], *spread) < 0.3).to(dtype)
    for gain in [1.0] + 14 * [1.25]:
        with torch.no_grad():
            for layer in net.synapses:
                layer.weight.mul_(gain)
        if 0.05 < by_autograd(copy.deepcopy(net), inputs, torch.zeros(()), 0)[1].mean() < 0.9:
            break
    target = torch.rand(BATCH, sizes[-1], *spread, dtype=dtype)
    return net, inputs, target


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def layer_of(name: str) -> int:
    return int(name.split(".")[1])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("synapse", "dtype"), [(linear, torch.float32), (linear, torch.float64), (conv, torch.float32)]
)
@pytest.mark.parametrize("neuron", NEURONS)
def test_it_is_the_gradient_with_all_but_its_own_carry_cut(neuron, synapse, layers, dtype):
    if neuron.startswith("Alpha") and layers == 2:
        pytest.skip("its membrane answers a step later: within a step, nothing comes back through it")
    tolerance = TOLERANCE[torch.float32 if neuron == "Leaky at once" else dtype]  # its carry has spikes in it: float32
    net, inputs, target = task(neuron, synapse, layers, dtype)
    whole, spikes = by_autograd(copy.deepcopy(net), inputs, target, None)
    assert 0.02 < spikes.mean() < 0.98
    cut = [by_autograd(copy.deepcopy(net), inputs, target, layer)[0] for layer in range(layers)]
    for size in (1, 7, STEPS) if dtype is torch.float32 else (5,):
        found = by_learner(copy.deepcopy(net), inputs, target, size)
        for name, gradient in found.items():
            assert error(gradient, cut[layer_of(name)][name]) <= tolerance, (name, size)
    differs = layers == 2 or neuron.startswith("R")
    assert not differs or max(error(cut[layer_of(name)][name], whole[name]) for name in whole) > 0.01


@pytest.mark.parametrize("neuron", ["Leaky", "Synaptic"])
def test_without_a_memory_it_is_the_gradient_with_all_carries_cut(neuron):
    net, inputs, target = task(neuron, linear, 2, torch.float64)
    cut, _ = by_autograd(copy.deepcopy(net), inputs, target, -1)
    carried, _ = by_autograd(copy.deepcopy(net), inputs, target, 0)
    found = by_learner(copy.deepcopy(net), inputs, target, 5, "sltt")
    assert all(error(found[name], cut[name]) <= 1e-10 for name in cut)
    assert error(cut["synapses.0.weight"], carried["synapses.0.weight"]) > 0.01


def test_the_last_hidden_layer_is_as_in_backpropagation_through_time_where_nothing_is_behind_it():
    """One layer of neurons whose membranes are read: nothing is cut that has a gradient."""
    net, inputs, target = task("Leaky", linear, 1, torch.float64)
    whole, _ = by_autograd(copy.deepcopy(net), inputs, target, None)
    found = by_learner(net, inputs, target, 1)
    assert error(found["synapses.0.weight"], whole["synapses.0.weight"]) <= 1e-10


class Pooled(nn.Module):
    """The layers of snnTorch's quickstart, small; hidden states inside."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.conv, self.pool, self.lif1 = nn.Conv2d(1, 3, 3), pool, snn.Leaky(beta=0.7, init_hidden=True)
        self.fc = nn.Linear(27, 4)
        self.lif2 = snn.Leaky(beta=0.6, init_hidden=True, output=True)

    def forward(self, x: Tensor, keep: int | None = None) -> tuple[Tensor, Tensor]:
        for k, neuron in enumerate((self.lif1, self.lif2)):
            if keep is not None and keep != k:
                neuron.mem = neuron.mem.detach()
        return self.lif2(self.fc(self.lif1(self.pool(self.conv(x))).flatten(1)))


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.MaxPool2d(2)], ids=lambda pool: type(pool).__name__)
def test_convolutions_before_pools_and_states_held_by_neurons(pool, carry):
    """A largest one moves from step to step, and the trace of the input does not know: exact without a trace only."""
    torch.manual_seed(1)
    net, inputs, target = Pooled(pool), (torch.rand(12, 2, 1, 8, 8) < 0.4).float(), torch.rand(2, 4)
    with torch.no_grad():
        net.conv.weight.mul_(3.0)
        net.fc.weight.mul_(3.0)

    def losses(net: nn.Module, keep: int | None = None) -> Iterator[Tensor]:
        for x in inputs:
            spikes, mem = net(x) if keep is None else net(x, keep)
            yield loss_of(spikes, (mem,), target)

    expected = {}
    for layer, name in enumerate(("conv.weight", "fc.weight")):
        fresh = copy.deepcopy(net)
        loss = sum(losses(fresh, layer if carry else -1))
        expected[name] = torch.autograd.grad(loss, dict(fresh.named_parameters())[name])[0]
    config = PlasticityConfig.online(mode="hybrid", carry=carry)
    with attach(net, config) as learner:
        for loss in losses(net):
            learner.step(loss=loss)
    for name, gradient in expected.items():
        found, moves = weights_of(net)[name].grad, name == "conv.weight" and carry and isinstance(pool, nn.MaxPool2d)
        assert gradient.norm() > 0 and (moves or error(found, gradient) <= 1e-6)
        assert torch.cosine_similarity(found.flatten(), gradient.flatten(), 0) > 0.9


def small(kernel: str = "online", **three: object) -> tuple[nn.Module, object]:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 3), snn.Leaky(beta=0.9, init_hidden=True, output=True))
    settings = {"lr": 0.1, "weight_clamp": None, **three}
    return net, attach(
        net, PlasticityConfig(EligibilityConfig(kernel=kernel), three_factor=ThreeFactorConfig(**settings))
    )


def test_the_weight_goes_down_the_gradient_at_once():
    net, learner = small()
    before, x = net[0].weight.detach().clone(), torch.rand(4, 5)
    loss = net(x)[1].square().mean()
    (gradient,) = torch.autograd.grad(loss, net[0].weight, retain_graph=True)
    trace = learner.step(loss=loss, return_details=True)
    torch.testing.assert_close(net[0].weight.detach(), before - 0.1 * gradient)
    assert trace.loss == loss and trace.layers["0"].change_max > 0


def test_masked_weights_stay_and_the_turn_of_a_weight_is_waited_for():
    net, plain = small(update_frequency=2)
    plain.remove()
    mask = torch.tensor([[1, 0, 1, 0, 1]]).expand(3, 5)
    config = PlasticityConfig(
        EligibilityConfig(kernel="online"),
        three_factor=ThreeFactorConfig(lr=0.1, update_frequency=2, weight_clamp=None),
    )
    learner, start, moved = attach(net, config, masks={"0": mask}), net[0].weight.detach().clone(), []
    for x in torch.rand(4, 4, 5):
        learner.step(loss=net(x)[1].square().mean())
        moved.append(bool((net[0].weight != start).any()))
    assert moved == [False, True, True, True]
    assert torch.equal(net[0].weight[:, 1::2], start[:, 1::2])


def test_what_was_run_in_eval_or_paused_or_without_gradients_is_not_held():
    net, learner = small()
    connection, x = learner.connections["0"], torch.rand(4, 5)
    with learner.paused():
        net(x)
    net.eval()
    net(x)
    net.train()
    with torch.no_grad():
        net(x)
    assert len(connection.noted) == 0
    net(x)
    assert len(connection.noted) == 1
    learner.reset()
    assert len(connection.noted) == 0


def test_samples_that_start_anew_leave_nothing_behind():
    """Steps before a reset of some samples count for the others only, as if those had come to an end."""
    net, learner = small(lr=1.0)
    start, steps = net[0].weight.detach().clone(), torch.rand(5, 2, 5)
    loss = torch.zeros(())
    for t, x in enumerate(steps):
        if t == 3:
            learner.reset(mask=torch.tensor([True, False]))
        loss = loss + net(x)[1].square().sum()
    deltas = [torch.autograd.grad(loss, c.outputs, retain_graph=True)[0] for c in learner.connections["0"].noted.steps]
    learner.step(loss=loss)
    trace, change = torch.zeros(2, 5), torch.zeros(3, 5)
    for t, (x, delta) in enumerate(zip(steps, deltas, strict=True)):
        trace = 0.9 * trace * torch.tensor([[float(t != 3)], [1.0]]) + x
        change += delta[int(t < 3) :].T @ trace[int(t < 3) :]
    torch.testing.assert_close(net[0].weight.detach(), start - change)


def test_a_readout_without_neurons_learns_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), snn.Leaky(beta=0.9, init_hidden=True, threshold=0.2), nn.Linear(4, 2))
    learner = attach(net, PlasticityConfig.online(mode="hybrid"))
    loss = sum(net(x).square().mean() for x in torch.rand(6, 3, 5))
    (expected,) = torch.autograd.grad(loss, net[2].weight, retain_graph=True)
    learner.step(loss=loss)
    assert expected.norm() > 0 and error(net[2].weight.grad, expected) <= 1e-6
    assert sorted(learner.connections) == ["0", "2"] and net[0].weight.grad.norm() > 0


SENTENCES = {
    "the graph is used up": (RuntimeError, "used up"),
    "no graph": (ValueError, "no graph"),
    "many numbers": (ValueError, "expected one number"),
    "not finite": (ValueError, "expected a finite number"),
    "something else": (ValueError, "depends on no output"),
    "a modulator as well": (TypeError, "one or the other"),
    "a modulator instead": (TypeError, "learns from no modulator"),
    "no tensor": (TypeError, "expected a tensor"),
}


@pytest.mark.parametrize("which", SENTENCES)
def test_what_cannot_be_learned_from_is_refused_and_changes_nothing(which):
    net, learner = small()
    x, weight = torch.rand(4, 5), net[0].weight
    given, loss = {}, net(x)[1].square().mean()
    if which == "the graph is used up":
        loss.backward()
    elif which == "no graph":
        loss = loss.detach()
    elif which == "many numbers":
        loss = net(x)[1]
    elif which == "not finite":
        loss = loss * float("nan")
    elif which == "something else":
        loss = (2.0 * torch.ones((), requires_grad=True)).sum()
    elif which == "a modulator as well":
        given = {"reward": 1.0}
    elif which == "no tensor":
        loss = 1.0
    before, waiting = weight.detach().clone(), len(learner.connections["0"].noted)
    with pytest.raises(SENTENCES[which][0], match=SENTENCES[which][1]):
        learner.step(1.0) if which == "a modulator instead" else learner.step(loss=loss, **given)
    assert torch.equal(weight, before) and len(learner.connections["0"].noted) == waiting


def test_neurons_of_which_no_gradient_of_a_step_is_known_are_refused():
    with pytest.raises(ValueError, match="begins with 0"):
        OnlineGradient(response=((1.0, 0.9), (-1.0, 0.8)))
    net = nn.Sequential(nn.Linear(5, 3), nn.MaxPool1d(3), snn.Leaky(beta=0.9, reset_mechanism="zero", init_hidden=True))
    learner = attach(net, PlasticityConfig.online())
    with pytest.raises(PairingError, match="a pool lies in between"):
        net(torch.rand(2, 5))
    learner.remove()


def test_settings_of_an_eligibility_are_refused_where_there_is_none():
    with pytest.raises(ValueError, match="leave no eligibility behind"):
        EligibilityConfig(kernel="online", tau_e=50.0)


class WrittenOut(nn.Module):
    """A recurrence in the model's own forward, from the first layer to itself and from the second to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.rec, self.fc2, self.top = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4), nn.Linear(4, 6)
        self.lif1, self.lif2 = snn.Leaky(beta=0.9, threshold=0.5), snn.Leaky(beta=0.8, threshold=0.3)

    def forward(self, x: Tensor, s1: Tensor, m1: Tensor, s2: Tensor, m2: Tensor) -> tuple[Tensor, ...]:
        s1, m1 = self.lif1(self.fc1(x) + self.rec(0.5 * s1) + self.top(s2), m1)
        s2, m2 = self.lif2(self.fc2(s1), m2)
        return s1, m1, s2, m2


@pytest.mark.parametrize("size", [1, 4, 20])
def test_a_recurrence_that_the_model_writes_out_is_cut(size):
    torch.manual_seed(0)
    net, inputs = WrittenOut(), (torch.rand(20, 3, 5) < 0.5).float()
    expected = {}
    for layer, names in enumerate((("fc1", "rec", "top"), ("fc2",))):
        states, loss = [torch.zeros(3, n) for n in (6, 6, 4, 4)], torch.zeros(())
        for x in inputs:
            states = [s if k == 1 + 2 * layer else s.detach() for k, s in enumerate(states)]
            states = list(net(x, *states))
            loss = loss + (states[3] - 0.2).square().mean()
        for name in names:
            (expected[name],) = torch.autograd.grad(loss, getattr(net, name).weight, retain_graph=True)
        assert all(states[k].mean() > 0 for k in (0, 2))
    states = [torch.zeros(3, n) for n in (6, 6, 4, 4)]
    with attach(net, PlasticityConfig.online(mode="hybrid")) as learner:
        for steps in chunks(20, size):
            loss = torch.zeros(())
            for t in steps:
                states = net(inputs[t], *states)
                loss = loss + (states[3] - 0.2).square().mean()
            learner.step(loss=loss)
    for name, gradient in expected.items():
        assert error(getattr(net, name).weight.grad, gradient) <= 1e-6, name


def test_a_recurrence_in_one_tensor_with_something_of_this_step_is_refused():
    class Mixed(WrittenOut):
        def forward(self, x, s1, m1, s2, m2):
            s1, m1 = self.lif1(self.fc1(x), m1)
            s2, m2 = self.lif2(self.fc2(torch.cat((s1[:, :3], s2[:, :3]), 1)), m2)
            return s1, m1, s2, m2

    net, states = Mixed(), [torch.zeros(2, n) for n in (6, 6, 4, 4)]
    with attach(net, PlasticityConfig.online()):
        states = net(torch.rand(2, 5), *states)
        with pytest.raises(PairingError, match="fired a step before together with lif1"):
            net(torch.rand(2, 5), *states)


def nodes(tensor: Tensor) -> int:
    """How many operations a tensor depends on."""
    seen, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return len(seen)


@pytest.mark.parametrize("neuron", ["Leaky", "RSynaptic"])
def test_no_graph_reaches_over_time(neuron):
    net, inputs, target = task(neuron, linear, 2, torch.float32)
    states, sizes = net.start(), []
    with attach(net, PlasticityConfig.online(lr=1e-4)) as learner:
        for x in inputs:
            spikes, states = net(x, states)
            loss = loss_of(spikes, states[-1], target)
            sizes.append(nodes(loss))
            learner.step(loss=loss)
            assert all(len(connection.noted) == 0 for connection in learner.connections.values())
    assert len(set(sizes[2:])) == 1


def test_edges_learn_from_a_loss():
    torch.manual_seed(0)
    layer = SparseLinear(8, 5, torch.stack((torch.randint(8, (20,)), torch.randint(5, (20,)))))
    net = nn.Sequential(layer, snn.Leaky(beta=0.9, init_hidden=True, output=True))
    inputs = (torch.rand(10, 3, 8) < 0.4).float()
    expected = torch.autograd.grad(sum(net(x)[1].square().mean() for x in inputs), layer.weight)[0]
    net[1].reset_mem()
    with attach(net, PlasticityConfig.online(mode="hybrid")) as learner:
        for x in inputs:
            learner.step(loss=net(x)[1].square().mean())
    assert expected.norm() > 0 and error(layer.weight.grad, expected) <= 1e-6


def test_weights_that_are_frozen_for_optimizers_learn():
    net, learner = small()
    net.requires_grad_(False)
    before = net[0].weight.clone()
    learner.step(loss=net(torch.rand(4, 5))[1].square().mean())
    assert not torch.equal(net[0].weight, before)


def test_a_copy_of_model_and_learner_starts_with_nothing_noted():
    net, learner = small()
    net(torch.rand(4, 5))
    net[1].reset_mem()
    twin, copied = copy.deepcopy((net, learner))
    assert len(learner.connections["0"].noted) == 1 and len(copied.connections["0"].noted) == 0
    copied.step(loss=twin(torch.rand(4, 5))[1].square().mean())


@pytest.mark.parametrize("cell", ["LIFCell", "LIFBoxCell", "LSNNCell"])
def test_neurons_of_norse_are_followed_for_each_synapse(cell):
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    net = nn.ModuleDict({"fc": nn.Linear(6, 5), "cell": getattr(norse, cell)()}).double()
    with torch.no_grad():
        net["fc"].weight.mul_(40.0)
    inputs, target = (torch.rand(30, 3, 6) < 0.5).double(), torch.rand(3, 5).double()

    def run(x: Tensor, state: object) -> tuple[Tensor, object]:
        z, state = net["cell"](net["fc"](x), state)
        return (state.v - target).square().mean() + (z * target).mean(), state

    loss, state = torch.zeros(()).double(), None
    for x in inputs:
        one, state = run(x, state)
        loss = loss + one
    (expected,) = torch.autograd.grad(loss, net["fc"].weight)
    with attach(net, PlasticityConfig.online(mode="hybrid")) as learner:
        state = None
        for x in inputs:
            one, state = run(x, state)
            learner.step(loss=one)
    assert expected.norm() > 0 and error(net["fc"].weight.grad, expected) <= 1e-9
