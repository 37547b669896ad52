"""Learning signals of a loss: exact by the weights above, or straight from the readout by feedback."""

from __future__ import annotations

import copy
from dataclasses import replace

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from test_online_gradient import TOLERANCE, chunks, error
from torch import Tensor, nn

from snn_plasticity import PlasticityConfig, ThreeFactorConfig, attach
from snn_plasticity.feedback import BroadcastFeedback, RandomFeedback

STEPS, B = 20, 3


def cut(state: object) -> object:
    """A state of Norse without its graph."""
    if state is None or isinstance(state, Tensor):
        return state if state is None else state.detach()
    return type(state)(*map(cut, state))  # type: ignore[arg-type, call-arg]


def kept(state: object) -> object:
    """A state that carries its own memory on, and not the spikes that come back."""
    if hasattr(state, "z"):
        return state._replace(z=state.z.detach())
    return state if state is None or isinstance(state, Tensor) else type(state)(*map(kept, state))  # type: ignore[arg-type, call-arg]


class NorseNet(nn.Module):
    """Two layers of one kind of cell; recurrent ones hold their weights. `keep`: whose own carry has a graph."""

    def __init__(self, cell: type[nn.Module], scale: float) -> None:
        super().__init__()
        self.recurs = "Recurrent" in cell.__name__
        pairs = [(6, 5), (5, 4)]
        self.layers = nn.ModuleList() if self.recurs else nn.ModuleList(nn.Linear(*pair) for pair in pairs)
        self.cells = nn.ModuleList(cell(*pair) if self.recurs else cell() for pair in pairs)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if name.endswith(("weight", "weights")):
                    weight.mul_(scale)

    def forward(self, x: Tensor, states: list, keep: int | None = None) -> tuple[Tensor, list]:
        after = []
        for k, cell in enumerate(self.cells):
            state = states[k] if keep is None else kept(states[k]) if keep == k else cut(states[k])
            x, now = cell(x if self.recurs else self.layers[k](x), state)
            after.append(now)
        return x, after


def loss_of(x: Tensor, state: object, target: Tensor) -> Tensor:
    v = state.v if hasattr(state, "v") else state.lif.v
    return ((v - target) ** 2).mean() + (x - target).square().mean()


