"""A learner that is printed names its kernels in a word or two, before and after the model has run."""

from __future__ import annotations

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import nn

from snn_plasticity import Connection, EligibilityConfig, PlasticityConfig, attach
from snn_plasticity.feedback import RandomFeedback
from snn_plasticity.kernels import PairSTDP, Rate, SymmetricSTDP, TripletSTDP, Window


class OwnKernel(Rate):
    """Derived from a kernel that has a name."""


def bump(dt):
    return 1.0


def of(kernel):
    return PlasticityConfig(EligibilityConfig(kernel=kernel))


NAMED = [
    (of("rate"), "rate"),
    (of("stdp_pair"), "stdp_pair"),
    (of(PairSTDP(10.0)), "stdp_pair"),
    (of(SymmetricSTDP()), "stdp_symmetric"),
    (of(TripletSTDP()), "stdp_triplet"),
    (of(Window(bump, span=5.0)), "Window(bump)"),
    (of(Window(lambda dt: 1.0, span=5.0)), "Window(curve)"),
    (of(OwnKernel()), "OwnKernel"),
    (PlasticityConfig.online(), "online gradients"),
    (PlasticityConfig.online(carry=False), "online gradients, no memory of the input"),
    (PlasticityConfig.eprop(feedback="random"), "online gradients, random feedback"),
    (PlasticityConfig.eprop(feedback=RandomFeedback(seed=1)), "online gradients, RandomFeedback feedback"),
]


@pytest.mark.parametrize(("config", "words"), NAMED)
def test_kernels_are_named(config, words):
    printed = repr(Connection("fc", nn.Linear(6, 5), config=config))
    assert printed.startswith(f"fc: 5×6, {words}, accumulating (τ=20), auto")


@pytest.mark.parametrize(
    ("host", "words"),
    [(lambda: snntorch.Leaky(beta=0.9, init_hidden=True), "e-prop"), (norse.LIFCell, "e-prop, by eligibility vectors")],
)
def test_of_reward_for_all_layers(host, words):
    model = norse.SequentialState(nn.Linear(6, 5), host())
    learner = attach(model, PlasticityConfig.reward_all_layers())
    assert "\n  0: 5×6, e-prop, accumulating (τ=inf), auto; no neuron found so far\n" in repr(learner)
    with torch.no_grad():
        model(torch.ones(2, 6))
    assert f"\n  0: 5×6, {words}, accumulating (τ=inf), auto\n" in repr(learner)
