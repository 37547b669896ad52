"""Batches that change: after a reset any size may come, an empty one is a step with nothing in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from test_all_or_nothing import assert_same, everything
from torch import nn

from snn_plasticity import (
    Coincidence,
    Connection,
    EligibilityConfig,
    EligibilityTraceModule,
    NeuromodConfig,
    NeuromodulatoryGate,
    Pair,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    attach,
    modulate,
)

TAU = 4.0
SHARE = 1.0 - math.exp(-1.0 / TAU)  # of an error that the average of reward takes in


def built(path="auto", sizes=((4, 2), (2, 3)), kernel="stdp_pair", strict=True, update_frequency=1, **neuromod):
    eligibility = EligibilityConfig(kernel=kernel, clamp_range=None)
    config = PlasticityConfig(eligibility, three_factor=ThreeFactorConfig(lr=0.1, update_frequency=update_frequency))
    torch.manual_seed(0)
    connections = [
        Connection(f"c{i}", nn.Linear(*size), config=config, path=path, strict=strict) for i, size in enumerate(sizes)
    ]
    return PlasticityLearner(connections, NeuromodulatoryGate(NeuromodConfig(**neuromod)))


def watch(learner, batch, steps=3, seed=0, only=None):
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for name, c in learner.connections.items():
            post, pre = ((torch.rand(batch, n, generator=g) < 0.5).float() for n in c.weight.shape)
            if only in (None, name):
                c.observe(pre, post)


AVERAGES = {"reward_baseline": "running", "reward_baseline_tau": TAU}


@pytest.mark.parametrize("neuromod", ({}, {"da_tau": 5.0}, AVERAGES, {**AVERAGES, "baseline_scope": "batch"}))
@pytest.mark.parametrize("batches", ((3, 2), (2, 5), (1, 3), (3, 1)))
def test_after_a_reset_any_batch_may_come_and_be_told_and_reset_by_sample(batches, neuromod):
    old, new = batches
    learner = built(**neuromod)
    watch(learner, old)
    learner.step(reward=1.0)
    learner.reset()
    watch(learner, new)
    mask = torch.arange(new) % 2 == 0
    e = learner.connections["c0"].eligibility.clone()
    learner.reset(mask)
    kept = learner.connections["c0"].eligibility
    assert not kept[mask].any() and torch.equal(kept[~mask], e[~mask]) and e[mask].any()
    learner.step(reward=torch.arange(float(new)))
    assert len(learner.third_factor.state.levels) == new


@pytest.mark.parametrize("scope", ("episode", "neuromodulators", "all"))
def test_a_reset_lets_go_of_the_batch_before_anything_is_observed(scope):
    learner = built(da_tau=5.0, **AVERAGES)
    watch(learner, 3)
    learner.step(reward=1.0)
    learner.reset(scope=scope)
    learner.reset(torch.tensor([True, False])) if scope != "neuromodulators" else None
    if scope == "neuromodulators":
        with pytest.raises(ValueError, match=r"c0: mask is .*expected .*\(3,\)"):
            learner.reset(torch.tensor([True, False]))


@pytest.mark.filterwarnings("ignore::snn_plasticity.PlasticityWarning")  # there is nothing to learn from yet
def test_a_reward_before_anything_is_observed_may_be_for_any_batch():
    learner = built(da_tau=5.0)
    for batch in (1, 3, 2):
        learner.reset()
        learner.step(reward=torch.arange(1.0, batch + 1.0))
        assert len(learner.third_factor.state.levels) == batch
    with pytest.raises(ValueError, match="3"):
        learner.step(reward=torch.ones(3))
    learner.reset()
    learner.step(reward=1.0)  # told to all, however many there will be
    watch(learner, 3)
    learner.step(reward=torch.zeros(3))
    assert learner.third_factor.state.levels[:, 0].tolist() == pytest.approx([math.exp(-1 / 5) * math.tanh(1)] * 3)


def test_the_average_that_a_batch_shares_is_the_same_whatever_the_batch():
    """Against the recursion by hand: b <- b + (1 - exp(-1/tau)) (mean r - b)."""
    learner, b = built(baseline_scope="batch", da_response="linear", **AVERAGES), 0.0
    for batch, reward in ((4, 1.0), (3, 0.5), (3, 2.0), (1, -1.0), (4, 0.25)):
        learner.reset()
        watch(learner, batch)
        before = [c.weight.detach().clone() for c in learner.connections.values()]
        learner.step(reward=torch.full((batch,), reward))
        for c, weight in zip(learner.connections.values(), before, strict=True):
            change = 0.1 * (reward - b) * c.eligibility.mean(0)
            torch.testing.assert_close(c.weight.detach() - weight, change, rtol=1e-4, atol=1e-6)
        b += SHARE * (reward - b)
        assert learner.third_factor.state.baseline.tolist() == pytest.approx([b], rel=1e-5)


def test_averages_of_samples_go_on_from_their_mean_in_another_batch():
    learner = built(da_response="linear", **AVERAGES)
    watch(learner, 3)
    learner.step(reward=torch.tensor([1.0, 2.0, 6.0]))
    learner.reset()
    watch(learner, 2)
    learner.step(reward=torch.tensor([0.0, 1.0]))
    b = SHARE * 3.0
    expected = [b + SHARE * (0.0 - b), b + SHARE * (1.0 - b)]
    assert learner.third_factor.state.baseline.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_connections_with_different_batches_are_named_and_nothing_changes():
    learner = built(da_tau=5.0)
    watch(learner, 3)
    learner.connections["c1"].reset()
    watch(learner, 2, only="c1")
    before = everything(learner)
    for call in (
        lambda: learner.step(reward=1.0),
        lambda: learner.step(torch.ones(3)),
        lambda: learner.reset(torch.tensor([True, False])),
        lambda: learner.reset(torch.tensor([True, False, True])),
    ):
        with pytest.raises(ValueError, match="c[01]"):
            call()
        assert_same(before, everything(learner))
    learner.step(reward=torch.ones(2), layers=["c1"])
    learner.reset()
    watch(learner, 4)
    learner.step(reward=1.0)


@pytest.mark.parametrize(
    "mask", (torch.ones(3), torch.ones(2, dtype=torch.bool), torch.ones(3, 1, dtype=torch.bool), [True, False, True])
)
@pytest.mark.parametrize("scope", ("episode", "eligibility", "neuromodulators", "all"))
def test_a_mask_that_is_none_is_refused_before_anything_forgets(mask, scope):
    learner = built(da_tau=5.0)
    watch(learner, 3)
    learner.step(reward=1.0)
    before = everything(learner)
    with pytest.raises(ValueError, match="mask"):
        learner.reset(mask, scope)
    assert_same(before, everything(learner))
    with pytest.raises(ValueError, match="mask"):
        built().reset(torch.ones(3))


def test_samples_of_one_sum_cannot_forget_alone_and_the_other_connection_keeps_them():
    learner = built(sizes=((4, 2),))
    shared = built("shared", sizes=((4, 2),)).connections["c0"]
    shared.name = "sum"
    learner.connections["sum"] = shared
    watch(learner, 3)
    shared.traces._running.fold()
    before = everything(learner)
    with pytest.raises(ValueError, match="sum: The path is 'shared'"):
        learner.reset(torch.tensor([True, False, False]))
    assert_same(before, everything(learner))


@pytest.mark.parametrize("window", (False, True))
@pytest.mark.parametrize("strict", (False, True))
@pytest.mark.parametrize("bad", ("nan", "shape", "window"))
def test_a_refused_beginning_of_a_sequence_ends_no_sequence(bad, strict, window):
    learner = built(sizes=((4, 2),), strict=strict, update_frequency=3)
    connection = learner.connections["c0"]
    watch(learner, 3)
    learner.step(reward=1.0)
    before = everything(learner)
    batch = 3 if strict else 2
    pre, post = torch.ones(batch, 4), torch.ones(batch, 2)
    if bad == "nan":
        post[0, 0] = float("nan")
    else:
        pre = pre[:, :3] if bad == "shape" else pre[:1]
    with pytest.raises(ValueError):
        if window:
            connection.observe_sequence(pre.expand(5, *pre.shape), post.expand(5, *post.shape), new_sequence=strict)
        else:
            connection.observe(pre, post, new_sequence=strict)
    assert_same(before, everything(learner))


# --- nothing in it


@dataclass(frozen=True)
class Own:
    """A kernel of the user's."""

    def init(self, pre, post):
        return torch.zeros_like(post)

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post + state, pre),)), 0.5 * state + post


