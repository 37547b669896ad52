"""Eligibility vectors against backpropagation through time of neurons with several states, for every layout."""

from __future__ import annotations

import pytest
import snntorch
import torch
from torch import nn

from snn_plasticity import (
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    PlasticityConfig,
    _compiled,
    attach,
)
from snn_plasticity.kernels.stdp import FullCoincidence
from snn_plasticity.layers import Edges, SparseLinear
from snn_plasticity.layers.dense import Diagonal
from snn_plasticity.plasticity import EligibilityRule, EligibilityVectors, eligibility_vectors

STEPS, B = 7, 3
LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "positions": (lambda: nn.Linear(5, 4), (3, 5)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, dilation=2, padding="same", padding_mode="circular"), (4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9, 8)),
    "conv2d, uneven": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(1, 2), dilation=(2, 1), padding=1), (2, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(2, 4, (2, 3, 1), padding=(0, 1, 2)), (2, 4, 4, 3)),
}


class Neurons:
    """h ← tanh(A h + b I), z = sin(c·h + I): d states that drive one another, with their derivatives by hand."""

    def __init__(self, d):
        generator = torch.Generator().manual_seed(d)
        self.A, self.b, self.c = (torch.rand(*s, generator=generator).double() for s in ((d, d), (d,), (d,)))
        self.A = 0.8 * self.A
        self.h = None

    def __call__(self, current):
        h = torch.zeros(len(self.b), *current.shape, dtype=current.dtype) if self.h is None else self.h
        inner = torch.einsum("jk,k...->j...", self.A, h) + torch.einsum("j,...->j...", self.b, current)
        outer = torch.einsum("k,k...->...", self.c, h) + current
        self.h = inner.tanh()
        slope, fired = 1.0 - self.h.detach() ** 2, outer.detach().cos()
        top = torch.cat((torch.ones(1).double(), self.c))
        top = torch.einsum("r,...->r...", top, fired)
        rest = torch.einsum("jr,j...->jr...", torch.cat((self.b[:, None], self.A), 1), slope)
        return outer.sin(), torch.cat((top[None], rest)).movedim(2, 0)


def in_place(weight, like):
    """Something per unit (B, N) beside e (B, *shape)."""
    return weight.view(*weight.shape, *[1] * (like.dim() - 2))


def gradients(neurons, module, weight, forward, pres):
    """What autograd makes of Σ L·z, and Σ L·e."""
    loss, total = 0.0, torch.zeros_like(weight)
    for t, x in enumerate(pres):
        z, post = neurons(forward(x, weight))
        e = module.update(x, post)
        signal = torch.randn(z.shape[0], module.rule.geometry.n_post, generator=torch.Generator().manual_seed(t))
        signal = signal.double()
        by_unit = signal.unsqueeze(1) if len(z.shape) == 3 and weight.dim() == 2 else in_place(signal, z)
        loss = loss + (by_unit * z).sum()
        total += (module.rule.geometry.per_synapse(in_place(signal, e) if weight.dim() > 1 else signal) * e).sum(0)
    return torch.autograd.grad(loss, weight)[0], total


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_get_the_gradient_of_backpropagation_through_time(name, d):
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer = build().double()
    config = EligibilityConfig(kernel=EligibilityVectors(), tau_e=1.0, clamp_range=None)  # tau_e = dt: e is f
    module = EligibilityTraceModule.for_layer(layer, config)

    def forward(x, weight):
        return nn.functional.linear(x, weight) if weight.dim() == 2 else layer._conv_forward(x, weight, None)

    exact, found = gradients(Neurons(d), module, layer.weight, forward, torch.rand(STEPS, B, *shape).double())
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-11)
    assert module._running.path == "plain"


def test_edges_and_diagonals_get_it_too():
    torch.manual_seed(1)
    edges = Edges(torch.tensor([0, 4, 2, 2, 1]), torch.tensor([1, 1, 0, 3, 3]), 5, 4)

    def along(x, weight):
        return torch.zeros(B, 4).double().index_add(1, edges.target, x[:, edges.source] * weight)

    config = EligibilityConfig(kernel=EligibilityVectors(), tau_e=1.0, clamp_range=None)
    for geometry, n_pre, forward in ((edges, 5, along), (Diagonal(4), 4, lambda x, weight: x * weight)):
        module = EligibilityTraceModule(n_pre, 4, config, geometry=geometry)
        weight = torch.rand(geometry.shape, dtype=torch.float64, requires_grad=True)
        exact, found = gradients(Neurons(2), module, weight, forward, torch.rand(STEPS, B, n_pre).double())
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-11)


