"""The critic: exactly the online λ-return with Dutch traces, and only with the whole of true online TD(λ)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_plasticity.config import NeuromodConfig
from snn_plasticity.neuromodulation import CriticState, NeuromodulatoryGate, TDCritic, TDCriticConfig

N = 5


def random_process(seed, steps=25, states=6):
    """One episode of a random Markov reward process: features, one more than rewards, and rewards."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.5), size=states)
    features, rewards = rng.normal(size=(states, N)) / math.sqrt(N), rng.normal(size=states)
    path = [int(rng.integers(states))]
    for _ in range(steps):
        path.append(int(rng.choice(states, p=transition[path[-1]])))
    return features[path], rewards[path[:-1]] + 0.1 * rng.normal(size=steps)


def online_lambda_return(features, rewards, gamma, lam, lr, terminal):
    """The definition: for every horizon h, all updates from the start with λ-returns cut off at h.

    w^h_{k+1} = w^h_k + α (G^{λ|h}_k − w^h_k·φ_k) φ_k, and n-step returns bootstrap on w^j_j, j = k + n − 1.
    """
    steps = len(rewards)
    final = [np.zeros(N)]

    def n_step(k, n):
        bootstrap = 0.0 if terminal and k + n == steps else final[k + n - 1] @ features[k + n]
        return sum(gamma**i * rewards[k + i] for i in range(n)) + gamma**n * bootstrap

    for h in range(1, steps + 1):
        w = np.zeros(N)
        for k in range(h):
            returns = [n_step(k, n) for n in range(1, h - k + 1)]
            g = (1 - lam) * sum(lam ** (n - 1) * r for n, r in enumerate(returns[:-1], 1))
            g += lam ** (h - k - 1) * returns[-1]
            w = w + lr * (g - w @ features[k]) * features[k]
        final.append(w)
    return np.stack(final[1:])


def dutch_without_correction(features, rewards, gamma, lam, lr):
    """A Dutch trace in the ordinary update, without the (V − V°) terms."""
    w, e, history = np.zeros(N), np.zeros(N), []
    for phi, after, reward in zip(features[:-1], features[1:], rewards, strict=True):
        e = gamma * lam * e + (1 - lr * gamma * lam * (e @ phi)) * phi
        w = w + lr * (reward + gamma * w @ after - w @ phi) * e
        history.append(w)
    return np.stack(history)


def run(config, features, rewards, terminal=False):
    critic = TDCritic(config)
    state, history = critic.init(1, dtype=torch.float64), []
    phi = torch.tensor(features).unsqueeze(1)
    for t, reward in enumerate(rewards):
        last = terminal and t == len(rewards) - 1
        _, state = critic.step(phi[t], float(reward), phi[t + 1], state, terminated=last)
        history.append(state.weights[0].numpy())
    return np.stack(history)


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


