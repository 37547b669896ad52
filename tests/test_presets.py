"""Every preset gives the numbers of the simulator, or of the paper, whose name it bears.

Here: one published protocol through all of them, the two hosts' own plasticity functions, and Izhikevich's
program written out. Simulators that are no dependency are in `test_against_others.py`.
"""

from __future__ import annotations

from dataclasses import replace

import norse.torch.functional.stdp as norse_stdp
import numpy as np
import pytest
import torch
from snntorch.functional import stdp_learner
from torch import nn

from snn_plasticity.config import EligibilityConfig, ThreeFactorConfig
from snn_plasticity.conventions import Convention
from snn_plasticity.plasticity import EligibilityTraceModule, ThreeFactorUpdate

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
EULER_THROUGHOUT = Convention(eligibility_decay="euler", spike_trace_decay="euler")
preset = Convention.preset
dtypes = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=["fp32", "fp64"])
seeds = pytest.mark.parametrize("seed", range(3))


def trains(seed, *shape, dtype=torch.float64, rate=0.3):
    """Random spikes, (T, B, ...)."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).to(dtype)


def dense(seed, batch_size, dtype=torch.float64):
    """A layer of 5 onto 4 neurons, and 80 steps of what both sides fire."""
    layer = nn.Linear(5, 4, bias=False, dtype=dtype)
    return (
        layer,
        trains(seed, 80, batch_size, 5, dtype=dtype),
        trains(seed + 9, 80, batch_size, 4, dtype=dtype),
    )


def close(ours, theirs):
    """Equal but for rounding, measured by the largest number there is."""
    tolerance, theirs = TOLERANCE[ours.dtype], theirs.detach().to(ours.dtype)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=tolerance * max(1.0, theirs.abs().max().item()))


def correlations(layer, pre, post, convention, **parameters):
    """The correlation f of every step, (T, B, *weight shape): with τ_e = dt, Euler decay forgets all else."""
    convention = replace(convention, eligibility_decay="euler", normalize_trace=False, lag=0)
    config = EligibilityConfig(kernel="stdp_pair", tau_e=1.0, clamp_range=None, convention=convention, **parameters)
    traces = EligibilityTraceModule.for_layer(layer, config)
    return torch.stack([traces.update(x, y).clone() for x, y in zip(pre, post, strict=True)])


# -- Florian 2007, figure 1: one synapse, reward until t = 100, punishment after it ----------------


def florian(convention):
    """Pre, post, reward (201 steps of 1 ms) and the settings of the figure."""
    pre, post = torch.zeros(2, 201, 1, 1, dtype=torch.float64)
    pre[[10, 85, 115, 135]], post[[15, 75, 110, 140]] = 1.0, 1.0
    reward = [1.0 if t <= 100 else -1.0 for t in range(201)]
    taus = {"tau_e": 25.0, "stdp_tau_plus": 20.0, "stdp_tau_minus": 20.0}
    config = EligibilityConfig(kernel="stdp_pair", clamp_range=None, convention=convention, **taus)
    return pre, post, reward, config


TOTALS = {
    "florian2007": (preset("florian2007"), 0.697692),
    "spikingjelly": (preset("spikingjelly"), 0.697692),
    "bindsnet": (preset("bindsnet"), 0.697692),
    "inferno": (preset("inferno"), 0.670995),
    "nest": (preset("nest"), 16.774883),
    "snntorch": (preset("snntorch"), 16.774883),
    "norse": (preset("norse"), 16.190764),
    "izhikevich2007": (preset("izhikevich2007"), 19.683378),
    "Euler throughout": (EULER_THROUGHOUT, 16.190764),
    "default": (Convention(), 16.283856),
}


@pytest.mark.parametrize(("convention", "total"), TOTALS.values(), ids=TOTALS)
def test_florian_figure_1_by_apply_update(convention, total):
    pre, post, reward, config = florian(convention)
    traces, weight = EligibilityTraceModule(1, 1, config), torch.zeros(1, 1, dtype=torch.float64)
    for x, y, r in zip(pre, post, reward, strict=True):
        traces.update(x, y)
        weight = traces.apply_update(weight, r, lr=1.0)
    assert weight.item() == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize(("convention", "total"), TOTALS.values(), ids=TOTALS)
def test_florian_figure_1_by_three_factor_update(convention, total):
    pre, post, reward, config = florian(convention)
    traces, weight = EligibilityTraceModule(1, 1, config), torch.zeros(1, 1, dtype=torch.float64)
    rule = ThreeFactorUpdate(ThreeFactorConfig(lr=0.01), convention.reduction)
    for x, y, r in zip(pre, post, reward, strict=True):
        rule.apply_(weight, rule.delta(r, traces.update(x, y)))
    assert weight.item() == pytest.approx(0.01 * total, abs=1e-8)


def test_florian_figure_1_parts_conventions_by_what_they_say():
    """Division by τ_e is a factor of exactly τ_e; lag and decay change the number itself."""
    assert TOTALS["nest"][1] == pytest.approx(25.0 * TOTALS["inferno"][1], rel=1e-5)
    assert len({total for _, total in TOTALS.values()}) == 6


# -- snnTorch: reward-modulated functions with exponential spike traces, plain STDP with Euler ones


def snntorch_steps(function, layer, pre, post):
    """What one of snnTorch's functions says at every step."""
    x = y = None
    one = {"tau_pre": 20.0, "tau_post": 15.0, "f_pre": torch.ones_like, "f_post": torch.ones_like}
    if function is stdp_learner.mstdpet_linear_single_step:
        one["tau_trace"] = 25.0  # asked for, and never used
    said = []
    for spikes in zip(pre, post, strict=True):
        x, y, change = function(layer, *spikes, x, y, **one)
        said.append(change)
    return torch.stack(said)


