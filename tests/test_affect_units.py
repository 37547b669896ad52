"""Prediction errors are felt in units of their usual size, whatever the unit; and what scales valence acts inside."""

from __future__ import annotations

import io
import math

import pytest
import torch

from snn_plasticity import AffectiveLoop, NeuromodConfig, NeuromodulatoryGate
from snn_plasticity.affect import AffectiveEstimator, AffectiveState, InternalSignals, reset_samples
from snn_plasticity.config.affect import AffectiveConfig, AffectiveFullConfig

UNITS = (0.1, 1.0, 50.0)


def used_to(estimator, usual, steps=300, batch=1, name="prediction_error_magnitude"):
    """The state of somebody to whom errors of this size are usual."""
    state = estimator.reset(batch)
    for _ in range(steps):
        state = estimator.estimate(InternalSignals(**{name: usual}), state)
    return state


@pytest.mark.parametrize("surprise", [0.0, 0.5, 2.0, 10.0])
def test_a_surprise_arouses_as_its_multiple_of_the_usual_in_any_unit(surprise):
    estimator, found = AffectiveEstimator(), {}
    for usual in (*UNITS, 1e-3, 1e5):
        error = InternalSignals(prediction_error_magnitude=surprise * usual)
        found[usual] = float(estimator.estimate(error, used_to(estimator, usual)).arousal)
    assert all(arousal == pytest.approx(found[1.0], rel=0.05) for arousal in found.values())
    assert found[1.0] * (surprise - 1.0) > 0.05 and (surprise < 10.0 or found[1.0] > 0.5)


def test_news_of_reward_pleases_as_its_multiple_of_the_usual_in_any_unit():
    estimator, pleased = AffectiveEstimator(AffectiveConfig(mood_congruence_bias=0.0)), {}
    for usual in UNITS:
        state = used_to(estimator, torch.tensor([usual, -usual]), batch=2, name="reward_prediction_error")
        ladder = [estimator.estimate(InternalSignals(k * usual), state).valence for k in (0.0, 0.5, 1.0, 2.0)]
        pleased[usual] = torch.stack(ladder)[:, 0]
        torch.testing.assert_close(
            pleased[usual], 2 / 3 * torch.tanh(torch.tensor([0.0, 0.5, 1.0, 2.0])), rtol=0.02, atol=0
        )
    raw = AffectiveEstimator(AffectiveConfig(reward_error_source="raw", prediction_error_source="raw"))
    plain = raw.estimate(InternalSignals(torch.tensor([50.0, 100.0]), 0.0, torch.tensor([50.0, 500.0])))
    assert plain.valence[0] == plain.valence[1] and plain.arousal[0] == plain.arousal[1] == 1.0


def test_the_first_errors_are_taken_as_they_are_and_none_blows_up():
    estimator = AffectiveEstimator()
    first = estimator.estimate(InternalSignals(-1.3, 0.0, 0.7))
    assert float(first.valence) == pytest.approx(-2 / 3 * math.tanh(1.3), rel=1e-6)
    assert float(first.arousal) == pytest.approx(math.tanh(0.35), rel=1e-6)
    state = estimator.estimate(InternalSignals(1e-6, 0.0, 1e-6))
    second = estimator.estimate(InternalSignals(0.1, 0.0, 0.1), state)
    assert float(second.valence) == pytest.approx(2 / 3 * math.tanh(0.1), rel=0.02)
    for size in (1e38, 1e-38, 1e30, 0.0, 1.0):
        state = estimator.estimate(InternalSignals(-size, 0.0, size), state)
        assert torch.isfinite(state.point).all() and torch.isfinite(state.usual).all()


def test_zero_is_exactly_zero_whatever_is_usual_and_silence_changes_no_size():
    estimator = AffectiveEstimator(AffectiveConfig(mood_congruence_bias=0.0))
    state = used_to(estimator, 20.0, name="reward_prediction_error")
    for _ in range(50):
        after = estimator.estimate(InternalSignals(), state)
        assert float(after.valence) == 0.0 and torch.equal(after.usual, state.usual)
        state = after
    assert float(AffectiveEstimator(AffectiveConfig(valence_scale=7.0)).estimate(InternalSignals()).valence) == 0.0


