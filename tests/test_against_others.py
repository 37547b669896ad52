"""The library beside other simulators, each running its own code on the same random trains.

A simulator that is not installed is skipped; `tests/peers/README.md` says how to install them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from peers import inferno_rules, nest_synapse, spikingjelly_rules
from simulators import bindsnet_rules
from trains import Rule, Trains

from snn_plasticity.config import EligibilityConfig
from snn_plasticity.conventions import Convention
from snn_plasticity.plasticity import EligibilityTraceModule

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("default"),  # what others warn about is not ours to mend
]
seeds = pytest.mark.parametrize("seed", range(4))


def needs(simulator):
    return pytest.mark.skipif(find_spec(simulator) is None, reason=f"{simulator} is not installed")


TAU_PLUS, TAU_MINUS, TAU_E = 20.0, 15.0, 25.0
AMPLITUDES = {"a_plus": 0.7, "a_minus": 1.3}
RULE = Rule(TAU_PLUS, TAU_MINUS, TAU_E, **AMPLITUDES, lr=1.0)
PLAIN = RULE._replace(a_plus=1.0, a_minus=1.0)
FP32, FP64 = 2e-6, 1e-12


def random_trains(seed, batch_size=3, steps=60, n_pre=5, n_post=4):
    """Random pre and post spikes and a modulator."""
    rng = np.random.default_rng(seed)
    pre = (rng.random((steps, batch_size, n_pre)) < 0.3).astype(float)
    post = (rng.random((steps, batch_size, n_post)) < 0.3).astype(float)
    return Trains(pre, post, rng.normal(size=(steps, batch_size)))


def traces_of(pre, post, convention, tau_e=TAU_E, a_plus=1.0, a_minus=1.0):
    config = EligibilityConfig(
        kernel="stdp_pair",
        tau_e=tau_e,
        stdp_tau_plus=TAU_PLUS,
        stdp_tau_minus=TAU_MINUS,
        a_plus=a_plus,
        a_minus=a_minus,
        clamp_range=None,
        convention=convention,
    )
    return EligibilityTraceModule(pre.shape[2], post.shape[2], config)


def changes(pre, post, modulator, convention, **parameters):
    """Our weight change of every step, (T, N_post, N_pre)."""
    traces, nothing = traces_of(pre, post, convention, **parameters), torch.zeros(post.shape[2], pre.shape[2])
    steps = []
    for x, y, m in zip(*map(torch.tensor, (pre, post, modulator)), strict=True):
        traces.observe(x, y)
        steps.append(traces.apply_update(nothing.double(), m, lr=1.0).numpy())
    return np.stack(steps)


def course(player):
    """Weight change of a simulator from the start to after every step, (T, N_post, N_pre)."""
    seen = []
    for pre, post, modulator in player.steps:
        player.step(pre, post, modulator)
        seen.append(player.change().copy())
    return np.stack(seen)


def our_course(given, convention, **parameters):
    """And ours."""
    return changes(given.pre, given.post, given.reward, convention, **parameters).cumsum(0)


def fp32(given):
    """The same trains, for those who compute in fp32."""
    return Trains(*(array.astype(np.float32) for array in given[:3]))


def agree(ours, theirs, tolerance):
    """No entry differs by more than `tolerance` of the largest."""
    largest = np.abs(theirs).max()
    assert largest > 0.01
    assert np.abs(ours - theirs).max() / largest < tolerance


@needs("spikingjelly")
@seeds
def test_spikingjelly_mstdpet(seed):
    given = random_trains(seed, batch_size=1)
    theirs = course(spikingjelly_rules.mstdpet(given, PLAIN))
    agree(our_course(given, Convention.preset("spikingjelly")), theirs, FP64)


@needs("spikingjelly")
@seeds
def test_spikingjelly_mstdp_sums_the_batch(seed):
    given = random_trains(seed)
    theirs = course(spikingjelly_rules.mstdp(given, PLAIN))
    no_trace = replace(Convention.preset("spikingjelly"), eligibility_decay="euler", normalize_trace=False)
    agree(our_course(given, no_trace, tau_e=1.0), theirs, FP64)


@needs("spikingjelly")
@seeds
def test_spikingjelly_stdp_is_its_euler_variant(seed):
    given = random_trains(seed)._replace(reward=np.ones((60, 3)))
    theirs = course(spikingjelly_rules.stdp(given, PLAIN))
    plain = Convention("euler", "euler", coincidence="both", reduction="sum")
    agree(our_course(given, plain, tau_e=1.0), theirs, FP64)


@needs("bindsnet")
@seeds
@pytest.mark.parametrize("zero_lag", [False, True])
def test_bindsnet_mstdpet(seed, zero_lag):
    given = random_trains(seed)
    theirs = course(bindsnet_rules.mstdpet(fp32(given), RULE, zero_lag=zero_lag))
    convention = replace(Convention.preset("bindsnet"), lag=0 if zero_lag else 1)
    agree(our_course(given, convention, **AMPLITUDES), theirs, FP32)


@needs("inferno")
@seeds
@pytest.mark.parametrize(("trace_mode", "pairing"), [("cumulative", "all"), ("nearest", "nearest")])
def test_inferno_mstdpet(seed, trace_mode, pairing):
    given = random_trains(seed)
    theirs = course(inferno_rules.mstdpet(fp32(given), RULE, trace_mode))
    convention = replace(Convention.preset("inferno"), pairing=pairing)
    agree(our_course(given, convention, **AMPLITUDES), theirs, FP32)


def nest_trains(seed):
    """One sample that falls silent two steps before its end, for NEST applies what happened a step later."""
    pre, post, *_ = random_trains(seed, batch_size=1, steps=60, n_pre=3, n_post=2)
    pre[-2:], post[-2:] = 0.0, 0.0
    return pre, post


NEST = {"tau_plus": TAU_PLUS, "tau_minus": TAU_MINUS, "tau_c": TAU_E, **AMPLITUDES}


@needs("nest")
@seeds
def test_nest_eligibility(seed):
    """NEST books a pre spike one step late: compared is every synapse and step without one."""
    pre, post = nest_trains(seed)
    theirs = nest_synapse.run(pre[:, 0], post[:, 0], **NEST).c
    traces = traces_of(pre, post, Convention.preset("nest"), **AMPLITUDES)
    steps = zip(torch.tensor(pre), torch.tensor(post), strict=True)
    ours = np.stack([traces.update(x, y)[0].numpy().copy() for x, y in steps])
    booked = np.broadcast_to(pre == 0, ours.shape)
    agree(np.where(booked, ours, 0.0), np.where(booked, theirs, 0.0), FP64)


@needs("nest")
@seeds
@pytest.mark.parametrize("tau_n", [math.inf, 40.0], ids=["steady", "dopamine spikes"])
def test_nest_weight(seed, tau_n):
    """In a step of 1 ms both c and n decay: Δw = c n (1 − exp(−s)) / s with s = 1/τ_c + 1/τ_n."""
    pre, post = nest_trains(seed)
    spikes = (np.random.default_rng(seed + 9).random(60) < 0.2).astype(float)
    since = np.arange(60)[:, None] - np.arange(60)[None, :]
    if math.isinf(tau_n):
        dopamine, theirs = np.ones(60), nest_synapse.run(pre[:, 0], post[:, 0], b=-1.0, **NEST)
    else:
        dopamine = np.where(since >= 0, np.exp(-since / tau_n), 0.0) @ spikes / tau_n
        theirs = nest_synapse.run(pre[:, 0], post[:, 0], dopamine=spikes, tau_n=tau_n, **NEST)
    rate = 1.0 / TAU_E + 1.0 / tau_n
    ours = changes(pre, post, dopamine[:, None], Convention.preset("nest"), **AMPLITUDES)
    agree(ours[:-1].sum(0) * (1.0 - math.exp(-rate)) / rate, theirs.weight[-1], FP64)
