"""What would not fit into memory is refused with its size and the way out; what waits is worked out in blocks."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import torch
from conftest import settings, trains

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule
from snn_plasticity.plasticity import memory
from snn_plasticity.plasticity._engine import engine as running

T, B, N_PRE, N_POST = 40, 2, 3, 2
PRE, POST = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)


@pytest.fixture
def little(monkeypatch):
    """A machine with room for 100 bytes; e takes 8 · 12."""
    monkeypatch.setattr(memory, "LARGE", 0)
    monkeypatch.setattr(memory, "free_memory", lambda device: 100)


def refused(call):
    """The sentence of a table of 96 bytes, of which 80 would fit."""
    with pytest.raises(MemoryError, match=r".") as error:
        call()
    for word in ("The eligibility of 2 × 2 × 3 takes", "GB are free on cpu", "80%", "connectivity=", "Nothing was"):
        assert word in str(error.value)


@pytest.mark.parametrize("path", ("plain", "fold", "rows"))
def test_traces_that_need_their_eligibility_are_refused_with_the_first_spikes(path, little, monkeypatch):
    module = EligibilityTraceModule(
        N_PRE, N_POST, settings("rate", "replacing" if path == "rows" else "dutch"), path=path
    )
    for call in (module.observe, module.update):
        refused(lambda call=call: call(PRE[0], POST[0]))
    refused(lambda: module.modulate_window(PRE, POST, torch.ones(T)))
    assert module.batch_size is None and module.eligibility is None
    monkeypatch.setattr(memory, "free_memory", lambda device: 200)
    assert module.update(torch.ones_like(PRE[0]), torch.ones_like(POST[0])).all()


def test_others_go_without_it_and_are_refused_when_it_is_asked_for(little):
    module = EligibilityTraceModule(N_PRE, N_POST, settings("stdp_pair"))
    module.observe_window(PRE, POST)
    refused(lambda: module.eligibility)
    e = brute_force.run(PRE.numpy(), POST.numpy(), settings("stdp_pair"))[1]
    np.testing.assert_allclose(module.change(1.0).numpy(), e[-1].mean(0), rtol=1e-10)
    refused(lambda: module.change(1.0))  # a second one would build it
    shared = EligibilityTraceModule(N_PRE, N_POST, settings("stdp_pair"), path="shared")
    shared.observe_window(PRE, POST)  # 48 bytes
    np.testing.assert_allclose(shared.change(1.0).numpy(), e[-1].mean(0), rtol=1e-10)


def test_a_layer_no_machine_has_room_for():
    module = EligibilityTraceModule(3_000_000, 3_000_000, path="plain")
    with pytest.raises(MemoryError, match="1 × 3000000 × 3000000 takes 36000.0 GB"):
        module.observe(torch.zeros(1, 3_000_000), torch.zeros(1, 3_000_000))
    module.reset(5)
    with pytest.raises(MemoryError, match="5 × 3000000 × 3000000"):
        module.eligibility  # noqa: B018


def test_free_memory_is_that_of_the_machine():
    free = memory.free_memory(torch.device("cpu"))
    assert free is None or 1e6 < free < 1e14
    assert memory.free_memory(torch.device("meta")) is None


@pytest.mark.parametrize("lag", (0, 1))
@pytest.mark.parametrize("clamp", (None, (-0.4, 0.6)))
@pytest.mark.parametrize("limit", ("MAX_QUEUED", "MAX_QUEUED_ENTRIES"))
@pytest.mark.parametrize("path", ("auto", "fold", "plain"))
def test_many_modulators_wait_a_few_at_a_time(path, limit, clamp, lag, monkeypatch):
    monkeypatch.setattr(running, limit, 5 if limit == "MAX_QUEUED" else 5 * B * N_POST)
    config = settings("stdp_pair", convention=Convention(lag=lag), clamp_range=clamp)
    module = EligibilityTraceModule(N_PRE, N_POST, config, path=path)
    mods = torch.randn(T, B, N_POST, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    longest = 0
    for pre, post, mod in zip(PRE, POST, mods, strict=True):
        module.observe(pre, post)
        module.queue(mod)
        longest = max(longest, len(module._running.queued))
    assert longest <= 5
    e = brute_force.run(PRE.numpy(), POST.numpy(), config)[1]
    right = brute_force.weight_change(mods.numpy(), e, lag=lag)
    np.testing.assert_allclose(module.flush().numpy(), right, rtol=1e-9, atol=1e-11)
    assert not module.flush().any()


@pytest.mark.parametrize("clamp_range", (None, (-5.0, 5.0)))
def test_what_was_flushed_is_not_worked_out_again(clamp_range):
    """Every other step, on and on: the work of a flush does not grow, and its sum is that of the plain path."""
    config = EligibilityConfig(kernel="stdp_pair", a_plus=0.02, a_minus=0.02, clamp_range=clamp_range)
    plain, module = (EligibilityTraceModule(6, 5, config, path=path) for path in ("plain", "auto"))
    pre, post = trains(40, 2, 6, seed=1), trains(40, 2, 5, seed=2)
    for t in range(40):
        for one in (plain, module):
            one.observe(pre[t], post[t])
            one.queue(0.3 * t - 2.0)
        if t % 2:
            torch.testing.assert_close(module.flush(), plain.flush(), rtol=1e-10, atol=1e-12)
            assert len(module._running.pending) <= (2 if t == 1 else 0)


def test_what_has_not_come_takes_no_memory_and_makes_nothing_fold():
    """A block has room for 256 steps: 12 MB of these numbers, of which five steps are 0.2 MB."""
    pre, post = torch.rand(5, 64, 90, dtype=torch.float64), torch.rand(5, 64, 4, dtype=torch.float64)
    module = EligibilityTraceModule(90, 4, settings("rate"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "PENDING_BYTES", 1 << 20)
        for now in zip(pre, post, strict=True):
            module.observe(*now)
        change = module.change(1.0)
    assert module._running.state._e is None
    np.testing.assert_allclose(
        change.numpy(), brute_force.run(pre.numpy(), post.numpy(), settings("rate"))[1][-1].mean(0), rtol=1e-9
    )
