"""The loops from affect back to affect settle, for every legal config; and what could oscillate is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_plasticity.affect import AffectiveEstimator, InternalSignals, from_neuromodulators, to_neuromodulators
from snn_plasticity.config import NeuromodConfig
from snn_plasticity.config.affect import MAX_LOOP_GAIN, AffectiveConfig, AffectiveFullConfig, AppraisalConfig
from snn_plasticity.neuromodulation import NeuromodulatoryGate

unit = st.floats(0.0, 1.0)
amount = st.one_of(st.just(0.0), st.floats(0.0, 4.0), st.floats(1e3, 1e6))
configs = st.fixed_dictionaries(
    {
        "valence_scale": st.floats(0.0, 20.0),
        "arousal_scale": st.floats(0.0, 20.0),
        "dominance_scale": st.floats(0.0, 20.0),
        "tau_mood": st.floats(1.0, 200.0),
        "tau_baseline": st.floats(1.0, 200.0),
        "mood_congruence_bias": unit,
        "output_clamp": st.floats(0.1, 1.0),
        "da_feedback": unit,
        "ne_feedback": unit,
        "ach_feedback": unit,
        "sht_feedback": unit,
    }
)
weights = st.fixed_dictionaries({"congruence_weight": st.floats(0.0, 2.0), "norm_weight": st.floats(0.0, 2.0)})
events = st.fixed_dictionaries(
    {
        "reward_prediction_error": st.floats(-4.0, 4.0),
        "epistemic_uncertainty": amount,
        "prediction_error_magnitude": amount,
        "novelty_score": unit,
        "homeostatic_deviation": amount,
        "aleatoric_uncertainty": st.one_of(st.none(), amount),
    }
)


def sigma(x):
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def legal(values, appraisal):
    """The nearest settings that are not refused: gains are lowered to the limit where they exceed it."""
    mood = values["valence_scale"] * appraisal.valence_shares[0] * values["mood_congruence_bias"]
    loops = {
        ("mood_congruence_bias", "da_feedback"): mood + values["da_feedback"],
        ("ne_feedback", "ach_feedback"): values["ne_feedback"] + values["ach_feedback"],
        ("sht_feedback",): values["sht_feedback"],
    }
    lowered = dict(values)
    for names, gain in loops.items():
        for name in names:
            lowered[name] *= min(1.0, MAX_LOOP_GAIN * (1.0 - 1e-9) / max(gain, 1e-9))
    raw = {"reward_error_source": "raw", "prediction_error_source": "raw"}  # a usual size has no fixed point of its own
    return AffectiveFullConfig(AffectiveConfig(**lowered, **raw), appraisal)


def settle(function):
    """The fixed point of a contraction of one number."""
    x = 0.0
    for _ in range(3_000):
        x = function(x)
    return x


def fixed_point(config, signals):
    """Where constant signals lead, solved from the contract's formulas: V, A, D, R°, P°."""
    a, s = config.affect, signals
    shares = config.appraisal.valence_shares
    chance = s["aleatoric_uncertainty"] or 0.0
    tell, rpe = s["aleatoric_uncertainty"] is not None, s["reward_prediction_error"]
    total = s["epistemic_uncertainty"] + chance
    relevance = sigma(s["prediction_error_magnitude"] + s["novelty_score"] + tell * total)
    coping, untutored = sigma(1.0 - (chance if tell else total)), sigma(1.0 - total)
    balance = 1.0 - 2.0 * sigma(a.valence_scale * (s["homeostatic_deviation"] + chance))
    clamp = lambda x: max(-a.output_clamp, min(a.output_clamp, x))  # noqa: E731
    colour = a.mood_congruence_bias * (1.0 - math.tanh(rpe) ** 2)
    own = lambda m: shares[0] * math.tanh(a.valence_scale * (rpe + colour * m)) + shares[1] * balance  # noqa: E731
    v = settle(lambda x: clamp(own(x) + a.da_feedback * x))
    d = settle(lambda x: clamp(a.dominance_scale * (coping - untutored) / sigma(1.0) + a.sht_feedback * max(x, 0.0)))
    return v, 0.0, d, relevance - 0.5, untutored - sigma(1.0)


def distances(state, target, config):
    """The norm of the proof: expectations count as much as they can move the dimension that they are compared with."""
    a, gains = config.affect, config.loop_gains()
    v, calm, d, r, p = target
    weight_r = 4.0 * a.arousal_scale / (1.0 - gains["arousal"]) + 1e-3
    weight_p = 2.0 / sigma(1.0) * a.dominance_scale / (1.0 - gains["dominance"]) + 1e-3
    aim, used_to = (torch.tensor(x, dtype=torch.float64) for x in ([v, calm, d], [r, p]))
    weight = torch.tensor([weight_r, weight_p], dtype=torch.float64)
    parts = [state.point[0] - aim, state.mood[0] - aim, (state.expected[0] - used_to) * weight]
    return torch.cat(parts).abs().max().item()


