"""Synapses as a list of edges: the entries of the full matrix that exist, on every path."""

from __future__ import annotations

import pytest
import torch
from conftest import KERNELS, TRACES, settings, trains

from snn_plasticity import Convention, EligibilityTraceModule, _compiled
from snn_plasticity.layers.edges import EdgeLists, Edges
from snn_plasticity.layers.geometry import Product

N_PRE, N_POST, T, B = 12, 9, 40, 3
MASK = torch.rand(N_POST, N_PRE, generator=torch.Generator().manual_seed(3)) < 0.3
TARGET, SOURCE = MASK.nonzero().unbind(1)


@pytest.fixture(autouse=True)
def _in_torch(monkeypatch):
    """Compiled loops are looked at in `test_edge_loops`."""
    monkeypatch.setattr(_compiled, "loops", lambda: None)


def both(config, **options):
    """The full matrix on the plain path, and the edges."""
    return EligibilityTraceModule(N_PRE, N_POST, config, path="plain"), EligibilityTraceModule(
        N_PRE, N_POST, config, **{"connectivity": MASK, **options}
    )


WAYS = {"all edges": (0, 1 << 30), "events": (0, 0), "full matrix": (1 << 24, 1 << 30)}  # SCRATCH, and cost of an event


@pytest.mark.parametrize(("path", "way"), (("plain", "all edges"), *(("auto", way) for way in WAYS)))
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_edges_are_the_entries_of_the_full_matrix(kernel, trace, path, way, monkeypatch):
    for name, value in zip(
        ("SCRATCH", "PER_ENTRY", "PER_EDGE"), (WAYS[way][0], WAYS[way][1], WAYS[way][1]), strict=True
    ):
        monkeypatch.setattr(f"snn_plasticity.layers.edges.{name}", value)
    for lag, clamp in ((0, None), (1, (-0.4, 0.5))):
        config = settings(kernel, trace, Convention(lag=lag), clamp_range=clamp)
        full, edges = both(config, path=path)
        pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
        for mod in (0.5, torch.tensor([1.0, -1.0, 0.3]).double(), torch.randn(B, N_POST).double()):
            for module in (full, edges):
                module.reset()
                module.observe_window(pre[:25], post[:25])
                for p, q in zip(pre[25:], post[25:], strict=True):
                    module.observe(p, q)
            torch.testing.assert_close(edges.change(mod), full.change(mod)[MASK], rtol=1e-10, atol=1e-11)
            torch.testing.assert_close(edges.eligibility, full.eligibility[:, MASK], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("cost", (0, 1 << 30))
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_modulator_at_every_step(kernel, cost, monkeypatch):
    monkeypatch.setattr("snn_plasticity.layers.edges.PER_ENTRY", cost)
    full, edges = both(settings(kernel))
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    for shape in ((T,), (T, B), (T, B, N_POST)):
        mod = torch.randn(shape, dtype=torch.float64)
        changes = [module.modulate_window(pre, post, mod) for module in (full, edges)]
        torch.testing.assert_close(changes[1], changes[0][MASK], rtol=1e-10, atol=1e-11)


def test_a_list_of_edges_keeps_its_order_and_the_shared_sum_is_enough():
    order = torch.randperm(len(SOURCE), generator=torch.Generator().manual_seed(1))
    listed = torch.stack((SOURCE[order], TARGET[order]))
    full, edges = both(settings("stdp_pair"), connectivity=listed, path="shared")
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    for module in (full, edges):
        module.observe_window(pre, post)
    torch.testing.assert_close(edges.change(0.7), full.change(0.7)[MASK][order], rtol=1e-10, atol=1e-11)
    weights = torch.randn(len(SOURCE), dtype=torch.float64)
    updated = edges.apply_update(weights, 0.7, lr=0.1)
    torch.testing.assert_close(updated, weights + 0.1 * full.change(0.7)[MASK][order])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trace", TRACES)
def test_several_synapses_between_the_same_two_neurons_learn_alike(trace, way, monkeypatch):
    for name, value in zip(
        ("SCRATCH", "PER_ENTRY", "PER_EDGE"), (WAYS[way][0], WAYS[way][1], WAYS[way][1]), strict=True
    ):
        monkeypatch.setattr(f"snn_plasticity.layers.edges.{name}", value)
    twice = torch.tensor([3, 0, 3, 7, 7, 7])
    full, edges = both(
        settings("stdp_pair", trace, clamp_range=(-0.4, 0.5)),
        connectivity=torch.stack((SOURCE[twice], TARGET[twice])),
    )
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    for module in (full, edges):
        module.observe_window(pre, post)
    torch.testing.assert_close(edges.eligibility, full.eligibility[:, MASK][:, twice], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("connectivity", "word"),
    [
        (torch.ones(3, 3, dtype=torch.bool), "(9, 12)"),
        (torch.ones(2, 4), "float32"),
        (torch.tensor([[0, 12], [0, 1]]), "source runs from 0 to 12"),
        (torch.tensor([[0, 1], [0, -1]]), "target runs from -1"),
        (torch.zeros(2, 0, dtype=torch.int64), "E >= 1"),
    ],
)
def test_bad_connectivity_is_refused(connectivity, word):
    with pytest.raises(ValueError, match=r".") as error:
        EligibilityTraceModule(N_PRE, N_POST, settings("rate"), connectivity=connectivity)
    assert word in str(error.value)


def test_spikes_that_do_not_fit_are_refused():
    module = EligibilityTraceModule(N_PRE, N_POST, settings("rate"), connectivity=MASK)
    with pytest.raises(ValueError, match="expected"):
        module.update(torch.ones(2, N_POST), torch.ones(2, N_PRE))
    with pytest.raises(ValueError, match="batch"):
        module.update(torch.ones(2, N_PRE), torch.ones(2, N_POST))
        module.update(torch.ones(3, N_PRE), torch.ones(3, N_POST))


def test_a_hundred_thousand_synapses_equal_the_plain_path():
    """1000 neurons with 100 synapses each, at 10 Hz."""
    generator = torch.Generator().manual_seed(0)
    target = torch.stack([torch.randperm(1000, generator=generator)[:100] for _ in range(1000)]).flatten()
    connectivity = torch.stack((torch.arange(1000).repeat_interleave(100), target))
    spikes = trains(200, 1, 1000, seed=1, rate=0.01, dtype=torch.float32)
    config = settings("stdp_pair", tau_e=1000.0)
    plain, fast = (
        EligibilityTraceModule(1000, 1000, config, connectivity=connectivity, path=path) for path in ("plain", "fold")
    )
    for module in (plain, fast):
        module.observe_window(spikes, spikes)
    assert plain.eligibility.shape == (1, 100_000)
    torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("steps", "rate"), ((10, 0.001), (20, 0.05), (100, 0.015)))
