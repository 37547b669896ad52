"""Long trains of zeros and ones, longer than a block that grows: every spike counts, to the last."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import settings

from snn_plasticity import EligibilityTraceModule


@pytest.mark.parametrize("batch", (1, 3))
@pytest.mark.parametrize(("n_pre", "n_post"), ((103, 101), (101, 103), (400, 90)))
@pytest.mark.parametrize("path", ("fold", "auto"))
def test_a_spike_of_the_last_neuron_in_the_last_step_counts(path, n_pre, n_post, batch):
    """Closed form: one pair, d steps apart, gives A₊ exp(−d/τ₊) or −A₋ exp(−d/τ₋)."""
    steps = 257
    config = settings("stdp_pair", tau_e=50.0)
    for pre_at, post_at in ((steps - 1, steps - 1), (steps - 4, steps - 1), (steps - 1, steps - 4)):
        pre, post = torch.zeros(steps, batch, n_pre), torch.zeros(steps, batch, n_post)
        pre[pre_at, -1, -1], post[post_at, -1, -1] = 1.0, 1.0
        assert post.numel() % 8 or pre.numel() % 8 or n_pre == 400
        module, gap = EligibilityTraceModule(n_pre, n_post, config, path=path), post_at - pre_at
        module.observe_window(pre, post)
        right = 0.8 * np.exp(-gap / 7.0) if gap >= 0 else -1.1 * np.exp(gap / 11.0)
        change = module.change(1.0)
        assert change[-1, -1] == pytest.approx(right / batch, rel=1e-5)
        assert torch.count_nonzero(change) == 1
        e = module.eligibility
        assert e[-1, -1, -1] == pytest.approx(right, rel=1e-5)
        assert torch.count_nonzero(e) == 1