@given(
    seed=st.integers(0, 10_000),
    gamma=st.floats(0.0, 1.0),
    lam=st.floats(0.0, 1.0),
    lr=st.floats(0.01, 0.5),
    terminal=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_dutch_is_exactly_the_online_lambda_return(seed, gamma, lam, lr, terminal):
    features, rewards = random_process(seed)
    config = TDCriticConfig(N, gamma, lam, lr, "dutch")
    expected = online_lambda_return(features, rewards, gamma, lam, lr, terminal)
    assert relative(run(config, features, rewards, terminal), expected) < 1e-10


@pytest.mark.parametrize("seed", range(5))
def test_nothing_less_is(seed):
    features, rewards = random_process(seed)
    options = {"gamma": 0.95, "lam": 0.9, "lr": 0.2}
    expected = online_lambda_return(features, rewards, **options, terminal=False)
    assert relative(run(TDCriticConfig(N, **options), features, rewards), expected) < 1e-10
    accumulating = run(TDCriticConfig(N, **options, trace_type="accumulating"), features, rewards)
    assert relative(accumulating, expected) > 1e-3
    assert relative(dutch_without_correction(features, rewards, **options), expected) > 1e-3


@pytest.mark.parametrize("trace_type", ["dutch", "accumulating", "replacing"])
def test_without_a_trace_all_three_are_td_zero(trace_type):
    features, rewards = random_process(1)
    weights = np.zeros(N)
    for phi, after, reward in zip(features[:-1], features[1:], rewards, strict=True):
        weights = weights + 0.1 * (reward + 0.9 * weights @ after - weights @ phi) * phi
    got = run(TDCriticConfig(N, 0.9, 0.0, 0.1, trace_type), features, rewards)[-1]
    np.testing.assert_allclose(got, weights, rtol=1e-12)


@pytest.mark.parametrize("trace_type", ["accumulating", "replacing"])
def test_traces_of_a_visited_place(trace_type):
    critic = TDCritic(TDCriticConfig(2, gamma=0.9, lam=0.5, trace_type=trace_type))
    here, there = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    state = critic.init(1)
    for phi, after in ((here, here), (here, there), (there, there)):
        _, state = critic.step(phi, 0.0, after, state)
    again = 1.45 if trace_type == "accumulating" else 1.0
    torch.testing.assert_close(state.trace, torch.tensor([[0.45 * again, 1.0]]))


@pytest.mark.parametrize("trace_type", ["dutch", "accumulating", "replacing"])
def test_values_of_a_random_walk_are_learnt(trace_type):
    # Five states in a row, reward 1 on leaving to the right: V = 1/6 ... 5/6 (Sutton & Barto, example 6.2).
    critic = TDCritic(TDCriticConfig(5, gamma=1.0, lam=0.5, lr=0.02, trace_type=trace_type, scope="batch"))
    rng, batch = np.random.default_rng(0), 64
    eye = np.eye(7)[:, 1:6]
    place, state = np.full(batch, 3), critic.init(batch, dtype=torch.float64)
    for _ in range(4000):
        after = place + rng.choice([-1, 1], size=batch)
        reward, over = torch.tensor((after == 6) * 1.0), torch.tensor((after == 0) | (after == 6))
        _, state = critic.step(torch.tensor(eye[place]), reward, torch.tensor(eye[after]), state, terminated=over)
        place = np.where(over, 3, after)
    np.testing.assert_allclose(state.weights.numpy(), np.arange(1, 6) / 6, atol=0.03)


def test_td_error_is_reward_plus_discounted_value_minus_value():
    critic = TDCritic(TDCriticConfig(2, gamma=0.9))
    state = critic.init(3)._replace(weights=torch.tensor([[2.0, 5.0]] * 3))
    here, there = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.0, 1.0]] * 3)
    ends = {"terminated": torch.tensor([False, True, False]), "truncated": torch.tensor([False, False, True])}
    td_error, after = critic.step(here, 1.0, there, state, **ends)
    torch.testing.assert_close(td_error, torch.tensor([1 + 4.5 - 2, 1 - 2.0, 1 + 4.5 - 2]))
    torch.testing.assert_close(critic.value(there, state), torch.tensor([5.0] * 3))
    assert torch.equal(after.trace, torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    assert torch.equal(after.old_value, torch.tensor([5.0, 0.0, 0.0]))


@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("trace_type", ["dutch", "accumulating", "replacing"])
def test_after_an_end_the_next_episode_starts_as_new(end, trace_type):
    critic = TDCritic(TDCriticConfig(N, trace_type=trace_type))
    phi = torch.tensor(random_process(2)[0]).unsqueeze(1)
    state = critic.init(1, dtype=torch.float64)
    for t in range(5):
        _, state = critic.step(phi[t], 1.0, phi[t + 1], state, **{end: t == 4})
    fresh = critic.init(1, dtype=torch.float64)._replace(weights=state.weights)
    for t in range(10, 15):
        error, state = critic.step(phi[t], 0.5, phi[t + 1], state)
        fresh_error, fresh = critic.step(phi[t], 0.5, phi[t + 1], fresh)
        assert torch.equal(error, fresh_error)
    assert all(torch.equal(a, b) for a, b in zip(state, fresh, strict=True))


@pytest.mark.parametrize("trace_type", ["dutch", "accumulating", "replacing"])
def test_a_batch_is_a_loop_and_a_shared_critic_takes_the_mean(trace_type):
    episodes = [random_process(seed) for seed in range(3)]
    phi = torch.tensor(np.stack([f for f, _ in episodes], axis=1))
    rewards = torch.tensor(np.stack([r for _, r in episodes], axis=1))
    critic = TDCritic(TDCriticConfig(N, trace_type=trace_type))
    shared = TDCritic(TDCriticConfig(N, trace_type=trace_type, scope="batch"))
    state = critic.init(3, dtype=torch.float64)
    for t in range(10):
        common = shared.init(3, dtype=torch.float64)._replace(trace=state.trace, weights=state.weights[0])
        _, moved = shared.step(phi[t], rewards[t], phi[t + 1], common)
        same = common._replace(weights=state.weights[:1].expand(3, N))
        _, apart = critic.step(phi[t], rewards[t], phi[t + 1], CriticState(*same))
        torch.testing.assert_close(moved.weights, apart.weights.mean(0), rtol=1e-12, atol=1e-14)
        _, state = critic.step(phi[t], rewards[t], phi[t + 1], state)
    for b, (features, reward) in enumerate(episodes):
        alone = run(critic.config, features, reward)[9]
        np.testing.assert_allclose(state.weights[b].numpy(), alone, rtol=1e-12, atol=1e-14)


def test_state_is_not_changed_and_the_same_inputs_give_the_same_bits():
    critic, phi = (
        TDCritic(TDCriticConfig(N)),
        torch.tensor(random_process(0)[0], dtype=torch.float32).unsqueeze(1),
    )
    _, state = critic.step(phi[0], 1.0, phi[1], critic.init(1))
    kept = CriticState(*(part.clone() for part in state))
    first, second = (critic.step(phi[1], 1.0, phi[2], state) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))


