"""NEST's two e-prop tests, from the library's parts: five losses of a regression, ten of an evidence accumulation.

The losses stand in NEST's testsuite (test_eprop_bsshslm_2020_plasticity.py), where they are held to those of the
original TensorFlow program. One wrong detail of neurons, e-prop, rates or optimizer moves the second loss.
"""

from __future__ import annotations

import math
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from snn_plasticity import (
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    ThreeFactorConfig,
    ThreeFactorUpdate,
    modulate,
)
from snn_plasticity.kernels import EProp, alif_step, firing_rate_signal
from snn_plasticity.plasticity import Accumulating

sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
nets, pattern = map(import_module, ("eprop_nets", "pattern_task"))

REGRESSION = [101.964356999041, 103.466731126205, 103.340607074771, 103.680244037686, 104.412775748752]
ACCUMULATION = {
    1: [0.741152550006, 0.740388187700, 0.665785233177, 0.663644193322, 0.729428962844],
    2: [0.702163370672, 0.735555303152, 0.740354864111, 0.683882815282, 0.707841122268],
}
STEPS, RECALL = 2250, 150
EXACT = Convention(eligibility_decay="exponential")


def stepped(rule, course, error, learning):
    """What `Rule.changes` folds, forwards: one e per synapse, filtered by κ, met by each step's signal."""
    made, n = rule.neurons, course.spikes.shape[-1]
    kappa, regular = made.kappa, firing_rate_signal(course.spikes, rule.rate, rule.strength)
    trace = Accumulating(tau_e=made.tau_out, clamp_range=None, convention=EXACT)
    beta, changes = torch.as_tensor(made.beta).reshape(-1, 1), []
    for pre in (course.inputs, course.earlier):
        x, epsilon = torch.zeros_like(pre[0]), torch.zeros(*regular.shape, pre.shape[-1], dtype=pre.dtype)
        filtered, total = torch.zeros_like(epsilon), torch.zeros(n, pre.shape[-1], dtype=pre.dtype)
        for spikes, psi, signal in zip(pre, course.psi, learning, strict=True):
            x = math.exp(-1.0 / made.tau_m) * x + spikes
            e, epsilon = alif_step(psi, made.zeta * x, epsilon, beta=beta, rho=made.rho)
            filtered = trace.join(trace.retained(1.0) * filtered, (1 - kappa) * e)
            total += modulate(signal, filtered) + modulate(regular, e)
        changes.append(total)
    changes[1].fill_diagonal_(0.0)
    return nets.Weights(*changes, rule.changes(course, error, learning).out)


def traced(rule, course, error, learning):
    """The same for LIF neurons by `EligibilityTraceModule`: κ is its tau_e, and e without a filter is kept for ever."""
    made, changes = rule.neurons, []
    regular = firing_rate_signal(course.spikes, rule.rate, rule.strength)

    def traces(pre, post, tau_m, tau_e):
        config = EligibilityConfig(kernel=EProp(tau_m=tau_m), tau_e=tau_e, clamp_range=None, convention=EXACT)
        return EligibilityTraceModule(pre.shape[-1], post.shape[-1], config)

    for pre in (course.inputs, course.earlier):
        sides = made.zeta * pre, course.psi
        kept = traces(*sides, made.tau_m, math.inf)
        kept.observe_window(*sides)
        filtered = traces(*sides, made.tau_m, made.tau_out)
        changes.append((1 - made.kappa) * filtered.modulate_window(*sides, learning) + kept.change(regular))
    changes[1].fill_diagonal_(0.0)
    z = traces(course.spikes, error, made.tau_out, math.inf)
    z.observe_window((1 - made.kappa) * course.spikes, error)
    return nets.Weights(*changes, z.change(1.0))


folded = nets.Rule.changes


@pytest.mark.parametrize("way", [folded, traced, stepped])
def test_regression(way):
    task = pattern.nest_task(seed=1)
    weights, rule, update = task.weights, nets.Rule(pattern.NEURONS), ThreeFactorUpdate(pattern.DESCENT)
    losses = []
    for _ in REGRESSION[: 2 if way is stepped else None]:
        course = nets.simulate(weights, task.inputs, pattern.NEURONS)
        error = task.target - course.readout
        losses.append(float(0.5 * error.square().sum()))
        for weight, change in zip(weights, way(rule, course, error, error @ task.feedback), strict=True):
            update.apply_(weight, update.delta(1.0, change[None]))
    assert losses == pytest.approx(REGRESSION[: len(losses)], rel=1e-9)


def accumulation(batch):
    """NEST's draws: weights, feedback (2, 100), and for each of five batches the input and which side had more cues."""
    rng = np.random.RandomState(1)

    def single(values):
        return torch.tensor(np.asarray(values, dtype=np.float32)).double()

    into, recurrent = single(rng.randn(40, 100).T / np.sqrt(40)), single(rng.randn(100, 100).T / 10)
    limit = np.sqrt(3.0 / 51.0)
    weights = nets.Weights(into, recurrent.fill_diagonal_(0), single(rng.uniform(-limit, limit, (100, 2)).T))
    return weights, single(rng.randn(100, 2)).T, [a_batch(rng, batch) for _ in range(5)]


def a_batch(rng, size):
    """Seven cues of 100 steps, 50 before each, 1050 of noise, 150 of recall."""
    side, chances = rng.choice([0, 1], size), np.array([0.3, 0.7], dtype=np.float32)
    cues = np.stack([rng.choice([0, 1], 7, p=[chances[k], chances[1 - k]]) for k in side])
    probability = np.zeros((size, STEPS, 40))
    for row, shown in zip(probability, cues, strict=True):
        for k, cue in enumerate(shown):
            row[150 * k + 50 : 150 * (k + 1), 10 * cue : 10 * (cue + 1)] = 0.04
    probability[:, -RECALL:, 20:30] = 0.04
    probability[:, :, 30:] = 0.01
    fired = rng.rand(probability.size).reshape(probability.shape) < probability
    fired[:, 0] = False
    return torch.tensor(fired).transpose(0, 1).double(), torch.tensor(cues.sum(1) > 3).long()


@pytest.mark.parametrize(("batch", "way"), [(1, folded), (2, folded), (1, stepped)])
def test_evidence_accumulation(batch, way):
    beta = torch.zeros(100).double()
    beta[50:] = 1.7 * (1 - math.exp(-1 / 2000)) / (1 - math.exp(-1 / 20))
    neurons = nets.Neurons(beta=beta, refractory=5)
    weights, feedback, batches = accumulation(batch)
    update = ThreeFactorUpdate(ThreeFactorConfig(mode="hybrid", lr=1.0, weight_clamp=None))
    adam, losses = torch.optim.Adam(weights, lr=5e-3), []
    for k, (inputs, side) in enumerate(batches[: 2 if way is stepped else None], start=1):
        course, goal = nets.simulate(weights, inputs, neurons), one_hot(side, 2).double()
        error = goal - course.readout.softmax(-1)
        losses.append(-float((goal * course.readout.log_softmax(-1)).sum(-1)[-RECALL:].mean()))
        error[:-RECALL] = 0.0
        adam.zero_grad()
        for weight, change in zip(weights, way(nets.Rule(neurons), course, error, error @ feedback), strict=True):
            update.add_grad_(weight, change / RECALL)
        adam.param_groups[0]["eps"] = 1e-8 / math.sqrt(1 - 0.999**k)  # NEST adds it after the correction of the bias
        adam.step()
    assert losses == pytest.approx(ACCUMULATION[batch][: len(losses)], rel=1e-9)
