"""An error or a target at the readout is the loss that it stands for, in every layer."""

from __future__ import annotations

import copy
from dataclasses import replace

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from torch.nn import functional

from snn_plasticity import PlasticityConfig, attach

STEPS, B, N_OUT = 6, 4, 3


class Net(nn.Module):
    """Two layers; the second is a bare readout, feeds spiking neurons, or leaky integrators of either host."""

    def __init__(self, readout: str) -> None:
        super().__init__()
        self.readout = readout
        self.fc1, self.lif1 = nn.Linear(8, 12), snn.Leaky(beta=0.9, threshold=0.3)
        self.fc2 = nn.Linear(12, N_OUT)
        made = {"spikes": lambda: snn.Leaky(0.8, threshold=0.3), "norse": norse.LICell, "lif": norse.LIFCell}
        if readout != "bare":
            self.out = made[readout]()
        if readout in ("norse", "lif"):
            nn.init.normal_(self.fc2.weight, 4.0, 4.0)

    def start(self) -> list:
        spikes = self.readout == "spikes"
        return [self.lif1.reset_mem(), self.out.reset_mem() if spikes else None]

    def forward(self, x: Tensor, states: list) -> tuple[Tensor, list]:
        """What the readout gives, its membrane beside where there is one."""
        z, mem = self.lif1(self.fc1(x), states[0])
        y = self.fc2(z)
        if self.readout == "bare":
            return y, [mem, None]
        y, state = self.out(y, states[1])
        return y, [mem, state]


def task(readout: str) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net(readout), (torch.rand(STEPS, B, 8) < 0.5).float()


