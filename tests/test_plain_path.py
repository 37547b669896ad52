"""The plain path is plain: it steps, through windows too, and equals sums over spikes written out in NumPy."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import torch
from conftest import CONVENTIONS, KERNELS, LAYERS, TRACES, layer_and_trains, settings, trains

from snn_plasticity import Convention, EligibilityRule, EligibilityTraceModule, _compiled
from snn_plasticity.layers.dense import Dense
from snn_plasticity.plasticity import traces
from snn_plasticity.plasticity._engine import stepping, window_terms

T, B, N_PRE, N_POST = 12, 2, 3, 2
SOME = CONVENTIONS[::5]  # every choice with most others
PRE, POST = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
MODS = torch.randn(T, B, N_POST, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("clamp", (None, (-0.4, 0.7)))
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_windows_and_their_modulators_are_the_sums(kernel, trace, clamp):
    for convention in SOME:
        config = settings(kernel, trace, convention, clamp_range=clamp)
        e = brute_force.run(PRE.numpy(), POST.numpy(), config)[1]
        module = EligibilityTraceModule(N_PRE, N_POST, config, path="plain")
        total = module.modulate_window(PRE, POST, MODS).numpy()
        right = brute_force.weight_change(MODS.numpy(), e, lag=convention.lag)
        np.testing.assert_allclose(total, right, rtol=1e-9, atol=1e-11, err_msg=str(convention))
        np.testing.assert_allclose(module.eligibility.numpy(), e[-1 - convention.lag], rtol=1e-9, atol=1e-11)
        module.reset()
        np.testing.assert_allclose(
            module.update_window(PRE, POST).numpy(), e[-1 - convention.lag], rtol=1e-9, atol=1e-11
        )


@pytest.mark.parametrize("lag", (0, 1))
@pytest.mark.parametrize("layer_name", LAYERS)
def test_nothing_that_takes_many_steps_at_once_is_called(layer_name, lag, monkeypatch):
    """Each step is one call of the kernel and one of the trace, in the order of time."""

    def never(*args, **kwargs):
        raise AssertionError("the plain path took many steps at once")

    ways = ("fold_", "step_rows", "failing_rows")
    for room, name in (*((stepping, way) for way in ways), (_compiled, "loops")):
        monkeypatch.setattr(room, name, never)
    monkeypatch.setattr(window_terms.WindowTerms, "__init__", never)
    steps, original = [], traces.step_
    monkeypatch.setattr(traces, "step_", lambda *a: (steps.append(a), original(*a)))
    layer, pre, post = layer_and_trains(layer_name, steps=9)
    for trace, clamp in (("accumulating", None), ("dutch", (-0.3, 0.3)), ("replacing", None)):
        config = settings("stdp_pair", trace, Convention(lag=lag), clamp_range=clamp)
        module = EligibilityTraceModule.for_layer(layer, config, path="plain")
        module.observe_window(pre, post)
        module.modulate_window(pre, post, torch.ones(9))
        module.queue(1.0)
        module.flush()
        module.reset(mask=torch.tensor([True, False, False]))
        assert module.update_window(pre, post).any()
        assert len(steps) == 27 - lag
        steps.clear()


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_rule_in_place_and_the_pure_one_are_the_sums(kernel, trace):
    """The pure rule, and the one that changes e in place, with and without a lag."""
    for convention in SOME:
        config = settings(kernel, trace, convention, clamp_range=(-0.4, 0.7))
        rule = EligibilityRule.of(Dense(N_PRE, N_POST), config)
        right = brute_force.run(PRE.numpy(), POST.numpy(), config)[1]
        right = np.concatenate((np.zeros_like(right[:1]), right[:-1])) if convention.lag else right
        pure, placed = (rule.init(PRE[0], POST[0]) for _ in range(2))
        for pre, post, e in zip(PRE, POST, right, strict=True):
            found, pure = rule.step(pre, post, pure)
            placed = rule.step_(pre, post, placed)
            np.testing.assert_allclose(found.numpy(), e, rtol=1e-9, atol=1e-11, err_msg=str(convention))
            np.testing.assert_allclose(placed.e.numpy(), e, rtol=1e-9, atol=1e-11, err_msg=str(convention))
