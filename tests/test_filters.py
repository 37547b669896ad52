"""Filters of a window against the recursion written out, in both forms, and as adjoints of each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snn_plasticity import _compiled
from snn_plasticity.kernels import terms as filters
from snn_plasticity.plasticity._engine.window_terms import add_filtered


def recursion(x, a, lead, exclusive):
    """One step after the other."""
    trace, seen = lead, []
    for now in x:
        before = a * trace
        trace = before + now
        seen.append(before if exclusive else trace)
    return np.stack(seen), trace


@pytest.mark.parametrize("form", ("recursion", "products", "long products"))
@pytest.mark.parametrize("exclusive", (True, False))
@pytest.mark.parametrize("steps", (1, 2, 31, 32, 33, 70, 300))
@pytest.mark.parametrize("a", (0.0, 0.9, 1.0))
def test_filters_equal_the_recursion(a, steps, exclusive, form, monkeypatch):
    sizes = {"recursion": (), "products": ((9**9, 8),)}.get(form, filters.FILTER_STEPS)
    monkeypatch.setattr(filters, "FILTER_STEPS", sizes)
    generator = torch.Generator().manual_seed(0)
    x, lead = torch.randn(steps, 2, 3, generator=generator).double(), torch.randn(2, 3, generator=generator).double()
    for start in (lead, None):
        expected, after = recursion(x.numpy(), a, np.zeros((2, 3)) if start is None else start.numpy(), exclusive)
        np.testing.assert_allclose(filters.forward(x, a, start, exclusive=exclusive), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(filters.last(x, a, start), after, rtol=1e-12, atol=1e-12)
    z = torch.randn(steps, 2, 3, generator=generator).double()
    forth = (filters.forward(x, a, exclusive=exclusive) * z).sum()
    back = (x * filters.backward(z, a, exclusive=exclusive)).sum()
    torch.testing.assert_close(forth, back, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", (torch.bool, torch.float64))
@pytest.mark.parametrize("one_gain", (True, False))
@pytest.mark.parametrize("exclusive", (True, False))
@pytest.mark.parametrize("a", (0.0, 0.9, 1.0))
def test_a_compiled_filter_adds_gained_traces_and_gained_futures_to_a_table(a, exclusive, one_gain, kind):
    if _compiled.loops() is None:
        pytest.skip("numba is not installed")
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((9, 6, 5)) < 0.4).to(kind)[:, 2:5]  # some samples of a batch
    gains, lead, table = rng.normal(size=(9, 1 if one_gain else 3)), rng.normal(size=(5, 3)).T, rng.normal(size=x.shape)
    spikes, gained = x.numpy().astype(float), gains[..., None] * x.numpy()
    traces, last = recursion(spikes, a, lead, exclusive)
    futures, first = recursion(gained[::-1], a, np.zeros((3, 5)), exclusive)
    moved, given = filters.Filtered(x, a, torch.from_numpy(lead), exclusive), torch.from_numpy(gains)
    for back, expected, end in ((False, gains[..., None] * traces, last), (True, futures[::-1], first)):
        for before in (None, table, np.asfortranarray(table)):
            start = None if before is None else torch.from_numpy(before.copy(order="K"))
            got, after = add_filtered(start, x, given[:, 0] if one_gain else given, moved, back=back)
            added = expected if before is None else before + expected
            np.testing.assert_allclose(got, added, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(after, end, rtol=1e-12, atol=1e-12)