@pytest.mark.parametrize("kernel", ("rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", Own()))
@pytest.mark.parametrize("path", ("auto", "plain", "fold", "shared"))
def test_an_empty_batch_is_a_step_with_nothing_in_it(path, kernel):
    learner = built(path, kernel=kernel, da_tau=5.0, baseline_scope="batch", **AVERAGES)
    watch(learner, 3)
    learner.step(reward=1.0)
    learner.reset()
    watch(learner, 0)
    for c in learner.connections.values():
        c.observe_sequence(torch.zeros(4, 0, c.weight.shape[1]), torch.zeros(4, 0, len(c.weight)), new_sequence=False)
    before, kept = [c.weight.detach().clone() for c in learner.connections.values()], learner.third_factor.kept
    assert learner.batch_size == 0
    learner.step(reward=torch.zeros(0))
    learner.step(torch.zeros(0))
    learner.step(reward=1.0)
    learner.step(1.0)
    learner.reset(torch.zeros(0, dtype=torch.bool))
    assert [torch.equal(a, c.weight) for a, c in zip(before, learner.connections.values(), strict=True)] == [True] * 2
    assert learner.third_factor.kept is kept
    if path != "shared":
        numbers = learner.step(reward=torch.zeros(0, 1), novelty=0.5, return_details=True).to_dict()
        assert set(numbers.values()) <= {0.0, *(float(w.float().mean()) for w in before)}
        assert learner.connections["c0"].eligibility.shape == (0, 2, 4)
        with pytest.raises(ValueError, match="rewards"):
            learner.step(rewards=torch.zeros(0))
        with pytest.raises(ValueError, match=r"\(3,\)"):
            learner.step(reward=torch.ones(3))
    learner.reset()
    watch(learner, 2)
    learner.step(reward=1.0)


