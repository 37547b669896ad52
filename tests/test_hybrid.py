"""Mode "hybrid" beside each optimizer: whether a change arrives as it was asked, and the word where it does not."""

from __future__ import annotations

import copy
import gc
import inspect
import warnings

import pytest
import snntorch
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from snn_plasticity import Connection, PlasticityConfig, PlasticityLearner, PlasticityWarning, ThreeFactorConfig, attach
from snn_plasticity._optimizers import PLAIN_SGD, effect_of

HYBRID = PlasticityConfig(three_factor=ThreeFactorConfig(mode="hybrid", lr=0.01))


def learner_of(layer=None):
    connection = Connection("a", layer or nn.Linear(4, 2, bias=False), config=HYBRID)
    return PlasticityLearner([connection]), connection


def moves(make, modulators):
    """How far the weights move at each step."""
    torch.manual_seed(0)
    learner, connection = learner_of()
    optimizer, out = make([connection.weight]), []
    for mod in modulators:
        connection.observe(torch.tensor([[1.0, 0.5, 0.0, 1.0]]), torch.ones(1, 2))
        optimizer.zero_grad()
        learner.step(mod)
        before = connection.weight.detach().clone()
        optimizer.step()
        out.append(float((connection.weight.detach() - before).abs().sum()))
    return out


def said(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(w.category is PlasticityWarning for w in caught), [str(w.message) for w in caught]
    return [str(w.message) for w in caught]


class OfTheirOwn(torch.optim.Optimizer):
    """An optimizer from elsewhere, whose settings cannot be repeated: it goes by the sign."""

    def __init__(self, params, *, needed):
        super().__init__(params, {"lr": 0.1, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["exp_avg_sq"] = state.get("exp_avg_sq", 0.0) * 0.9 + 0.1 * parameter.grad**2
                parameter -= group["lr"] * parameter.grad / (state["exp_avg_sq"].sqrt() + 1e-8)


KINDS = {
    "Adam": (lambda p: torch.optim.Adam(p, 0.01), "divides a gradient by its own size"),
    "AdamW": (lambda p: torch.optim.AdamW(p, 0.01), "divides a gradient by its own size"),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, 0.01), "divides a gradient by its own size"),
    "Rprop": (lambda p: torch.optim.Rprop(p, 0.01), "divides a gradient by its own size"),
    "RAdam": (lambda p: torch.optim.RAdam(p, 0.01), "divides a gradient by its own size"),
    "momentum": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), "keeps a momentum"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_an_optimizer_does_to_the_modulator_is_measured_and_said_once(name):
    """The word is held against what the weights do: the size of the modulator, and its absence."""
    make, word = KINDS[name]
    runs = [[1.0] * 20, [0.01] * 20, [1.0] * 10 + [0.0] * 10]
    results, words = [], []
    for run in runs:
        words.append(said(lambda run=run: results.append(moves(make, run))))
    assert all(len(w) == 1 and word in w[0] and "mode='online'" in w[0] for w in words)
    big, small, off = results
    ratio = sum(big) / sum(small)
    assert ratio < 20 if "size" in word else ratio == pytest.approx(100.0, rel=1e-3)
    assert all(("goes on moving" in w[0]) == (off[10] > 0.0) for w in words)


@pytest.mark.parametrize("settings", ({}, {"weight_decay": 0.1}, {"maximize": True}))
def test_plain_sgd_does_as_it_is_asked_without_a_word(settings):
    def make(parameters):
        return torch.optim.SGD(parameters, 0.1, **{**settings, "weight_decay": 0.0})

    assert moves(make, [1.0] * 10 + [0.0])[10] == 0.0
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], 0.1, **settings)
    assert effect_of(optimizer, optimizer.param_groups[0], torch.ones(2)) == PLAIN_SGD


def test_every_adaptive_optimizer_of_torch_is_known():
    plain = {"Optimizer", "SGD", "ASGD", "SparseAdam"}
    for name, kind in inspect.getmembers(torch.optim, inspect.isclass):
        if issubclass(kind, torch.optim.Optimizer) and name not in plain:
            optimizer = kind([nn.Parameter(torch.ones(2, 2))], lr=0.1)
            assert effect_of(optimizer, optimizer.param_groups[0], torch.ones(2, 2)).adaptive, name


def test_one_that_cannot_be_tried_out_is_known_by_what_it_remembers():
    learner, connection = learner_of()
    optimizer = OfTheirOwn([connection.weight], needed=1)
    connection.weight.grad = torch.ones(2, 4)
    optimizer.step()
    connection.observe(torch.tensor([[1.0, 0.5, 0.0, 1.0]]), torch.ones(1, 2))
    learner.step(1.0)
    with pytest.warns(PlasticityWarning, match="OfTheirOwn divides"):
        optimizer.step()


def test_only_an_optimizer_that_holds_such_a_weight_is_spoken_of():
    learner, connection = learner_of()
    other = nn.Parameter(torch.ones(2))
    other.grad = torch.ones(2)
    elsewhere, held = torch.optim.Adam([other]), torch.optim.SGD([{"params": [other]}], lr=0.1)
    connection.observe(torch.tensor([[1.0, 0.5, 0.0, 1.0]]), torch.ones(1, 2))
    learner.step(1.0)
    elsewhere.step()
    held.step()
    elsewhere.add_param_group({"params": [connection.weight]})
    with pytest.warns(PlasticityWarning, match="Adam divides .*moves a as far"):
        elsewhere.step()
    elsewhere.step()


def test_the_watch_goes_with_its_learner():
    hooks = torch_optimizer._global_optimizer_pre_hooks
    for end in ("dropped", "removed"):
        others = set(hooks)
        learner, connection = learner_of()
        connection.observe(torch.tensor([[1.0, 0.5, 0.0, 1.0]]), torch.ones(1, 2))
        learner.step(1.0)
        (own,) = set(hooks) - others
        copied = copy.deepcopy(learner)
        if end == "removed":
            learner.remove()
        del learner
        gc.collect()
        assert own not in hooks
        copied.step(1.0)
        (own,) = set(hooks) - others
        del copied
        gc.collect()
        assert own not in hooks


def test_online_beside_backpropagation_keeps_the_size_of_the_modulator():
    """The way that is recommended: Adam moves by the loss alone, and the learner by lr · mod · e on top of it."""

    def lesson(mod):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 5), snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.3))
        optimizer, learner = torch.optim.Adam(net.parameters(), lr=1e-3), attach(net)
        counts = sum(net(spikes) for spikes in (torch.rand(25, 8, 20) < 0.3).float())
        nn.functional.cross_entropy(counts, torch.arange(8) % 5).backward()
        optimizer.step()
        before = net[0].weight.detach().clone()
        learner.step(mod)
        return before, net[0].weight.detach() - before

    (start, small), (same, large), (_, nothing) = lesson(0.01), lesson(1.0), lesson(0.0)
    assert torch.equal(start, same) and not nothing.any()
    torch.testing.assert_close(large, 100 * small, rtol=1e-2, atol=1e-5)
