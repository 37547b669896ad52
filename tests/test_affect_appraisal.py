"""Appraisal: literal scores, two kinds of uncertainty, and a learned correction that keeps every promise."""

from __future__ import annotations

import math

import pytest
import torch

from snn_plasticity import AffectiveLoop
from snn_plasticity.affect import AffectiveEstimator, AppraisalModule, Evidence, InternalSignals
from snn_plasticity.affect.appraisal import COPING_AT_REST, coping
from snn_plasticity.config.affect import AffectiveConfig, AffectiveFullConfig, AppraisalConfig

LEARNED = AppraisalConfig(use_learned_appraisal=True)


def draws(n=200, seed=0, dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    rpe = scale * torch.randn(n, generator=generator, dtype=dtype)
    others = [scale * torch.rand(n, generator=generator, dtype=dtype) for _ in range(5)]
    others[2] = others[2] / scale
    return InternalSignals(rpe, *others)


def test_scores_are_the_contracts_formulas():
    signals = draws()._replace(aleatoric_uncertainty=None)
    found = AppraisalModule().appraise(signals)
    torch.testing.assert_close(
        found.relevance, torch.sigmoid(signals.prediction_error_magnitude + signals.novelty_score)
    )
    torch.testing.assert_close(found.congruence, torch.tanh(signals.reward_prediction_error))
    torch.testing.assert_close(found.coping, torch.sigmoid(1.0 - signals.epistemic_uncertainty))
    torch.testing.assert_close(found.norm_deviation, torch.sigmoid(signals.homeostatic_deviation))
    assert torch.equal(found.coping_without_learning, found.coping)


def test_told_apart_only_chance_is_beyond_control():
    signals = draws()
    found = AppraisalModule().appraise(signals)
    total = signals.epistemic_uncertainty + signals.aleatoric_uncertainty
    torch.testing.assert_close(
        found.relevance, torch.sigmoid(signals.prediction_error_magnitude + signals.novelty_score + total)
    )
    torch.testing.assert_close(found.coping, torch.sigmoid(1.0 - signals.aleatoric_uncertainty))
    torch.testing.assert_close(found.coping_without_learning, torch.sigmoid(1.0 - total))
    deviation = signals.homeostatic_deviation + signals.aleatoric_uncertainty
    torch.testing.assert_close(found.norm_deviation, torch.sigmoid(deviation))
    share = (signals.novelty_score + signals.epistemic_uncertainty) / (
        signals.prediction_error_magnitude + signals.novelty_score + total
    )
    torch.testing.assert_close(found.epistemic_share, share)


def test_coping_is_the_sigmoid_and_at_rest_the_same_bits_everywhere():
    x = torch.cat([torch.linspace(0, 60, 20_001, dtype=torch.float64), torch.tensor([1e3, 1e6], dtype=torch.float64)])
    torch.testing.assert_close(coping(x), torch.sigmoid(1.0 - x), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(coping(x.float()), torch.sigmoid(1.0 - x.float()), rtol=1e-5, atol=2e-7)
    for n in range(1, 70):
        rest = coping(torch.zeros(n))
        assert torch.equal(rest, torch.zeros(n) + COPING_AT_REST) and not (rest - COPING_AT_REST).any()
    assert pytest.approx(1 / (1 + math.exp(-1)), rel=1e-15) == COPING_AT_REST


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stretch", [1.0, 30.0])
def test_a_learned_appraisal_keeps_ranges_and_makes_nothing_of_nothing(seed, stretch):
    """Whatever its weights have become."""
    module = AppraisalModule(AppraisalConfig(use_learned_appraisal=True, seed=seed))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(stretch)
    found = module.appraise(draws(scale=30.0))
    assert found.relevance.min() >= 0.5 and found.relevance.max() <= 1.0
    assert found.norm_deviation.min() >= 0.5 and found.norm_deviation.max() <= 1.0
    assert found.congruence.abs().max() <= 1.0
    assert found.coping.min() >= 0.0 and found.coping.max() <= COPING_AT_REST
    nothing = module.appraise(InternalSignals(torch.zeros(33), aleatoric_uncertainty=0.0))
    assert (nothing.relevance == 0.5).all() and (nothing.norm_deviation == 0.5).all()
    assert (nothing.congruence == 0.0).all() and (nothing.coping == torch.tensor(COPING_AT_REST)).all()


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = AppraisalModule(LEARNED, hidden_dim=16)
    assert torch.equal(torch.rand(3), expected)
    second, other = (
        AppraisalModule(LEARNED, 16),
        AppraisalModule(AppraisalConfig(use_learned_appraisal=True, seed=1), 16),
    )
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert first.inward.shape == (16, 6) and not list(AppraisalModule().parameters())


def test_before_training_the_network_is_close_to_the_formulas_but_not_them():
    plain, learned = AppraisalModule().appraise(draws(scale=1.0)), AppraisalModule(LEARNED).appraise(draws(scale=1.0))
    for name, a, b in zip(plain._fields, plain, learned, strict=True):
        assert (a - b).abs().max() < 0.15, name
    assert not torch.equal(plain.congruence, learned.congruence)


def test_the_estimator_passes_its_width_and_mood_cannot_pass_the_network():
    """The colour is applied behind the network, so that no training can raise the loop gain."""
    config = AffectiveFullConfig(AffectiveConfig(hidden_dim=8, mood_congruence_bias=1.0), LEARNED)
    estimator = AffectiveEstimator(config)
    assert estimator.appraisal.inward.shape == (8, 6)
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.mul_(50.0)
    signals = draws(64)
    mood = torch.zeros(64, dtype=torch.float64, requires_grad=True)

    def felt(m):
        state = AffectiveEstimator(config, through_time=True).reset(64, dtype=torch.float64)
        estimator.through_time = True
        return estimator.estimate(signals, state._replace(mood=torch.stack([m, m * 0, m * 0], dim=-1))).valence

    (slope,) = torch.autograd.grad(felt(mood).sum(), mood)
    assert slope.min() >= 0.0 and slope.max() <= config.loop_gains()["valence"] + 1e-12


def test_appraisal_alone_checks_its_signals_and_ignores_autocast():
    with pytest.raises(ValueError, match="novelty_score"):
        AppraisalModule().appraise(InternalSignals(novelty_score=2.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = AppraisalModule(LEARNED)(draws())
    for a, b in zip(cast, AppraisalModule(LEARNED)(draws()), strict=True):
        assert torch.equal(a, b)


class Plain(torch.nn.Module):
    """An appraisal of one's own: only reward and novelty count, and a weight says how much."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.seen = []

    def weigh(self, readings):
        self.seen.append(readings)
        zero = torch.zeros_like(readings.novelty_score)
        return Evidence(self.weight * readings.novelty_score, readings.reward_prediction_error, zero, zero, zero, zero)


def test_an_appraisal_of_ones_own_judges_in_estimator_and_loop():
    judge = Plain()
    raw = AffectiveConfig(reward_error_source="raw", prediction_error_source="raw", mood_congruence_bias=0.0)
    estimator = AffectiveEstimator(raw, appraisal=judge)
    signals = InternalSignals(0.5, epistemic_uncertainty=3.0, novelty_score=0.25, modulators={"DA": 0.5})
    state = estimator.estimate(signals)
    assert state.appraisal.relevance.item() == pytest.approx(1 / (1 + math.exp(-0.5)), rel=1e-6)
    assert state.appraisal.congruence.item() == pytest.approx(math.tanh(0.5), rel=1e-6)
    assert state.appraisal.coping.item() == pytest.approx(1 / (1 + math.exp(-1.0)), rel=1e-6)  # heedless of uncertainty
    assert judge.seen[0].modulators == {} and state.valence.item() > estimator.estimate(signals._replace(
        modulators=None)).valence.item()  # felt, but not judged  # fmt: skip
    assert [name for name, _ in estimator.named_parameters()] == ["appraisal.weight"]
    loop, twin = AffectiveLoop(appraisal=Plain()), AffectiveLoop()
    loop.step(reward=0.0, uncertainty=2.0)
    twin.step(reward=0.0, uncertainty=2.0)
    assert loop.state.affect.dominance.item() == 0.0 > twin.state.affect.dominance.item()
    with pytest.raises(ValueError, match="appraisal"):
        twin.load_state_dict(loop.state_dict())


@pytest.mark.parametrize("judge, error, sentence", [
    (lambda readings: readings, TypeError, "expected a torch.nn.Module with weigh"),
    (torch.nn.Linear(2, 2), TypeError, "expected a torch.nn.Module with weigh"),
])  # fmt: skip
def test_what_is_no_appraisal_is_refused(judge, error, sentence):
    with pytest.raises(error, match=sentence):
        AffectiveEstimator(appraisal=judge)


def test_evidence_that_does_not_fit_is_refused():
    judge = Plain()
    estimator = AffectiveEstimator(appraisal=judge)
    judge.weigh = lambda readings: readings.novelty_score
    with pytest.raises(TypeError, match="returned a Tensor of shape .*; expected Evidence"):
        estimator.estimate(InternalSignals())
    judge.weigh = lambda readings: Evidence(*[torch.zeros(3)] * 6)
    with pytest.raises(ValueError, match="Evidence.relevance is .* expected \\(1,\\)"):
        estimator.estimate(InternalSignals())
