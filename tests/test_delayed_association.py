"""Reward that comes after a silence teaches what was done before it, if and only if the traces last."""

from __future__ import annotations

import pytest

from snn_plasticity.contract.association import learn


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("delay", (0, 30, 60))
def test_with_traces_loss_falls_and_accuracy_rises(seed, delay):
    curve = learn(seed=seed, delay=delay, trials=60)
    assert curve.accuracy[0] < 0.75 and sum(curve.accuracy[-10:]) / 10 > 0.9
    assert curve.loss[0] == pytest.approx(0.25)
    assert curve.loss[-1] < 0.25 * curve.loss[0]


@pytest.mark.parametrize("seed", range(5))
def test_without_traces_nothing_is_learnt(seed):
    curve = learn(tau_e=1.0, seed=seed, trials=60)
    assert 0.4 < sum(curve.accuracy[-20:]) / 20 < 0.6
    assert curve.loss[-1] == pytest.approx(0.25)
