"""Edges through windows and single steps in compiled loops, against one plain step after the other."""

from __future__ import annotations

import pytest
import torch
from conftest import CONVENTIONS, settings, trains

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityTraceModule,
    PlasticityConfig,
    PlasticityLearner,
    SparseLinear,
    ThreeFactorConfig,
    _compiled,
)
from snn_plasticity.plasticity._engine import edge_steps

edge_loops = _compiled.loops_over_edges

pytestmark = pytest.mark.skipif(not _compiled.available(), reason="numba is not installed")

N_PRE, N_POST, T, B = 11, 8, 40, 2
EDGES = torch.stack(
    [torch.randint(n, (60,), generator=torch.Generator().manual_seed(n)) for n in (N_PRE, N_POST)]
)  # several join the same neurons
CLAMPS = (None, (-0.3, 0.4), (0.0, 0.5), (-0.4, 0.0), (-float("inf"), 0.3))


def pair(config, path="auto", edges=EDGES):
    return [EligibilityTraceModule(N_PRE, N_POST, config, connectivity=edges, path=p) for p in (path, "plain")]


def signals(dtype=torch.float64, rate=0.3, steps=T):
    pre, post = (trains(steps, B, n, seed=n, rate=rate, dtype=dtype) for n in (N_PRE, N_POST))
    return pre, post * torch.linspace(0.5, 1.5, N_POST, dtype=dtype)  # spikes of several sizes


def looped(module) -> bool:
    return module._running.state.edge_steps is not None


@pytest.mark.parametrize("clamp", CLAMPS)
@pytest.mark.parametrize("trace", ("accumulating", "dutch"))
@pytest.mark.parametrize("kernel", ("stdp_pair", "stdp_symmetric"))
def test_windows_and_steps_are_those_of_the_plain_path(kernel, trace, clamp):
    pre, post = signals()
    for convention in CONVENTIONS:
        fast, plain = pair(settings(kernel, trace, convention, clamp_range=clamp))
        for module in (fast, plain):
            module.observe_window(pre[:17], post[:17])
            module.update(pre[17], post[17])
            module.observe_window(pre[18:], post[18:])
        assert looped(fast) and not looped(plain)
        torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reduction", ("mean", "sum"))
def test_a_steady_net_meets_an_empty_batch(reduction):
    """Nothing is learned of it, and the next batch learns on."""
    layer = SparseLinear(N_PRE, N_POST, EDGES, bias=False)
    eligibility = settings("stdp_pair", convention=Convention(reduction=reduction))
    config = PlasticityConfig(eligibility, three_factor=ThreeFactorConfig(lr=0.1))
    connection = Connection("edges", layer, config=config)
    learner = PlasticityLearner([connection])
    for batch in (B, B, B, B, 0, 0, B):
        before = layer.weight.detach().clone()
        pre, post = torch.ones(1, batch, N_PRE), torch.ones(1, batch, N_POST)
        learner.reset()
        connection.observe_sequence(pre, post, new_sequence=False)
        learner.step(1.0)
        assert torch.equal(layer.weight, before) is (batch == 0)


def test_the_clamp_that_is_tested_binds():
    pre, post = signals()
    free, bound = (pair(settings("stdp_pair", clamp_range=clamp))[1].update_window(pre, post) for clamp in CLAMPS[:2])
    assert float((free - bound).abs().max()) > 0.1


@pytest.mark.parametrize("pairing", ("all", "nearest"))
def test_a_modulator_after_every_step_meets_the_same(pairing):
    pre, post = signals(torch.float32)
    fast, plain = pair(settings("stdp_pair", convention=Convention(pairing=pairing), clamp_range=(-0.5, 0.5)))
    for p, q in zip(pre, post, strict=True):
        changes = []
        for module in (fast, plain):
            module.observe(p, q)
            changes.append(module.change(torch.tensor([0.5, -1.0])))
        torch.testing.assert_close(*changes, rtol=1e-4, atol=1e-5)


def test_a_trace_that_is_gone_at_the_end_of_a_long_window_leaves_nothing_behind():
    """β^T is zero in single precision, and what is left of the first steps with it."""
    config = settings("stdp_pair", clamp_range=(-0.5, 0.5), tau_e=2.0)
    pre, post = signals(torch.float32, steps=400)
    fast, plain = pair(config)
    for module in (fast, plain):
        module.observe_window(pre, post)
    torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-4, atol=1e-5)


