"""`learner.diagnose()`: numbers as by brute force, a sentence for what stands in the way, and nothing is changed."""

from __future__ import annotations

import json
import warnings

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import nn
from torch.nn.utils import prune

from snn_plasticity import (
    Connection,
    EligibilityConfig,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    attach,
)
from snn_plasticity.diagnostics import layer_trace

T, B = 6, 3
PRE = (torch.rand(T, B, 4, generator=torch.Generator().manual_seed(1)) < 0.4).float()
POST = (torch.rand(T, B, 2, generator=torch.Generator().manual_seed(2)) < 0.3).float()


def learner_of(eligibility=None, path="auto", gate=None, **three_factor):
    torch.manual_seed(0)
    config = PlasticityConfig(eligibility or EligibilityConfig(), three_factor=ThreeFactorConfig(**three_factor))
    connection = Connection("fc", nn.Linear(4, 2), config=config, path=path)
    return PlasticityLearner([connection], gate), connection


def watch(connection, steps=range(T)):
    for t in steps:
        connection.observe(PRE[t], POST[t])


def by_hand(beta, low, high):
    """e of the rate kernel, step by step."""
    e = torch.zeros(B, 2, 4)
    for pre, post in zip(PRE, POST, strict=True):
        e = (beta * e + post[:, :, None] * pre[:, None, :]).clamp(low, high)
    return e


def test_numbers_are_those_of_brute_force():
    rule = EligibilityConfig(tau_e=10.0, clamp_range=(-1.2, 1.2))
    learner, connection = learner_of(rule, lr=0.5, weight_clamp=(-0.1, 0.1), weight_bounds=(-0.2, 0.2))
    watch(connection)
    mod, e = torch.tensor([1.0, 0.5, -1.0]), by_hand(0.9, -1.2, 1.2)
    connection.module.weight.data.clamp_(-0.2, 0.2)
    learner.step(mod)
    layer, weight = learner.diagnose().layers["fc"], connection.weight.detach()
    change = 0.5 * (mod[:, None, None] * e).mean(0)
    assert layer.eligibility_mean == pytest.approx(float(e.abs().mean()), rel=1e-5)
    assert layer.eligibility_zero == pytest.approx(float((e == 0).float().mean()))
    assert (
        layer.eligibility_at_clamp == pytest.approx(float((e.abs() == 1.2).float().mean())) and (e.abs() == 1.2).any()
    )
    assert layer.change_mean == pytest.approx(float(change.clamp(-0.1, 0.1).abs().mean()), rel=1e-5)
    assert layer.change_cut == pytest.approx(float((change.abs() > 0.1).float().mean())) and layer.change_cut > 0
    assert layer.weight_mean == pytest.approx(float(weight.abs().mean()))
    assert layer.weight_at_bounds == pytest.approx(float((weight.abs() >= 0.2).float().mean()))
    assert layer.pre_rate == pytest.approx(float(PRE.mean())) and layer.post_rate == pytest.approx(float(POST.mean()))
    assert (layer.steps_observed, layer.steps_sampled, layer.shape, layer.status) == (T, T, (2, 4), "learns")
    diagnosis = learner.diagnose()
    assert (diagnosis.steps, diagnosis.batch_size) == (1, B)
    assert diagnosis.third_factor == pytest.approx(0.5 / 3)


def test_without_a_third_factor_a_change_is_that_of_one():
    learner, connection = learner_of(EligibilityConfig(tau_e=10.0, clamp_range=None), lr=0.5)
    watch(connection)
    layer = learner.diagnose().layers["fc"]
    assert layer.change_mean == pytest.approx(0.5 * float(by_hand(0.9, -9.0, 9.0).mean(0).mean()), rel=1e-5)
    assert layer.eligibility_at_clamp is None


def test_levels_of_the_gate():
    gate = NeuromodulatoryGate(NeuromodConfig(da_tau=9.0, reward_baseline="running", reward_baseline_tau=5.0))
    learner, connection = learner_of(gate=gate)
    watch(connection)
    for _ in range(4):
        learner.step(reward=1.0, novelty=0.5)
    state, diagnosis = learner.third_factor.state, learner.diagnose()
    assert list(diagnosis.levels) == ["DA", "ACh", "NE", "5HT"]
    assert diagnosis.levels["DA"] == pytest.approx(float(state.levels[:, 0].mean()))
    assert diagnosis.reward_baseline == pytest.approx(float(state.baseline.mean())) and diagnosis.reward_baseline > 0
    assert diagnosis.modulators["ACh"] == pytest.approx(float(torch.tanh(torch.tensor(0.5))))


