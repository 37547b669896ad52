"""The learner: what a third factor does to weights, what a reset forgets, and that bad calls change nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import settings, trains
from torch import nn

from snn_plasticity import (
    Connection,
    EligibilityConfig,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    PlasticityWarning,
    ThreeFactorConfig,
    modulate,
)

T, B = 12, 3
PRE, POST = trains(T, B, 4, seed=1, dtype=torch.float32), trains(T, B, 2, seed=2, dtype=torch.float32)


def learner_of(layer=None, gate=None, name="fc", **three_factor):
    config = PlasticityConfig(settings("stdp_pair"), three_factor=ThreeFactorConfig(**{"lr": 0.1, **three_factor}))
    layer = layer or nn.Linear(4, 2)
    connection = Connection(name, layer, config=config)
    return PlasticityLearner([connection], gate), layer, connection


def watch(connection, steps=slice(None)):
    for pre, post in zip(PRE[steps], POST[steps], strict=True):
        connection.observe(pre, post)


@pytest.mark.parametrize("mod", (1.0, torch.tensor(-0.5), torch.randn(B), torch.randn(B, 2)))
def test_a_step_adds_lr_gate_eligibility(mod):
    learner, layer, connection = learner_of()
    before = layer.weight.detach().clone()
    watch(connection)
    learner.step(mod)
    torch.testing.assert_close(layer.weight.detach(), before + 0.1 * modulate(mod, connection.eligibility))


def test_signals_go_through_the_gate():
    config = NeuromodConfig(da_tau=10.0, combination_fn="gated_product")
    learner, layer, connection = learner_of(gate=NeuromodulatoryGate(config))
    watch(connection)
    before, reward = layer.weight.detach().clone(), torch.tensor([1.0, -1.0, 0.0])
    learner.step(reward=reward, novelty=0.5)
    gate = NeuromodulatoryGate(config)
    _, plasticity, state = gate.step({"reward": reward, "novelty": torch.full((B,), 0.5)})
    torch.testing.assert_close(layer.weight.detach(), before + 0.1 * modulate(plasticity, connection.eligibility))
    before = layer.weight.detach().clone()
    learner.step({"reward": 0.0})
    _, plasticity, _ = gate.step({"reward": torch.zeros(B)}, state)
    assert plasticity.abs().max() > 0.5
    torch.testing.assert_close(layer.weight.detach(), before + 0.1 * modulate(plasticity, connection.eligibility))


def test_zero_dopamine_leaves_the_weights_bit_for_bit():
    learner, layer, connection = learner_of(lr=1000.0)
    before = layer.weight.detach().clone()
    for pre, post in zip(PRE, POST, strict=True):
        connection.observe(pre, post)
        learner.step(reward=torch.zeros(B))
        learner.step(0.0)
    assert torch.equal(layer.weight.detach(), before)


def test_shared_weights_change_once_by_the_sum_and_are_clamped_once():
    layer = nn.Linear(4, 2)
    config = PlasticityConfig(settings("rate"), three_factor=ThreeFactorConfig(lr=1.0, weight_clamp=(-0.01, 0.01)))
    first, second = Connection("a", layer, config=config), Connection("b", layer, config=config)
    learner, before = PlasticityLearner([first, second]), layer.weight.detach().clone()
    watch(first)
    watch(second)
    learner.step(1.0)
    torch.testing.assert_close(
        layer.weight.detach() - before, (2 * first.eligibility.mean(0)).clamp(-0.01, 0.01), rtol=1e-4, atol=1e-7
    )


def test_masked_synapses_never_change():
    layer = nn.Linear(4, 4)
    config = PlasticityConfig(EligibilityConfig())
    connection = Connection("r", layer, config=config, mask=1.0 - torch.eye(4))
    before = layer.weight.detach().clone()
    connection.observe(torch.ones(2, 4), torch.ones(2, 4))
    PlasticityLearner([connection]).step(1.0)
    assert torch.equal(layer.weight.detach().diagonal(), before.diagonal())
    assert (layer.weight.detach() != before).sum() == 12


def test_update_frequency_changes_the_weight_every_third_step():
    learner, layer, connection = learner_of(update_frequency=3)
    seen, asked = [layer.weight.detach().clone()], torch.zeros(2, 4)
    for t in range(6):
        watch(connection, slice(t, t + 1))
        asked += 0.1 * connection.eligibility.mean(0)
        learner.step(1.0)
        seen.append(layer.weight.detach().clone())
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[3], seen[5])
    torch.testing.assert_close(seen[6] - seen[0], asked)


def test_hybrid_and_auxiliary_modes_reach_the_gradient():
    learner, layer, connection = learner_of(mode="hybrid")
    watch(connection)
    assert learner.step(1.0) is None
    expected = -0.1 * connection.eligibility.mean(0)
    torch.testing.assert_close(layer.weight.grad, expected)
    learner, layer, connection = learner_of(mode="auxiliary_loss")
    watch(connection)
    with pytest.raises(TypeError, match="auxiliary_loss.*learner.loss"):
        learner.step(1.0)
    learner.loss(1.0).backward()
    torch.testing.assert_close(layer.weight.grad, expected)


def test_only_the_named_layers_hear_the_modulator():
    a, b = Connection("a", nn.Linear(4, 2)), Connection("b", nn.Linear(4, 2))
    learner = PlasticityLearner([a, b])
    watch(a)
    watch(b)
    before = a.weight.detach().clone(), b.weight.detach().clone()
    learner.step(torch.randn(B, 2), layers=["b"])
    assert torch.equal(a.weight, before[0]) and not torch.equal(b.weight, before[1])


def test_reduce_sees_every_change_before_it_lands():
    learner, layer, connection = learner_of()
    learner.reduce = lambda delta: torch.zeros_like(delta)
    before = layer.weight.detach().clone()
    watch(connection)
    with pytest.warns(PlasticityWarning, match="fc: its eligibility is zero everywhere.*a mask, `reduce`"):
        learner.step(1.0)
    assert torch.equal(layer.weight.detach(), before)


def test_details_say_what_the_step_did():
    learner, layer, connection = learner_of()
    watch(connection)
    before = layer.weight.detach().clone()
    trace = learner.step(reward=torch.tensor([1.0, 0.0, -1.0]), novelty=0.2, return_details=True)
    change, e = layer.weight.detach() - before, connection.eligibility
    layer_trace = trace.layers["fc"]
    torch.testing.assert_close(layer_trace.change_norm, change.norm())
    torch.testing.assert_close(layer_trace.change_max, change.abs().max())
    torch.testing.assert_close(layer_trace.eligibility_mean, e.abs().mean().float())
    torch.testing.assert_close(layer_trace.eligibility_active, (e != 0).float().mean())
    assert trace.modulators["ACh"].shape == trace.global_plasticity.shape == (B,)
    numbers = trace.to_dict()
    assert numbers["fc/change_max"] == pytest.approx(float(change.abs().max()), rel=1e-4)
    assert set(numbers) >= {"modulators/DA", "modulators/ACh", "modulators/NE", "modulators/5HT", "global_plasticity"}


def test_saved_learner_goes_on_bit_for_bit(tmp_path):
    def fresh():
        torch.manual_seed(3)
        gate = NeuromodulatoryGate(NeuromodConfig(da_tau=10.0, reward_baseline="running", combination_fn="mlp"))
        return learner_of(gate=gate, update_frequency=2)

    def go_on(learner, connection, start):
        for t in range(start, T):
            watch(connection, slice(t, t + 1))
            learner.step(reward=torch.tensor([1.0, 0.0, 0.5]) * t, novelty=0.1)

    learner, layer, connection = fresh()
    for t in range(5):
        watch(connection, slice(t, t + 1))
        learner.step(reward=torch.tensor([1.0, 0.0, 0.5]) * t, novelty=0.1)
    torch.save((learner.state_dict(), layer.state_dict()), tmp_path / "learner.pt")
    go_on(learner, connection, 5)

    other, other_layer, other_connection = fresh()
    saved, weights = torch.load(tmp_path / "learner.pt", weights_only=True)
    other.load_state_dict(saved)
    other_layer.load_state_dict(weights)
    go_on(other, other_connection, 5)
    assert torch.equal(layer.weight, other_layer.weight)


def test_a_state_of_other_connections_is_refused():
    learner, other = learner_of()[0], learner_of(name="other")[0]
    with pytest.raises(ValueError, match="other"):
        learner.load_state_dict(other.state_dict())


def test_reset_scopes_forget_what_they_name():
    config = NeuromodConfig(da_tau=50.0, reward_baseline="running", reward_baseline_tau=2.0)
    learner, _, connection = learner_of(gate=NeuromodulatoryGate(config), update_frequency=2)
    for scope, traces, levels, baseline in (
        ("eligibility", False, True, True),
        ("episode", False, False, True),
        ("neuromodulators", True, False, False),
        ("all", False, False, False),
    ):
        learner.reset(scope="all")
        watch(connection)
        learner.step(reward=1.0)
        learner.reset(scope=scope)
        state = learner.third_factor.state
        assert (connection.eligibility is not None) is traces
        assert (state is not None and bool(state.levels.any())) is levels
        assert (state is not None and bool(state.baseline.any())) is baseline
    with pytest.raises(ValueError, match="'episode'"):
        learner.reset(scope="everything")


def test_reset_of_some_samples_leaves_the_others():
    learner, _, connection = learner_of(gate=NeuromodulatoryGate(NeuromodConfig(da_tau=50.0)))
    watch(connection)
    learner.step(reward=1.0)
    before = connection.eligibility.clone()
    learner.reset(torch.tensor([True, False, False]))
    assert not connection.eligibility[0].any()
    assert torch.equal(connection.eligibility[1:], before[1:])
    assert learner.third_factor.state.levels[:, 0].tolist()[0] == 0.0
    assert bool(learner.third_factor.state.levels[1:, 0].all())


def test_a_last_smaller_batch_after_a_reset():
    for neuromod in (NeuromodConfig(da_tau=5.0), NeuromodConfig(reward_baseline="running", baseline_scope="batch")):
        learner, _, connection = learner_of(gate=NeuromodulatoryGate(neuromod))
        watch(connection)
        learner.step(reward=1.0)
        learner.reset()
        connection.observe(PRE[0, :2], POST[0, :2])
        learner.step(reward=torch.ones(2))


def test_another_batch_size_in_mid_sequence_is_an_error_or_one_warning():
    learner, _, connection = learner_of()
    watch(connection)
    before = connection.eligibility.clone()
    with pytest.raises(ValueError, match=r"reset\(2\)"):
        connection.observe(PRE[0, :2], POST[0, :2])
    assert torch.equal(connection.eligibility, before)
    lenient = Connection("fc", nn.Linear(4, 2), config=PlasticityConfig(settings("stdp_pair")), strict=False)
    watch(lenient)
    with pytest.warns(UserWarning, match="from 3 to 2"):
        lenient.observe(PRE[0, :2], POST[0, :2])
    lenient.observe(PRE[0], POST[0])


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda s: s.step(), TypeError, "third factor"),
        (lambda s: s.step(1.0, reward=1.0), TypeError, "one or the other"),
        (lambda s: s.step(float("nan")), ValueError, "NaN"),
        (lambda s: s.step(reward=float("nan")), ValueError, "reward"),
        (lambda s: s.step(novelty=-1.0), ValueError, "novelty"),
        (lambda s: s.step(rewards=1.0), ValueError, "rewards"),
        (lambda s: s.step(reward=torch.ones(5)), ValueError, "(5,)"),
        (lambda s: s.step(torch.ones(2)), ValueError, "fc: The modulator has shape (2,)"),
        (lambda s: s.step(1.0, layers=["fc2"]), ValueError, "among fc"),
        (lambda s: s.step(1.0, layers="fc"), ValueError, "list of names"),
        (lambda s: s.reset(torch.ones(2, dtype=torch.bool)), ValueError, "(3,)"),
    ],
)
def test_bad_calls_are_refused_and_nothing_changes(call, error, word):
    learner, layer, connection = learner_of(gate=NeuromodulatoryGate(NeuromodConfig(da_tau=5.0)))
    watch(connection)
    learner.step(reward=0.5)
    before = copy.deepcopy((layer.state_dict(), learner.state_dict()))
    with pytest.raises(error) as raised:
        call(learner)
    assert word in str(raised.value)
    after = (layer.state_dict(), learner.state_dict())
    for old, new in zip(torch.utils._pytree.tree_leaves(before), torch.utils._pytree.tree_leaves(after), strict=True):
        assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new


def test_a_lonely_step_without_activity_changes_nothing():
    learner, layer, _ = learner_of()
    before = layer.weight.detach().clone()
    with pytest.warns(PlasticityWarning, match="fc: nothing was observed yet"):
        learner.step(reward=1.0)
    assert torch.equal(layer.weight.detach(), before)
