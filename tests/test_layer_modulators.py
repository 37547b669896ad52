"""A third factor for each layer: `learner.step({"fc1": L1, "fc2": L2})`."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from snn_plasticity import PlasticityConfig, PlasticityWarning, ThreeFactorConfig, attach

snn = pytest.importorskip("snntorch")
B, N_IN, N_HID, N_OUT, STEPS = 6, 12, 9, 4, 5
LR = 0.1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(N_IN, N_HID), snn.Leaky(beta=0.9, init_hidden=True, threshold=0.2)
        self.fc2, self.lif2 = nn.Linear(N_HID, N_OUT), snn.Leaky(beta=0.9, init_hidden=True, threshold=0.1)

    def forward(self, x):
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))


def trained(seed=0, **settings):
    """A net that has run, and its learner."""
    torch.manual_seed(seed)
    net = Net()
    base = PlasticityConfig.dev()
    learner = attach(net, PlasticityConfig(base.eligibility, base.neuromod, ThreeFactorConfig(lr=LR, **settings)))
    x = (torch.rand(4 * STEPS, B, N_IN, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    for k in range(STEPS):
        net(x[k])
    return net, learner, x


def told(seed=1):
    g = torch.Generator().manual_seed(seed)
    return {"fc1": torch.randn(B, N_HID, generator=g), "fc2": torch.randn(B, N_OUT, generator=g)}


def weights(net):
    return {name: getattr(net, name).weight.detach().clone() for name in ("fc1", "fc2")}


def by_hand(learner, factors):
    """lr · mean_b(L_b,i · e_b,ij), a loop over samples and neurons."""
    changes = {}
    for name, factor in factors.items():
        e = learner.connections[name].eligibility
        factor = torch.as_tensor(factor, dtype=e.dtype)
        factor = factor.expand(e.shape[:1]) if factor.dim() == 0 else factor
        change = torch.zeros(e.shape[1:])
        for b in range(len(e)):
            for i in range(e.shape[1]):
                change[i] += (factor[b] if factor.dim() == 1 else factor[b, i]) * e[b, i]
        changes[name] = LR * change / len(e)
    return changes


@pytest.mark.parametrize(
    "factors",
    [told(), {"fc1": 0.5, "fc2": torch.tensor(-2.0)}, {"fc1": torch.arange(6.0), "fc2": told()["fc2"]}],
    ids=["neurons", "numbers", "mixed"],
)
@pytest.mark.parametrize("way", ["usual", "long", "details", "reduced"])
def test_each_layer_changes_by_its_own_third_factor(way, factors):
    net, learner, x = trained()
    if way == "long":
        learner._land_at_once = lambda *given: False
    if way == "reduced":
        learner.reduce = lambda delta: delta
    for k in range(STEPS, 3 * STEPS):  # the first steps go the long way
        before, expected = weights(net), by_hand(learner, factors)
        trace = learner.step(factors, return_details=way == "details")
        for name, weight in weights(net).items():
            assert expected[name].any()
            torch.testing.assert_close(weight - before[name], expected[name], rtol=1e-4, atol=1e-6)
        if trace is not None:
            assert set(trace.layers) == {"fc1", "fc2"}
            means = [torch.as_tensor(factor).mean() for factor in factors.values()]
            torch.testing.assert_close(trace.global_plasticity, sum(means) / 2)
        net(x[k])


def test_it_is_a_step_of_each_layer_alone():
    """Also where several steps wait for one change, and where changes go into gradients."""
    for settings in ({}, {"update_frequency": 3}, {"mode": "hybrid"}, {"weight_bounds": (-0.3, 0.3)}):
        found = []
        for together in (True, False):
            net, learner, x = trained(**settings)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PlasticityWarning)
                for k in range(STEPS, 3 * STEPS):
                    if together:
                        learner.step(told(k))
                    else:
                        for name, factor in told(k).items():
                            learner.step(factor, layers=[name])
                    net(x[k])
            kept = {n: w if getattr(net, n).weight.grad is None else getattr(net, n).weight.grad
                    for n, w in weights(net).items()}  # fmt: skip
            found.append(kept)
        for name in found[0]:
            torch.testing.assert_close(found[0][name], found[1][name])


def test_layers_that_are_not_named_hear_nothing():
    net, learner, _ = trained()
    before, e = weights(net), learner.connections["fc1"].eligibility.clone()
    learner.step({"fc2": told()["fc2"]})
    after = weights(net)
    assert torch.equal(before["fc1"], after["fc1"]) and not torch.equal(before["fc2"], after["fc2"])
    assert torch.equal(learner.connections["fc1"].eligibility, e)


def test_signals_by_name_stay_signals():
    found = []
    for by_name in (True, False):
        net, learner, _ = trained()
        reward = torch.linspace(-1.0, 1.0, B)
        learner.step({"reward": reward}) if by_name else learner.step(reward=reward)
        assert learner.third_factor.last.modulators["DA"].any()
        found.append(weights(net))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("factors", "error"),
    [
        ({"fc1": 1.0, "fc3": 1.0}, r"the modulator is for \['fc3'\]; expected names of connections \(fc1, fc2\)"),
        ({"fc3": 1.0}, "expected names of connections"),
        ({"fc1": 1.0, "reward": 1.0}, "not of both"),
        ({"fc1": torch.ones(B, N_HID), "fc2": torch.ones(B, N_HID)}, "fc2: "),
        ({"fc1": torch.ones(B, N_HID), "fc2": torch.full((B, N_OUT), torch.nan)}, "fc2: modulator holds 24"),
        ({"fc1": torch.ones(B + 1, N_HID), "fc2": 1.0}, "fc1: "),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(factors, error, warm):
    net, learner, x = trained()
    if warm:
        learner.step(told())
        net(x[STEPS])
    before, e = weights(net), {n: c.eligibility.clone() for n, c in learner.connections.items()}
    with pytest.raises(ValueError, match=error):
        learner.step(factors)
    after = weights(net)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(e[name], learner.connections[name].eligibility) for name in e)
    learner.step(told())
    assert not torch.equal(before["fc1"], weights(net)["fc1"])


def test_it_is_one_way_of_three_to_say_it():
    _, learner, _ = trained()
    with pytest.raises(TypeError, match="layers = .* and the modulator names"):
        learner.step(told(), layers=["fc1"])
    with pytest.raises(TypeError, match="got a modulator and the signals reward"):
        learner.step(told(), reward=1.0)
    with pytest.raises(TypeError, match="fc1: modulator is 'much'"):
        learner.step({"fc1": "much"})


def test_a_silent_layer_is_not_taken_for_a_dead_one_and_diagnosis_knows_each_factor():
    net, learner, x = trained()
    for k in range(STEPS, 2 * STEPS):
        learner.step({"fc1": 0.0, "fc2": told()["fc2"]})
        net(x[k])
    found = learner.diagnose()
    assert found.third_factor == pytest.approx(float(told()["fc2"].mean()) / 2)
    e = learner.connections["fc2"].eligibility
    change = LR * torch.einsum("bo,boi->oi", told()["fc2"], e) / B
    assert found.layers["fc2"].change_mean == pytest.approx(float(change.abs().mean()), rel=1e-4)


def test_gradients_through_a_factor_are_not_kept():
    _, learner, _ = trained()
    learner.step({name: factor.requires_grad_() for name, factor in told().items()})
    assert not any(factor.requires_grad for factor in learner.third_factor.last.factor.values())