@given(values=configs, shares=weights, signals=events)
@settings(deadline=None, max_examples=100)
def test_for_constant_signals_the_distance_to_the_fixed_point_shrinks_at_every_step(values, shares, signals):
    """Random legal configs, random signals, the modulators fed back: never a step away, never an oscillation."""
    config = legal(values, AppraisalConfig(**shares))
    estimator = AffectiveEstimator(config)
    target = fixed_point(config, signals)
    state = estimator.reset(1, dtype=torch.float64)
    before = distances(state, target, config)
    for _ in range(50):
        heard = InternalSignals(**signals, modulators=to_neuromodulators(state))
        state = estimator.estimate(heard, state)
        now = distances(state, target, config)
        assert now < before or now < 1e-12
        before = now


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_two_lives_under_the_same_signals_forget_their_difference(seed):
    """Whatever the signals do: from different moods and expectations, with a learned appraisal, to the same affect."""
    generator = torch.Generator().manual_seed(seed)
    config = AffectiveFullConfig(
        AffectiveConfig(tau_mood=10.0, tau_baseline=5.0, mood_congruence_bias=1.0, ne_feedback=0.4, ach_feedback=0.4),
        AppraisalConfig(use_learned_appraisal=bool(seed % 2), seed=seed),
    )
    estimator = AffectiveEstimator(config)
    state = estimator.reset(2, dtype=torch.float64)
    mood = torch.rand(2, 3, generator=generator, dtype=torch.float64) * 2 - 1
    state = state._replace(mood=mood, expected=0.4 * mood[:, :2].abs(), valence=mood[:, 0], arousal=mood[:, 1])
    for _ in range(400):
        rpe, *others = (2.0 * torch.rand(6, generator=generator, dtype=torch.float64)).tolist()
        others[2] /= 2.0
        state = estimator.estimate(InternalSignals(rpe - 1.0, *others, modulators=to_neuromodulators(state)), state)
    torch.testing.assert_close(state.point[0], state.point[1], rtol=0.0, atol=1e-5)
    torch.testing.assert_close(state.mood[0], state.mood[1], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    "values, loop",
    [
        ({"valence_scale": 2.0, "mood_congruence_bias": 1.0}, "valence"),
        ({"da_feedback": 0.96}, "valence"),
        ({"mood_congruence_bias": 1.0, "da_feedback": 0.5}, "valence"),
        ({"ne_feedback": 0.5, "ach_feedback": 0.5}, "arousal"),
        ({"sht_feedback": 1.0}, "dominance"),
    ],
)
def test_a_config_that_could_lock_in_or_oscillate_is_refused(values, loop):
    with pytest.raises(ValueError, match=f"loop gain of .* in {loop}.*at most 0.95.*Lower"):
        AffectiveFullConfig(AffectiveConfig(**values))
    with pytest.raises(ValueError, match="loop gain"):
        AffectiveEstimator(AffectiveConfig(**values))


def test_feedback_that_turns_against_itself_is_refused():
    for name in ("da_feedback", "ne_feedback", "ach_feedback", "sht_feedback", "mood_congruence_bias"):
        with pytest.raises(ValueError, match=name):
            AffectiveConfig(**{name: -0.1})


def test_the_refused_really_does_lock_in():
    """Why the bound is there: just above it, a mood feeds on itself for ever."""
    estimator = AffectiveEstimator(AffectiveConfig(da_feedback=0.0))
    forced = AffectiveConfig(da_feedback=0.0, valence_scale=3.0, mood_congruence_bias=1.0, tau_mood=10.0)
    with pytest.raises(ValueError, match="loop gain of 2 in valence"):
        AffectiveFullConfig(forced)
    object.__setattr__(estimator.config, "affect", forced)
    state = estimator.reset(1)
    state = state._replace(mood=state.mood + torch.tensor([0.2, 0.0, 0.0]))
    for _ in range(2_000):
        state = estimator.estimate(InternalSignals(), state)
    assert state.mood[0, 0] > 0.6  # of 2/3, all that congruence can do for valence


def test_the_gain_is_the_largest_slope_there_is():
    """The bound is tight: measured at the point where everything is ambiguous, it is reached."""
    config = AffectiveFullConfig(AffectiveConfig(mood_congruence_bias=0.8, ne_feedback=0.3, ach_feedback=0.4))
    estimator = AffectiveEstimator(config)
    state = estimator.reset(1, dtype=torch.float64)
    step = 1e-6
    pushed = state._replace(
        valence=state.valence + step, arousal=state.arousal + step, dominance=state.dominance + step,
        mood=state.mood + step, appraisal=state.appraisal._replace(epistemic_share=state.valence + 1.0),
    )  # fmt: skip
    after = estimator.estimate(InternalSignals(modulators=to_neuromodulators(pushed)), pushed)
    gains = torch.tensor(list(config.loop_gains().values()), dtype=torch.float64)
    torch.testing.assert_close(after.point[0] / step, gains, rtol=1e-5, atol=0.0)


# ---------------------------------------------------------------- through a real gate

SOURCES = {"DA": "reward", "ACh": "novelty", "NE": "urgency", "5HT": "patience"}


