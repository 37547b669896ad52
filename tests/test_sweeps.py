"""Sweeps of a window against its filters one by one, each followed or led by the gains."""

from __future__ import annotations

import pytest
import torch
from conftest import trains
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from snn_plasticity.plasticity import filters, sweeps
from snn_plasticity.plasticity.scratch import Scratch
from snn_plasticity.plasticity.sweeps import Way, sweep


def one_by_one(x, gains, ways):
    """Each way with the filter it stands for; and what meets the leads of those that go back."""
    gains = gains.view(*gains.shape, *[1] * (x.dim() - gains.dim()))
    total, met = torch.zeros_like(x), []
    for way in ways:
        if not way.back:
            total += way.scale * gains * filters.forward(x, way.decay, way.lead, exclusive=way.exclusive)
            continue
        total += way.scale * filters.backward(gains * x, way.decay, exclusive=way.exclusive)
        if way.lead is not None:
            met.append(way.decay * way.scale * filters.backward(gains * x, way.decay)[0])
    return total, met


decays = st.sampled_from((0.0, 0.5, 0.95, 1.0))
ways_of = st.lists(
    st.tuples(st.floats(-2.0, 2.0), decays, st.booleans(), st.booleans(), st.booleans()),
    min_size=1,
    max_size=4,
)


@effort(max_examples=150, deadline=None)
@given(
    drawn=ways_of,
    steps=st.integers(1, 70),
    batch=st.integers(1, 5),
    per_sample=st.booleans(),
    binary=st.booleans(),
    room=st.sampled_from((1, 300, 1 << 18)),
)
def test_a_sweep_is_the_sum_of_its_ways(drawn, steps, batch, per_sample, binary, room):
    generator = torch.Generator().manual_seed(steps)
    x = trains(steps, batch, 6, seed=steps, rate=0.3)
    x = x if binary else x * torch.randn(x.shape, generator=generator).double()
    gains = torch.randn(*((steps, batch) if per_sample else (steps,)), generator=generator).double()
    lead = torch.randn(batch, 6, generator=generator).double()
    ways = [Way(scale, decay, exclusive, lead if led else None, back) for scale, decay, exclusive, led, back in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "ROOM", room)
        got, met = sweep(x.bool() if binary else x, gains, ways, scratch := Scratch())
        expected, whats = one_by_one(x, gains, ways)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
        assert all(one.lead is lead for one in met)
        for one, what in zip(met, whats, strict=True):
            torch.testing.assert_close(one.what, what, rtol=1e-11, atol=1e-11)
        scratch.close()


def test_positions_and_single_precision():
    x, gains = trains(50, 2, 24, rate=0.2, dtype=torch.float32).view(50, 2, 4, 6), torch.randn(50, 2)
    ways = [Way(1.0, 0.95, exclusive=True), Way(-0.5, 0.9, back=True)]
    got, _ = sweep(x, gains, ways, Scratch())
    assert got.shape == x.shape
    torch.testing.assert_close(got, one_by_one(x, gains, ways)[0], rtol=1e-4, atol=1e-5)


def test_what_lies_behind_the_last_step_does_not_matter():
    """Memory that is handed out again may hold anything."""
    x, gains, ways = trains(17, 2, 5), torch.ones(17).double(), [Way(1.0, 0.5), Way(1.0, 0.5, back=True)]
    expected = one_by_one(x, gains, ways)[0]
    for _ in range(2):
        got, _ = sweep(x, gains, ways, scratch := Scratch())
        torch.testing.assert_close(got, expected)
        for buffer in scratch._borrowed:
            buffer.fill_(torch.nan)
        scratch.close()
