"""What would not fit into memory is refused with its size and the way out; what waits is worked out in blocks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import brute_force
import numpy as np
import pytest
import torch
from conftest import settings, trains

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule
from snn_plasticity.plasticity import memory
from snn_plasticity.plasticity._engine import engine as running
from snn_plasticity.plasticity._engine import spikes

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
        patch.setattr(spikes, "PENDING_BYTES", 1 << 20)
        for now in zip(pre, post, strict=True):
            module.observe(*now)
        change = module.change(1.0)
    assert module._running.state._e is None
    np.testing.assert_allclose(
        change.numpy(), brute_force.run(pre.numpy(), post.numpy(), settings("rate"))[1][-1].mean(0), rtol=1e-9
    )


RUN = """
import re, sys
steps, fast = int(sys.argv[1]), sys.argv[2] == "numba"
if not fast:
    sys.modules["numba"] = None
import torch, snntorch
from torch import nn
from snn_plasticity import PlasticityConfig, attach

torch.set_num_threads(1)
torch.manual_seed(0)
fc1, fc2 = nn.Linear(64, 100), nn.Linear(100, 10)
lif1, lif2 = snntorch.Leaky(beta=0.9), snntorch.Leaky(beta=0.9)
net, inputs = nn.ModuleList([fc1, lif1, fc2, lif2]), (torch.rand(64, 32, 64) < 0.2).float()
with torch.no_grad():
    learner = attach(net, PlasticityConfig.eprop(lr=1e-4))
    mem1, mem2 = lif1.reset_mem(), lif2.reset_mem()
    for t in range(steps):
        spikes, mem1 = lif1(3.0 * fc1(inputs[t % 64]), mem1)
        _, mem2 = lif2(3.0 * fc2(spikes), mem2)
    before = fc1.weight.clone()
    learner.step({"0": torch.randn(32, 100), "2": torch.randn(32, 10)})
assert not torch.equal(before, fc1.weight)
assert ("numba" in sys.modules and sys.modules["numba"] is not None) == fast
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, where a process tells its peak")
@pytest.mark.parametrize("loops", ("numba", "torch"))
def test_a_long_run_of_e_prop_takes_the_memory_of_a_short_one(loops):
    """Peaks of whole processes, with a learning signal after all steps: 5 % apart at the most."""
    pytest.importorskip("snntorch")
    if loops == "numba" and importlib.util.find_spec("numba") is None:
        pytest.skip("numba is not installed")
    commands = [[sys.executable, "-c", RUN, str(steps), loops] for steps in (100, 3_000)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    short, long = (int(process.communicate(timeout=120)[0]) for process in started)
    assert long <= 1.05 * short


@pytest.mark.parametrize("met", (False, True))
@pytest.mark.parametrize("n_pre, n_post, batch", ((64, 100, 32), (20, 10, 4), (300, 200, 32), (64, 100, 256)))
def test_what_waits_is_bounded(n_pre, n_post, batch, met):
    """By 3 MiB within 64 to 256 steps, or half of e; and by a step, or the block that is being filled then."""
    pre, post = torch.rand(batch, n_pre), torch.rand(batch, n_post)
    module, step = EligibilityTraceModule(n_pre, n_post), 4 * batch * (n_pre + n_post)
    half, block = 2 * batch * n_pre * n_post, max(64 * step, min(256 * step, 3 << 20))
    longest = 0
    for t in range(1, 600):
        module.observe(pre, post)
        if met and t == 3:
            module.change(1.0)
        blocks = module._running.pending.blocks
        assert sum(one.steps for one in blocks) * step <= (block + step if half <= block else half + 256 * step)
        longest = max(longest, sum(side.untyped_storage().nbytes() for one in blocks for side in one[:2]))
    assert longest >= block / 2


def test_a_state_in_which_more_waits_than_may_goes_on(monkeypatch):
    """As one that was saved where more might."""
    config, some = settings("stdp_pair"), slice(0, 20)
    modules = [EligibilityTraceModule(N_PRE, N_POST, config) for _ in range(2)]
    for pre, post in zip(PRE[some], POST[some], strict=True):
        modules[0].observe(pre, post)
    monkeypatch.setattr(spikes, "PENDING_BYTES", 40)
    monkeypatch.setattr(spikes, "BLOCK_STEPS", (2, 5))
    monkeypatch.setattr(spikes, "BLOCK_BYTES", 40)
    modules[1].load_state_dict(modules[0].state_dict())
    for pre, post in zip(PRE[20:], POST[20:], strict=True):
        modules[1].observe(pre, post)
    assert len(modules[1]._running.pending) < 15
    e = brute_force.run(PRE.numpy(), POST.numpy(), config)[1][-1]
    np.testing.assert_allclose(modules[1].eligibility.numpy(), e, rtol=1e-9, atol=1e-12)