TAUS = {"stdp_tau_plus": 20.0, "stdp_tau_minus": 15.0}
SNNTORCH_STDP = replace(preset("snntorch"), spike_trace_decay="euler")


@seeds
@dtypes
def test_snntorch_mstdp_per_sample(seed, dtype):
    layer, pre, post = dense(seed, 3, dtype)
    theirs = snntorch_steps(stdp_learner.mstdp_linear_single_step, layer, pre, post)
    close(correlations(layer, pre, post, preset("snntorch"), **TAUS), theirs)


@seeds
@dtypes
def test_snntorch_mstdpet_on_one_sample(seed, dtype):
    layer, pre, post = dense(seed, 1, dtype)
    theirs = snntorch_steps(stdp_learner.mstdpet_linear_single_step, layer, pre[:, 0], post[:, 0])
    close(correlations(layer, pre, post, preset("snntorch"), **TAUS)[:, 0], theirs)


SNNTORCH_LAYERS = {
    "linear": (stdp_learner.stdp_linear_single_step, lambda: nn.Linear(5, 4), (5,)),
    "conv1d": (stdp_learner.stdp_conv1d_single_step, lambda: nn.Conv1d(2, 3, 3, stride=2), (2, 9)),
    "conv2d": (stdp_learner.stdp_conv2d_single_step, lambda: nn.Conv2d(2, 3, 3, stride=(2, 1)), (2, 7, 6)),
}


@seeds
@dtypes
@pytest.mark.parametrize(("function", "build", "shape"), SNNTORCH_LAYERS.values(), ids=SNNTORCH_LAYERS)
def test_snntorch_stdp_summed_over_the_batch(function, build, shape, seed, dtype):
    layer = build().to(dtype)
    pre = trains(seed, 30, 3, *shape, dtype=dtype)
    post = trains(seed + 9, 30, *layer(pre[0]).shape, dtype=dtype)
    theirs = snntorch_steps(function, layer, pre, post)
    assert SNNTORCH_STDP.reduction == "sum"
    close(correlations(layer, pre, post, SNNTORCH_STDP, **TAUS).sum(1), theirs)


@seeds
def test_snntorch_mstdp_with_reward_per_sample(seed):
    """The whole rule: snnTorch leaves trace and reward to its user, who does what the convention says."""
    layer, pre, post = dense(seed, 3)
    reward = torch.randn(80, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    f = snntorch_steps(stdp_learner.mstdp_linear_single_step, layer, pre, post)
    e, theirs = torch.zeros_like(f[0]), torch.zeros(4, 5, dtype=torch.float64)
    for f_t, r in zip(f, reward, strict=True):
        e = np.exp(-1 / 25.0) * e + f_t
        theirs += (r.view(-1, 1, 1) * e).sum(0)
    config = EligibilityConfig(kernel="stdp_pair", tau_e=25.0, clamp_range=None, convention=preset("snntorch"), **TAUS)
    traces, ours = EligibilityTraceModule(5, 4, config), torch.zeros(4, 5, dtype=torch.float64)
    for x, y, r in zip(pre, post, reward, strict=True):
        traces.observe(x, y)
        ours = traces.apply_update(ours, r, lr=1.0)
    close(ours, theirs)


# -- Norse: plain STDP; a spike raises its trace by dt/τ -------------------------------------------

ETA_PLUS, ETA_MINUS, A_PRE, A_POST = 0.7, 1.3, 0.9, 1.1
NORSE_TAUS, NORSE_DT = {"stdp_tau_plus": 0.020, "stdp_tau_minus": 0.015}, 0.001  # seconds


def norse_steps(step, layer, pre, post, **conv):
    """Weight change of every step of Norse's function, in steps of 1 ms."""
    values = {"a_pre": A_PRE, "a_post": A_POST, "tau_pre_inv": 1 / 0.020, "tau_post_inv": 1 / 0.015}
    tensors = {name: torch.tensor(value, dtype=pre.dtype) for name, value in values.items()}
    rates = {"eta_plus": ETA_PLUS, "eta_minus": ETA_MINUS}
    p = norse_stdp.STDPParameters(**tensors, **rates, hardbound=False, **conv)
    state = norse_stdp.STDPState(t_pre=torch.zeros_like(pre[0]), t_post=torch.zeros_like(post[0]))
    changes, zero = [], torch.zeros_like(layer.weight.detach())
    for x, y in zip(pre, post, strict=True):
        change, state = step(x, y, zero, state, p, NORSE_DT)
        changes.append(change)
    return torch.stack(changes)


def norse_correlations(layer, pre, post):
    """Ours, per step: amplitudes carry Norse's factor dt/τ; time is counted in steps."""
    steps = {name: tau / NORSE_DT for name, tau in NORSE_TAUS.items()}
    amplitudes = {
        "a_plus": ETA_PLUS * A_PRE / steps["stdp_tau_plus"],
        "a_minus": ETA_MINUS * A_POST / steps["stdp_tau_minus"],
    }
    assert preset("norse").reduction == "sum"
    return correlations(layer, pre, post, preset("norse"), **steps, **amplitudes).sum(1)


@seeds
@dtypes
def test_norse_stdp_linear(seed, dtype):
    layer, pre, post = dense(seed, 3, dtype)
    theirs = norse_steps(norse_stdp.stdp_step_linear, layer, pre, post)
    close(norse_correlations(layer, pre, post), theirs)


@seeds
@dtypes
@pytest.mark.parametrize("conv", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}], ids=str)
def test_norse_stdp_conv2d(conv, seed, dtype):
    layer = nn.Conv2d(2, 3, 3, **conv).to(dtype)
    pre = trains(seed, 30, 3, 2, 7, 6, dtype=dtype)
    post = trains(seed + 9, 30, *layer(pre[0]).shape, dtype=dtype)
    theirs = norse_steps(norse_stdp.stdp_step_conv2d, layer, pre, post, convolutional=True, **conv)
    close(norse_correlations(layer, pre, post), theirs)