CELLS = {
    "LIFCell": (norse.LIFCell, 20.0),
    "LSNNCell": (norse.LSNNCell, 30.0),
    "LIFRefracCell": (norse.LIFRefracCell, 30.0),
    "LIFRecurrentCell": (norse.LIFRecurrentCell, 4.0),
    "LSNNRecurrentCell": (norse.LSNNRecurrentCell, 12.0),
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_neurons_of_norse_learn_online(name, dtype):
    torch.manual_seed(0)
    net = NorseNet(*CELLS[name]).to(dtype)
    inputs, target = (torch.rand(STEPS, B, 6) < 0.5).to(dtype), torch.rand(B, 4, dtype=dtype)
    weights = {n: w for n, w in net.named_parameters() if n.endswith(("weight", "weights"))}
    expected = {}
    for layer in range(2):
        states, loss, fired = [None, None], torch.zeros((), dtype=dtype), 0.0
        for x in inputs:
            z, states = net(x, states, layer)
            loss, fired = loss + loss_of(z, states[-1], target), fired + float(z.detach().mean()) / STEPS
        own = [n for n in weights if n.split(".")[1] == str(layer)]
        found = torch.autograd.grad(loss, [weights[n] for n in own], allow_unused=True)
        expected |= dict(zip(own, found, strict=True))
    assert 0.01 < fired < 0.9
    for size in (1, 7) if dtype is torch.float32 else (5,):
        model = copy.deepcopy(net)
        with attach(model, PlasticityConfig.online(mode="hybrid")) as learner:
            states = [None, None]
            for steps in chunks(STEPS, size):
                loss = torch.zeros((), dtype=dtype)
                for t in steps:
                    z, states = model(inputs[t], states)
                    loss = loss + loss_of(z, states[-1], target)
                learner.step(loss=loss)
        for n, w in model.named_parameters():
            if n in expected and expected[n] is None:  # nothing that a spike does shows within its step
                assert "LSNN" in name and ".0." in n and not w.grad.any()
            elif n in expected:
                if "recurrent" in n:  # no autapses
                    expected[n] = expected[n] * (1 - torch.eye(len(w), dtype=dtype))
                assert expected[n].norm() > 0 and error(w.grad, expected[n]) <= TOLERANCE[dtype], (n, size)


class Deep(nn.Module):
    """Three layers, the last of them without neurons."""

    def __init__(self, reset: str, recurrent: bool = False) -> None:
        super().__init__()

        def neuron(n: int) -> nn.Module:
            given = {"beta": 0.9, "reset_mechanism": reset, "threshold": 0.4}
            return snn.RLeaky(linear_features=n, **given) if recurrent else snn.Leaky(**given)

        self.fc1, self.lif1 = nn.Linear(8, 12), neuron(12)
        self.fc2, self.lif2 = nn.Linear(12, 10), neuron(10)
        self.out = nn.Linear(10, 3)

    def start(self) -> list[tuple[Tensor, ...]]:
        states = [lif.reset_mem() for lif in (self.lif1, self.lif2)]
        return [state if isinstance(state, tuple) else (state,) for state in states]

    def forward(self, x: Tensor, states: list, keep: bool = False) -> tuple[Tensor, list, list[Tensor]]:
        after, fired = [], []
        for fc, lif, state in zip((self.fc1, self.fc2), (self.lif1, self.lif2), states, strict=True):
            if keep:
                state = [s.detach() if len(state) == 2 and not k else s for k, s in enumerate(state)]
                x = x.detach()
            x, *state = lif(fc(x), *state)
            x = x.to(fc.weight.dtype)  # surrogates of snnTorch give float32 whatever they are given
            after.append((x, *state) if isinstance(lif, snn.RLeaky) else tuple(state))
            fired.append(x)
        return self.out(x), after, fired


FEEDBACKS = {
    "random": (RandomFeedback(0), RandomFeedback(1)),
    "broadcast": (BroadcastFeedback(), BroadcastFeedback()),
    RandomFeedback(7, 2.0): (RandomFeedback(7, 2.0), RandomFeedback(7, 2.0)),
}


def by_hand(net: Deep, inputs: Tensor, target: Tensor, ways: list[Tensor], late: bool) -> dict[str, Tensor]:
    """e-prop written out with autograd: every layer's spikes meet the error at the readout through its own matrix."""
    states, outputs, spikes = net.start(), [], ([], [])
    for x in inputs:
        y, states, fired = net(x, states, keep=True)
        outputs.append(y)
        spikes[0].append(fired[0])
        spikes[1].append(fired[1])
    loss = sum((y - target).square().mean() for y in (outputs[-5:] if late else outputs))
    errors = torch.autograd.grad(loss, outputs, retain_graph=True, allow_unused=True)
    found = {"out.weight": torch.autograd.grad(loss, net.out.weight, retain_graph=True)[0]}
    weights = dict(net.named_parameters())
    for k, way in enumerate(ways):
        aim = sum((z * (e @ way)).sum() for z, e in zip(spikes[k], errors, strict=True) if e is not None)
        for name in (f"fc{k + 1}.weight", f"lif{k + 1}.recurrent.weight"):
            if name in weights:
                (found[name],) = torch.autograd.grad(aim, weights[name], retain_graph=True)
    return found


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("feedback", FEEDBACKS, ids=str)
def test_feedback_is_eprop_written_out(feedback, reset, recurrent):
    torch.manual_seed(1)
    dtype = torch.float64
    net = Deep(reset, recurrent).to(dtype)
    inputs, target = (torch.rand(STEPS, B, 8) < 0.5).to(dtype), torch.rand(B, 3).to(dtype)
    for size, late in ((1, False), (6, False), (STEPS, True)):
        model = copy.deepcopy(net)
        with attach(model, PlasticityConfig.eprop(1.0, feedback=feedback, mode="hybrid")) as learner:
            states, names = model.start(), list(learner.connections)
            for steps in chunks(STEPS, size):
                outputs = []
                for t in steps:
                    y, states, _ = model(inputs[t], states)
                    outputs.append(y)
                learner.step(loss=sum((y - target).square().mean() for y in (outputs[-5:] if late else outputs)))
            drawn = {name: c.feedback for name, c in learner.connections.items()}
        assert drawn["out"] is None and names.index("fc1") == 0
        ways = [drawn["fc1"].weights, drawn["fc2"].weights]
        assert ways[0].shape == (3, 12) and ways[1].shape == (3, 10)
        expected = by_hand(copy.deepcopy(net), inputs, target, ways, late)
        for name, gradient in expected.items():
            assert gradient.norm() > 0
            assert error(dict(model.named_parameters())[name].grad, gradient) <= 1e-6, (name, size)


def learn(net: nn.Module, feedback: object, steps: int = 5) -> object:
    torch.manual_seed(2)
    learner, states = attach(net, PlasticityConfig.online(0.05, feedback=feedback)), net.start()
    for x in (torch.rand(steps, B, 8) < 0.5).float():
        y, states, _ = net(x, states)
        learner.step(loss=(y - 1.0).square().mean())
    return learner


def test_adaptive_feedback_follows_what_the_layers_above_learn():
    torch.manual_seed(1)
    net = Deep("subtract")
    ways = [(net.out.weight @ net.fc2.weight).detach().clone(), net.out.weight.detach().clone()]
    learner = attach(net, PlasticityConfig.online(0.05, feedback="adaptive"))
    states, first = net.start(), None
    for x in (torch.rand(6, B, 8) < 0.5).float():
        now = [(net.out.weight @ net.fc2.weight).detach().clone(), net.out.weight.detach().clone()]
        y, states, _ = net(x, states)
        learner.step(loss=(y - 1.0).square().mean())
        found = [learner.connections[name].feedback for name in ("fc1", "fc2")]
        first = found if first is None else first
        for drawn, state, before, here in zip(first, found, ways, now, strict=True):
            torch.testing.assert_close(state.weights - drawn.weights, here - before)
    assert all((state.weights - drawn.weights).norm() > 0.01 for drawn, state in zip(first, found, strict=True))


def test_the_drawn_matrix_is_saved_and_outlives_a_reset_and_a_refused_step():
    net = Deep("subtract")
    learner = learn(net, "adaptive")
    before = learner.connections["fc1"].feedback
    learner.reset()
    y, _, _ = net(torch.ones(B, 8), net.start())
    learner.connections["fc2"].weight.data[0, 0] += 1.0
    with pytest.raises(ValueError, match="finite number"):
        learner.step(loss=(y - 1.0).square().mean() * float("nan"))
    assert learner.connections["fc1"].feedback is before
    state, twin = copy.deepcopy(learner.state_dict()), Deep("subtract")
    other = learn(twin, "adaptive")
    twin.load_state_dict(net.state_dict())
    other.load_state_dict(state)
    for found, expected in zip(other.connections["fc1"].feedback, before, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("feedback", ["symmetric", "random", "adaptive"])
def test_a_loss_falls(feedback):
    torch.manual_seed(3)
    net = Deep("subtract")
    inputs, target = (torch.rand(40, B, 8) < 0.5).float(), torch.rand(B, 3)
    with attach(net, PlasticityConfig.online(0.02, feedback=feedback)) as learner:
        losses = []
        for _ in range(8):
            states, total = net.start(), 0.0
            learner.reset()
            for x in inputs:
                y, states, _ = net(x, states)
                loss = (y - target).square().mean()
                total += float(loss.detach())
                learner.step(loss=loss)
            losses.append(total)
    assert losses[-1] < 0.6 * losses[0]


def test_a_readout_that_is_not_plastic_tells_the_layers_below():
    torch.manual_seed(0)
    net = Deep("zero")
    target_layers = ("fc1", "fc2")
    config = PlasticityConfig.eprop(1.0, feedback="random", mode="hybrid")
    config = replace(config, three_factor=replace(config.three_factor, target_layers=target_layers))
    with attach(net, config) as learner:
        y, _, _ = net(torch.ones(B, 8), net.start())
        learner.step(loss=y.square().mean())
    assert net.fc1.weight.grad.norm() > 0 and net.out.weight.grad is None


def test_settings_of_feedback_travel_and_are_looked_at():
    config = PlasticityConfig.eprop(feedback="random")
    assert PlasticityConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="feedback = 'rnd'"):
        PlasticityConfig.online(feedback="rnd")
    leaky = PlasticityConfig.eprop(feedback="random", tau_e=20.0)
    assert leaky.three_factor.tau_readout == 20.0 and PlasticityConfig.from_json(leaky.to_json()) == leaky
    with pytest.raises(ValueError, match="no feedback comes from a readout"):
        ThreeFactorConfig(tau_readout=20.0)
    with pytest.raises(ValueError, match="L is handed over"):
        PlasticityConfig.eprop(firing_rate=(0.1, 1.0))


def test_feedback_that_nothing_reads_is_refused():
    with pytest.raises(ValueError, match="learns from no loss"):
        PlasticityConfig(three_factor=ThreeFactorConfig(feedback="random"))


def test_a_loss_that_does_not_reach_the_readout_is_refused():
    net = Deep("subtract")
    learner = attach(net, PlasticityConfig.eprop(feedback="random"))
    _, _, fired = net(torch.ones(B, 8), net.start())
    with pytest.raises(ValueError, match="depends on no output of"):
        learner.step(loss=fired[1].mean() + fired[0].mean())


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("size", [5, STEPS])
def test_rates_are_kept_as_by_a_loss_of_them(reset, size):
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Linear(8, 6), snn.Leaky(0.9, reset_mechanism=reset, threshold=0.5, init_hidden=True, output=True)
    )
    inputs = (torch.rand(STEPS, B, 8) < 0.5).float()
    expected, twin = torch.zeros(6, 8), copy.deepcopy(net)
    for steps in chunks(STEPS, size):  # the rate counts the steps since the last loss; the memory is kept throughout
        twin[1].reset_mem()
        given = [twin(x) for x in inputs[: steps[-1] + 1]]
        given = [given[t] for t in steps]
        rates = torch.stack([z for z, _ in given]).mean(0)
        loss = sum(v.square().mean() for _, v in given) + 0.5 * 3.0 * (0.2 - rates).square().sum(1).mean()
        expected += torch.autograd.grad(loss, twin[0].weight)[0]
    with attach(net, PlasticityConfig.online(mode="hybrid", firing_rate=(0.2, 3.0))) as learner:
        for steps in chunks(STEPS, size):
            learner.step(loss=sum(net(inputs[t])[1].square().mean() for t in steps))
    assert error(net[0].weight.grad, expected) <= 1e-6


def test_a_silent_net_is_brought_to_a_rate():
    torch.manual_seed(0)
    net = Deep("subtract")
    with torch.no_grad():
        net.fc1.weight.mul_(0.3)
    config = PlasticityConfig.online(0.5, feedback="random", firing_rate=(0.2, 30.0))
    with attach(net, config) as learner:
        for _ in range(60):
            learner.reset()
            states, total, fired = net.start(), 0.0, []
            for x in (torch.rand(STEPS, B, 8) < 0.5).float():
                y, states, now = net(x, states)
                total = total + 0.001 * y.square().mean()
                fired.append(now[0])
            learner.step(loss=total)
            rate = float(torch.stack(fired).detach().mean())
    assert 0.1 < rate < 0.3


def test_a_copy_hears_by_the_same_matrix():
    net = Deep("subtract")
    learner = learn(net, "random")
    net.start()
    twin, copied = copy.deepcopy((net, learner))
    y, _, _ = twin(torch.ones(B, 8), twin.start())
    copied.step(loss=y.square().mean())
    for name in ("fc1", "fc2"):
        assert torch.equal(copied.connections[name].feedback.weights, learner.connections[name].feedback.weights)
    assert not torch.equal(twin.fc1.weight, net.fc1.weight)