def test_two_lives_with_other_ideas_of_the_usual_come_to_agree():
    estimator, generator = AffectiveEstimator(), torch.Generator().manual_seed(0)
    state = used_to(estimator, torch.tensor([0.1, 30.0]), batch=2)
    for draw in torch.rand(2500, 2, generator=generator).tolist():
        state = estimator.estimate(InternalSignals(draw[0] - 0.5, 0.0, draw[1]), state)
    torch.testing.assert_close(state.point[0], state.point[1], rtol=0.0, atol=5e-3)


def test_sizes_are_kept_by_sample_reset_and_saved_to_the_bit():
    estimator = AffectiveEstimator()
    state = used_to(estimator, torch.tensor([1.0, 20.0, 300.0]), steps=40, batch=3)
    alone = used_to(estimator, torch.tensor([20.0]), steps=40)
    torch.testing.assert_close(state.usual[1:2], alone.usual)
    reset = reset_samples(state, estimator.reset(3), torch.tensor([False, True, False]))
    assert not reset.usual[1].any() and torch.equal(reset.usual[::2], state.usual[::2])
    file = io.BytesIO()
    torch.save(state.to_dict(), file)
    file.seek(0)
    loaded = AffectiveState.from_dict(torch.load(file, weights_only=True))
    news = InternalSignals(0.4, 0.1, 33.0)
    on, again = estimator.estimate(news, state), estimator.estimate(news, loaded)
    assert torch.equal(on.point, again.point) and torch.equal(on.usual, again.usual)
    with pytest.raises(ValueError, match=r"state.usual \(3, 2\).*\(B, 2, 2\)"):
        estimator.estimate(news, state._replace(usual=state.usual[:, 0]))


@pytest.mark.parametrize("scale", [0.0, 0.2, 3.0, 50.0])
def test_the_scale_of_valence_acts_inside_its_squashing(scale):
    rpe, deviation = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64), 0.4
    config = AffectiveConfig(valence_scale=scale, mood_congruence_bias=0.0)
    felt = AffectiveEstimator(config).estimate(InternalSignals(rpe, 0.0, 0.0, 0.0, deviation))
    expected = (torch.tanh(scale * rpe) - 0.5 * math.tanh(scale * deviation / 2)) / 1.5
    torch.testing.assert_close(felt.valence, expected, rtol=1e-12, atol=1e-14)
    assert felt.valence.abs().max() <= 1.0 and (scale in (0.0, 50.0) or bool((felt.valence.diff() > 0).all()))
    literal = AffectiveEstimator().estimate(InternalSignals(rpe, 0.0, 0.0, 0.0, deviation)).appraisal
    torch.testing.assert_close(felt.appraisal.congruence, literal.congruence)


@pytest.mark.parametrize("usual", UNITS)
def test_in_the_loop_a_reward_of_ten_times_the_usual_arouses_and_is_told_from_the_usual(usual):
    loop = AffectiveLoop(config=AffectiveFullConfig(AffectiveConfig(tau_mood=20.0)))
    for _ in range(300):
        loop.step(reward=usual)
    one, ten = (loop.advance({"reward": k * usual}, loop.state) for k in (1.0, 10.0))
    assert float(one.modulators["DA"]) == pytest.approx(math.tanh(1.0), rel=0.01)
    assert float(ten.modulators["DA"]) > 0.999 and float(ten.affect.arousal) > 0.5
    assert abs(float(one.affect.arousal)) < 0.05


def test_presets_say_which_errors_are_in_usual_units():
    assert AffectiveFullConfig.minimal().affect.prediction_error_source == "raw"
    for preset in (AffectiveFullConfig(), AffectiveFullConfig.dev(), AffectiveFullConfig.production()):
        assert preset.affect.reward_error_source == preset.affect.prediction_error_source == "normalized"
    with pytest.raises(ValueError, match="prediction_error_source = 'usual'; expected one of 'normalized', 'raw'"):
        AffectiveConfig(prediction_error_source="usual")
    assert NeuromodulatoryGate(NeuromodConfig(da_source="normalized_td_error")).sources["DA"] == "td_error"
