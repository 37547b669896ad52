"""A clamp that binds, from post spike to post spike, against one step after the other."""

from __future__ import annotations

import pytest
import stepped as oracle
import torch
from conftest import CONVENTIONS, settings, trains
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule
from snn_plasticity.plasticity.dense import Dense
from snn_plasticity.plasticity.kernels import PairSTDP
from snn_plasticity.plasticity.named_kernels import kernel_of
from snn_plasticity.plasticity.paths import clamped, leaps
from snn_plasticity.plasticity.paths.said import Said
from snn_plasticity.plasticity.traces import Accumulating, trace_of

CLAMPS = ((-0.3, 0.4), (-1.0, 1.0), (-3.0, 3.0), (0.0, 1.0), (-0.5, 0.0), (-20.0, 0.6), (-float("inf"), 0.5))


@pytest.fixture(autouse=True)
def _everything_is_large_enough(monkeypatch):
    monkeypatch.setattr(clamped, "SMALL", 0)
    monkeypatch.setattr(clamped, "CROWDED", 1.0)
    monkeypatch.setattr(clamped, "OFTEN", 10.0)
    monkeypatch.setattr(leaps, "ROWS", 4)  # several blocks of rows


def stepped(kernel, trace, pre, post, e):
    """One step after the other, in NumPy; how often it is at the clamp, too."""
    seen = oracle.run(kernel, trace, pre, post, e)
    bound = sum(int(((now == trace.clamp_range[0]) | (now == trace.clamp_range[1])).sum()) for now in seen)
    return torch.from_numpy(seen[-1]).to(e.dtype), bound


def written(e, walked):
    """e with the rows that were not brought past the window in place."""
    for b, rows, after in walked or []:
        e[b, rows] = after
    return e


def same(kernel, trace, pre, post, e, failing=None, windows=2, walks=None, **tolerance) -> int:
    """Windows that follow each other; `walks` collects those that were walked through."""
    got, state, geometry = e.clone(), None, Dense(pre.shape[2], post.shape[2])
    failing = torch.ones(e.shape[:2], dtype=torch.bool) if failing is None else failing
    for some_pre, some_post in zip(pre.chunk(windows), post.chunk(windows), strict=True):
        said = Said(kernel, some_pre, some_post, state, 1.0, e.dtype)
        if walks is not None:
            walks.append(clamped._found(trace, got, said, 1.0) is None)
        got, state = written(got, clamped.through_(trace, geometry, got, said, failing, 1.0)), said.after
    expected, bound = stepped(kernel, trace, pre, post, e)
    torch.testing.assert_close(got[failing], expected[failing], **(tolerance or {"rtol": 1e-10, "atol": 1e-12}))
    assert torch.equal(got[~failing], e[~failing])
    return bound


def some(rate: float, seed: int = 0, steps: int = 61, batch: int = 2, dtype=torch.float64):
    """Trains of 9 pre and 13 post neurons, and an eligibility of both signs."""
    pre, post = (trains(steps, batch, n, seed=seed + n, rate=rate, dtype=dtype) for n in (9, 13))
    return pre, post, torch.linspace(-0.29, 0.27, batch * 13 * 9, dtype=dtype).view(batch, 13, 9)


def within(e, clamp_range):
    return e.clamp(*clamp_range)


@pytest.mark.parametrize("clamp_range", CLAMPS)
def test_pair_stdp_in_all_conventions(clamp_range):
    bound, walks = 0, []
    for seed, convention in enumerate(CONVENTIONS):
        config = settings("stdp_pair", "accumulating", convention, clamp_range=clamp_range)
        pre, post, e = some(0.15, seed)
        e, here = within(e, clamp_range), []
        bound += same(kernel_of(config), trace_of(config), pre, post, e, walks=here)
        walks += here if convention.pairing == "all" and not convention.normalize_trace else []
    assert bound > 1000
    assert not any(walks)


@pytest.mark.parametrize("kernel", ("rate", "stdp_symmetric", "stdp_triplet", "window"))
@pytest.mark.parametrize("convention", (Convention(), Convention(coincidence="both", pairing="nearest")), ids=str)
@pytest.mark.parametrize("trace", ("accumulating", "dutch"))
def test_every_kernel(kernel, convention, trace):
    walks = []
    for clamp_range in CLAMPS:
        config = settings(kernel, trace, convention, clamp_range=clamp_range)
        pre, post, e = some(0.1)
        same(kernel_of(config), trace_of(config), pre, post, within(e, clamp_range), walks=walks)
    leaps_there = convention.pairing == "all" and kernel == "stdp_triplet" and trace == "accumulating"
    assert all(walks) or leaps_there
    assert not (leaps_there and any(walks))


