"""The update: gating, linearity, shapes of the modulator, its three modes, and gradients through all of it."""

from __future__ import annotations

import pytest
import torch
from conftest import KERNELS, LAYERS, TRACES, layer_and_trains, settings
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from snn_plasticity import EligibilityTraceModule, ThreeFactorConfig, ThreeFactorUpdate, modulate
from snn_plasticity.plasticity.inner_loop import inner_step


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_name", LAYERS)
def test_no_modulator_no_change_and_a_modulator_a_change(layer_name, kernel, trace):
    layer, pre, post = layer_and_trains(layer_name, steps=12)
    module = EligibilityTraceModule.for_layer(layer, settings(kernel, trace))
    for p, q in zip(pre, post, strict=True):
        module.observe(p, q)
    weight = layer.weight.detach()
    for zero in (0.0, torch.zeros(3), torch.zeros(3, weight.shape[0]), torch.zeros(3, 1)):
        if (
            tuple(torch.as_tensor(zero).shape) == (3, weight.shape[0])
            and weight.shape[0] != module.eligibility.shape[1]
        ):
            continue
        assert torch.equal(module.apply_update(weight, zero, lr=10.0), weight)
    for one in (0.5, -0.5, torch.tensor([0.0, 0.0, 1.0])):
        assert not torch.equal(module.apply_update(weight, one, lr=1.0), weight)


def loop(mod, e, reduction):
    """reduce_b mod_b · e_b, written out."""
    total = torch.zeros(e.shape[1:], dtype=e.dtype)
    for b in range(len(e)):
        m = mod if mod.dim() == 0 else mod[b]
        total += (m.view(-1, *[1] * (e.dim() - 2)) if m.dim() else m) * e[b]
    return total / len(e) if reduction == "mean" else total


@pytest.mark.parametrize("reduction", ("mean", "sum"))
@pytest.mark.parametrize("shape", ((), (4,), (4, 3), (4, 1)))
@pytest.mark.parametrize("e_shape", ((4, 3, 5), (4, 3, 2, 2, 2), (4, 3)))
def test_modulate_equals_the_loop_over_samples(shape, e_shape, reduction):
    mod, e = torch.randn(shape, dtype=torch.float64), torch.randn(e_shape, dtype=torch.float64)
    expected = loop(mod.squeeze(1) if shape == (4, 1) else mod, e, reduction)
    torch.testing.assert_close(modulate(mod, e, reduction), expected)


@given(a=st.floats(-2, 2), b=st.floats(-2, 2), lr=st.floats(0.0, 2.0))
def test_change_is_linear_in_modulator_and_learning_rate(a, b, lr):
    e, m, n = torch.randn(4, 3, 5, dtype=torch.float64), torch.randn(4).double(), torch.randn(4).double()
    update = ThreeFactorUpdate(ThreeFactorConfig(weight_clamp=None))
    together = update.delta(a * m + b * n, e, lr=lr)
    apart = lr * (a * update.delta(m, e, lr=1.0) + b * update.delta(n, e, lr=1.0))
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mod", (torch.ones(3), torch.ones(3, 4), torch.ones(1, 4), torch.ones(4, 3, 1), torch.ones(5)))
def test_a_modulator_of_another_shape_is_refused_and_both_shapes_are_named(mod):
    with pytest.raises(ValueError, match=r"\(4, 3, 5\)") as error:
        modulate(mod, torch.ones(4, 3, 5))
    assert str(tuple(mod.shape)) in str(error.value)


def test_one_number_per_sample_is_never_read_as_one_per_neuron():
    e = torch.arange(9.0).reshape(3, 3, 1)
    mod = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(modulate(mod, e, "sum"), e[0])


def test_no_temporary_as_large_as_the_eligibility():
    e = torch.randn(8, 300, 400)
    for mod in (torch.tensor(0.5), torch.randn(8), torch.randn(8, 300)):
        with torch.profiler.profile(profile_memory=True) as profile:
            modulate(mod, e)
        assert max(event.cpu_memory_usage for event in profile.events()) < e.numel() * 4 / 2, mod.shape


def test_the_clamp_bounds_one_update_and_pretrained_weights_survive():
    weight = torch.full((1, 2), 5.0)
    update = ThreeFactorUpdate(ThreeFactorConfig(lr=100.0))
    update.apply_(weight, update.delta(torch.tensor(1.0), torch.ones(2, 1, 2)))
    assert torch.equal(weight, torch.full((1, 2), 6.0))


def test_online_changes_the_weight_in_place_outside_autograd():
    weight = nn.Parameter(torch.zeros(1, 2))
    before = weight
    update = ThreeFactorUpdate(ThreeFactorConfig(lr=0.1))
    update.apply_(weight, update.delta(1.0, torch.ones(2, 1, 2)))
    assert weight is before and weight.requires_grad and weight.grad is None
    torch.testing.assert_close(weight.detach(), torch.full((1, 2), 0.1))


def test_hybrid_adds_to_the_gradient_so_that_sgd_takes_both_steps():
    layer = nn.Linear(2, 1, bias=False)
    start, x = layer.weight.detach().clone(), torch.randn(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    loss = layer(x).square().sum()
    loss.backward()
    gradient = layer.weight.grad.clone()
    update, e = ThreeFactorUpdate(ThreeFactorConfig(mode="hybrid", lr=0.1)), torch.randn(3, 1, 2)
    delta = update.delta(torch.ones(3), e)
    update.add_grad_(layer.weight, delta)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), start - gradient + delta)


