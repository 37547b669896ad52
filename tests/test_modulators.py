"""Signals and modulators: ranges, closed forms of drive and decay, and what is refused at the door."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_plasticity.config import NeuromodConfig
from snn_plasticity.neuromodulation import (
    SIGNALS,
    Modulator,
    accumulate,
    acetylcholine,
    dopamine,
    norepinephrine,
    read_signals,
    serotonin,
)
from snn_plasticity.neuromodulation.modulators import modulators_of

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


def test_dopamine_is_the_tanh_of_the_scaled_error():
    reward = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    expected = np.tanh(0.7 * (reward.numpy() - 0.4))
    np.testing.assert_allclose(dopamine(reward, baseline=0.4, scale=0.7).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("release", [acetylcholine, norepinephrine, serotonin])
def test_the_others_are_the_tanh_of_the_positive_part(release):
    drive = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    np.testing.assert_allclose(release(drive, 0.7).numpy(), np.tanh(0.7 * np.maximum(drive.numpy(), 0.0)), rtol=1e-14)


@given(
    x=finite,
    scale=st.floats(0.0, 1e6, width=32),
    level=st.floats(-1.0, 1.0, width=32),
    tau=st.floats(0.0, 1e4),
)
@settings(deadline=None)
def test_ranges_hold_at_any_size_of_signal(x, scale, level, tau):
    signal = torch.tensor([x])
    for name, low in (("DA", -1.0), ("ACh", 0.0)):
        start = torch.tensor([max(level, low)])
        amount, after = Modulator(name, "reward", scale=scale, tau=tau).step(signal, start)
        assert low <= amount.item() <= 1.0
        assert low <= after.item() <= 1.0


def test_tonic_level_is_the_exponential_sum_of_its_drives():
    rng = np.random.default_rng(0)
    drives = rng.uniform(-0.02, 0.02, size=60)
    tau, dt = 30.0, 2.0
    level = torch.zeros(1, dtype=torch.float64)
    for drive in drives:
        level = accumulate(level, torch.tensor([drive], dtype=torch.float64), tau, dt, low=-1.0)
    ages = dt * np.arange(len(drives))[::-1]
    assert level.item() == pytest.approx(float((drives * np.exp(-ages / tau)).sum()), rel=1e-12)


def test_dopamine_of_izhikevich_falls_to_one_over_e_in_200_ms():
    release = Modulator("DA", "reward", tau=200.0)
    amount, level = release.step(torch.tensor([0.5], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    start = amount.item()
    for _ in range(200):
        amount, level = release.step(torch.zeros(1, dtype=torch.float64), level)
    assert amount.item() / start == pytest.approx(math.exp(-1.0), rel=1e-12)


def test_half_a_step_twice_decays_as_one_step():
    level, none = torch.tensor([0.8], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    halves = accumulate(accumulate(level, none, 20.0, 0.5), none, 20.0, 0.5)
    torch.testing.assert_close(halves, accumulate(level, none, 20.0, 1.0), rtol=1e-14, atol=0.0)


def test_without_a_time_constant_nothing_is_kept():
    drive = torch.tensor([0.25])
    assert torch.equal(accumulate(torch.tensor([0.9]), drive, 0.0), drive)


def test_a_tonic_baseline_adds_to_the_level_and_is_not_accumulated():
    release = Modulator("5HT", "patience", tau=50.0, baseline=0.3)
    level = torch.zeros(1)
    for _ in range(20):
        amount, level = release.step(torch.zeros(1), level)
    assert amount.item() == pytest.approx(0.3) and level.item() == 0.0
    amount, _ = release.step(torch.tensor([1e6]), level)
    assert amount.item() == 1.0


def test_gradient_reaches_the_time_constant():
    tau = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    level = accumulate(torch.tensor([0.5], dtype=torch.float64), torch.zeros(1, dtype=torch.float64), tau)
    level.sum().backward()
    assert tau.grad is not None
    assert tau.grad.item() == pytest.approx(0.5 * math.exp(-1 / 20) / 20**2, rel=1e-12)


def test_config_fields_reach_the_modulator_they_name():
    config = NeuromodConfig(ne_source="surprise", ne_scale=3.0, ne_tau=7.0, ne_baseline=0.2, dt=0.5)
    assert modulators_of(config)[2] == Modulator("NE", "surprise", 3.0, 7.0, 0.2, 0.5)
    assert [m.name for m in modulators_of(config)] == ["DA", "ACh", "NE", "5HT"]


@pytest.mark.parametrize("value", [0.5, 1, torch.tensor(0.5), torch.full((3,), 0.5), torch.full((3, 1), 0.5)])
def test_every_spelling_of_a_signal_becomes_one_value_per_sample(value):
    values = read_signals({"reward": value, "novelty": torch.zeros(3)})
    assert torch.equal(values["reward"], torch.full((3,), float(torch.as_tensor(value).flatten()[0])))


def test_missing_signals_are_zero_and_all_are_there():
    values = read_signals({"reward": torch.ones(2)})
    assert set(values) == set(SIGNALS)
    assert all(torch.equal(values[name], torch.zeros(2)) for name in SIGNALS if name != "reward")


def test_scalars_alone_make_a_batch_of_one():
    assert read_signals({"reward": 1.0})["reward"].shape == (1,)


def test_half_precision_is_widened_and_double_kept():
    assert read_signals({"reward": torch.ones(2, dtype=torch.float16)})["reward"].dtype == torch.float32
    both = read_signals({"reward": torch.ones(2, dtype=torch.float64), "novelty": 0.1})
    assert both["novelty"].dtype == torch.float64 and both["novelty"][0].item() == 0.1


def test_an_unknown_signal_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'noveltyy'.*reward, td_error.*Did you mean 'novelty'"):
        read_signals({"noveltyy": 1.0})


@pytest.mark.parametrize("name", ["novelty", "uncertainty", "entropy", "urgency", "surprise", "patience", "context"])
def test_a_negative_value_names_signal_and_range(name):
    with pytest.raises(ValueError, match=rf"{name} is -0.5.*{name} >= 0"):
        read_signals({name: torch.tensor([0.2, -0.5])})


@pytest.mark.parametrize("name", ["reward", "td_error", "long_horizon_value"])
def test_real_signals_may_be_negative(name):
    assert read_signals({name: -2.0})[name].item() == -2.0


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_name_the_signal(name, bad):
    with pytest.raises(ValueError, match=name):
        read_signals({name: bad})
    with pytest.raises(ValueError, match=name):
        read_signals({name: torch.tensor([0.0, bad])})


@pytest.mark.parametrize("shape", [(2, 3), (1, 2), (2, 1, 1)])
def test_another_shape_names_what_was_read_and_expected(shape):
    with pytest.raises(ValueError, match="reward has shape"):
        read_signals({"reward": torch.zeros(shape)})


def test_two_batch_sizes_are_refused():
    with pytest.raises(ValueError, match=r"novelty has shape \(3,\).*batch of 2"):
        read_signals({"reward": torch.zeros(2), "novelty": torch.zeros(3)})


@pytest.mark.parametrize("signals", [1.0, torch.ones(2), ["reward"], None])
def test_what_is_no_mapping_is_refused(signals):
    with pytest.raises(TypeError, match="expected a mapping"):
        read_signals(signals)


@pytest.mark.parametrize("value", ["high", None, ["1.0"], torch.ones(2, dtype=torch.complex64)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="reward"):
        read_signals({"reward": value})
