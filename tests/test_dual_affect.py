"""Affect that lives through a training: what it is told, that it remembers, and that a run with it resumes exactly."""

from __future__ import annotations

import copy
import math
from statistics import fmean, pstdev

import pytest
import torch
from test_dual_nets import batches, seeded, snntorch_net, trainee
from test_dual_trainer import Shuffled, equal, state_of

from snn_plasticity import AffectiveLoop, PlasticityWarning, attach
from snn_plasticity.affect import AffectiveEstimator, InternalSignals
from snn_plasticity.config.affect import AffectiveConfig
from snn_plasticity.dual import AffectSignals, Curiosity, Diverged, DualModelTrainer, History, Seeking, widen

EPOCHS, STEPS = 3, 18


def build() -> DualModelTrainer:
    base = seeded(snntorch_net)
    large, weights = widen(base, 2)
    signals = AffectSignals(window=4)
    return DualModelTrainer(
        trainee(base), trainee(large), weights, Seeking(share=0.4, window=10), signals=signals, seed=3
    )


def everything(trainer: DualModelTrainer) -> list:
    history = trainer.report.history
    signals = trainer.signals.state_dict()  # type: ignore[attr-defined]
    return [state_of(trainer), history.losses, history.motivated, history.signals, signals]


def test_a_run_moved_by_affect_resumes_bit_for_bit_from_any_step(tmp_path) -> None:
    whole = build()
    whole.fit(Shuffled(), EPOCHS, progress=False)
    assert 0 < whole.report.share < 1
    for stop in range(1, STEPS, 2):
        first, second = build(), build()
        first.fit(Shuffled(), EPOCHS, progress=False, max_steps=stop)
        first.save(tmp_path / "run.pt")
        second.load(tmp_path / "run.pt")
        second.fit(Shuffled(), EPOCHS, progress=False)
        assert equal(everything(second), everything(whole)), stop


def test_what_is_felt_is_what_an_estimator_makes_of_these_events() -> None:
    """Without the modulators, which are felt at the next step, the first two steps are those of an estimator alone."""
    signals, history, losses = AffectSignals(), History(), [1.0, 0.8, 0.9, 0.3]
    config = AffectiveConfig(da_feedback=0.0, ne_feedback=0.0, ach_feedback=0.0, sht_feedback=0.0)
    signals = AffectSignals(AffectiveLoop(config=config))
    estimator = AffectiveEstimator(config)
    state = estimator.reset(1)
    for loss in [*losses, 0.0]:
        past = history.losses
        better = fmean(past[:-1]) - past[-1] if len(past) > 2 else 0.0
        novelty = math.tanh(abs(better) / pstdev(past[:-1])) if len(past) > 2 else 0.0
        told = InternalSignals(
            reward_prediction_error=better, prediction_error_magnitude=abs(better), novelty_score=novelty
        )
        state = estimator.estimate(told, state)
        felt = signals(history, None)
        assert felt["curiosity"] == pytest.approx(float(state.arousal), abs=1e-6)
        assert felt["anticipation"] == pytest.approx(float(state.valence), abs=1e-6)
        assert felt["mood"] == pytest.approx(float(state.mood[0, 0]), abs=1e-6)
        assert felt["novelty"] == pytest.approx(novelty)
        history.add_step(loss, False)
    assert felt["curiosity"] > 0 and felt["anticipation"] > 0


def test_a_change_of_nets_is_no_event_but_effort_is() -> None:
    signals, idle, history, calm = AffectSignals(), AffectSignals(), History(), History()
    for step in range(60):
        felt, rest = signals(history, None), idle(calm, None)
        history.add_step(0.5 if step % 3 == 0 else 1.0, step % 3 == 0)
        calm.add_step(1.0, False)
    assert felt["novelty"] == 0.0 and rest == {"novelty": 0.0, "curiosity": 0.0, "anticipation": 0.0, "mood": 0.0}
    assert felt["anticipation"] < 0


def test_asked_again_it_answers_the_same_and_a_step_that_failed_is_not_felt_twice() -> None:
    trainer, twin = build(), build()
    data = batches(8)
    broken = (torch.full_like(data[0][0], float("nan")), data[0][1])
    for batch in data[:5]:
        trainer.step(batch)
        twin.step(batch)
    with pytest.raises((Diverged, ValueError)):
        trainer.step(broken)
    for batch in data[5:]:
        trainer.step(batch)
        twin.step(batch)
    assert equal(everything(trainer), everything(twin))
    history = History([1.0], [False])
    signals = AffectSignals()
    once = signals(history, None)
    assert signals(history, None) == once
    before = copy.deepcopy(signals.state_dict())
    with pytest.raises(ValueError, match="felt step 1 and is asked for step 5; expected the next"):
        signals(History([1.0] * 5, [False] * 5), None)
    assert equal(signals.state_dict(), before)


def test_loops_that_do_not_fit_and_states_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="has a learner.*expected a loop without"):
        AffectSignals(AffectiveLoop(attach(snntorch_net())))
    with pytest.raises(TypeError, match="expected an AffectiveLoop"):
        AffectSignals(AffectiveEstimator())  # type: ignore[arg-type]
    signals = AffectSignals()
    signals(History([1.0, 0.5], [False, True]), None)
    good = copy.deepcopy(signals.state_dict())
    other = AffectSignals(AffectiveLoop(config=AffectiveConfig(tau_mood=7.0))).state_dict()
    for wrong in ({**good, "step": -1}, {**good, "felt": {"mood": float("nan")}}, {**good, "loop": other["loop"]}, {}):
        with pytest.raises((ValueError, TypeError)):
            signals.load_state_dict(wrong)
        assert equal(signals.state_dict(), good)
    fresh = AffectSignals()
    fresh.load_state_dict(good)
    assert fresh(History([1.0, 0.5], [False, True]), None) == good["felt"]


def test_recruitment_does_not_dry_up_while_the_loss_falls_and_flattens() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand(900, generator=rng).tolist()
    signals, condition, history = AffectSignals(), Seeking(share=0.3), History()
    for step in range(900):
        history.add_signals(signals(history, None))
        on = condition(history)
        history.add_step((0.8 if on else 1.0) * math.exp(-step / 150) + 0.02 * noise[step], on)
    thirds = [sum(history.motivated[t : t + 300]) / 300 for t in (0, 300, 600)]
    assert thirds == pytest.approx([0.3] * 3, abs=0.05)
    with pytest.warns(PlasticityWarning, match="'novelty' has been 0.0"):
        for _ in range(150):
            history.add_signals(signals(history, None))
            Curiosity(share=0.3)(history)
            history.add_step(0.5, False)