def test_a_mark_is_what_it_was():
    pre, post = signals()
    fast, _ = pair(settings("stdp_pair"))
    fast.observe_window(pre[:20], post[:20])
    before = fast.eligibility.clone()
    fast.observe_window(pre[20:], post[20:])
    mark = fast.mark(safe=True)
    after = fast.eligibility.clone()
    fast.go_back(mark)
    assert not torch.equal(before, after)
    torch.testing.assert_close(fast.eligibility, after, rtol=0, atol=0)


def test_work_is_in_proportion_to_events_and_a_pass_over_the_edges():
    """An edge whose neurons are silent only decays, exactly as often as there were steps."""
    fast, _ = pair(settings("stdp_pair"))
    pre, post = signals()
    e = fast.update_window(pre, post).clone()
    silent = torch.zeros_like(pre), torch.zeros_like(post)
    torch.testing.assert_close(fast.update_window(*silent), e * (1 - 1 / 15) ** T, rtol=1e-10, atol=1e-12)


def test_other_kernels_go_the_other_way():
    pre, post = signals()
    for odd in (settings("stdp_triplet"), settings("rate")):
        fast, plain = pair(odd)
        for module in (fast, plain):
            module.observe_window(pre, post)
        assert not looped(fast)
        torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-9, atol=1e-10)


def test_a_window_over_more_edges_than_are_near_is_that_of_the_plain_path():
    """Edges are visited some at a time, with the spike traces begun anew for each."""
    n, many = 600, edge_loops().EDGES_AT_ONCE * 5 // 2
    edges = torch.randint(n, (2, many), generator=torch.Generator().manual_seed(3))
    pre, post = (trains(30, 1, n, seed=seed, rate=0.05) for seed in (0, 1))
    for convention in (Convention(), Convention(pairing="nearest")):
        config = settings("stdp_pair", convention=convention, clamp_range=(-0.05, 0.1), stdp_tau_plus=1.5)
        fast, plain = [EligibilityTraceModule(n, n, config, connectivity=edges, path=p) for p in ("auto", "plain")]
        for module in (fast, plain):
            module.observe_window(pre, post)
        torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tau", (1.0, 1.0001, 2.0))
def test_spike_traces_that_are_soon_gone_are_those_of_the_plain_path(tau):
    """With Euler steps nothing is left after a step of τ; what is left is kept as one factor only while it can be."""
    convention = Convention(spike_trace_decay="euler")
    config = settings("stdp_pair", convention=convention, stdp_tau_plus=tau, stdp_tau_minus=3.0)
    for dtype, close in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        pre, post = signals(dtype, steps=200)
        fast, plain = pair(config)
        for module in (fast, plain):
            module.observe_window(pre, post)
            module.observe_window(post[:, :, [0] * N_PRE], post)
        torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=close, atol=close)