@pytest.mark.parametrize("path", ("auto", "plain", "fold", "shared"))
@pytest.mark.parametrize("frequency", (1, 3))
def test_it_changes_nothing(path, frequency):
    rule = EligibilityConfig(kernel="stdp_pair", tau_e=15.0, clamp_range=None if path == "shared" else (-0.5, 0.5))

    def final(ask):
        learner, connection = learner_of(rule, path, lr=0.1, update_frequency=frequency)
        for t in range(T):
            watch(connection, [t])
            if ask:
                learner.diagnose()
            if t % 2:
                learner.step(0.7)
            if ask:
                str(learner.diagnose())
        learner.step(-0.3)
        learner.step(0.4)
        return connection.weight.detach().clone(), learner.state_dict()

    (weight, state), (asked, asked_state) = final(False), final(True)
    assert torch.equal(weight, asked)
    leaves, others = (torch.utils._pytree.tree_leaves(s) for s in (state, asked_state))
    for a, b in zip(leaves, others, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def model_of():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.2))
    nn.init.uniform_(model[0].weight, 0.0, 1.0)
    return model


def run(model, steps=10):
    with torch.no_grad():
        for _ in range(steps):
            model((torch.rand(2, 5) < 0.5).float())


def test_at_any_time():
    model = model_of()
    learner = attach(model)

    def findings():
        diagnosis = learner.diagnose()
        assert json.loads(json.dumps(diagnosis.to_dict())) == {
            **diagnosis.to_dict(), "layers": json.loads(json.dumps(diagnosis.to_dict()["layers"]))
        }  # fmt: skip
        assert str(diagnosis).splitlines()[-1] in (*diagnosis.findings, "Nothing stands in the way of learning.")
        return " ".join(diagnosis.findings)

    assert "nothing was observed yet" in findings() and "No step was made yet" in findings()
    run(model)
    assert findings().startswith("No step was made yet")
    learner.step(reward=1.0)
    assert findings() == ""
    learner.reset()
    assert "since the last reset" in findings()
    model.eval()
    run(model, 7)
    assert "0: in eval()" in findings() and learner.diagnose().layers["0"].calls_in_eval == 7
    assert "0 (4×5, online): 10 steps observed; 7 calls in eval(); active: pre " in str(learner.diagnose())
    model.train()
    learner.lr_scale = 0.0
    assert "lr_scale is 0" in findings()
    learner.remove()
    assert "removed from its model" in findings()


def test_a_weight_that_is_lost():
    model = model_of()
    learner = attach(model)
    run(model)
    prune.l1_unstructured(model[0], "weight", 0.5)
    (lost, _) = learner.diagnose().findings
    assert "0 cannot learn: it is pruned" in lost
    assert "it is pruned" in learner.diagnose().layers["0"].status


