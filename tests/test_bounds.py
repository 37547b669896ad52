"""Bounds: weights never leave them, weights outside only move inward, no change stays no change."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from snn_plasticity import (
    Connection,
    EligibilityConfig,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    ThreeFactorUpdate,
)
from snn_plasticity.plasticity import HardBounds, SoftBounds, free
from snn_plasticity.plasticity.bounds import bounds_of

numbers = st.floats(-3.0, 3.0, width=32)
BOUNDS = (
    HardBounds(-1.0, 0.5),
    SoftBounds(-1.0, 0.5),
    SoftBounds(-1.0, 0.5, 0.3, 2.0),
    SoftBounds(-1.0, 0.5, 0.0, 0.0),
)


@pytest.mark.parametrize("bounds", BOUNDS, ids=repr)
@given(weight=numbers, delta=numbers)
def test_inside_stays_inside_and_outside_never_goes_further_out(bounds, weight, delta):
    new = float(bounds(torch.tensor(weight), torch.tensor(delta)))
    assert min(weight, -1.0) <= new <= max(weight, 0.5)
    assert (new - weight) * delta >= 0.0
    if delta == 0.0:
        assert new == weight


def test_hard_bounds_cut():
    new = HardBounds(0.0, 1.0)(torch.tensor([0.2, 0.2, 0.9]), torch.tensor([-0.5, 0.5, 0.5]))
    torch.testing.assert_close(new, torch.tensor([0.0, 0.7, 1.0]))


def test_soft_bounds_shrink_each_direction_by_its_own_distance_and_power():
    weight, up, down = torch.tensor([0.25]), torch.tensor([0.1]), torch.tensor([-0.1])
    bounds = SoftBounds(0.0, 1.0, mu_plus=2.0, mu_minus=0.5)
    torch.testing.assert_close(bounds(weight, up), torch.tensor([0.25 + 0.1 * 0.75**2]))
    torch.testing.assert_close(bounds(weight, down), torch.tensor([0.25 - 0.1 * 0.25**0.5]))


def test_config_names_the_bounds():
    assert bounds_of(ThreeFactorConfig()) is free
    assert bounds_of(ThreeFactorConfig(weight_bounds=torch.add)) is torch.add
    assert bounds_of(ThreeFactorConfig(weight_bounds=(0.0, 1.0))) == HardBounds(0.0, 1.0)
    soft = ThreeFactorConfig(weight_bounds=(0.0, 1.0), soft_bounds=(1.0, 2.0))
    assert bounds_of(soft) == SoftBounds(0.0, 1.0, 1.0, 2.0)


def unit_rows(weight, delta):
    """In place, as a user may write it: every row sums to one."""
    weight.add_(delta)
    return weight.div_(weight.sum(1, keepdim=True))


@pytest.mark.parametrize("mode", ("online", "hybrid", "auxiliary_loss"))
def test_a_function_of_the_users_moves_nothing_without_a_change(mode):
    update = ThreeFactorUpdate(ThreeFactorConfig(mode=mode, weight_bounds=unit_rows))
    weight = torch.nn.Parameter(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))

    def asked(delta):
        before = weight.detach().clone()
        weight.grad = None
        if mode == "online":
            update.apply_(weight, delta)
        elif mode == "hybrid":
            update.add_grad_(weight, delta)
        else:
            update.loss(weight, delta).backward()
        moved = weight.detach() - before
        return moved if mode == "online" else moved - weight.grad

    assert torch.equal(asked(torch.zeros(2, 2)), torch.zeros(2, 2))
    assert torch.equal(weight.detach(), torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    change = asked(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))  # one synapse asks; its row and the others are normalised
    torch.testing.assert_close(change, torch.tensor([[5 / 8 - 1.0, 3 / 8 - 3.0], [-1.5, -1.5]]))


@pytest.mark.parametrize("kind", [HardBounds, SoftBounds])
@pytest.mark.parametrize("steps", [1, 8])
def test_bounds_that_are_derived_from_ours_are_asked_at_every_step(kind, steps):
    """Their own `__call__` counts, where the formula of their parent is known, too."""

    class Grid(kind):
        def __call__(self, weight, delta):
            return torch.round(super().__call__(weight, delta) * 64.0) / 64.0

    layer = nn.Linear(3, 2, bias=False)
    nn.init.constant_(layer.weight, 0.5)
    rule = ThreeFactorConfig(weight_bounds=Grid(-1.0, 1.0), lr=0.03)
    config = PlasticityConfig(EligibilityConfig(clamp_range=None), three_factor=rule)
    learner = PlasticityLearner([Connection("fc", layer, config=config)])
    for step in range(steps):
        learner.connections["fc"].observe(torch.ones(1, 3), torch.ones(1, 2))
        learner.step((-1.0) ** step)
    assert torch.equal(layer.weight * 64.0, torch.round(layer.weight * 64.0))


def test_bounded_changes_are_differentiable():
    weight = torch.rand(4, dtype=torch.float64, requires_grad=True)
    delta = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SoftBounds(-2.0, 2.0, 1.5, 0.7), (weight, 0.1 * delta))
