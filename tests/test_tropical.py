"""Many steps of a replacing trace at once, against one step after the other."""

from __future__ import annotations

import itertools

import pytest
import stepped as oracle
import torch
from conftest import CONVENTIONS, KERNELS, settings, trains
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from snn_plasticity import Convention
from snn_plasticity.plasticity.kernels import PairSTDP
from snn_plasticity.plasticity.named_kernels import kernel_of
from snn_plasticity.plasticity.paths import tropical
from snn_plasticity.plasticity.paths.said import Said
from snn_plasticity.plasticity.terms import Dense, Spikes, Term
from snn_plasticity.plasticity.traces import Dutch, Replacing, trace_of

CLAMPS = (None, (-9.0, 9.0), (-0.3, 0.3), (-0.3, 0.4))


@pytest.fixture(autouse=True)
def _everything_is_large_enough(monkeypatch):
    monkeypatch.setattr(tropical, "SMALL", 0)
    monkeypatch.setattr(tropical, "BLOCK", 40)  # several blocks of rows
    monkeypatch.setattr(tropical, "TIED", 3)


def stepped(kernel, trace, pre, post, e):
    """One step after the other, in NumPy."""
    return torch.from_numpy(oracle.run(kernel, trace, pre, post, e)[-1]).to(e.dtype)


def same(kernel, trace, pre, post, e, windows=2, **tolerance) -> list[bool]:
    """Windows that follow each other; where one is declined, e must be as it was, and is stepped."""
    got, state, folded, at = e.clone(), None, [], 0
    for length in [len(part) for part in pre.chunk(windows)]:
        said = Said(kernel, pre[at : at + length], post[at : at + length], state, 1.0, pre.dtype)
        state, before = said.after, got.clone()
        folded.append(tropical.fold_replacing_(trace, got, said, 1.0))
        at += length
        if not folded[-1]:
            assert torch.equal(got, before)
            got.copy_(stepped(kernel, trace, pre[:at], post[:at], e))
    expected = stepped(kernel, trace, pre, post, e)
    torch.testing.assert_close(got, expected, **(tolerance or {"rtol": 1e-10, "atol": 1e-12}))
    return folded


def some(rate: float, seed: int = 0, steps: int = 40, batch: int = 2, dtype=torch.float64):
    """Trains of 9 pre and 13 post neurons, and an eligibility of both signs (within a clamp at 0.3)."""
    pre, post = (trains(steps, batch, n, seed=seed + n, rate=rate, dtype=dtype) for n in (9, 13))
    return pre, post, torch.linspace(-0.29, 0.27, batch * 13 * 9, dtype=dtype).view(batch, 13, 9)


@pytest.mark.parametrize("clamp_range", CLAMPS)
def test_pair_stdp_in_all_conventions(clamp_range):
    folded = []
    for seed, convention in enumerate(CONVENTIONS):
        config = settings("stdp_pair", "replacing", convention, clamp_range=clamp_range)
        folded += same(kernel_of(config), trace_of(config), *some(0.15, seed))
    assert any(folded)
    assert all(folded) or clamp_range == (-0.3, 0.4)  # only an asymmetric clamp that binds is declined


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("convention", (Convention(), Convention(coincidence="both", pairing="nearest")), ids=str)
def test_every_kernel(kernel, convention):
    for clamp_range, rate in itertools.product(CLAMPS, (0.03, 0.2)):
        config = settings(kernel, "replacing", convention, clamp_range=clamp_range)
        folded = same(kernel_of(config), trace_of(config), *some(rate))
        assert all(folded) or clamp_range is not None


@effort(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from((0.0, 0.02, 0.1, 0.2)),
    amplitudes=st.tuples(st.sampled_from((-0.8, 0.0, 1.0)), st.sampled_from((-1.1, 0.0, 0.9))),
    tau_e=st.sampled_from((1.0, 1.5, 15.0, 1e9)),
    limit=st.sampled_from((None, 0.3, 1.0)),
    shape=st.tuples(*[st.integers(1, 12)] * 4),
)
def test_signs_silence_and_taus(seed, rate, amplitudes, tau_e, limit, shape):
    steps, batch, n_pre, n_post = shape
    pre, post = (trains(steps, batch, n, seed=seed + k, rate=rate) for k, n in enumerate((n_pre, n_post)))
    e = 0.3 * torch.sin(torch.arange(batch * n_post * n_pre).double()).view(batch, n_post, n_pre)
    kernel = PairSTDP(7.0, 11.0, *amplitudes, Convention(coincidence="both"))
    same(kernel, Replacing(tau_e, limit and (-limit, limit)), pre, post, e)