def told(aim: str, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What the learner is told, and the loss that it stands for, of outputs (T, B, n_out)."""
    torch.manual_seed(1)
    aims, classes = torch.rand(STEPS, B, N_OUT), torch.tensor([0, 2, 1, 1])
    if aim == "error":
        return {"error": (y.sum(0) - aims[0]).detach()}, 0.5 * (y.sum(0) - aims[0]).square().sum(1).mean()
    if aim == "errors":
        return {"error": (y - aims[: len(y)]).detach()}, 0.5 * (y - aims[: len(y)]).square().sum((0, 2)).mean()
    if aim == "targets":
        return {"target": aims[: len(y)]}, 0.5 * (y - aims[: len(y)]).square().sum((0, 2)).mean()
    if aim == "target":
        return {"target": aims[0]}, 0.5 * (y.sum(0) - aims[0]).square().sum(1).mean()
    return {"target": classes}, functional.cross_entropy(y.sum(0), classes)


@pytest.mark.parametrize("aim", ["error", "errors", "target", "targets", "classes"])
@pytest.mark.parametrize(
    ("readout", "reads"),
    [("bare", None), ("spikes", None), ("spikes", "membrane"), ("norse", None)],
)
@pytest.mark.parametrize("feedback", [None, "random"])
def test_it_is_the_loss_that_it_stands_for(feedback, readout, reads, aim):
    net, inputs = task(readout)
    found = []
    for with_loss in (False, True):
        model = copy.deepcopy(net)
        states = model.start()
        with attach(model, PlasticityConfig.online(0.1, feedback=feedback)) as learner:
            for size in (1, STEPS - 1):
                seen = []
                for x in inputs[:size]:
                    y, states = model(x, states)
                    seen.append(states[1] if reads == "membrane" else y)
                given, loss = told(aim, torch.stack(seen))
                given = given if reads is None else given | {"reads": reads}
                trace = learner.step(loss=loss, return_details=True) if with_loss else learner.step(**given)
        found.append([model.fc1.weight.detach(), model.fc2.weight.detach()])
        assert all(
            (w - start).norm() > 1e-4 for w, start in zip(found[-1], (net.fc1.weight, net.fc2.weight), strict=True)
        )
        assert trace is None or trace.loss > 0
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-7)


def test_frozen_readouts_are_read_by_their_neurons():
    net, inputs = task("spikes")
    config = PlasticityConfig.online(0.1)
    config = replace(config, three_factor=replace(config.three_factor, target_layers=("fc1",)))
    found = []
    for with_loss in (False, True):
        model = copy.deepcopy(net)
        with attach(model, config) as learner:
            states = model.start()
            for x in inputs:
                y, states = model(x, states)
                given, loss = told("target", y.unsqueeze(0))
                learner.step(loss=loss) if with_loss else learner.step(**given)
        assert torch.equal(model.fc2.weight, net.fc2.weight) and not torch.equal(model.fc1.weight, net.fc1.weight)
        found.append(model.fc1.weight.detach())
    torch.testing.assert_close(*found)


def test_samples_that_start_anew_are_counted_from_there():
    net, inputs = task("bare")
    found, mask, target = [], torch.tensor([True, False, False, True]), torch.rand(B, N_OUT)
    for with_loss in (False, True):
        model = copy.deepcopy(net)
        with attach(model, PlasticityConfig.online(0.1)) as learner:
            states, total = model.start(), torch.zeros(B, N_OUT)
            for t, x in enumerate(inputs):
                if t == 4:
                    learner.reset(mask)
                    total = total * ~mask.unsqueeze(1)
                y, states = model(x, states)
                total = total + y
            loss = 0.5 * (total - target).square().sum(1).mean()
            learner.step(loss=loss) if with_loss else learner.step(target=target)
        found.append([model.fc1.weight.detach(), model.fc2.weight.detach()])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there)


class Heads(nn.Module):
    """Two readouts on one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(8, 12), snn.Leaky(beta=0.9, threshold=0.3, init_hidden=True)
        self.policy, self.value = nn.Linear(12, 2), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.lif(self.fc(x))
        return self.policy(z), self.value(z)


def test_of_several_readouts_one_has_to_be_named():
    net = Heads()
    with attach(net, PlasticityConfig.online(0.1)) as learner:
        net(torch.ones(2, 8))
        before = net.fc.weight.detach().clone()
        with pytest.raises(ValueError, match="depends on no output of policy"):
            learner.step(target=torch.zeros(2, 1))
        assert torch.equal(net.fc.weight, before)
        learner.step(target=torch.zeros(2, 1), layers=["fc", "value"])
        assert not torch.equal(net.fc.weight, before)


WRONG = {
    "shape": (ValueError, r"expected \(4, 3\), or \(1, 4, 3\)", {"error": torch.zeros(4, 2)}),
    "nan": (ValueError, "NaN", {"target": torch.full((4, 3), float("nan"))}),
    "class": (ValueError, "target <= 2", {"target": torch.tensor([0, 1, 2, 3])}),
    "no class": (ValueError, r"whole numbers \(4,\)", {"target": torch.zeros(4)}),
    "two": (TypeError, "an error and a target", {"target": torch.zeros(4, 3), "error": torch.zeros(4, 3)}),
    "beside": (TypeError, "a target and reward", {"target": torch.zeros(4, 3), "reward": 1.0}),
    "number": (TypeError, "expected a torch.Tensor", {"error": 1.0}),
    "reads": (ValueError, "reads = 'rate'", {"error": torch.zeros(4, 3), "reads": "rate"}),
    "reads alone": (TypeError, "step got neither", {"reward": 1.0, "reads": "membrane"}),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_it_cannot_be_is_refused_and_changes_nothing(which):
    kind, sentence, given = WRONG[which]
    net, inputs = task("spikes")
    with attach(net, PlasticityConfig.online(0.1, feedback="random")) as learner:
        net(inputs[0], net.start())
        before = copy.deepcopy(net.state_dict())
        with pytest.raises(kind, match=sentence):
            learner.step(**given)
        assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
        assert all(len(connection.noted) == 1 for connection in learner.connections.values())


def test_a_readout_that_gave_nothing_is_said():
    net, inputs = task("bare")
    with attach(net, PlasticityConfig.online(0.1)) as learner:
        with pytest.raises(ValueError, match="gave nothing since the last step"):
            learner.step(target=torch.zeros(B, N_OUT))
        net(inputs[0], net.start())
        learner.step(target=torch.zeros(B, N_OUT))
        with pytest.raises(ValueError, match="gave nothing since the last step"):
            learner.step(target=torch.zeros(B, N_OUT))
    net, inputs = task("lif")
    with attach(net, PlasticityConfig.eprop(0.1)) as learner:
        net(inputs[0], net.start())
        with pytest.raises(TypeError, match="reads no gradient of a loss"):
            learner.step(target=torch.zeros(B, N_OUT))


def test_membranes_that_no_host_tells_are_refused():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, N_OUT), snn.Leaky(0.9, reset_delay=False, reset_mechanism="none", init_hidden=True)
    )
    with attach(net, PlasticityConfig.online(0.1)) as learner:
        net(torch.ones(B, 8))
        with pytest.raises(ValueError, match="do not tell their membrane"):
            learner.step(target=torch.zeros(B, N_OUT), reads="membrane")
        learner.step(target=torch.zeros(B, N_OUT))


def test_a_copy_reads_its_own_readout():
    net, inputs = task("spikes")
    learner = attach(net, PlasticityConfig.online(0.1))
    net(inputs[0], net.start())
    net.start()
    twin, copied = copy.deepcopy((net, learner))
    before = twin.fc2.weight.detach().clone()
    twin(inputs[0], twin.start())
    copied.step(target=torch.ones(B, N_OUT), reads="membrane")
    assert not torch.equal(twin.fc2.weight, net.fc2.weight)
    learner.step(target=torch.ones(B, N_OUT), reads="membrane")
    assert not torch.equal(twin.fc2.weight, before)
    torch.testing.assert_close(twin.fc2.weight, net.fc2.weight)