def test_what_stands_in_the_way():
    def words(build=None, steps=12, eligibility=None, **three_factor):
        model = model_of()
        if build:
            build(model)
        learner = attach(
            model, PlasticityConfig(eligibility or EligibilityConfig(), three_factor=ThreeFactorConfig(**three_factor))
        )
        run(model, steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learner.step(1.0)
        return " ".join(learner.diagnose().findings)

    tight = EligibilityConfig(tau_e=1e4, clamp_range=(-0.01, 0.01))
    assert words(steps=6) == ""
    assert "its neurons have not fired" in words(lambda m: nn.init.constant_(m[0].weight, -1.0))
    assert "every eligibility is at its clamp" in words(eligibility=tight)
    half = words(lambda m: nn.init.constant_(m[0].weight[:1], -9.0), eligibility=tight)
    assert "75.0% of its eligibility is at its clamp" in half
    assert "weight_clamp cuts" in words(lr=1.0, weight_clamp=(-1e-3, 1e-3))
    assert "100.0% of its weights are at their bounds" in words(
        lambda m: nn.init.constant_(m[0].weight, 1.0), weight_bounds=(0.0, 1.0)
    )
    assert "a step changes weights by only" in words(lr=1e-9)
    assert "times their mean size. Lower lr" in words(lr=10.0, weight_clamp=None, update_frequency=2)
    assert "the learning rate is 0" in words(lr=0.0)


def test_zeros_are_not_active():
    """Three of four eligibilities are exactly zero: a share that counted them would be 1."""
    e = torch.tensor([[[0.5, 0.0], [0.0, 0.0]], [[-0.5, 0.0], [0.0, 0.0]]])
    assert float(layer_trace(torch.ones(2, 2), e, None).eligibility_active) == 0.25
    learner, connection = learner_of()
    connection.observe(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    trace = learner.step(1.0, return_details=True)
    assert float(trace.layers["fc"].eligibility_active) == 1 / 8
    assert learner.diagnose().layers["fc"].eligibility_zero == 7 / 8


def spiking(kind):
    """A layer and a neuron; the model runs them for some steps."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 6)
    nn.init.uniform_(linear.weight, 0.1, 0.5)
    nn.init.uniform_(linear.bias, 0.0, 0.1)
    low = norse.LIFParameters(v_th=torch.tensor(0.15))
    neuron = {
        "leaky": lambda: snntorch.Leaky(beta=0.9, init_hidden=True),
        "synaptic": lambda: snntorch.Synaptic(alpha=0.8, beta=0.9, init_hidden=True),
        "norse": lambda: norse.LIFCell(low),
        "sequence": lambda: norse.LIF(low),
    }[kind]()
    return (nn.Sequential if isinstance(neuron, snntorch.SpikingNeuron) else norse.SequentialState)(linear, neuron)


@pytest.mark.parametrize("kind", ["leaky", "synaptic", "norse", "sequence"])
@pytest.mark.parametrize("reads", ["dev", "eprop", "online", "own"])
def test_rates_are_those_of_spikes_whatever_the_kernel_reads(kind, reads):
    if (kind, reads) == ("sequence", "online"):
        pytest.skip("a sequence at once has no gradients of its steps")
    model = spiking(kind)
    config = getattr(PlasticityConfig, "dev" if reads == "own" else reads)()
    learner = attach(model, config, post=(lambda call: call.spikes + 0.5) if reads == "own" else None)
    steps = (torch.rand(8, B, 4, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    fired, state = [], None
    if kind == "sequence":
        fired = [model(steps)[0].detach()]
    for x in [] if kind == "sequence" else steps:
        spikes, state = model(x, state) if kind == "norse" else (model(x), None)
        fired.append(spikes.detach())
    (layer,), spikes = learner.diagnose().layers.values(), torch.cat(fired)
    assert 0.05 < float(spikes.mean()) < 0.95
    assert layer.post_rate == pytest.approx(float(spikes.mean()))
    assert layer.pre_rate == pytest.approx(float(steps.mean()))


def test_neurons_that_learn_and_never_fire_are_told_of():
    model = model_of()
    nn.init.constant_(model[0].weight, -1.0)
    learner = attach(model, PlasticityConfig.eprop())
    run(model, 12)
    learner.step(1.0)
    assert "its neurons have not fired" in " ".join(learner.diagnose().findings)
    by_hand = Connection("fc", nn.Linear(4, 2), config=PlasticityConfig.eprop())
    by_hand.observe(PRE[0], POST[0])
    layer = PlasticityLearner([by_hand]).diagnose().layers["fc"]
    assert layer.post_rate is None and layer.pre_rate is not None and "post" not in str(layer)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (lambda b: torch.rand(b) + 0.1, "The third factor was always above 0 (0."),
        (lambda b: -torch.rand(b) - 0.1, "The third factor was always below 0 (-0."),
        (lambda b: 1.0, "The third factor was always 0.762: whatever the outcome"),
        (torch.randn, None),
    ],
)
def test_a_third_factor_of_one_sign_is_told_of(batch, reward, words):
    """Rewards that are never bad teach no outcome; a baseline ends that, and so does the word."""
    torch.manual_seed(0)
    for baseline in ("none", "running"):
        model = model_of()
        learner = attach(model, PlasticityConfig(neuromod=NeuromodConfig(reward_baseline=baseline)))
        for _ in range(40):
            with torch.no_grad():
                model((torch.rand(batch, 5) < 0.5).float())
            learner.step(reward=reward(batch))
            learner.reset()
        told = " ".join(learner.diagnose().findings)
        assert ("The third factor was always" in told) == (baseline == "none" and words is not None)
        if baseline == "none" and words:
            assert words in told and "NeuromodConfig(reward_baseline='running')" in told


def test_a_plain_rule_by_hand_is_no_fault():
    learner, connection = learner_of()
    for _ in range(40):
        watch(connection)
        learner.step(1.0)
    assert not any("The third factor was" in finding for finding in learner.diagnose().findings)
    for _ in range(90):
        watch(connection)
        learner.step(float(torch.rand(())) + 1.5)
    assert any("always above 0 (1 to" in finding for finding in learner.diagnose().findings)
