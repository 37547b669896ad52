"""Reward baselines: equal to a NumPy loop, unbiased per context, and isolated between samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_plasticity.config import NeuromodConfig
from snn_plasticity.neuromodulation import NeuromodulatoryGate, RewardBaseline


def loop_over_samples(rewards, contexts, n_contexts, tau, dt):
    """Per-sample averages, one Python number at a time."""
    steps, batch = rewards.shape
    average, errors = np.zeros((batch, n_contexts)), np.zeros_like(rewards)
    for t in range(steps):
        for b in range(batch):
            c = contexts[t, b]
            errors[t, b] = rewards[t, b] - average[b, c]
            average[b, c] += (1.0 - math.exp(-dt / tau)) * errors[t, b]
    return errors, average


def shared_by_the_batch(rewards, contexts, n_contexts, tau, dt):
    """One average per context, moved by the mean error of the samples that are in it."""
    average, errors = np.zeros(n_contexts), np.zeros_like(rewards)
    for t in range(len(rewards)):
        errors[t] = rewards[t] - average[contexts[t]]
        for c in np.unique(contexts[t]):
            average[c] += (1.0 - math.exp(-dt / tau)) * errors[t, contexts[t] == c].mean()
    return errors, average


def run(baseline, rewards, contexts):
    state = baseline.init(rewards.shape[1], dtype=torch.float64)
    errors = []
    for reward, context in zip(torch.tensor(rewards), torch.tensor(contexts), strict=True):
        error, state = baseline.step(reward, context, state)
        errors.append(error.numpy())
    return np.stack(errors), state.numpy()


def random_trials(seed, steps=40, batch=5, n_contexts=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, batch)), rng.integers(0, n_contexts, size=(steps, batch))


@pytest.mark.parametrize("scope, reference", [("sample", loop_over_samples), ("batch", shared_by_the_batch)])
@pytest.mark.parametrize("kind, n_contexts", [("running", 1), ("context", 3)])
@given(seed=st.integers(0, 10_000), tau=st.floats(1.0, 500.0), dt=st.floats(0.1, 5.0))
@settings(deadline=None, max_examples=15)
def test_equal_to_the_loop(scope, reference, kind, n_contexts, seed, tau, dt):
    rewards, contexts = random_trials(seed, n_contexts=n_contexts)
    errors, average = run(RewardBaseline(kind, tau, n_contexts, scope, dt), rewards, contexts)
    expected_errors, expected_average = reference(rewards, contexts, n_contexts, tau, dt)
    np.testing.assert_allclose(errors, expected_errors, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(average, expected_average, rtol=1e-11, atol=1e-12)


def test_a_constant_reward_is_expected_exponentially():
    baseline = RewardBaseline("running", tau=10.0)
    state = baseline.init(1, dtype=torch.float64)
    for n in range(30):
        error, state = baseline.step(1.0, 0, state)
        assert error.item() == pytest.approx(math.exp(-n / 10.0), rel=1e-12)


def test_none_hands_the_reward_through_for_ever():
    baseline = RewardBaseline("none")
    state = baseline.init(2)
    for _ in range(5):
        error, state = baseline.step(torch.tensor([1.0, -2.0]), 0.0, state)
    assert torch.equal(error, torch.tensor([1.0, -2.0])) and state.shape == (2, 0)


def test_per_context_the_covariance_is_left_and_the_drift_is_gone():
    # Two stimuli with mean rewards 1 and 0: a Hebbian term that merely differs between them must not move.
    rng = np.random.default_rng(3)
    contexts = rng.integers(0, 2, size=(6000, 1))
    rewards = 1.0 * (contexts == 1) + 0.1 * rng.normal(size=contexts.shape)
    hebb = np.where(contexts == 1, 1.0, 0.5)
    drift = {}
    for kind in ("none", "running", "context"):
        errors, _ = run(RewardBaseline(kind, tau=50.0, n_contexts=2), rewards, contexts)
        drift[kind] = float((errors * hebb)[1000:].mean())
    assert abs(drift["context"]) < 0.005 < drift["running"] < drift["none"]


def test_other_contexts_are_not_touched():
    baseline = RewardBaseline("context", tau=5.0, n_contexts=3)
    _, state = baseline.step(torch.tensor([1.0, 1.0]), torch.tensor([0, 2]), baseline.init(2))
    assert torch.equal(state != 0, torch.tensor([[True, False, False], [False, False, True]]))


def test_the_state_that_went_in_is_not_changed():
    baseline = RewardBaseline("running", tau=5.0)
    state = baseline.init(3)
    baseline.step(torch.ones(3), 0, state)
    assert torch.equal(state, torch.zeros(3, 1))


def test_shared_average_ignores_contexts_nobody_is_in():
    baseline = RewardBaseline("context", tau=5.0, n_contexts=2, scope="batch")
    _, state = baseline.step(torch.tensor([1.0, 3.0]), torch.tensor([1, 1]), baseline.init(2, dtype=torch.float64))
    torch.testing.assert_close(state, torch.tensor([0.0, 2.0 * (1 - math.exp(-0.2))], dtype=torch.float64))


def test_the_gate_reads_its_baseline_from_the_config():
    options = {"reward_baseline": "context", "n_contexts": 2, "reward_baseline_tau": 3.0, "dt": 0.5}
    gate = NeuromodulatoryGate(NeuromodConfig(**options, da_response="linear", da_scale=0.5))
    baseline = RewardBaseline("context", 3.0, 2, "sample", 0.5)
    state, average = gate.init(2), baseline.init(2)
    for reward, context in ((torch.tensor([1.0, 0.2]), torch.tensor([0, 1])), (0.7, 1), (0.1, 0)):
        modulators, _, state = gate.step({"reward": reward, "context": context}, state)
        error, average = baseline.step(reward, context, average)
        assert torch.equal(modulators["DA"], 0.5 * error)
        assert torch.equal(state.baseline, average)


def squashed(rewards, contexts, n_contexts, tau, dt, scale, shared):
    """Expectations that follow tanh, one Python number at a time; `shared`: one per context for the whole batch."""
    steps, batch = rewards.shape
    pull, memory = 1.0 - math.exp(-dt / tau), max(3.0 * tau / dt, 30.0)
    average = np.zeros((1 if shared else batch, n_contexts))
    past, errors = {}, np.zeros_like(rewards)  # past: what every expectation has met, oldest first
    for t in range(steps):
        now = {}
        for b in range(batch):
            here = (0 if shared else b), contexts[t, b]
            errors[t, b] = error = rewards[t, b] - average[here]
            now.setdefault(here, []).append((abs(error), 1.0 - math.tanh(scale * error) ** 2, math.tanh(scale * error)))
        for here, met in now.items():
            distance, slope, dopamine = np.mean(met, axis=0)
            pace, before = 1.0 / scale, past.setdefault(here, [])
            if before:
                weights = (1.0 - 1.0 / memory) ** np.arange(len(before))[::-1]
                distances, slopes = np.average(before, axis=0, weights=weights)
                pace = max(pace, min(distances, 1.0 / (scale * max(slopes, 1e-300))))
            before.append((distance, slope))
            average[here] += math.copysign(min(abs(pull * pace * dopamine), distance), dopamine)
    return errors, average if not shared else average[0]


@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("kind, n_contexts", [("running", 1), ("context", 3)])
@given(seed=st.integers(0, 10_000), tau=st.floats(1.0, 200.0), dt=st.floats(0.2, 2.0), scale=st.floats(0.1, 3.0))
@settings(deadline=None, max_examples=10)
def test_the_squashed_expectation_is_equal_to_the_loop(scope, kind, n_contexts, seed, tau, dt, scale):
    rewards, contexts = random_trials(seed, n_contexts=n_contexts)
    config = NeuromodConfig(
        da_scale=scale,
        reward_baseline=kind,
        n_contexts=n_contexts,
        baseline_scope=scope,
        reward_baseline_tau=tau,
        dt=dt,
    )
    gate, found = NeuromodulatoryGate(config), []
    state = gate.init(rewards.shape[1], dtype=torch.float64)
    for reward, context in zip(torch.tensor(rewards), torch.tensor(contexts), strict=True):
        modulators, _, state = gate.step({"reward": reward, "context": context}, state)
        found.append(modulators["DA"].numpy())
    errors, average = squashed(rewards, contexts, n_contexts, tau, dt, scale, scope == "batch")
    np.testing.assert_allclose(np.stack(found), np.tanh(scale * errors), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(state.baseline.numpy(), average, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("context, pattern", [(2, "context <= 1"), (-1, "context >= 0"), (0.5, "fractional part")])
def test_a_context_that_does_not_exist_is_refused(context, pattern):
    baseline = RewardBaseline("context", n_contexts=2)
    with pytest.raises(ValueError, match=pattern):
        baseline.step(1.0, context, baseline.init(1))


@pytest.mark.parametrize("reward", [math.nan, torch.tensor([0.0, math.inf])])
def test_a_reward_that_is_no_number_is_refused(reward):
    baseline = RewardBaseline("running")
    with pytest.raises(ValueError, match="reward"):
        baseline.step(reward, 0, baseline.init(2))


def test_another_batch_size_is_refused():
    baseline = RewardBaseline("running")
    with pytest.raises(ValueError, match=r"reward has shape \(3,\).*batch of 2"):
        baseline.step(torch.ones(3), 0, baseline.init(2))


@pytest.mark.parametrize(
    "arguments, field",
    [
        ({"kind": "median"}, "kind"),
        ({"tau": 0.0}, "tau"),
        ({"n_contexts": 0}, "n_contexts"),
        ({"scope": "all"}, "scope"),
    ],
)
def test_options_out_of_range_name_the_field(arguments, field):
    with pytest.raises(ValueError, match=f"RewardBaseline.{field} = "):
        RewardBaseline(**arguments)
