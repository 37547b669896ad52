"""Edges through windows and single steps in compiled loops, against one plain step after the other."""

from __future__ import annotations

import pytest
import torch
from conftest import CONVENTIONS, settings, trains

from snn_plasticity import Convention, EligibilityTraceModule
from snn_plasticity.plasticity._engine import compiled

pytestmark = pytest.mark.skipif(not compiled.available(), reason="numba is not installed")

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