@effort(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    rates=st.tuples(*[st.sampled_from((0.0, 0.02, 0.1, 0.3, 1.0))] * 2),
    amplitudes=st.tuples(st.sampled_from((-0.8, 0.0, 1.0)), st.sampled_from((-1.1, 0.0, 0.02, 0.9))),
    taus=st.tuples(*[st.sampled_from((1.5, 5.0, 15.0, 200.0))] * 2),
    clamp_range=st.sampled_from(CLAMPS),
    coincidence=st.sampled_from(("none", "causal", "both")),
    decay=st.sampled_from(("euler", "exponential")),
    shape=st.tuples(st.integers(1, 90), *[st.integers(1, 12)] * 3),
)
def test_signs_silence_and_taus(seed, rates, amplitudes, taus, clamp_range, coincidence, decay, shape):
    steps, batch, *sizes = shape
    pre, post = (trains(steps, batch, n, seed=seed + n, rate=r) for n, r in zip(sizes, rates, strict=True))
    e = within(0.4 * torch.sin(torch.arange(batch * sizes[0] * sizes[1]).double()), clamp_range)
    convention = Convention(coincidence=coincidence, eligibility_decay=decay)
    kernel = PairSTDP(7.0, taus[0], *amplitudes, convention)
    same(kernel, Accumulating(taus[1], clamp_range, convention), pre, post, e.view(batch, sizes[1], sizes[0]))


def test_some_rows_of_some_samples():
    pre, post, e = some(0.15, batch=3)
    config = settings("stdp_pair", clamp_range=(-0.3, 0.4))
    for share in (0.02, 0.3, 0.6, 0.7):
        failing = torch.rand(3, 13) < share
        failing[1] = False
        assert same(kernel_of(config), trace_of(config), pre, post, e, failing, windows=1)


def test_rows_that_nearly_all_fail_are_not_told_apart():
    pre, post, e = some(0.15)
    config = settings("stdp_pair", clamp_range=(-0.3, 0.4))
    failing = torch.ones(2, 13, dtype=torch.bool)
    failing[0, 3] = False
    said, got = Said(kernel_of(config), pre, post, None, 1.0, e.dtype), e.clone()
    assert clamped.through_(trace_of(config), Dense(9, 13), got, said, failing, 1.0) is None
    torch.testing.assert_close(got, stepped(kernel_of(config), trace_of(config), pre, post, e)[0])


def test_spikes_of_several_sizes():
    pre, post, e = some(0.15)
    config = settings("stdp_pair", clamp_range=(-0.3, 0.4))
    sizes, walks = (0.5 + torch.rand_like(side) for side in (pre, post)), []
    pre, post = (side * size for side, size in zip((pre, post), sizes, strict=True))
    assert same(kernel_of(config), trace_of(config), pre, post, e, walks=walks)
    assert not any(walks)
    pre[3, 0, 2] = -1.0
    same(kernel_of(config), trace_of(config), pre, post, e, walks=walks)
    assert walks[2]


def test_long_silence_after_a_post_spike():
    """Depression fades from sizes that overrule every earlier clamp to sizes that decay makes room for."""
    pre, post, _ = some(0.2, steps=250)
    post[1:] = 0.0
    post[0] = 1.0
    for low in (-0.001, -0.05, -1.0, -3.0):
        trace = Accumulating(40.0, (low, 5.0))
        assert same(PairSTDP(7.0, 11.0), trace, pre, post, torch.full((2, 13, 9), low).double(), windows=1)


def test_a_post_trace_that_outlives_the_eligibility_is_cut_into_short_windows():
    pre, post, e = some(0.1, steps=200)
    kernel, trace = PairSTDP(7.0, 30.0), Accumulating(8.0, (-0.3, 0.4))
    said = Said(kernel, pre, post, None, 1.0, e.dtype)
    *_, steps, _ = clamped._found(trace, e, said, 1.0)  # type: ignore[misc]
    assert 16 <= steps < 60
    assert same(kernel, trace, pre, post, e, windows=1)
    assert clamped._found(Accumulating(1.5, (-0.3, 0.4)), e, said, 1.0) is None