@pytest.mark.parametrize("pairing", ("all", "nearest"))
def test_no_cliff_where_a_full_matrix_gets_too_large(pairing, steps, rate, monkeypatch):
    """On either side of 4096 neurons the events are followed, and what is read is in proportion to them."""
    reached = {}
    for n in (4000, 4200):
        touched, original = [], EdgeLists.reached
        monkeypatch.setattr(
            EdgeLists, "reached", lambda self, k, o=original, t=touched: (t.append(len(o(self, k)[1])), o(self, k))[1]
        )
        target = torch.randint(n, (100 * n,), generator=torch.Generator().manual_seed(0))
        connectivity = torch.stack((torch.arange(n).repeat_interleave(100), target))
        config = settings("stdp_pair", convention=Convention(pairing=pairing))
        module = EligibilityTraceModule(n, n, config, connectivity=connectivity)
        pre, post = (trains(steps, 1, n, seed=k, rate=rate, dtype=torch.float32) for k in (1, 2))
        module.update_window(pre, post)
        monkeypatch.setattr(EdgeLists, "reached", original)
        reached[n] = sum(touched) / float(100 * (pre.sum() + post.sum()))
    assert reached[4000] == pytest.approx(reached[4200], rel=0.15)
    assert 0.4 < reached[4200] < 1.1


@pytest.mark.parametrize("side", ("pre", "post"))
def test_few_events_are_followed_whichever_side_they_are_on(side, monkeypatch):
    """Nearest pairs too, and above and below the size from which no full matrix is written down."""
    busy, rare = trains(T, B, 12, seed=1), trains(T, B, 12, seed=2, rate=0.02)
    pre, post = (rare, busy) if side == "pre" else (busy, rare)
    mask = torch.rand(12, 12, generator=torch.Generator().manual_seed(3)) < 0.3
    followed, original = [], Edges._spread
    monkeypatch.setattr(Edges, "_spread", lambda self, *a: (followed.append(a[-1]), original(self, *a)))
    monkeypatch.setattr("snn_plasticity.layers.edges.PER_ENTRY", 1)
    for scratch in (0, 1 << 24):
        monkeypatch.setattr("snn_plasticity.layers.edges.SCRATCH", scratch)
        config = settings("stdp_pair", convention=Convention(pairing="nearest"))
        full, edges = (EligibilityTraceModule(12, 12, config, connectivity=c) for c in (None, mask))
        e = [module.update_window(pre, post) for module in (full, edges)]
        torch.testing.assert_close(e[1], e[0][:, mask], rtol=1e-10, atol=1e-11)
    assert side in followed


@pytest.mark.parametrize("n", (1000, 4000, 4200))
def test_quiet_windows_are_followed_event_by_event_at_any_size(n):
    """4096 × 4096 is as many places of a full matrix as may be written down; nothing changes there."""
    source = torch.arange(n).repeat_interleave(20)
    edges = Edges(source, (source * 7 + 3) % n, n, n)
    spikes = torch.zeros(10, 1, n)
    spikes[:, 0, ::400] = 1.0
    assert edges._events(torch.zeros(len(source)), Product(spikes, spikes)) in ("pre", "post")
