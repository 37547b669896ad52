"""The certificate that a clamp cannot bind never lies, and where it does not hold the clamp is kept."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import snntorch
import torch
from conftest import settings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from test_any_history import KINDS, activity
from torch import nn

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule, PlasticityConfig, attach
from snn_plasticity.plasticity._engine import clamp as certificate
from snn_plasticity.plasticity._engine.window_terms import WindowTerms

FOLDS = ("fold", "auto")


@effort(deadline=None, max_examples=150)
@given(
    kernel=st.sampled_from(("rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", "window")),
    coincidence=st.sampled_from(("causal", "both", "none")),
    kinds=st.tuples(*[st.sampled_from(KINDS)] * 2),
    seed=st.integers(0, 10**6),
    cut=st.integers(1, 12),
    amplitudes=st.tuples(*[st.sampled_from((-0.7, 0.0, 1.0))] * 2),
    taus=st.tuples(*[st.sampled_from((1.2, 7.0, 300.0))] * 2),
)
def test_no_entry_exceeds_any_of_its_bounds(kernel, coincidence, kinds, seed, cut, amplitudes, taus):
    """In a window that goes on from another; against the oracle without a clamp."""
    steps, batch = 20, 2
    pre, post = (activity(kind, steps, batch, n, seed + n) for kind, n in zip(kinds, (3, 4), strict=True))
    convention, own = Convention(coincidence=coincidence), {"a_plus": amplitudes[0], "a_minus": amplitudes[1]}
    own = own if kernel in ("stdp_pair", "stdp_symmetric") else {}
    config = settings(kernel, "accumulating", convention, tau_e=taus[0], stdp_tau_minus=taus[1], **own)
    rule, e = EligibilityTraceModule(3, 4, config).rule, brute_force.run(pre.numpy(), post.numpy(), config)[1]
    first = WindowTerms(rule.kernel, pre[:cut], post[:cut], None, 1.0, torch.float64)
    beta, before = float(rule.trace.retained(1.0)), np.abs(e[cut - 1]).max(2)
    here = np.abs(e[cut:]).max(3)  # (T, B, N_post)
    for bits in (False, True):
        if bits and not all(bool(((side == 0) | (side == 1)).all()) for side in (pre, post)):
            continue
        window = (pre[cut:].bool(), post[cut:].bool()) if bits else (pre[cut:], post[cut:])
        terms = WindowTerms(rule.kernel, *window, first.state_after, 1.0, torch.float64)
        bounds = [
            certificate.count_bounds(terms, 1.0),
            certificate.row_bounds(rule.geometry, terms, 1.0, 1.0),
            certificate.row_bounds(rule.geometry, terms, beta, 1.0),
        ]
        for bound in bounds:
            if bound is not None:
                assert (here <= (before + bound.numpy()) * (1 + 1e-12) + 1e-12).all()


@pytest.mark.parametrize("sign", (1.0, -1.0))
@pytest.mark.parametrize("path", FOLDS)
def test_a_clamp_that_begins_to_bind_after_many_windows(path, sign):
    """Each pair adds 0.01, which never fades; a window of 30 adds 0.3, and after four of them e is 1, not 1.2."""
    config = EligibilityConfig(kernel="rate", tau_e=1e12, clamp_range=(-1.0, 1.0))
    module = EligibilityTraceModule(1, 1, config, path=path)
    pre, post = sign * 0.1 * torch.ones(1, 1).double(), 0.1 * torch.ones(1, 1).double()
    for k in range(1, 10):
        for _ in range(30):
            module.observe(pre, post)
        assert float(module.eligibility) == pytest.approx(sign * min(1.0, 0.3 * k), abs=1e-6)
    config = EligibilityConfig(kernel="rate", tau_e=1e12, clamp_range=(-100.0, 100.0))
    counted = EligibilityTraceModule(1, 1, config, path=path)
    for k in range(1, 10):
        for _ in range(30):
            counted.observe(sign * torch.ones(1, 1), torch.ones(1, 1))
        assert float(counted.eligibility) == pytest.approx(sign * min(100.0, 30.0 * k), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("path", FOLDS)
def test_sparse_trains_that_reach_their_clamp_late(path, seed):
    """1,500 steps of zeros and ones, six windows and more; against entries stepped one by one."""
    g = torch.Generator().manual_seed(seed)
    pre, post = ((torch.rand(1500, 1, n, generator=g) < 0.05).double() for n in (6, 5))
    config = EligibilityConfig(kernel="stdp_pair", tau_e=1e3, a_plus=0.03, a_minus=0.006, clamp_range=(-1.0, 1.0))
    d, x, y, e, bound = 1.0 - 1e-3, np.zeros((1, 6)), np.zeros((1, 5)), np.zeros((1, 5, 6)), 0
    for p, q in zip(pre.numpy(), post.numpy(), strict=True):
        x = np.exp(-1 / 20) * x + p
        f = 0.03 * q[:, :, None] * x[:, None, :] - 0.006 * (np.exp(-1 / 20) * y)[:, :, None] * p[:, None, :]
        y = np.exp(-1 / 20) * y + q
        e = np.clip(d * e + f, -1.0, 1.0)
        bound += (e == 1.0).sum()
    module = EligibilityTraceModule(6, 5, config, path=path)
    for p, q in zip(pre, post, strict=True):
        module.observe(p, q)
    assert bound > 50
    np.testing.assert_allclose(module.eligibility.numpy(), e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("clamp", "sign", "right"), [((-0.05, 3.0), -1.0, -0.05), ((-3.0, 0.05), 1.0, 0.05), ((0.0, 2.0), -1.0, 0.0)]
)
@pytest.mark.parametrize("path", FOLDS)
def test_the_nearer_side_of_a_clamp_counts(path, clamp, sign, right):
    module = EligibilityTraceModule(1, 1, EligibilityConfig(tau_e=1e12, clamp_range=clamp), path=path)
    window = sign * torch.full((8, 1, 1), 0.1), torch.ones(8, 1, 1)
    module.observe_window(*window)
    assert float(module.change(1.0)) == pytest.approx(right)
    assert float(module.update_window(*window)) == pytest.approx(right)


@pytest.mark.parametrize("path", ("plain", *FOLDS))
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32, torch.int64, torch.uint8))
@pytest.mark.parametrize("height", (1, 2, 3, 100))
def test_one_count_and_silence_after_it(height, dtype, path):
    """e = min(clamp, height), and a step's decay."""
    module = EligibilityTraceModule(1, 1, EligibilityConfig(tau_e=200.0, clamp_range=(-1.0, 1.0)), path=path)
    module.observe(torch.full((1, 1), height, dtype=dtype), torch.ones(1, 1))
    silence = torch.zeros(1, 1, 1)
    assert float(module.update_window(silence, silence)) == pytest.approx(0.995)
    if path != "plain":
        shared = EligibilityTraceModule(1, 1, EligibilityConfig(tau_e=200.0, clamp_range=(-1.0, 1.0)), path="shared")
        shared.observe(torch.full((1, 1), height, dtype=dtype), torch.ones(1, 1))
        if height > 1:
            with pytest.raises(ValueError, match="clamp of the eligibility might bind"):
                shared.change(1.0)