class Lives:
    """The same layer of edges, spikes and modulators, learned from in loops and plainly."""

    def __init__(self, batch=B, samples=None, n_edges=60, dtype=torch.float32, **update):
        update = {"lr": 0.3, "weight_clamp": None} | update
        config = PlasticityConfig(settings("stdp_pair", clamp_range=None), three_factor=ThreeFactorConfig(**update))
        self.layers = [SparseLinear(N_PRE, N_POST, EDGES[:, :n_edges], samples=samples, dtype=dtype) for _ in "ab"]
        self.layers[1].load_state_dict(self.layers[0].state_dict())
        self.learners = [
            PlasticityLearner([Connection("edges", layer, config=config, path=path)])
            for layer, path in zip(self.layers, ("auto", "plain"), strict=True)
        ]
        self.pre, self.post = (trains(200, batch, n, seed=n, rate=0.2, dtype=dtype) for n in (N_PRE, N_POST))

    def window(self, k):
        for learner in self.learners:
            some = slice(5 * k, 5 * k + 5)
            learner.connections["edges"].observe_sequence(self.pre[some], self.post[some], new_sequence=False)

    def step(self, modulator, **named):
        return [learner.step(modulator, **named) for learner in self.learners]

    def agree(self):
        torch.testing.assert_close(self.layers[0].weight, self.layers[1].weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("update", ({}, {"weight_bounds": (-0.1, 0.1)}, {"weight_clamp": (-0.02, 0.01)}))
@pytest.mark.parametrize("batch,samples", ((1, None), (3, None), (3, 3)))
def test_weights_that_are_landed_in_one_loop_are_those_of_the_plain_path(batch, samples, update, count_landings):
    lives, before = Lives(batch, samples, **update), []
    for k in range(20):
        lives.window(k)
        modulator = torch.linspace(-1, 1, batch) if batch > 1 and k % 2 else torch.tensor((-1.0) ** k * (1 + k))
        lives.step(modulator)
        lives.agree()
        before.append(lives.layers[0].weight.detach().clone())
    assert len(count_landings) >= 15  # of 20 steps
    assert all(not torch.equal(*two) for two in zip(before, before[1:], strict=False))


@pytest.fixture
def count_landings(monkeypatch):
    seen, land = [], edge_steps.EdgeLanding.land
    monkeypatch.setattr(edge_steps.EdgeLanding, "land", lambda self: seen.append(1) or land(self))
    return seen


def test_details_of_a_landing_are_the_change_that_came():
    lives = Lives(weight_bounds=(-1.0, 1.0))
    for k in range(8):
        lives.window(k)
        told = lives.step(torch.tensor([0.5, -1.0]), return_details=True)
        fast, plain = (float(trace.layers["edges"].change_norm) for trace in told)
        assert fast == pytest.approx(plain, rel=1e-3) and fast > 0.1


def test_a_graph_that_needs_the_weight_as_it_was_finds_out():
    lives = Lives(1)
    for k in range(6):
        lives.window(k)
        lives.step(torch.tensor([1.0]))
    output = lives.layers[0](lives.pre[0].requires_grad_(True)).square().sum()
    lives.window(7)
    lives.step(torch.tensor([1.0]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.backward()


@pytest.mark.parametrize("side", ("pre", "post"))
@pytest.mark.parametrize("value", (float("nan"), float("inf")))
def test_a_window_with_what_is_no_number_is_refused_and_changes_nothing(side, value):
    lives = Lives(1)
    for k in range(6):
        lives.window(k)
        lives.step(torch.tensor([1.0]))
    before = lives.learners[0].connections["edges"].traces.mark(safe=True)
    e = lives.learners[0].connections["edges"].eligibility.clone()
    wrong = {"pre": lives.pre[:5].clone(), "post": lives.post[:5].clone()}
    wrong[side][3, 0, 2] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        lives.learners[0].connections["edges"].observe_sequence(**wrong, new_sequence=False)
    assert torch.equal(lives.learners[0].connections["edges"].eligibility, e) and before is not None
    lives.window(8)
    lives.step(torch.tensor([1.0]))
    lives.agree()


def test_a_modulator_whose_change_might_not_be_finite_goes_the_checked_way():
    lives = Lives(1)
    for k in range(6):
        lives.window(k)
        lives.step(torch.tensor([1.0]))
    before = lives.layers[0].weight.detach().clone()
    with pytest.raises(ValueError, match="NaN or infinite"):
        lives.learners[0].step(torch.tensor([3e38]))
        lives.learners[0].step(torch.tensor([3e38]))
    lives.learners[0].step(torch.tensor([1e37]))
    assert torch.isfinite(lives.layers[0].weight).all() or torch.equal(lives.layers[0].weight, before)


def test_edges_of_a_saved_learner_go_on_bit_for_bit():
    lives = Lives(1, weight_bounds=(-1.0, 1.0))
    for k in range(12):
        if k == 7:
            state, weights = lives.learners[0].state_dict(), lives.layers[0].state_dict()
            lives.layers[1].load_state_dict(weights)
            lives.learners[1] = PlasticityLearner(
                [Connection("edges", lives.layers[1], config=lives.learners[0].connections["edges"].config)]
            )
            lives.learners[1].load_state_dict(state)
        lives.window(k)
        lives.step(torch.tensor([1.0]))
    assert torch.equal(lives.layers[0].weight, lives.layers[1].weight)