def traces(**settings):
    config = EligibilityConfig(**{"kernel": EligibilityVectors(), "tau_e": 4.0, "clamp_range": None, **settings})
    return EligibilityTraceModule(6, 5, config)


def run(module, steps, start=0):
    """The e after some steps of the same story."""
    generator = torch.Generator().manual_seed(7)
    pres, posts = torch.rand(9, B, 6, generator=generator), torch.rand(9, B, 3, 3, 5, generator=generator) / 2
    for t in range(start, steps):
        module.observe(pres[t], posts[t])
    return module.eligibility.clone()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"convention": Convention(lag=1, normalize_trace=True)},
        {"trace_type": "replacing", "clamp_range": (-0.3, 0.3)},
        {"trace_type": "dutch", "dutch_scope": "active"},
    ],
    ids=["plain", "lag", "replacing", "dutch"],
)
def test_traces_equal_the_pure_rule_go_on_from_what_was_saved_and_forget_one_sample(settings):
    module, other = traces(**settings), traces(**settings)
    generator = torch.Generator().manual_seed(7)
    pres, posts = torch.rand(9, B, 6, generator=generator), torch.rand(9, B, 3, 3, 5, generator=generator) / 2
    state = module.rule.init(pres[0], posts[0])
    for pre, post in zip(pres, posts, strict=True):
        e, state = module.rule.step(pre, post, state)
    torch.testing.assert_close(run(module, 9), e)
    run(other, 4)
    again = traces(**settings)
    again.load_state_dict(other.state_dict())
    assert torch.equal(run(again, 9, start=4), module.eligibility)
    mask = torch.tensor([False, True, False])
    other.reset(mask=mask)
    after, fresh = run(other, 9, start=4), run(traces(**settings), 9, start=4)
    assert torch.equal(after[~mask], module.eligibility[~mask])
    assert torch.equal(after[mask], fresh[mask]) and not torch.equal(after[mask], module.eligibility[mask])


def test_windows_give_the_same():
    generator = torch.Generator().manual_seed(7)
    pres, posts = torch.rand(9, B, 6, generator=generator), torch.rand(9, B, 3, 3, 5, generator=generator) / 2
    module = traces()
    module.update_window(pres[:4], posts[:4])
    module.update_window(pres[4:], posts[4:])
    assert torch.equal(module.eligibility, run(traces(), 9))


def test_many_samples_are_worked_on_in_parts_and_differentiable_ones_at_once(monkeypatch):
    rule = EligibilityRule.of(traces().rule.geometry, traces().config)
    pre, post = torch.rand(B, 6), torch.rand(B, 3, 3, 5, requires_grad=True)
    state = torch.rand(B, 2, 5, 1, 6)
    whole, after = rule.kernel.step(pre, post, state)
    assert whole.full.requires_grad and after.requires_grad
    monkeypatch.setattr(eligibility_vectors, "VECTOR_ENTRIES", 70)
    with torch.no_grad():
        parts, then = rule.kernel.step(pre, post, state)
    assert torch.equal(parts.full, whole.full) and torch.equal(then, after)


def test_what_does_not_fit_is_refused_in_a_sentence():
    module = traces()
    with pytest.raises(ValueError, match=r"2 axes of values"):
        module.update(torch.ones(B, 6), torch.ones(B, 5))
    with pytest.raises(ValueError, match=r"expected \(B, d \+ 1, d \+ 1, \*units\)"):
        module.update(torch.ones(B, 6), torch.ones(B, 2, 3, 5))
    with pytest.raises(ValueError, match="path = 'fold'"):
        EligibilityTraceModule(6, 5, module.config, path="fold")
    with pytest.raises(TypeError, match="`columns`"):
        EligibilityVectors(object())
    with pytest.raises(ValueError, match="has no synapses"):
        EligibilityVectors().init(torch.ones(1, 2), torch.ones(1, 2, 2, 3))
    run(module, 2)
    with pytest.raises(ValueError, match=r"state has shape"):
        module.update(torch.ones(B, 6), torch.ones(B, 2, 2, 5))  # another number of states