def life_through(gate_config, config, steps, event=None):
    """Affect drives a gate, and what the gate holds is felt."""
    estimator, gate = AffectiveEstimator(config), NeuromodulatoryGate(gate_config)
    state, chemistry, levels, path = estimator.reset(1, dtype=torch.float64), None, None, []
    for t in range(steps):
        own = {} if event is None or t >= 20 else event
        state = estimator.estimate(InternalSignals(**own, modulators=levels), state)
        signals = {SOURCES[name]: level for name, level in to_neuromodulators(state).items()}
        levels, _, chemistry = gate.step(signals, chemistry)
        path.append(state.point[0])
    return torch.stack(path)


EVENT = {"reward_prediction_error": 2.0, "prediction_error_magnitude": 2.0, "epistemic_uncertainty": 1.0}


@pytest.mark.parametrize("baseline", ["none", "running"])
def test_a_gate_with_memory_counts_in_the_loop(baseline):
    slow = NeuromodConfig(da_tau=20.0, ne_tau=10.0, reward_baseline=baseline)
    default = AffectiveFullConfig()
    gains = default.loop_gains(slow)
    assert gains["valence"] == pytest.approx(0.2 / 3 + 0.1 / (1 - math.exp(-1 / 20)) * (1 + (baseline == "running")))
    assert gains["arousal"] == pytest.approx(0.1 / (1 - math.exp(-1 / 10)) + 0.1)
    with pytest.raises(ValueError, match="valence through this gate.*da_feedback"):
        default.require_settling(slow)
    gentle = AffectiveFullConfig(AffectiveConfig(da_feedback=0.02, ne_feedback=0.05, tau_mood=20.0))
    gentle.require_settling(slow)
    path = life_through(slow, gentle, 4_000, EVENT)
    assert path[:20].abs().max() > 0.4 and path[-1].abs().max() < 1e-6


def test_what_is_refused_through_a_gate_really_locks_in():
    slow, default = NeuromodConfig(da_tau=200.0), AffectiveFullConfig()
    with pytest.raises(ValueError, match="through this gate"):
        default.require_settling(slow)
    assert life_through(slow, default, 4_000, EVENT)[-1, 0] > 0.05  # a pleasure without cause, for ever


def test_without_a_gate_the_default_loop_settles_at_neutral():
    estimator, state = AffectiveEstimator(), None
    for t in range(3_000):
        levels = None if state is None else to_neuromodulators(state)
        state = estimator.estimate(InternalSignals(**(EVENT if t < 50 else {}), modulators=levels), state)
    assert state.point.abs().max() < 1e-6 and state.mood.abs().max() < 1e-6


# ---------------------------------------------------------------- the mapping itself


def test_every_modulator_follows_its_dimension_in_the_range_of_the_gate():
    state = AffectiveEstimator().reset(41)
    line = torch.linspace(-1, 1, 41)
    state = state._replace(
        valence=line, arousal=line, dominance=line, appraisal=state.appraisal._replace(epistemic_share=line.abs())
    )
    levels = to_neuromodulators(state)
    assert torch.equal(levels["DA"], line)
    assert torch.equal(levels["NE"], line.clamp(min=0)) and torch.equal(levels["5HT"], line.clamp(min=0))
    assert torch.equal(levels["ACh"], line.clamp(min=0) ** 2)
    felt = from_neuromodulators(levels, AffectiveConfig(da_feedback=0.2, ne_feedback=0.3, ach_feedback=0.4))
    torch.testing.assert_close(felt[0], 0.2 * line)
    torch.testing.assert_close(felt[1], 0.3 * levels["NE"] + 0.4 * levels["ACh"])
    torch.testing.assert_close(felt[2], 0.1 * levels["5HT"])


def test_each_level_is_felt_in_its_own_dimension_upwards():
    estimator, ladder = AffectiveEstimator(), torch.linspace(0, 1, 11)
    for name, dimension in {"DA": "valence", "NE": "arousal", "ACh": "arousal", "5HT": "dominance"}.items():
        state = estimator.estimate(InternalSignals(modulators={name: ladder}))
        for other in ("valence", "arousal", "dominance"):
            felt = getattr(state, other)
            assert bool((felt.diff() > 0).all()) if other == dimension else not felt.any()
    low = estimator.estimate(InternalSignals(modulators={"DA": -ladder}))
    assert bool((low.valence.diff() < 0).all())


def test_novelty_is_acetylcholine_and_mere_error_is_not():
    estimator = AffectiveEstimator()
    new = to_neuromodulators(estimator.estimate(InternalSignals(novelty_score=1.0)))
    error = to_neuromodulators(estimator.estimate(InternalSignals(prediction_error_magnitude=1.0)))
    chance = to_neuromodulators(estimator.estimate(InternalSignals(aleatoric_uncertainty=1.0)))
    assert new["ACh"] == new["NE"] > 0 and error["ACh"] == chance["ACh"] == 0 and error["NE"] == new["NE"]
    assert MAX_LOOP_GAIN < 1.0