# -- Izhikevich 2007: the plasticity lines of his program, for spikes that are given ---------------


def izhikevich_program(fired_pre, fired_post, a_plus=0.1, a_minus=0.15):
    """Potentiation and depression of every millisecond, each (T, N_post, N_pre).

    A spike sets its trace; a trace loses a twentieth per millisecond. A post spike reads the pre trace of the
    millisecond before, for a spike takes 1 ms to arrive; a pre spike reads the post trace as it leaves.
    """
    x, y, ltp, ltd = np.zeros(fired_pre.shape[1]), np.zeros(fired_post.shape[1]), [], []
    for pre, post in zip(fired_pre, fired_post, strict=True):
        x_last, y = x, np.where(post, 1.0, 0.95 * y)
        x = np.where(pre, 1.0, 0.95 * x)
        ltp.append(a_plus * np.outer(post, x_last))
        ltd.append(a_minus * np.outer(y, pre))
    return np.stack(ltp), np.stack(ltd)


def arriving(spikes):
    """Spikes one millisecond later: as the synapse sees them."""
    return torch.cat((torch.zeros_like(spikes[:1]), spikes[:-1]))


@seeds
def test_izhikevich_2007_program(seed):
    """Fed with arriving spikes, the preset potentiates as the program does, and depresses one step later."""
    pre, post = trains(seed, 400, 1, 5, rate=0.05), trains(seed + 9, 400, 1, 4, rate=0.05)
    ltp, ltd = (torch.tensor(part) for part in izhikevich_program(pre[:, 0].numpy(), post[:, 0].numpy()))
    layer, as_given = nn.Linear(5, 4, bias=False), {"stdp_tau_plus": 20.0, "stdp_tau_minus": 20.0}
    spikes = (layer, arriving(pre), post, preset("izhikevich2007"))
    close(correlations(*spikes, a_plus=0.1, a_minus=0.0, **as_given)[:, 0], ltp)
    close(-correlations(*spikes, a_plus=0.0, a_minus=0.15 / 0.95, **as_given)[1:, 0], ltd[:-1])


def test_izhikevich_2007_eligibility_decays_per_step_where_the_program_decays_every_ten():
    """Between two of the program's decays (× .99 every 10 ms) ours is at most nine steps (× .999) ahead."""
    pre, post = trains(1, 1000, 1, 3, rate=0.02), trains(2, 1000, 1, 2, rate=0.02)
    ltp, _ = izhikevich_program(pre[:, 0].numpy(), post[:, 0].numpy())
    config = EligibilityConfig(
        kernel="stdp_pair",
        tau_e=1000.0,
        a_plus=0.1,
        a_minus=0.0,
        clamp_range=None,
        convention=preset("izhikevich2007"),
    )
    traces, program = EligibilityTraceModule(3, 2, config), np.zeros((2, 3))
    for t, (x, y) in enumerate(zip(arriving(pre), post, strict=True), start=1):
        e = traces.update(x, y)[0].numpy()
        program += ltp[t - 1]
        if t % 10 == 0:
            assert (e <= program * (0.999**10 / 0.99) ** (t / 10) + 1e-12).all()
            assert (e >= program * 0.999**9 - 1e-12).all()
            program *= 0.99
    assert program.min() > 0
