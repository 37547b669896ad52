"""Environments of Gymnasium: every transition is one of a single episode, in all three autoreset modes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from snn_plasticity import Actor, PlasticityConfig, TDCritic, TDCriticConfig, attach
from snn_plasticity.agents import Environments

MODES = ("NextStep", "SameStep", "Disabled")


def alone(seed, actions):
    """One environment stepped by hand, episode after episode: (observation, reward, next, terminated, truncated)."""
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("CartPole-v1", max_episode_steps=12)
    observation, _ = env.reset(seed=seed)
    for action in actions:
        following, reward, terminated, truncated, _ = env.step(action)
        yield observation, reward, following, terminated, truncated
        observation = env.reset()[0] if terminated or truncated else following


def short(count, mode, seed=0):
    gymnasium = pytest.importorskip("gymnasium")
    made = [lambda: gymnasium.make("CartPole-v1", max_episode_steps=12) for _ in range(count)]
    return Environments(
        gymnasium.vector.SyncVectorEnv(made, autoreset_mode=gymnasium.vector.AutoresetMode(mode)), seed=seed
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_transitions_are_those_of_environments_stepped_by_hand(mode, count):
    """Terminations (always to the right) and truncations (left and right in turn) alike."""
    environments, steps = short(count, mode, seed=5), 60
    actions = [[1] * steps if k % 2 else [k % 2 for k in range(steps)] for k in range(count)]
    by_hand = [alone(5 + k, actions[k]) for k in range(count)]
    taken, ends, returns, sums = [0] * count, [], [], [0.0] * count
    while min(taken) < steps - 1:
        action = torch.tensor([actions[k][min(taken[k], steps - 1)] for k in range(count)])
        found = environments.step(action)
        for k in range(count):
            if not found.valid[k]:
                assert mode == "NextStep" and found.over[k] and found.reward[k] == 0
                continue
            observation, reward, following, terminated, truncated = next(by_hand[k], [None] * 5)
            if observation is None:
                continue
            torch.testing.assert_close(found.observation[k], torch.as_tensor(observation))
            torch.testing.assert_close(found.next_observation[k], torch.as_tensor(following))
            assert (found.reward[k], found.terminated[k], found.truncated[k]) == (reward, terminated, truncated)
            assert found.over[k] == (terminated or truncated)
            taken[k], sums[k] = taken[k] + 1, sums[k] + reward
            if found.over[k]:
                ends.append(terminated)
                returns.append(sums[k])
                sums[k] = 0.0
    assert environments.returns == returns
    assert (True in ends) == (count > 1) and False in ends


def test_modes_learn_alike():
    """One environment, greedy choices: the weights after some episodes are the same bits in all modes."""
    found = []
    for mode in MODES:
        snntorch = pytest.importorskip("snntorch")
        environments = short(1, mode, seed=3)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 2, bias=False), snntorch.Leaky(beta=0.5, reset_mechanism="none"))
        learner = attach(net, PlasticityConfig.eprop(lr=0.1))
        critic = TDCritic(TDCriticConfig(n_features=4, lr=0.05))
        actor = Actor(learner, reads="membrane", promise=critic, trace=0.9)
        with torch.no_grad():
            while len(environments.returns) < 6:
                x = environments.observation
                net[1](net[0](x), net[1].init_leaky())
                step = environments.step(actor.act(features=x, greedy=True))
                actor.learn(
                    -step.terminated.float(), next_features=step.next_observation, terminated=step.terminated,
                    truncated=step.truncated, valid=step.valid,
                )  # fmt: skip
                actor.reset(step.over)
        found.append((net[0].weight.detach(), environments.returns))
    assert found[0][0].any()
    for weight, returns in found[1:]:
        assert returns == found[0][1]
        torch.testing.assert_close(weight, found[0][0])


def test_what_does_not_fit_is_refused_in_a_sentence():
    gymnasium = pytest.importorskip("gymnasium")
    with pytest.raises(TypeError, match="without num_envs; expected a gymnasium.vector.VectorEnv"):
        Environments(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="mode = 'Later'; expected one of 'NextStep', 'SameStep', 'Disabled' or None"):
        Environments.make("CartPole-v1", mode="Later")
    with pytest.raises(ValueError, match="name = 'CartPole-v9'; Gymnasium says: "):
        Environments.make("CartPole-v9")
    environments = Environments.make("CartPole-v1", 2)
    with pytest.raises(ValueError, match=r"action is .*; expected \(2,\)"):
        environments.step(torch.zeros(3, dtype=torch.long))
    with pytest.raises(TypeError, match="action is"):
        environments.step([0, 1])
    assert repr(environments) == "Environments(2 × (4,), NextStep, seed=0)"


def test_gymnasium_is_missed_in_a_sentence():
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from snn_plasticity.agents import Environments\n"
        "Environments.make('CartPole-v1')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode and 'pip install "snn_plasticity[rl]"' in run.stderr.splitlines()[-1]
