"""A reward at every step: attached networks and the same rule written into the loop by hand end at the same weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from snn_plasticity import PlasticityConfig, attach

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import by_hand  # noqa: E402
import shown  # noqa: E402
import small_nets  # noqa: E402

STEPS = 40
CLAMPS = {"no clamp": None, "a clamp that binds": (-0.03, 0.03)}


def by_the_loop(host: str, n: int, batch: int, clamp: tuple[float, float] | None) -> list[torch.Tensor]:
    net, (spikes, rewards) = small_nets.network(host, n), small_nets.inputs(n, batch)
    bound = None if clamp is None else clamp[1]
    rules = [by_hand.PairSTDP(layer.weight.detach(), batch, 1e-2, clamp=bound) for layer in small_nets.linears(net)]
    for pre, reward in zip(spikes[:STEPS], rewards, strict=False):
        with torch.no_grad():
            by_hand.learn(rules, [pre, *net.layers(pre)], reward)
    return [rule.weight for rule in rules]


def by_attach(host: str, n: int, batch: int, clamp: tuple[float, float] | None) -> list[torch.Tensor]:
    net, (spikes, rewards) = small_nets.network(host, n), small_nets.inputs(n, batch)
    learner = attach(net.model, shown.pair(clamp))
    learner.lr_scale = 100.0  # of a rate of 1e-4
    for pre, reward in zip(spikes[:STEPS], rewards, strict=False):
        with torch.no_grad():
            net.step(pre)
        learner.step(reward)
    return [layer.weight.detach() for layer in small_nets.linears(net)]


@pytest.mark.parametrize("host", small_nets.HOSTS)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("clamp", CLAMPS.values(), ids=CLAMPS)
def test_a_reward_at_every_step_is_the_loop_by_hand(host, batch, clamp):
    start = [layer.weight.detach().clone() for layer in small_nets.linears(small_nets.network(host, 24))]
    hand, attached = by_the_loop(host, 24, batch, clamp), by_attach(host, 24, batch, clamp)
    for first, ours, theirs in zip(start, attached, hand, strict=True):
        largest = (theirs - first).abs().max()
        assert largest > 1e-4
        assert (ours - theirs).abs().max() < 1e-3 * largest


def test_the_clamp_of_this_test_binds():
    """Otherwise the two halves of the test above would be one."""
    net, (spikes, rewards) = small_nets.network("Norse", 24), small_nets.inputs(24, 1)
    rule = by_hand.PairSTDP(small_nets.linears(net)[0].weight.detach(), 1, 1e-2, clamp=0.03)
    with torch.no_grad():
        for pre, reward in zip(spikes[:STEPS], rewards, strict=False):
            by_hand.learn([rule], [pre, net.layers(pre)[0]], reward)
    assert (rule.e.abs() == 0.03).float().mean() > 0.05


def test_every_preset_is_found():
    assert {"minimal()", "dev()", "production()"} <= set(shown.presets())
    assert all(isinstance(config, PlasticityConfig) for config in shown.presets().values())
