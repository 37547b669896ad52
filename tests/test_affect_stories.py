"""Stories: plausible sequences of signals, and where in the space of affect, and at which word, they end."""

from __future__ import annotations

import pytest
import torch

from snn_plasticity.affect import EMOTIONS, REGIONS, WORDS, AffectiveEstimator, InternalSignals, ValenceArousalSpace

# (steps, signals), one after the other; the last step is judged.
REGION_STORIES = {
    # One has learned the game; now a surprising win.
    "happy/excited": [
        (60, {"epistemic_uncertainty": 2.0}),
        (1, {"reward_prediction_error": 1.5, "prediction_error_magnitude": 1.5}),
    ],
    # A turbulent, unclear day is over, and it ended a little better than expected.
    "calm/content": [
        (60, {"prediction_error_magnitude": 3.0, "epistemic_uncertainty": 2.0}),
        (1, {"reward_prediction_error": 0.8}),
    ],
    # Out of the blue things go wrong, and nobody knows why.
    "anxious/fearful": [
        (1, {"reward_prediction_error": -1.0, "prediction_error_magnitude": 1.5, "epistemic_uncertainty": 2.0}),
    ],
    # After a long storm: nothing happens any more, what was there is lost, and it is not clear what could be done.
    "sad/fatigued": [
        (60, {"prediction_error_magnitude": 3.0}),
        (1, {"reward_prediction_error": -1.0, "epistemic_uncertainty": 1.5}),
    ],
    # One knows by now how it works, and still it does not.
    "frustrated": [
        (60, {"epistemic_uncertainty": 2.0}),
        (1, {"reward_prediction_error": -1.0, "prediction_error_magnitude": 1.5}),
    ],
    # Something new that can be understood, neither good nor bad.
    "curious": [
        (20, {"novelty_score": 0.8, "epistemic_uncertainty": 1.5, "aleatoric_uncertainty": 0.0}),
    ],
}

WORD_STORIES = {
    # Mastered, and then more reward than hoped for.
    "joy": [
        (60, {"epistemic_uncertainty": 1.5}),
        (1, {"reward_prediction_error": 3.0, "prediction_error_magnitude": 1.0}),
    ],
    # Mastered, and then the reward is withheld.
    "anger": [
        (60, {"epistemic_uncertainty": 1.0}),
        (1, {"reward_prediction_error": -1.0, "prediction_error_magnitude": 1.4}),
    ],
    # The same blow to somebody who does not know what is going on.
    "fear": [
        (1, {"reward_prediction_error": -2.0, "prediction_error_magnitude": 1.4, "epistemic_uncertainty": 1.4}),
    ],
    # The upheaval is past, the loss remains, and nothing can be done about it.
    "sadness": [
        (20, {"prediction_error_magnitude": 2.0}),
        (1, {"reward_prediction_error": -2.0, "epistemic_uncertainty": 1.0}),
    ],
    # The threat passes, through no doing of one's own.
    "relief": [
        (15, {"reward_prediction_error": -0.2, "prediction_error_magnitude": 1.5}),
        (1, {"reward_prediction_error": 0.5, "epistemic_uncertainty": 0.9}),
    ],
    # Something was in the air for a while, and then it does not come.
    "disappointment": [
        (10, {"reward_prediction_error": 0.3, "prediction_error_magnitude": 1.2}),
        (1, {"reward_prediction_error": -1.6, "epistemic_uncertainty": 0.9}),
    ],
}


def live(story, estimator=None, state=None):
    """The state at the end of a story."""
    estimator = estimator or AffectiveEstimator()
    for steps, signals in story:
        for _ in range(steps):
            state = estimator.estimate(InternalSignals(**signals), state)
    return state


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_is_reached_by_a_plausible_story(region):
    state = live(REGION_STORIES[region])
    assert ValenceArousalSpace().region(state) == [region]
    for value, sign in zip(state.point[0], REGIONS[region], strict=True):
        assert abs(value) < 0.15 if sign == 0 else value * sign > 0.05


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_emotions_land_nearest_to_their_word_among_all_words(emotion):
    state = live(WORD_STORIES[emotion])
    space = ValenceArousalSpace()
    assert space.nearest_word(state) == [EMOTIONS[emotion]]
    assert space.distance(state, torch.tensor(WORDS[EMOTIONS[emotion]])).item() < 0.25


def test_anger_and_fear_part_by_dominance_alone():
    anger, fear = (live(WORD_STORIES[name]).point[0] for name in ("anger", "fear"))
    assert anger[2] > 0.15 and fear[2] < -0.15
    assert (anger[:2] - fear[:2]).abs().max() < 0.2
    # The same blow, to somebody who has mastered the situation and to somebody who has not.
    blow = (1, {"reward_prediction_error": -1.2, "prediction_error_magnitude": 1.4})
    unclear = (1, {**blow[1], "epistemic_uncertainty": 1.5})
    space = ValenceArousalSpace({word: WORDS[word] for word in ("angry", "fearful")})
    assert space.nearest_word(live([(60, {"epistemic_uncertainty": 1.5}), blow])) == ["angry"]
    assert space.nearest_word(live([unclear])) == ["fearful"]


def test_what_can_be_learned_makes_curious_and_what_cannot_makes_anxious():
    space = ValenceArousalSpace()
    for size in (0.5, 1.0, 2.0, 5.0):
        for steps in (2, 10, 30):
            learnable = live([(steps, {"epistemic_uncertainty": size, "aleatoric_uncertainty": 0.0})])
            chance = live([(steps, {"epistemic_uncertainty": 0.0, "aleatoric_uncertainty": size})])
            assert space.region(learnable) == ["curious"]
            assert space.region(chance) == ["anxious/fearful"]
            assert learnable.valence == 0.0 and learnable.dominance > 0.0
            assert chance.valence < 0.0 and chance.dominance < 0.0
    onset = live([(1, {"epistemic_uncertainty": 2.0, "aleatoric_uncertainty": 0.0})])
    assert space.region(onset) == ["curious"] and onset.dominance == 0.0


@pytest.mark.parametrize("steps", [5, 50, 500])
def test_a_storm_that_ends_is_followed_by_calm(steps):
    estimator = AffectiveEstimator()
    state = live([(steps, {"prediction_error_magnitude": 5.0, "novelty_score": 1.0})], estimator)
    assert state.arousal > 0.0
    calm = []
    for _ in range(600):
        state = estimator.estimate(InternalSignals(), state)
        calm.append(state.arousal.item())
    assert max(calm) < 0.0 and calm == sorted(calm)  # calm from the first step on, and less and less so
    assert calm[-1] > -1e-4


@pytest.mark.parametrize("told", [{}, {"aleatoric_uncertainty": 0.0}])
@pytest.mark.parametrize("steps", [5, 50, 500])
def test_mastering_what_was_uncertain_gives_control(told, steps):
    state = live([(steps, {"epistemic_uncertainty": 2.0, **told}), (1, told)])
    assert state.dominance > 0.0 and state.valence == 0.0
    gone = live([(400, told)], state=state)
    assert 0.0 <= gone.dominance < 1e-3
