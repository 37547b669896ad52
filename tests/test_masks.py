"""Weights behind a mask never move: synapses that a pruned layer has not got, on both hosts, in every mode."""

from __future__ import annotations

from dataclasses import replace

import norse.torch as norse
import pytest
import snntorch
import torch
from host_models import CONFIG, FAST, MODULATOR, Loop, changes, close, excitable, trains
from torch import nn

from snn_plasticity import PlasticityConfig, ThreeFactorConfig, attach

B, N_IN, N_OUT, STEPS = 3, 6, 4, 9
X = trains(STEPS, B, N_IN)
MASK = torch.rand(N_OUT, N_IN, generator=torch.Generator().manual_seed(1)) < 0.5


def with_updates(**options) -> PlasticityConfig:
    return replace(CONFIG, three_factor=replace(CONFIG.three_factor, **options))


def snntorch_net():
    return excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True)))


def norse_net():
    return excitable(Loop(norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIFCell(FAST))))


def run(net):
    [net(x) for x in X] if isinstance(net, nn.Sequential) else net(X)


def pruned(make):
    net = make()
    (layer,) = (m for m in net.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        layer.weight *= MASK
    (name,) = (name for name, m in net.named_modules() if m is layer)
    return net, layer, name


@pytest.mark.parametrize("make", (snntorch_net, norse_net))
@pytest.mark.parametrize("kind", (torch.bool, torch.float64, torch.int64))
def test_those_that_are_there_learn_as_without_a_mask_and_the_others_stay_zero(make, kind):
    net, _, _ = pruned(make)
    (free,) = changes(net, attach(net, CONFIG), lambda: run(net)).values()
    net, layer, name = pruned(make)
    (masked,) = changes(net, attach(net, CONFIG, masks={name: MASK.to(kind)}), lambda: run(net)).values()
    assert abs(free[~MASK.numpy()]).max() > 1e-3
    close(masked, free * MASK.numpy())
    assert not layer.weight[~MASK].any()


def pushed(weight, delta):
    """Bounds of one's own that move weights where no change is asked for."""
    return weight + delta - (weight + delta).mean(1, keepdim=True)


@pytest.mark.parametrize(
    "options",
    (
        {"weight_bounds": (0.2, 1.0)},
        {"weight_bounds": (0.2, 1.0), "soft_bounds": 1.0},
        {"weight_bounds": pushed},
        {"update_frequency": 2},
        {"weight_clamp": (-0.01, 0.01)},
    ),
)
@pytest.mark.parametrize("mode", ("online", "hybrid", "auxiliary_loss"))
def test_neither_bounds_nor_a_reduction_move_them(mode, options):
    net, layer, name = pruned(snntorch_net)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD([layer.weight], lr=1.0)
    learner = attach(net, with_updates(mode=mode, **options), masks={name: MASK}, reduce=lambda delta: delta + 0.1)
    for _ in range(2):
        run(net)
        if mode == "auxiliary_loss":
            learner.loss(MODULATOR).backward()
        else:
            learner.step(MODULATOR)
    if mode != "online":
        optimizer.step()
    assert torch.equal(layer.weight[~MASK], before[~MASK])
    assert not torch.equal(layer.weight[MASK], before[MASK])


def test_a_mask_goes_with_that_of_forbidden_autapses():
    net = Loop(norse.LIFRecurrentCell(N_IN, N_OUT, p=FAST))
    cell = net.body
    with torch.no_grad():
        cell.input_weights.uniform_(0.2, 0.8)
    mask = torch.ones(N_OUT, N_OUT, dtype=torch.bool)
    mask[0, 1] = mask[2, 3] = False
    (name,) = (name for name in attach(net, CONFIG).connections if name.endswith("recurrent_weights"))
    learner = attach(copy_of(net), CONFIG, masks={name: mask})
    connection = learner.connections[name]
    assert torch.equal(connection.mask.bool(), mask & ~torch.eye(N_OUT, dtype=torch.bool))


def copy_of(net):
    other = Loop(norse.LIFRecurrentCell(N_IN, N_OUT, p=FAST))
    other.load_state_dict(net.state_dict())
    return other


class Halves(nn.Module):
    """One layer for two populations."""

    def __init__(self):
        super().__init__()
        self.fc, self.a, self.b = nn.Linear(N_IN, N_OUT), *(snntorch.Leaky(beta=0.8) for _ in range(2))

    def forward(self, xs):
        a, b = self.a.reset_mem(), self.b.reset_mem()
        for x in xs:
            left, right = self.fc(x).chunk(2, -1)
            (_, a), (_, b) = self.a(left, a), self.b(right, b)


def test_a_mask_goes_with_the_units_that_each_neuron_reads():
    free, masked = excitable(Halves()), excitable(Halves())
    for net in (free, masked):
        with torch.no_grad():
            net.fc.weight *= MASK
    befores = [net.fc.weight.detach().clone() for net in (free, masked)]
    for net, masks in ((free, None), (masked, {"fc": MASK})):
        learner = attach(net, CONFIG, masks=masks)
        net(X)
        learner.step(MODULATOR)
        assert len(learner.connections) == 2
    moved = [net.fc.weight.detach() - before for net, before in zip((free, masked), befores, strict=True)]
    assert bool((moved[0].abs().sum(1) > 1e-3).all())
    close(moved[1], moved[0] * MASK)


def test_a_mask_holds_for_every_layer_that_shares_the_weight():
    net = nn.Sequential(nn.Linear(4, 4), snntorch.Leaky(beta=0.8, init_hidden=True))
    net.extend((nn.Linear(4, 4), snntorch.Leaky(beta=0.8, init_hidden=True)))
    net[2].weight = net[0].weight
    mask = torch.eye(4) == 0
    excitable(net)
    learner = attach(net, CONFIG, masks={"2": mask})
    before = net[0].weight.detach().clone()
    [net(x) for x in trains(STEPS, B, 4)]
    learner.step(MODULATOR)
    moved = net[0].weight.detach() - before
    assert moved.abs().max() > 1e-3 and not moved[~mask].any()


def test_a_mask_for_a_convolution():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), snntorch.Leaky(beta=0.8, init_hidden=True))
    excitable(net)
    mask = torch.rand(2, 1, 3, 3) < 0.5
    learner, before = attach(net, CONFIG, masks={"0": mask}), net[0].weight.detach().clone()
    [net(x) for x in trains(STEPS, B, 1, 6, 6)]
    learner.step(MODULATOR)
    moved = net[0].weight.detach() - before
    assert not moved[~mask].any() and bool(moved[mask].any())


@pytest.mark.parametrize(
    ("masks", "kind", "words"),
    [
        ({"fc": MASK}, ValueError, "masks: there is no 'fc' here; expected one of 0"),
        ({"0": MASK.t()}, ValueError, r"masks\['0'\] has shape \(6, 4\); expected \(4, 6\), as the weight has"),
        ({"0": MASK * 0.5}, ValueError, "other numbers than zeros and ones"),
        ({"0": torch.full((N_OUT, N_IN), torch.nan)}, ValueError, "other numbers than zeros and ones"),
        ({"0": MASK.tolist()}, TypeError, r"masks\['0'\] is .* list; expected a Tensor"),
        ({0: MASK}, TypeError, "A name in masks"),
        (MASK, TypeError, "masks is"),
        ({"0": MASK.to("meta")}, ValueError, "meta device"),
    ],
)
def test_what_is_no_mask_is_refused_at_the_door(masks, kind, words):
    net = snntorch_net()
    with pytest.raises(kind, match=words):
        attach(net, PlasticityConfig(three_factor=ThreeFactorConfig(lr=0.1)), masks=masks)
    assert not net[0]._forward_hooks
