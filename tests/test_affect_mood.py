"""Mood: an exact average, a colour that dies out, and the mood of Eldar & Niv 2015."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snn_plasticity.affect import AffectiveEstimator, InternalSignals, color_by_mood, perceived_reward, update_mood
from snn_plasticity.affect.dimensions import valence
from snn_plasticity.config.affect import MAX_LOOP_GAIN, AffectiveConfig, AffectiveFullConfig, AppraisalConfig


@pytest.mark.parametrize("tau", [1.0, 10.0, 100.0])
def test_mood_is_the_exact_average_over_a_million_steps(tau):
    """Single precision over 10⁶ steps against the same recursion in double."""
    steps = 1_000_000 if tau == 100.0 else 20_000
    affect = np.random.default_rng(0).uniform(-1, 1, steps).astype(np.float32)
    affect[steps // 2 :] = np.abs(affect[steps // 2 :])
    mood, exact, worst = torch.zeros(1), 0.0, 0.0
    stream = torch.from_numpy(affect).reshape(-1, 1).unbind(0)
    with torch.inference_mode():
        for t, now in enumerate(stream):
            mood = update_mood(mood, now, tau)
            exact = (1.0 - 1.0 / tau) * exact + (1.0 / tau) * float(affect[t])
            if t % 97 == 0:
                worst = max(worst, abs(mood.item() - exact))
    assert max(worst, abs(mood.item() - exact)) < 1e-4


def test_mood_after_a_step_is_the_closed_form():
    mood, target = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([[0.8, -0.5, 0.3]] * 2, dtype=torch.float64)
    for _ in range(250):
        mood = update_mood(mood, target, 50.0)
    torch.testing.assert_close(mood, target * (1.0 - 0.98**250), rtol=1e-12, atol=1e-15)


def test_tau_keeps_its_gradient():
    tau = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
    mood, affect = torch.rand(2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: update_mood(mood, affect, x), (tau,))


@pytest.mark.parametrize("tau", [10.0, 100.0, 400.0])
@pytest.mark.parametrize("burst", [1, 10, 30])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_after_a_burst_mood_is_gone_within_five_time_constants(tau, burst, sign):
    """All of it: valence, and what calm and control the burst leaves behind."""
    estimator, state = AffectiveEstimator(AffectiveConfig(tau_mood=tau)), None
    event = InternalSignals(torch.tensor([3.0 * sign]), 1.0, 2.0)
    for _ in range(burst):
        state = estimator.estimate(event, state)
    peak = state.mood.norm()
    for _ in range(int(5 * max(tau, estimator.config.affect.tau_baseline))):
        state = estimator.estimate(InternalSignals(), state)
    assert state.mood.norm() < 0.01 * peak


# ---------------------------------------------------------------- mood-congruent appraisal


def test_ambiguous_news_is_taken_in_the_direction_of_the_mood_and_plain_news_is_not():
    estimator = AffectiveEstimator(AffectiveConfig(mood_congruence_bias=0.5))
    rpe = torch.tensor([0.0, 0.05, -0.05, 0.5, 2.0, 5.0, -5.0], dtype=torch.float64)
    fresh = estimator.reset(7, dtype=torch.float64)

    def felt(mood):
        state = fresh._replace(mood=fresh.mood + torch.tensor([mood, 0.0, 0.0]))
        return estimator.estimate(InternalSignals(rpe), state).valence

    for mood in (0.2, 0.8, -0.2, -0.8):
        shift = (felt(mood) - felt(0.0)) * math.copysign(1.0, mood)
        assert (shift > 0).all()
        assert shift[3] < shift[1] and shift[4] < 0.1 * shift[0] and shift[5:].max() < 1e-3 * shift[0]
    assert torch.equal(felt(0.0), estimator.estimate(InternalSignals(rpe)).valence)


def test_the_colour_is_its_formula_and_keeps_news_in_order():
    rpe = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    for mood in (-1.0, -0.4, 0.7, 1.0):
        colored = color_by_mood(rpe, torch.full_like(rpe, mood), 1.0)
        torch.testing.assert_close(colored, rpe + mood / torch.cosh(rpe) ** 2, rtol=1e-9, atol=1e-12)
        assert (colored.diff() > 0).all()
        slope = torch.tanh(color_by_mood(rpe, torch.full_like(rpe, mood) + 1e-6, 1.0)) - torch.tanh(colored)
        assert slope.max() <= 1e-6 * (1 + 1e-6)  # the bound that the loop gain is built on


def random_settings(n, seed):
    """Legal settings, drawn from the whole range, with as strong a bias as is allowed for a third of them."""
    rng = np.random.default_rng(seed)
    congruence, norm = rng.uniform(0.0, 3.0, n) + 1e-3, rng.uniform(0.0, 3.0, n)
    scale, tau = 10 ** rng.uniform(-1, 1, n), 10 ** rng.uniform(0, 1.5, n)
    share = congruence / (congruence + norm)
    bias = np.minimum(rng.uniform(0, 1, n), MAX_LOOP_GAIN / (scale * share))
    bias[::3] = np.minimum(1.0, MAX_LOOP_GAIN / (scale * share))[::3]
    bias *= 1.0 - 1e-12  # a rounding below the limit
    return {"scale": scale, "tau": tau, "share": share, "bias": bias, "congruence": congruence, "norm": norm}


def test_no_mood_is_stuck_in_ten_thousand_random_settings():
    """One batch, one setting per sample: after a burst at full tilt every mood dies away, at maximum bias too."""
    n = 10_000
    drawn = {key: torch.tensor(value) for key, value in random_settings(n, 0).items()}
    shares = (drawn["share"], 1.0 - drawn["share"])
    neutral = AffectiveEstimator().reset(n, dtype=torch.float64).appraisal
    mood = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).double()
    gain = drawn["scale"] * drawn["share"] * drawn["bias"]
    start, fastest = mood.abs(), torch.log1p(-(1 - gain) / drawn["tau"])
    steps = 3_000
    for _ in range(steps):
        before = mood.abs()
        congruence = torch.tanh(drawn["scale"] * color_by_mood(torch.zeros_like(mood), mood, drawn["bias"]))
        felt = valence(neutral._replace(congruence=congruence), shares)
        mood = update_mood(mood, felt, drawn["tau"])
        assert ((mood.abs() < before) | (before < 1e-300)).all()  # nearer to neutral at every step
    assert (mood.abs() <= start * torch.exp(steps * fastest) * (1 + 1e-6) + 1e-300).all()
    assert mood.abs().max() < 0.05


def test_the_batch_of_settings_is_the_estimator_with_each_setting():
    drawn = random_settings(40, 1)
    for k in range(40):
        config = AffectiveFullConfig(
            AffectiveConfig(
                valence_scale=float(drawn["scale"][k]),
                tau_mood=float(drawn["tau"][k]),
                mood_congruence_bias=float(drawn["bias"][k]),
                da_feedback=0.0,
            ),
            AppraisalConfig(congruence_weight=float(drawn["congruence"][k]), norm_weight=float(drawn["norm"][k])),
        )
        estimator = AffectiveEstimator(config)
        state = estimator.reset(2, dtype=torch.float64)
        state = state._replace(mood=torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64))
        mood = 1.0
        for _ in range(50):
            state = estimator.estimate(InternalSignals(), state)
            felt = drawn["share"][k] * math.tanh(drawn["scale"][k] * drawn["bias"][k] * mood)
            mood += (felt - mood) / drawn["tau"][k]
        torch.testing.assert_close(state.mood[:, 0], torch.tensor([mood, -mood], dtype=torch.float64))


# ---------------------------------------------------------------- Eldar & Niv 2015


def live_with_mood(f, rewards, luck=0.0, rate_value=0.1, rate_mood=0.1):
    """Values and moods of agents who perceive rewards (T, agents) one after the other, lifted by luck at first."""
    value, recent, moods = torch.zeros_like(rewards[0]), torch.full_like(rewards[0], luck), []
    for reward in rewards:
        error = perceived_reward(reward, torch.tanh(recent), f) - value
        value, recent = value + rate_value * error, update_mood(recent, error, 1.0 / rate_mood)
        moods.append(torch.tanh(recent))
    return value, torch.stack(moods)


@pytest.mark.parametrize("f, sign", [(0.7, -1), (0.9, -1), (1.0, 0), (1.1, 1), (1.3, 1)])
def test_options_met_in_a_good_mood_are_preferred_by_the_sign_of_f_minus_one(f, sign):
    """Two options of one worth: a windfall lifts the mood before the first, a loss lowers it before the second."""
    noise = torch.randn(40, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after_windfall, after_loss = (live_with_mood(f, 1.0 + 0.1 * noise, luck, rate_mood=0.03)[0] for luck in (1.4, -1.4))
    preference = after_windfall - after_loss
    assert bool((preference == 0.0).all()) if sign == 0 else bool((preference * sign > 0.02).all())


def test_with_f_one_values_converge_to_the_worth_of_the_options():
    rewards = torch.tensor([1.0, 2.0], dtype=torch.float64).expand(600, 2)
    value, moods = live_with_mood(1.0, rewards)
    torch.testing.assert_close(value, rewards[0], rtol=1e-9, atol=1e-9)
    assert moods[-1].abs().max() < 1e-9


@pytest.mark.parametrize("rate_value, rate_mood, reward", [(0.1, 0.1, 1.0), (0.05, 0.1, 2.0), (0.2, 0.1, 1.5)])
def test_the_loop_of_eldar_and_niv_oscillates_from_where_the_linearisation_says(rate_value, rate_mood, reward):
    """r ln f = 1 − η_v + η_v/η_h is where the two eigenvalues leave the unit circle."""
    critical = math.exp((1.0 - rate_value + rate_value / rate_mood) / reward)
    rewards = torch.full((4000, 1), reward, dtype=torch.float64)
    swing = {}
    for factor in (0.9, 1.1):
        _, moods = live_with_mood(critical**factor, rewards, 0.0, rate_value, rate_mood)
        swing[factor] = (moods[-400:].max() - moods[-400:].min()).item()
    assert swing[0.9] < 1e-3 and swing[1.1] > 0.1
