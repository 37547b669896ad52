"""Learning signals run backwards through a window against traces that run forwards; pseudo-derivatives in numbers."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import trains

from snn_plasticity.kernels import (
    adaptive_post,
    alif_step,
    arctan,
    exponential,
    fast_sigmoid,
    firing_rate_signal,
    future_signal,
    piecewise_linear,
)

T, B, N_PRE, N_POST = 25, 3, 5, 4
SHAPES = (piecewise_linear, exponential, fast_sigmoid, arctan)


@pytest.fixture
def window():
    """Filtered input, ψ and learning signals."""
    generator = torch.Generator().manual_seed(0)
    x, total = [], torch.zeros(B, N_PRE).double()
    for spikes in trains(T, B, N_PRE, seed=2):
        total = 0.9 * total + spikes
        x.append(total)
    psi = torch.rand(T, B, N_POST, generator=generator, dtype=torch.float64)
    return torch.stack(x), psi, torch.randn(T, B, N_POST, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.0, 0.4, torch.tensor([0.0, 0.1, 0.2, 1.7]).double()])
def test_an_adaptive_window_is_alif_step_by_step(window, beta):
    x, psi, signal = window
    epsilon, total = torch.zeros(B, N_POST, N_PRE).double(), torch.zeros(N_POST, N_PRE).double()
    for xt, now, meets in zip(*window, strict=True):
        f, epsilon = alif_step(now, xt, epsilon, beta=torch.as_tensor(beta, dtype=x.dtype).reshape(-1, 1), rho=0.95)
        total += torch.einsum("bo,boi->oi", meets, f)
    post = adaptive_post(psi, signal, beta=beta, rho=0.95)
    torch.testing.assert_close(torch.einsum("tbo,tbi->oi", post, x), total, rtol=1e-12, atol=1e-12)


def test_the_future_of_a_signal_is_a_filter_over_e_from_the_other_side(window):
    e, _, signal = window
    filtered, total = torch.zeros(B, N_PRE).double(), torch.zeros(B, N_POST, N_PRE).double()
    for now, meets in zip(e, signal, strict=True):
        filtered = 0.8 * filtered + now
        total += meets.unsqueeze(-1) * filtered.unsqueeze(-2)
    credited = torch.einsum("tbo,tbi->boi", future_signal(signal, 0.8), e)
    torch.testing.assert_close(credited, total, rtol=1e-12, atol=1e-12)


def test_the_rate_signal_is_the_gradient_of_the_squared_distance_to_a_rate(window):
    _, psi, _ = window
    spikes = (psi > 0.7).double().requires_grad_()
    loss = 0.5 * 3.0 * (spikes.mean(0) - 0.1).square().sum()
    (gradient,) = torch.autograd.grad(loss, spikes)
    torch.testing.assert_close(firing_rate_signal(spikes.detach(), 0.1, 3.0).expand_as(gradient), -gradient)


def test_pseudo_derivatives_at_and_one_width_from_the_threshold():
    v = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    beside = {piecewise_linear: 0.0, exponential: math.exp(-1.0), fast_sigmoid: 0.25, arctan: 0.5}
    for shape, part in beside.items():
        expected = torch.tensor([part, 1.0, part], dtype=torch.float64) * 0.5
        torch.testing.assert_close(shape(v, 0.6, height=0.5, width=0.3), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_refractory_neuron_has_no_pseudo_derivative_and_each_has_its_threshold(shape):
    v, refractory = torch.ones(2, 2), torch.tensor([[True, False], [False, True]])
    assert torch.equal(shape(v, refractory=refractory) == 0, refractory)
    assert shape(v, torch.tensor([1.0, 1.5]))[0].tolist() == [shape(v)[0, 0], shape(v, 1.5)[0, 0]]
    assert torch.equal(shape(v, v), torch.full_like(v, 0.3))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: piecewise_linear(torch.ones(2, 2), torch.ones(3)), r"threshold has shape \(3,\)"),
        (lambda: arctan(torch.ones(2), refractory=torch.ones(2)), "expected booleans"),
        (lambda: exponential(torch.ones(2), width=0.0), "width = 0.0"),
        (lambda: fast_sigmoid(torch.ones(2, dtype=torch.long)), "expected floating point"),
        (lambda: future_signal(torch.ones(3), 1.5), "kappa = 1.5"),
        (lambda: future_signal(torch.ones(0, 2), 0.5), "T >= 1"),
        (lambda: firing_rate_signal(torch.ones(3, 2)), r"expected \(T, B, N\)"),
        (lambda: adaptive_post(torch.ones(3, 1, 2), torch.ones(3, 1, 1), beta=0.1, rho=0.9), "expected the same"),
        (lambda: adaptive_post(*[torch.ones(3, 1, 2)] * 2, beta=torch.ones(3), rho=0.9), "beta has shape"),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        call()
