"""The low-rank loop against the loop that builds its weight at every step."""

from __future__ import annotations

import pytest
import torch
from conftest import KERNELS, settings, trains

from snn_plasticity import Convention, EligibilityTraceModule
from snn_plasticity.plasticity.low_rank import LowRankLoop


@pytest.mark.parametrize("trace", ("accumulating", "dutch"))
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_closed_loop_equals_the_naive_one(kernel, trace):
    config = settings(kernel, trace, Convention(normalize_trace=trace == "dutch"))
    torch.manual_seed(0)
    weight = torch.randn(7, 9, dtype=torch.float64)
    loop, traces = LowRankLoop(weight, config, lr=0.05), EligibilityTraceModule(9, 7, config, path="plain")
    v = torch.zeros(7, dtype=torch.float64)
    for t, pre in enumerate(trains(150, 9, seed=1)):
        drive = loop.drive(pre)
        torch.testing.assert_close(drive, weight @ pre, rtol=1e-10, atol=1e-11)
        v = 0.8 * v + drive
        post = (v > 0.5).double()
        loop.observe(pre, post)
        traces.observe(pre.unsqueeze(0), post.unsqueeze(0))
        if t % 3:
            mod = float(torch.sin(torch.tensor(t / 5.0)))
            loop.modulate(mod)
            weight = traces.apply_update(weight, mod, lr=0.05)
        if t == 100:
            torch.testing.assert_close(loop.eligibility, traces.eligibility[0], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(loop.weight, weight, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    "bad", ({"trace_type": "replacing"}, {"clamp_range": (-5.0, 5.0)}, {"convention": Convention(lag=1)})
)
def test_what_would_not_be_exact_is_refused(bad):
    with pytest.raises(ValueError, match="exact for linear traces"):
        LowRankLoop(torch.zeros(2, 3), settings("rate", **bad), lr=0.1)
