"""Rows of an eligibility through a window, compiled and in torch, against one step after the other in NumPy."""

from __future__ import annotations

import pytest
import stepped as oracle
import torch
from conftest import CONVENTIONS, KERNELS, settings, trains
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule, _compiled
from snn_plasticity.kernels.named_kernels import kernel_of
from snn_plasticity.kernels.stdp import PairSTDP
from snn_plasticity.kernels.terms import Spikes, Term, Values
from snn_plasticity.plasticity._engine import clamp
from snn_plasticity.plasticity._engine.clamp import step_rows
from snn_plasticity.plasticity._engine.window_terms import WindowTerms
from snn_plasticity.plasticity.traces import Accumulating, Dutch, Replacing, trace_of

CLAMPS = (None, (-0.3, 0.4), (-1.0, 1.0), (0.0, 1.0), (-0.5, 0.0), (-20.0, 0.6), (-float("inf"), 0.5))
TRACES = ("accumulating", "replacing", "dutch")


@pytest.fixture(autouse=True, params=("compiled", "torch"))
def loops(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(_compiled, "loops", lambda: None)
        monkeypatch.setattr(clamp, "CACHED_ENTRIES", 40)  # several blocks of rows
    elif not _compiled.available():
        pytest.skip("numba is not installed")


def expected(kernel, trace, pre, post, e):
    return torch.from_numpy(oracle.run(kernel, trace, pre, post, e)[-1]).to(e.dtype)


def same(kernel, trace, pre, post, e, rows=None, windows=2, **tolerance) -> None:
    """Windows that follow each other."""
    got, state = e.clone(), None
    for some_pre, some_post in zip(pre.chunk(windows), post.chunk(windows), strict=True):
        terms = WindowTerms(kernel, some_pre, some_post, state, 1.0, e.dtype)
        before = got.clone()
        after = step_rows(trace, got, terms, rows, 1.0)
        if rows is not None:
            assert torch.equal(got, before)
            got[rows] = after
        state = terms.state_after
    stepped = expected(kernel, trace, pre, post, e)
    moved = torch.ones(e.shape[:2], dtype=torch.bool) if rows is None else rows
    torch.testing.assert_close(got[moved], stepped[moved], **(tolerance or {"rtol": 1e-10, "atol": 1e-12}))
    assert torch.equal(got[~moved], e[~moved])


def some(rate: float, seed: int = 0, steps: int = 61, batch: int = 2, dtype=torch.float64):
    """Trains of 9 pre and 13 post neurons, and an eligibility of both signs."""
    pre, post = (trains(steps, batch, n, seed=seed + n, rate=rate, dtype=dtype) for n in (9, 13))
    return pre, post, torch.linspace(-0.29, 0.27, batch * 13 * 9, dtype=dtype).view(batch, 13, 9)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("clamp_range", CLAMPS)
def test_pair_stdp_in_all_conventions(trace, clamp_range):
    for seed, convention in enumerate(CONVENTIONS):
        for scope in ("all", "active") if trace == "dutch" else ("all",):
            config = settings("stdp_pair", trace, convention, clamp_range=clamp_range, dutch_scope=scope)
            same(kernel_of(config), trace_of(config), *some(0.15, seed))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("convention", (Convention(), Convention(coincidence="both", pairing="nearest")), ids=str)
@pytest.mark.parametrize("trace", TRACES)
def test_every_kernel(kernel, convention, trace):
    for clamp_range in CLAMPS:
        for rate in (0.03, 0.2):
            config = settings(kernel, trace, convention, clamp_range=clamp_range)
            same(kernel_of(config), trace_of(config), *some(rate))


@effort(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    rates=st.tuples(*[st.sampled_from((0.0, 0.02, 0.1, 0.3, 1.0))] * 2),
    amplitudes=st.tuples(st.sampled_from((-0.8, 0.0, 1.0)), st.sampled_from((-1.1, 0.0, 0.02, 0.9))),
    taus=st.tuples(*[st.sampled_from((1.5, 5.0, 15.0, 200.0, 1e9))] * 2),
    clamp_range=st.sampled_from(CLAMPS),
    coincidence=st.sampled_from(("none", "causal", "both")),
    decay=st.sampled_from(("euler", "exponential")),
    kind=st.sampled_from((Accumulating, Replacing, lambda *a: Dutch(a[0], 0.3, "active", *a[1:]))),
    shape=st.tuples(st.integers(1, 90), *[st.integers(1, 12)] * 3),
)
def test_signs_silence_and_taus(seed, rates, amplitudes, taus, clamp_range, coincidence, decay, kind, shape):
    steps, batch, *sizes = shape
    pre, post = (trains(steps, batch, n, seed=seed + n, rate=r) for n, r in zip(sizes, rates, strict=True))
    e = 0.4 * torch.sin(torch.arange(batch * sizes[0] * sizes[1]).double())
    convention = Convention(coincidence=coincidence, eligibility_decay=decay)
    kernel = PairSTDP(7.0, taus[0], *amplitudes, convention)
    same(kernel, kind(taus[1], clamp_range, convention), pre, post, e.view(batch, sizes[1], sizes[0]))


@pytest.mark.parametrize("share", (0.02, 0.3, 0.7))
def test_some_rows_of_some_samples(share):
    pre, post, e = some(0.15, batch=3)
    config = settings("stdp_pair", clamp_range=(-0.3, 0.4))
    rows = torch.rand(3, 13, generator=torch.Generator().manual_seed(0)) < share
    rows[1] = False
    same(kernel_of(config), trace_of(config), pre, post, e, rows, windows=1)


def test_graded_and_signed_spikes():
    pre, post, e = some(0.15)
    pre, post = (side * (torch.rand_like(side) - 0.4) for side in (pre, post))
    for trace in TRACES:
        config = settings("stdp_pair", trace, clamp_range=(-0.3, 0.4))
        same(kernel_of(config), trace_of(config), pre, post, e)


def test_long_silence_after_a_post_spike():
    """The factor of a row has to be renewed many times, and the clamp with it."""
    pre, post, _ = some(0.2, steps=250)
    post[1:] = 0.0
    post[0] = 1.0
    for low in (-0.001, -0.05, -1.0, -3.0):
        for trace in (Accumulating, Replacing, lambda *a: Dutch(a[0], 0.3, "active", *a[1:])):
            for tau_e in (40.0, 5.0, 1.0):  # of which the last keeps nothing
                before = torch.full((2, 13, 9), low).double()
                same(PairSTDP(7.0, 11.0), trace(tau_e, (low, 5.0)), pre, post, before, windows=1)


def test_single_precision():
    for trace in (Accumulating, Replacing):
        for clamp_range in ((-0.3, 0.4), (-3.0, 3.0), (-0.02, 0.02)):
            pre, post, e = some(0.1, steps=256, dtype=torch.float32)
            for tau_e in (5.0, 20.0, 200.0):
                tolerance = {"rtol": 1e-4, "atol": 1e-4 * clamp_range[1]}
                same(PairSTDP(), trace(tau_e, clamp_range), pre, post, e, windows=1, **tolerance)


@pytest.mark.parametrize("limit", (None, 2.0))
def test_at_a_tie_the_latest_stays(limit):
    """Small integers that do not decay: most entries tie, and exactly so."""
    generator = torch.Generator().manual_seed(0)
    pre, post, _ = some(0.15)
    p, q = (torch.randint(-2, 3, trains.shape, generator=generator).double() for trains in (pre, post))
    trace = Replacing(torch.inf, limit and (-limit, limit))  # type: ignore[arg-type]
    got = stepped = torch.zeros(2, 13, 9, dtype=torch.float64)
    got = got.clone()
    for f in torch.einsum("tbo,tbi->tboi", post, p) + torch.einsum("tbo,tbi->tboi", q, pre):
        stepped = torch.where(f.abs() >= stepped.abs(), f, stepped)
        stepped = stepped if limit is None else stepped.clamp(-limit, limit)
    terms = WindowTerms(PairSTDP(), pre, post, None, 1.0, pre.dtype)
    terms.terms = [Term(1.0, Spikes(post), Values(p)), Term(1.0, Values(q), Spikes(pre))]
    step_rows(trace, got, terms, None, 1.0)
    assert torch.equal(got, stepped)


@pytest.mark.parametrize("trace", ("accumulating", "replacing"))
def test_a_list_of_edges(trace):
    pre, post, _ = some(0.15)
    connectivity = torch.tensor([[0, 3, 8, 2], [1, 12, 5, 0]])
    config = EligibilityConfig(kernel="stdp_pair", trace_type=trace, clamp_range=(-0.3, 0.4), tau_e=15.0)
    module = EligibilityTraceModule(9, 13, config, connectivity=connectivity)
    got, rule = module.update_window(pre, post), module.rule
    dense = expected(rule.kernel, rule.trace, pre, post, torch.zeros(2, 13, 9).double())
    torch.testing.assert_close(got, dense[:, connectivity[1], connectivity[0]])


@pytest.mark.parametrize("lag", (0, 1))
@pytest.mark.parametrize("trace", TRACES)
def test_a_module_on_its_own_path(trace, lag):
    config = EligibilityConfig(
        kernel="stdp_pair", trace_type=trace, clamp_range=(-0.4, 0.5), tau_e=30.0, convention=Convention(lag=lag)
    )
    pre, post = trains(300, 2, 20, seed=1, rate=0.1), trains(300, 2, 30, seed=2, rate=0.1)
    plain, auto = (EligibilityTraceModule(20, 30, config, path=path) for path in ("plain", "auto"))
    for start, stop in ((0, 70), (70, 71), (71, 300)):
        for module in (plain, auto):
            module.observe_window(pre[start:stop], post[start:stop])
        torch.testing.assert_close(auto.eligibility, plain.eligibility, rtol=1e-10, atol=1e-12)
    assert float((plain.eligibility.abs() > 0.39).double().mean()) > 0.05
