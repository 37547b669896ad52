"""The first hour: settings of another kind, layers instead of a model, rewards as NumPy has them."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from snn_plasticity import (
    AffectiveConfig,
    AffectiveEstimator,
    AffectiveFullConfig,
    AffectiveLoop,
    AffectiveModulator,
    EligibilityConfig,
    EligibilityTraceModule,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    SomaticMarkers,
    TDCritic,
    ThreeFactorUpdate,
    attach,
    modulate,
)


def model():
    return nn.Sequential(nn.Linear(5, 4), snntorch.Leaky(0.9, init_hidden=True))


@pytest.mark.parametrize(
    ("build", "read", "remedy"),
    (
        (lambda: attach(model(), EligibilityConfig()), "an EligibilityConfig", "PlasticityConfig(eligibility=...)"),
        (lambda: attach(model(), NeuromodConfig()), "a NeuromodConfig", "PlasticityConfig(neuromod=...)"),
        (lambda: attach(model(), {"lr": 0.1}), "{'lr': 0.1}, a dict", "PlasticityConfig.from_dict"),
        (lambda: attach(model(), "dev"), "'dev', a str", "PlasticityConfig.dev()"),
        (lambda: attach(model(), PlasticityConfig.dev), "method", "PlasticityConfig()"),
        (lambda: attach(list(model())), "a list", "nn.Sequential(*layers)"),
        (
            lambda: attach(model(), layers={"0": EligibilityConfig()}),
            "layers['0']",
            "PlasticityConfig(eligibility=...)",
        ),
        (lambda: attach(model(), layers=["0"]), "a list", "{'fc1': PlasticityConfig.dev()}"),
        (lambda: attach(model(), pairs=("0", "1")), "a tuple", "{'fc1': 'lif1'}"),
        (lambda: attach(model(), gate=NeuromodConfig()), "a NeuromodConfig", "NeuromodulatoryGate(config.neuromod)"),
        (lambda: attach(model(), reduce=1.0), "1.0", "a function"),
        (lambda: TDCritic(16), "16, a number", "TDCritic(TDCriticConfig(n_features=16))"),
        (lambda: NeuromodulatoryGate(PlasticityConfig()), "a PlasticityConfig", "config.neuromod"),
        (lambda: EligibilityTraceModule(3, 4, PlasticityConfig()), "a PlasticityConfig", "config.eligibility"),
        (lambda: ThreeFactorUpdate(0.01), "0.01, a float", "ThreeFactorConfig"),
        (lambda: SomaticMarkers(AffectiveFullConfig()), "an AffectiveFullConfig", "config.affect"),
        (lambda: AffectiveModulator(AffectiveConfig()), "an AffectiveConfig", "ModulationConfig"),
        (lambda: AffectiveEstimator("x"), "'x', a str", "AffectiveFullConfig"),
        (lambda: AffectiveLoop(nn.Linear(2, 2)), "a Linear", "attach(model)"),
    ),
)
def test_another_kind_is_told_what_it_is_and_what_to_do(build, read, remedy):
    with pytest.raises(TypeError) as error:
        build()
    assert read in str(error.value) and "expected" in str(error.value) and remedy in str(error.value)


@pytest.mark.parametrize(
    ("words", "choice"),
    (
        ("pre = 'binari'; expected one of 'raw', 'binary' or a function", {"pre": "binari"}),
        ("dt = 'automatic'; expected one of 'auto' or a step length", {"dt": "automatic"}),
        ("dt = 0; expected a number in (0, inf)", {"dt": 0}),
        ("dt = nan; expected a number in (0, inf)", {"dt": float("nan")}),
        ("strict = 1; expected True or False", {"strict": 1}),
        ("path = 'fast'; expected one of 'auto'", {"path": "fast"}),
    ),
)
def test_a_refused_choice_leaves_the_model_without_a_hook(words, choice):
    net = model()
    with pytest.raises(ValueError) as error:
        attach(net, **choice)
    assert words in str(error.value)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("word", ("average", "Mean", "", None, 3))
def test_a_misspelt_reduction_is_refused_and_not_taken_for_a_sum(word):
    e = torch.ones(2, 1, 1)
    with pytest.raises(ValueError, match="reduction = .*expected one of 'mean', 'sum'"):
        modulate(1.0, e, word)
    with pytest.raises(ValueError, match="reduction = .*expected one of 'mean', 'sum'"):
        ThreeFactorUpdate(reduction=word)


def changed(reward=None, modulator=None):
    """The weight change of one step after the same spikes."""
    torch.manual_seed(0)
    net = model()
    learner = attach(net, PlasticityConfig.dev())
    before = net[0].weight.detach().clone()
    for _ in range(5):
        net(torch.ones(3, 5))
    if modulator is None:
        learner.step(reward=reward)
    else:
        learner.step(modulator)
    return net[0].weight.detach() - before


@pytest.mark.parametrize(
    "given",
    (
        np.array([2.0, 0.0, -1.0]),
        np.array([2.0, 0.0, -1.0], dtype=np.float32),
        np.array([2, 0, -1]),
        [2.0, 0.0, -1.0],
        (2, 0, -1),
        [np.float64(2.0), 0, -1],
    ),
)
def test_rewards_of_environments_do_what_the_same_tensor_does(given):
    tensor = torch.tensor([2.0, 0.0, -1.0])
    as_reward, as_modulator = changed(tensor), changed(modulator=tensor)
    assert as_reward.abs().max() > 0 and as_modulator.abs().max() > 0
    assert torch.equal(changed(given), as_reward)
    assert torch.equal(changed(modulator=given), as_modulator)


def test_flags_and_single_numbers_of_environments_are_rewards_too():
    for one in (np.float64(1.0), np.int64(1), np.bool_(True), True, np.array(1.0)):
        assert torch.equal(changed(one), changed(1.0))
        assert torch.equal(changed(modulator=one), changed(modulator=1.0))
    flags = np.array([True, False, True])
    assert torch.equal(changed(flags), changed(torch.tensor([1.0, 0.0, 1.0])))


@pytest.mark.parametrize(
    "bad",
    (
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        [1.0, float("nan"), 0.0],
        np.array([1.0, np.inf, 0.0]),
        torch.tensor([1.0, float("nan"), 0.0]),
        [1.0, 0.0],
        ["a", "b", "c"],
        "1.0",
        torch.ones(3, dtype=torch.complex64),
    ),
)
def test_a_refused_modulator_changes_nothing(bad):
    net = model()
    learner = attach(net, PlasticityConfig.dev())
    for _ in range(5):
        net(torch.ones(3, 5))
    weight, e = net[0].weight.detach().clone(), learner.connections["0"].eligibility.clone()
    for call in (lambda: learner.step(bad), lambda: learner.step(reward=bad)):
        with pytest.raises((ValueError, TypeError), match="expected"):
            call()
        assert torch.equal(net[0].weight, weight) and torch.equal(learner.connections["0"].eligibility, e)
        assert learner.third_factor.state is None
