"""Conditions: what they say, that they remember nothing, and that they combine."""

from __future__ import annotations

import math
import random
from functools import partial

import pytest

from snn_plasticity.dual import (
    Always,
    AtLeast,
    CountMatched,
    Curiosity,
    Every,
    FromStep,
    History,
    LossDecrease,
    LossSpike,
    Never,
    Plateau,
    RandomActivation,
    Seeking,
    When,
    loss_signals,
    replay,
)
from snn_plasticity.dual.conditions.condition import decide

CONDITIONS = [
    Always(), Never(), LossDecrease(1), LossDecrease(2), LossSpike(1.0, 5), Plateau(4), Curiosity(0.6),
    Curiosity(share=0.3, window=20), Seeking(share=0.4), AtLeast(LossDecrease(2), 1 / 5),
    Seeking(0.5, 0.2), RandomActivation(0.4, 3), CountMatched(7, 60, 1), Every(3), FromStep(11),
]  # fmt: skip


def story(seed: int, steps: int = 80) -> tuple[list[float], dict[str, list[float]]]:
    rng = random.Random(seed)
    losses = [2.0 * math.exp(-t / 40) + 0.2 * rng.random() for t in range(steps)]
    return losses, {name: [rng.random() for _ in losses] for name in ("novelty", "curiosity", "anticipation")}


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
def test_the_same_history_gives_the_same_answers_and_asking_twice_changes_nothing(condition) -> None:
    losses, signals = story(0)
    once = replay(condition, losses, signals)
    assert once == replay(condition, losses, signals)
    assert once == replay(lambda h: condition(h) == condition(h) and condition(h), losses, signals)
    assert eval(repr(condition)) == condition  # noqa: S307
    assert any(once) or isinstance(condition, Never)
    assert not all(once) or isinstance(condition, Always)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_on_noise_losses_fall_k_times_as_often_as_chance_says(k) -> None:
    rng = random.Random(k)
    share = sum(replay(LossDecrease(k), [rng.random() for _ in range(40_000)])) / 40_000
    assert share == pytest.approx(1 / math.factorial(k + 1), rel=0.05)


def test_losses_that_fall_spike_and_stall() -> None:
    assert replay(LossDecrease(2), [3, 2, 1, 1, 0.5, 0.2, 0.3]) == [False, False, False, True, False, False, True]
    assert LossDecrease(2)(History([3.0, 2.0, 2.0])) is False  # equal is not less
    assert replay(LossSpike(2.0, 3), [1.0, 1.1, 0.9, 1.5, 1.0]) == [False, False, False, False, True]
    falling, flat = [1.0 - 0.05 * t for t in range(9)], [1.0] * 9
    assert replay(Plateau(4), falling)[-1] is False and replay(Plateau(4), flat)[-1] is True


def test_seeking_is_the_machine_with_two_thresholds() -> None:
    losses, signals = story(5, 400)
    on, expected = False, []
    for both in zip(signals["curiosity"], signals["anticipation"], strict=True):
        on = True if min(both) >= 0.6 else (False if min(both) < 0.25 else on)
        expected.append(on)
    assert replay(Seeking(0.6, 0.25, at_least=None), losses, signals) == expected
    assert expected != replay(Seeking(0.6, 0.6, at_least=None), losses, signals)  # hysteresis makes a difference


def test_random_steps_are_as_many_as_said() -> None:
    losses = [0.0] * 5000
    assert sum(replay(CountMatched(123, 5000, 4), losses)) == 123
    assert sum(replay(RandomActivation(0.3, 4), losses)) == pytest.approx(1500, abs=100)
    assert replay(RandomActivation(0.3, 4), losses) != replay(RandomActivation(0.3, 5), losses)
    state = random.getstate()
    RandomActivation(0.5)(History())
    assert random.getstate() == state


def test_they_combine_as_sets_do() -> None:
    losses, signals = story(2)
    a, b = LossDecrease(1), RandomActivation(0.5, 1)
    said = partial(replay, losses=losses, signals=signals)
    both, either = [*zip(said(a), said(b), strict=True)], LossDecrease(1) | b
    assert said(a & b) == [x and y for x, y in both]
    assert said(either) == [x or y for x, y in both]
    assert said(~a) == [not x for x, _ in both]
    assert said(~(a & b)) == said(~a | ~b)
    assert repr(~(a & b) | Never()) == "(~(LossDecrease(k=1) & RandomActivation(p=0.5, seed=1)) | Never())"

    def own(history: History) -> bool:
        return history.step % 2 == 0

    assert said(own & a) == said(a & own) == said(When(own) & a)
    assert said(own | a) == said(a | own)


def test_signals_from_losses_are_neutral_at_first_and_bounded() -> None:
    assert set(loss_signals(History()).values()) == {0.0}
    falling = loss_signals(History([2.0 - 0.1 * t for t in range(20)]))
    rising = loss_signals(History([0.1 * t for t in range(20)]))
    assert falling["anticipation"] > 0.9 and rising["anticipation"] < -0.9
    assert loss_signals(History([1.0] * 19 + [5.0]))["novelty"] > 0.9
    assert loss_signals(History([1.0] * 30))["novelty"] == 0.0


@pytest.mark.parametrize("answer", [1, None, 0.5, "yes"])
def test_an_answer_that_is_no_bool_is_refused(answer) -> None:
    for condition in (lambda h: answer, When(lambda h: answer) & Always(), ~When(lambda h: answer)):
        with pytest.raises(TypeError, match="expected True or False"):
            decide(condition, History())


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        lambda: LossDecrease(0), lambda: LossSpike(window=1), lambda: Plateau(0), lambda: RandomActivation(1.5),
        lambda: CountMatched(5, 4), lambda: Seeking(on=0.1, off=0.2), lambda: Every(0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            wrong()
    with pytest.raises(ValueError, match="reads the signal 'novelty'; measured are: joy"):
        replay(Curiosity(), [1.0], {"joy": [1.0]})