@pytest.mark.parametrize("path", FOLDS)
@pytest.mark.parametrize("tau", (20.0, 5.0, 2.0))
def test_triplets_of_zeros_and_ones_stay_within_the_clamp(tau, path):
    config = EligibilityConfig(kernel="stdp_triplet", stdp_tau_plus=tau, stdp_tau_minus=tau)
    for seed in range(12):
        g = torch.Generator().manual_seed(seed)
        pre, post = ((torch.rand(100, 1, 1, generator=g) < rate).double() for rate in (0.02, 0.5))
        e = brute_force.run(pre.numpy(), post.numpy(), config)[1]
        module = EligibilityTraceModule(1, 1, config, path=path)
        np.testing.assert_allclose(module.update_window(pre, post).numpy(), e[-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", ("plain", "auto", "fold"))
def test_a_tall_current_through_an_attached_model(path):
    """One input of 10, then silence: the clamp of 5 holds, Δw = lr · 5 · (1 − 1/20)²."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), snntorch.Leaky(beta=0.9, init_hidden=True))
    nn.init.constant_(net[0].weight, 0.15)
    with pytest.warns(UserWarning, match="other values than 0 and 1"):
        learner = attach(net, PlasticityConfig(), path=path)
        for t in range(3):
            net(torch.full((1, 1), 0.0 if t else 10.0))
    learner.step(1.0)
    assert float(net[0].weight.detach()) - 0.15 == pytest.approx(1e-3 * 5.0 * 0.95**2, rel=1e-4)