@pytest.mark.parametrize("host", ("snntorch", "norse"))
def test_an_attached_model_may_run_on_nobody(host):
    if host == "snntorch":
        snn = pytest.importorskip("snntorch")
        neuron, x = snn.Leaky(0.9, init_hidden=True, threshold=0.1), torch.eye(4)[:3].repeat(1, 1)
        net = nn.Sequential(nn.Linear(4, 3), neuron)
    else:
        norse = pytest.importorskip("norse.torch")
        net, x = norse.SequentialState(nn.Linear(4, 3), norse.LIF()), torch.eye(4)[:3].repeat(40, 1, 1)
    nn.init.constant_(net[0].weight, 2.0)
    config = PlasticityConfig(EligibilityConfig(clamp_range=None), three_factor=ThreeFactorConfig(lr=0.1))
    learner = attach(net, config)
    for batch in (3, 0, 2):
        learner.reset()
        if host == "snntorch":
            neuron.reset_mem()
        before = net[0].weight.detach().clone()
        for _ in range(3):
            net(x[..., :batch, :])
        learner.step(reward=torch.ones(batch))
        assert learner.batch_size == batch
        assert torch.equal(before, net[0].weight) is (batch == 0) and bool(net[0].weight.isfinite().all())


def test_traces_of_nobody():
    for path in ("auto", "plain", "fold"):
        module = EligibilityTraceModule(4, 2, path=path)
        pre, post = torch.zeros(5, 0, 4), torch.zeros(5, 0, 2)
        assert module.update(pre[0], post[0]).shape == (0, 2, 4)
        assert module.update_window(pre, post).shape == (0, 2, 4)
        assert torch.equal(module.modulate_window(pre, post, torch.ones(5)), torch.zeros(2, 4))
        module.queue(1.0)
        for change in (module.change(1.0), module.change(torch.ones(0)), module.flush()):
            assert torch.equal(change, torch.zeros(2, 4))
    for mod in (1.0, torch.ones(0), torch.ones(0, 2)):
        assert torch.equal(modulate(mod, torch.zeros(0, 2, 4)), torch.zeros(2, 4))


# --- one sum for all


@pytest.mark.parametrize("kernel", ("rate", "stdp_pair"))
@pytest.mark.parametrize("neuromod", ({}, {"da_tau": 5.0}, {"da_tau": 5.0, **AVERAGES}))
def test_the_shared_path_hears_rewards_that_all_samples_share(kernel, neuromod):
    """As the plain path does, with a gate for each sample."""
    shared, plain = built("shared", kernel=kernel, **neuromod), built("plain", kernel=kernel, **neuromod)
    for batch, rewards in ((3, (1.0, 0.0, torch.tensor(0.5))), (2, (-1.0, 1.0))):
        for learner in (shared, plain):
            learner.reset()
            for t, reward in enumerate(rewards):
                watch(learner, batch, seed=t)
                learner.step(reward=reward, novelty=0.25)
    for a, b in zip(shared.connections.values(), plain.connections.values(), strict=True):
        torch.testing.assert_close(a.weight, b.weight, rtol=1e-4, atol=1e-6)


def test_a_sample_with_a_reward_of_its_own_is_refused_by_one_sum_and_heard_by_others():
    learner = built("shared", da_tau=5.0)
    own = built(da_tau=5.0).connections["c0"]
    own.name = "own"
    learner.connections["own"] = own
    watch(learner, 3)
    learner.step(reward=1.0)
    level = learner.third_factor.state.levels[0, 0].item()
    before = everything(learner)
    with pytest.raises(ValueError, match="c0: The path is 'shared'"):
        learner.step(reward=torch.tensor([1.0, 0.0, 0.0]))
    assert_same(before, everything(learner))
    learner.step(reward=torch.tensor([1.0, 0.0, 0.0]), layers=["own"])
    kept = math.exp(-1.0 / 5.0) * level
    assert learner.third_factor.state.levels[:, 0].tolist() == pytest.approx(
        [min(1, kept + math.tanh(1.0)), kept, kept]
    )
    with pytest.raises(ValueError, match="c0: The path is 'shared'"):
        learner.step(reward=1.0)  # the samples' dopamine differs by now