def test_single_precision():
    for clamp_range in ((-0.3, 0.4), (-3.0, 3.0), (-0.02, 0.02)):
        pre, post, e = some(0.1, steps=256, dtype=torch.float32)
        for tau_e in (5.0, 20.0, 200.0):
            trace = Accumulating(tau_e, clamp_range)
            same(PairSTDP(), trace, pre, post, within(e, clamp_range), windows=1, rtol=1e-4, atol=1e-4 * clamp_range[1])


def test_several_tiles_of_columns(monkeypatch):
    monkeypatch.setattr(leaps, "COLUMNS", 4)
    pre, post, e = some(0.15)
    config = settings("stdp_pair", clamp_range=(-0.3, 0.4))
    assert same(kernel_of(config), trace_of(config), pre, post, e)


def test_what_is_outside_of_the_clamp_is_walked():
    pre, post, e = some(0.1)
    said = Said(PairSTDP(), pre, post, None, 1.0, e.dtype)
    assert clamped._found(Accumulating(15.0, (-0.3, 0.4)), e, said, 1.0) is not None
    for trace in (Accumulating(15.0, (-0.2, 0.4)), Accumulating(torch.tensor(15.0))):
        assert clamped._found(trace, e, said, 1.0) is None
    assert clamped._found(Accumulating(15.0), e.half(), said, 1.0) is None


def test_where_walking_is_faster_they_walk(monkeypatch):
    pre, post, e = some(0.3)
    trace, said = Accumulating(15.0, (-0.3, 0.4)), Said(PairSTDP(), pre, post, None, 1.0, e.dtype)
    failing = torch.ones(2, 13, dtype=torch.bool)
    assert clamped.through_(trace, Dense(9, 13), e.clone(), said, failing, 1.0) is None
    monkeypatch.setattr(clamped, "CROWDED", 0.2)
    assert clamped._found(trace, e, said, 1.0) is None
    monkeypatch.setattr(clamped, "CROWDED", 1.0)
    monkeypatch.setattr(clamped, "OFTEN", 0.01)
    assert clamped.through_(trace, Dense(9, 13), e.clone(), said, failing, 1.0) is not None
    monkeypatch.setattr(clamped, "OFTEN", 10.0)
    monkeypatch.setattr(clamped, "SMALL", 61 * 13 * 9)
    assert same(PairSTDP(), trace, pre, post, e)
    assert clamped.through_(trace, Dense(9, 13), e.clone(), said, failing, 1.0) is not None


def test_edges_are_walked():
    pre, post, _ = some(0.15)
    connectivity = torch.tensor([[0, 3, 8, 2], [1, 12, 5, 0]])
    edges = EligibilityTraceModule(9, 13, connectivity=connectivity).rule.geometry
    said = Said(PairSTDP(), pre, post, None, 1.0, torch.float64)
    e, trace = torch.zeros(2, 4).double(), Accumulating(15.0, (-0.3, 0.4))
    got = written(e.clone(), clamped.through_(trace, edges, e, said, torch.ones(2, 13, dtype=torch.bool), 1.0))
    dense = stepped(PairSTDP(), trace, pre, post, torch.zeros(2, 13, 9).double())[0]
    torch.testing.assert_close(got, dense[:, edges.target, edges.source])


@pytest.mark.parametrize("lag", (0, 1))
def test_a_module_on_its_own_path(lag):
    config = EligibilityConfig(kernel="stdp_pair", clamp_range=(-0.4, 0.5), tau_e=30.0, convention=Convention(lag=lag))
    pre, post = trains(300, 2, 20, seed=1, rate=0.1), trains(300, 2, 30, seed=2, rate=0.1)
    plain, auto = (EligibilityTraceModule(20, 30, config, path=path) for path in ("plain", "auto"))
    for start, stop in ((0, 70), (70, 71), (71, 300)):
        for module in (plain, auto):
            module.observe_window(pre[start:stop], post[start:stop])
        torch.testing.assert_close(auto.eligibility, plain.eligibility, rtol=1e-10, atol=1e-12)
    assert float((plain.eligibility.abs() > 0.39).double().mean()) > 0.05
