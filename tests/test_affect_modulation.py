"""Modulation: the contract's factors, their directions, limits and shapes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from snn_plasticity.affect import AffectiveEstimator, AffectiveModulator
from snn_plasticity.config.affect import ModulationConfig

LINE = torch.linspace(-1, 1, 21)
CUBE = torch.tensor(list(itertools.product(LINE.tolist(), repeat=3)))


def state_at(valence, arousal, dominance):
    columns = torch.broadcast_tensors(*(torch.as_tensor(x, dtype=torch.float32) for x in (valence, arousal, dominance)))
    fresh = AffectiveEstimator().reset(columns[0].numel())
    valence, arousal, dominance = (column.reshape(-1) for column in columns)
    return fresh._replace(valence=valence, arousal=arousal, dominance=dominance)


def test_factors_are_the_contracts_formulas_and_above_zero_everywhere():
    v, a, d = CUBE.double().unbind(-1)
    factors = AffectiveModulator().factors(v, a, d)
    torch.testing.assert_close(factors.learning_rate_scale, 1 + 0.5 * a)
    torch.testing.assert_close(factors.attention_gain, 1 + 0.3 * v.abs())
    torch.testing.assert_close(factors.exploration_temp, 1 + 0.5 * (1 - d))
    torch.testing.assert_close(factors.memory_priority, 1 + 0.5 * a * v.abs())
    torch.testing.assert_close(factors.risk_scale, 1 - 0.3 * v)
    assert all(factor.min() > 0 for factor in factors)


def test_gains_of_any_size_stay_between_floor_and_ceiling():
    wild = ModulationConfig(lr_alpha=1e3, attention_beta=1e3, exploration_gamma=1e3, memory_delta=1e3, risk_epsilon=1e3)
    factors = AffectiveModulator(wild).factors(*CUBE.unbind(-1))
    for factor, (low, high) in zip(factors, [(0.1, 3), (0.5, 2), (0.1, 3), (0.1, 3), (0.1, 3)], strict=True):
        assert factor.min() >= torch.tensor(low) and factor.max() <= high
    assert factors.learning_rate_scale.min() == 0.1 and factors.learning_rate_scale.max() == 3.0


def test_directions_are_monotone_over_the_whole_cube():
    """One dimension rises, the two others stay: at either sign of valence, and at any dominance."""
    for one, two in itertools.product(LINE.tolist(), repeat=2):
        learning = AffectiveModulator().modulate_learning_rate(0.01, state_at(one, LINE, two))
        exploring = AffectiveModulator().modulate_exploration(1.0, state_at(one, two, LINE))
        risking = AffectiveModulator().modulate_risk(1.0, state_at(LINE, one, two))
        assert (learning.diff() > 0).all()
        assert (exploring.diff() < 0).all()
        assert (risking.diff() < 0).all()
        attending = AffectiveModulator().factors(LINE, torch.full_like(LINE, one), torch.full_like(LINE, two))[1]
        assert (attending[10:].diff() > 0).all() and torch.allclose(attending, attending.flip(0))
        remembering = AffectiveModulator().modulate_memory_priority(1.0, state_at(one, LINE, two))
        assert (remembering.diff() > 0).all() if abs(one) > 1e-6 else (remembering == 1.0).all()


def test_the_learning_rate_does_not_see_the_sign_of_valence():
    good = AffectiveModulator().modulate_learning_rate(0.1, state_at(0.8, LINE, 0.0))
    assert torch.equal(good, AffectiveModulator().modulate_learning_rate(0.1, state_at(-0.8, LINE, 0.0)))


METHODS = {
    "modulate_learning_rate": "learning_rate_scale",
    "modulate_attention": "attention_gain",
    "modulate_exploration": "exploration_temp",
    "modulate_memory_priority": "memory_priority",
    "modulate_risk": "risk_scale",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 4), (3, 2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_row_is_multiplied_by_the_factor_of_its_sample(method, shape, dtype):
    state = state_at(torch.tensor([0.5, -0.9, 0.1]), torch.tensor([0.2, 0.9, -0.7]), torch.tensor([-0.3, 0.0, 0.8]))
    base = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = getattr(AffectiveModulator(), method)(base, state)
    factor = getattr(AffectiveEstimator().get_modulation(state), METHODS[method])
    assert found.shape == base.shape and found.dtype == dtype
    for b in range(3):
        torch.testing.assert_close(found[b], (base[b] * factor[b]).to(dtype))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"modulate_attention"}))
def test_a_number_becomes_one_value_per_sample(method):
    state = state_at(torch.tensor([0.5, -0.9]), torch.tensor([0.2, 0.9]), torch.tensor([-0.3, 0.0]))
    call = getattr(AffectiveModulator(), method)
    factor = getattr(AffectiveEstimator().get_modulation(state), METHODS[method])
    for base in (2, 2.0, torch.tensor(2.0), torch.tensor(2)):
        torch.testing.assert_close(call(base, state), 2.0 * factor)
    one = state_at(0.5, 0.2, 0.1)
    assert isinstance(float(call(0.01, one)), float)  # for one sample it is a float wherever one is needed


def test_masks_of_attention_stay_masks_and_order_is_kept():
    state = state_at(torch.tensor([0.9, 0.0]), 0.0, 0.0)
    logits = torch.tensor([[1.0, -math.inf, 3.0], [1.0, -math.inf, 3.0]])
    found = AffectiveModulator().modulate_attention(logits, state)
    assert torch.isinf(found[:, 1]).all() and torch.equal(found[1], logits[1])
    weights = torch.softmax(found, dim=-1)
    assert weights[0, 1] == 0.0 and weights[0, 2] > weights[1, 2]  # strong feelings sharpen


def test_bad_bases_are_refused():
    modulator, state = AffectiveModulator(), state_at(LINE[:3], 0.0, 0.0)
    with pytest.raises(ValueError, match=r"base_lr has shape \(2,\); expected a number or \(3, ...\)"):
        modulator.modulate_learning_rate(torch.ones(2), state)
    with pytest.raises(ValueError, match="temperature = nan.*NaN"):
        modulator.modulate_exploration(math.nan, state)
    with pytest.raises(TypeError, match="priority"):
        modulator.modulate_memory_priority("high", state)
    with pytest.raises(TypeError, match="attention_logits"):
        modulator.modulate_attention(torch.ones(3, 2, dtype=torch.long), state)
    with pytest.raises(TypeError, match="attention_logits"):
        modulator.modulate_attention([1.0], state)


def test_factors_carry_gradients():
    point = torch.tensor([[0.3, -0.2, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.stack(AffectiveModulator().factors(*x.unbind(-1))), (point,))