def test_hybrid_starts_a_gradient_where_there_is_none():
    weight = nn.Parameter(torch.zeros(1, 2))
    ThreeFactorUpdate(ThreeFactorConfig(mode="hybrid")).add_grad_(weight, torch.tensor([[0.1, -0.2]]))
    assert torch.equal(weight.grad, -torch.tensor([[0.1, -0.2]]))


def test_auxiliary_loss_has_minus_the_change_as_its_gradient():
    weight = nn.Parameter(torch.randn(3, 5))
    update = ThreeFactorUpdate(ThreeFactorConfig(mode="auxiliary_loss", lr=0.1))
    delta = update.delta(torch.randn(4), torch.randn(4, 3, 5))
    loss = update.loss(weight, delta)
    assert loss.dim() == 0
    loss.backward()
    assert torch.equal(weight.grad, -delta)


def test_low_precision_weights_are_changed_as_float32_says():
    weight = torch.full((1, 1), 0.5, dtype=torch.bfloat16)
    update = ThreeFactorUpdate(ThreeFactorConfig(weight_bounds=(0.0, 0.75)))
    update.apply_(weight, torch.full((1, 1), 0.5))
    assert weight.dtype == torch.bfloat16 and float(weight) == 0.75


@pytest.mark.parametrize("trace", ("accumulating", "dutch", "replacing"))
def test_the_whole_update_is_differentiable(trace):
    """Through the update, the trace's τ, the kernel's A± and the modulator."""
    from dataclasses import replace

    from snn_plasticity import EligibilityRule, PairSTDP

    layer, pre, post = layer_and_trains("linear", steps=5)
    config = settings("stdp_pair", trace)
    rule = EligibilityRule.of(EligibilityTraceModule.for_layer(layer, config).rule.geometry, config)

    def change(tau_e, a_plus, a_minus, mod):
        own = replace(rule, trace=replace(rule.trace, tau_e=tau_e), kernel=PairSTDP(7.0, 11.0, a_plus, a_minus))
        state = own.init(pre[0], post[0])
        for p, q in zip(pre, post, strict=True):
            e, state = own.step(p, q, state)
        return ThreeFactorUpdate(ThreeFactorConfig(lr=0.1)).delta(mod, e)

    constants = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (15.0, 0.8, 1.1)]
    mod = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(change, (*constants, mod))
    many = torch.stack([mod.detach(), 2.0 * mod.detach()])
    mapped = torch.func.vmap(lambda m: change(*(c.detach() for c in constants), m))(many)
    torch.testing.assert_close(mapped[1], 2.0 * mapped[0])
    slope = torch.func.grad(lambda tau: change(tau, *(c.detach() for c in constants[1:]), mod.detach()).sum())
    assert torch.isfinite(slope(constants[0].detach()))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_pure_rule_compiles_into_one_graph(kernel, trace):
    layer, pre, post = layer_and_trains("linear")
    rule = EligibilityTraceModule.for_layer(layer, settings(kernel, trace)).rule
    update = ThreeFactorUpdate()

    def step(p, q, state, mod):
        e, state = rule.step(p, q, state)
        return update.delta(mod, e), state

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    plain = fast = rule.init(pre[0], post[0])
    for p, q in zip(pre, post, strict=True):
        expected, plain = step(p, q, plain, torch.ones(3).double())
        delta, fast = compiled(p, q, fast, torch.ones(3).double())
        torch.testing.assert_close(delta, expected)


def test_an_inner_loop_learns_through_a_three_factor_step():
    """MAML in small: the outer loop learns a modulator gain for which one plastic step solves the task."""
    generator = torch.Generator().manual_seed(0)
    gain = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([gain], lr=0.5)
    update = ThreeFactorUpdate(ThreeFactorConfig(lr=1.0, weight_clamp=None), reduction="sum")
    losses = []
    for _ in range(30):
        target = torch.randn(1, 4, generator=generator).double()
        x = torch.eye(4, dtype=torch.float64)
        reward = (x @ target.T).squeeze(1)
        weight = inner_step(torch.zeros(1, 4).double(), None, gain * reward, x.unsqueeze(1), update)
        loss = (weight - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert float(gain.detach()) == pytest.approx(1.0, abs=1e-3)
    assert losses[-1] < 1e-5 < losses[0]


def test_inner_step_adds_gradient_and_plasticity_and_passes_gradcheck():
    w, g = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    e, m = (
        torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(4, dtype=torch.float64, requires_grad=True),
    )
    update = ThreeFactorUpdate(ThreeFactorConfig(lr=0.3))
    expected = w - 0.1 * g + 0.3 * torch.einsum("b,boi->oi", m, e) / 4
    torch.testing.assert_close(inner_step(w, g, m, e, update, lr=0.1), expected)
    assert torch.autograd.gradcheck(lambda *a: inner_step(*a, update, lr=0.1), (w, g, m, e))
    with pytest.raises(ValueError, match="gradient has shape"):
        inner_step(w, g[:1], m, e, update)
    with pytest.raises(ValueError, match="e has shape"):
        inner_step(w, g, m, e[:, :1], update)