def test_a_kernel_that_does_not_say_that_it_tells_of_each_synapse_is_refused():
    class Full:
        def init(self, pre, post):
            return None

        def step(self, pre, post, state, dt=1.0):
            return FullCoincidence(torch.ones(len(pre), 5, 6)), None

    module = EligibilityTraceModule(6, 5, EligibilityConfig(kernel=Full()))
    with pytest.raises(ValueError, match="per_synapse = True"):
        module.update_window(torch.ones(9, B, 6), torch.ones(9, B, 5))


def test_vectors_go_on_with_the_neurons_of_another_layer_and_with_the_edges_that_are_left():
    module = traces()
    run(module, 4)
    larger = EligibilityTraceModule(7, 8, module.config)
    pre, post = torch.tensor([0, 1, 2, -1, 3, 4, 5]), torch.tensor([4, 3, 2, 1, 0, -1, -1, -1])
    larger.take_units(module, pre, post)
    generator = torch.Generator().manual_seed(8)
    x, rows = torch.rand(B, 7, generator=generator), torch.rand(B, 3, 3, 8, generator=generator)
    x[:, 3] = 0.0
    there = larger.update(x, rows)[:, :5, pre >= 0]
    here = module.update(x[:, pre >= 0], rows[..., :5].flip(-1))
    assert torch.equal(there, here.flip(1))
    conv = EligibilityTraceModule.for_layer(nn.Conv1d(2, 3, 3), module.config)
    conv.observe(torch.ones(B, 2, 5), torch.ones(B, 2, 2, 3, 3))
    other = EligibilityTraceModule.for_layer(nn.Conv1d(2, 4, 3), module.config)
    with pytest.raises(ValueError, match="Nothing was changed"):
        other.take_units(conv, None, torch.tensor([0, 1, 2, -1]))
    assert other.eligibility is None


def test_edges_come_and_go():
    torch.manual_seed(0)
    ends = torch.tensor([[0, 1, 2], [1, 2, 3]])
    layer, plain = SparseLinear(5, 4, ends, bias=False), nn.Linear(5, 4, bias=False)
    nets = [nn.Sequential(one, snntorch.Leaky(0.9, reset_mechanism="zero", init_hidden=True)) for one in (layer, plain)]
    with torch.no_grad():
        plain.weight.zero_()[ends[1], ends[0]] = layer.weight
    config = PlasticityConfig(EligibilityConfig(kernel="eprop"))
    learners = [attach(net, config, pre=lambda x: x) for net in nets]

    def step():
        x = torch.rand(2, 5)
        for net in nets:
            net(x)

    for change in (
        lambda: None,
        lambda: layer.add_edges(torch.tensor([[4], [0]])),
        lambda: layer.remove_edges(torch.tensor([1])),
    ):
        change()
        for _ in range(3):
            step()
    (few,), (all_of_them,) = (learner.connections.values() for learner in learners)
    kept = all_of_them.eligibility[:, [1, 3], [0, 2]]
    torch.testing.assert_close(few.eligibility[:, :2], kept)


@pytest.mark.skipif(not _compiled.available(), reason="numba is not installed")
@pytest.mark.parametrize("d", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["linear", "positions", "conv1d", "conv2d", "conv3d"])
def test_compiled_steps_are_those_of_torch(name, dtype, d):
    torch.manual_seed(2)
    build, shape = LAYERS[name]
    layer = build()
    config = EligibilityConfig(kernel=EligibilityVectors(), tau_e=5.0, clamp_range=(-2.0, 2.0))
    ways = [EligibilityTraceModule.for_layer(layer, config, path=path) for path in ("auto", "torch", "plain")]
    for _ in range(4):
        pre = (torch.rand(B, *shape) < 0.5).to(dtype)
        units = layer(pre.float()).shape[1:]
        post = (torch.rand(B, d + 1, d + 1, *units) - 0.3).to(dtype)
        for way in ways:
            way.observe(pre, post)
    compiled, stepped, plain = ways
    torch.testing.assert_close(compiled.eligibility, stepped.eligibility)
    assert torch.equal(stepped.eligibility, plain.eligibility)
    torch.testing.assert_close(compiled._running.state.kernel, stepped._running.state.kernel)
    assert compiled.eligibility.abs().max() > 0.5 and compiled._running.state.fast and not stepped._running.state.fast