def test_spikes_of_a_network_in_training_leave_no_graph_behind():
    critic = TDCritic(TDCriticConfig(3))
    spikes = torch.ones(2, 3, requires_grad=True) * 2
    error, state = critic.step(spikes, 1.0, spikes.bool(), critic.init(2))
    assert not error.requires_grad and not any(part.requires_grad for part in state)


def test_precision_is_single_at_least_and_double_if_the_features_are():
    critic = TDCritic(TDCriticConfig(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        error, state = critic.step(torch.ones(2, 3).half(), 1.0, torch.ones(2, 3).half(), critic.init(2))
    assert error.dtype == state.weights.dtype == torch.float32
    error, state = critic.step(torch.ones(2, 3).double(), 1.0, torch.ones(2, 3).double(), critic.init(2))
    assert error.dtype == state.weights.dtype == torch.float64
    assert critic.init(2, dtype=torch.float16).trace.dtype == torch.float32


def test_its_error_is_the_dopamine_of_a_gate():
    critic, gate = TDCritic(TDCriticConfig(2)), NeuromodulatoryGate(NeuromodConfig(da_source="td_error"))
    td_error, _ = critic.step(torch.eye(2), torch.tensor([0.5, -2.0]), torch.eye(2), critic.init(2))
    assert torch.equal(gate({"td_error": td_error})[0]["DA"], torch.tanh(td_error))


@pytest.mark.parametrize(
    "change, error, pattern",
    [
        ({"features": torch.ones(2, 4)}, ValueError, r"features has shape \(2, 4\); expected \(2, 3\)"),
        ({"features": torch.ones(3, 3)}, ValueError, "features has shape"),
        ({"next_features": torch.ones(3)}, ValueError, "next_features has shape"),
        ({"features": torch.full((2, 3), math.nan)}, ValueError, "features"),
        ({"features": [[1.0]]}, TypeError, "features"),
        ({"reward": math.inf}, ValueError, "reward"),
        ({"reward": torch.ones(3)}, ValueError, "reward has shape"),
        ({"terminated": torch.ones(2)}, TypeError, "terminated is torch.float32, torch.strided; expected a bool"),
        ({"truncated": torch.ones(3, dtype=torch.bool)}, ValueError, "truncated has shape"),
        ({"state": torch.zeros(3)}, TypeError, "expected the CriticState"),
    ],
)
def test_bad_input_is_refused(change, error, pattern):
    critic = TDCritic(TDCriticConfig(3))
    good = {
        "features": torch.ones(2, 3),
        "reward": 1.0,
        "next_features": torch.ones(2, 3),
        "state": critic.init(2),
    }
    with pytest.raises(error, match=pattern):
        critic.step(**(good | change))
    assert torch.equal(good["state"].weights, torch.zeros(2, 3))


@pytest.mark.parametrize(
    "change",
    [{"n_features": 0}, {"gamma": 1.1}, {"lam": -0.1}, {"lr": 0.0}, {"trace_type": "x"}, {"scope": "x"}],
)
def test_settings_out_of_range_name_the_field(change):
    with pytest.raises(ValueError, match=f"TDCriticConfig.{next(iter(change))} = "):
        TDCriticConfig(**({"n_features": 3} | change))


def test_settings_travel_through_json():
    config = TDCriticConfig(7, lam=0.3, trace_type="replacing")
    assert TDCriticConfig.from_json(config.to_json()) == config