def test_the_same_trains_on_both_sides_coincide():
    pre = trains(60, 2, 9, rate=0.2)
    config = settings("stdp_pair", "replacing")
    assert all(same(kernel_of(config), trace_of(config), pre, pre, torch.zeros(2, 9, 9, dtype=torch.float64)))


def test_single_precision():
    pre, post, e = some(0.1, steps=256, dtype=torch.float32)
    for clamp_range in ((-5.0, 5.0), (-0.3, 0.3)):
        config = settings("stdp_pair", "replacing", clamp_range=clamp_range)
        assert all(same(kernel_of(config), trace_of(config), pre, post, e, windows=1, rtol=1e-4, atol=1e-6))


@pytest.mark.parametrize("limit", (None, 2.0))
def test_at_a_tie_the_latest_stays(limit):
    """Small integers that do not decay: most entries tie, and exactly so."""
    generator = torch.Generator().manual_seed(0)
    pre, post, _ = some(0.15)
    p, q = (torch.randint(-2, 3, trains.shape, generator=generator).double() for trains in (pre, post))
    trace = Replacing(torch.inf, limit and (-limit, limit))  # type: ignore[arg-type]
    got = expected = torch.zeros(2, 13, 9, dtype=torch.float64)
    got = got.clone()
    for f in torch.einsum("tbo,tbi->tboi", post, p) + torch.einsum("tbo,tbi->tboi", q, pre):
        expected = torch.where(f.abs() >= expected.abs(), f, expected)
        expected = expected if limit is None else expected.clamp(-limit, limit)
    said = Said(PairSTDP(), pre, post, None, 1.0, pre.dtype)
    said = said.only([Term(1.0, Spikes(post), Dense(p)), Term(1.0, Dense(q), Spikes(pre))])
    assert tropical.fold_replacing_(trace, got, said, 1.0)
    assert torch.equal(got, expected)


def test_what_is_declined_stays_as_it_was():
    pre, post, e = some(0.2)
    pair, trace = kernel_of(settings("stdp_pair")), Replacing(15.0, None)
    said = Said(pair, pre, post, None, 1.0, pre.dtype)
    graded = said.only([Term(1.0, Spikes(post * torch.rand_like(post)), Spikes(pre))])
    two_trains = said.only([Term(1.0, Spikes(post), Spikes(pre)), Term(1.0, Spikes(post.roll(1, 2)), Spikes(pre))])
    crowded = Said(pair, torch.ones_like(pre), torch.ones_like(post), None, 1.0, pre.dtype)
    declined = {
        "another trace": (Dutch(15.0, scope="active", clamp_range=None), said),
        "a tau_e that is learned": (Replacing(torch.tensor(15.0), None), said),
        "an asymmetric clamp that may bind": (Replacing(15.0, (-0.3, 0.4)), said),
        "a clamp that may bind spikes of several sizes": (Replacing(15.0, (-0.3, 0.3)), graded),
        "two trains on one side": (trace, two_trains),
        "too many coincidences": (trace, crowded),
        "nothing": (trace, said.only([])),
    }
    for reason, (trace, window) in declined.items():
        got = e.clone()
        assert not tropical.fold_replacing_(trace, got, window, 1.0), reason
        assert torch.equal(got, e), reason


def test_half_precision_and_small_windows_are_walked(monkeypatch):
    pre, post, e = some(0.1)
    said = Said(kernel_of(settings("stdp_pair")), pre, post, None, 1.0, pre.dtype)
    assert not tropical.fold_replacing_(Replacing(15.0), e.half(), said, 1.0)
    monkeypatch.setattr(tropical, "SMALL", 40 * 13 * 9)
    assert not tropical.fold_replacing_(Replacing(15.0), e, said, 1.0)


def test_saturated_post_trains_without_coincidences():
    """All post neurons spike in one half of the steps, all pre neurons in the other."""
    pre, post, e = some(1.0)
    pre[::2], post[1::2] = 0.0, 0.0
    config = settings("stdp_pair", "replacing")
    assert all(same(kernel_of(config), trace_of(config), pre, post, e))
