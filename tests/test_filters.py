"""Filters of a window against the recursion written out, in both forms, and as adjoints of each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snn_plasticity.kernels import terms as filters


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
