"""e-prop against backpropagation through time: without recurrent weights the two are the same gradient."""

from __future__ import annotations

import pytest
import torch
from conftest import trains

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule, modulate
from snn_plasticity.kernels import eprop
from snn_plasticity.kernels.eprop import EProp, alif_step

ALPHA, RHO, BETA, THRESHOLD = 0.9, 0.95, 0.4, 0.6


class Spike(torch.autograd.Function):
    """A step with a triangular pseudo-derivative."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * pseudo_derivative(*ctx.saved_tensors)


def pseudo_derivative(v):
    return 0.3 * (1.0 - (v / THRESHOLD).abs()).clamp(min=0.0)


def simulate(weight, pre, beta):
    """Spikes and pseudo-derivatives of (adaptive) LIF neurons; the reset takes no part in the gradient."""
    v = a = torch.zeros(pre.shape[1], len(weight), dtype=weight.dtype)
    z, spikes, slopes = torch.zeros_like(v), [], []
    for x in pre:
        v = ALPHA * v + x @ weight.T - THRESHOLD * z.detach()
        distance = v - THRESHOLD - beta * a
        z = Spike.apply(distance)
        a = RHO * a + z
        spikes.append(z)
        slopes.append(pseudo_derivative(distance.detach()))
    return torch.stack(spikes), torch.stack(slopes)


@pytest.fixture
def task():
    """A weight, input trains, and a loss Σ c·z whose learning signal is c."""
    torch.manual_seed(1)
    weight = (0.5 * torch.rand(3, 6, dtype=torch.float64)).requires_grad_()
    return weight, trains(30, 4, 6, seed=1), torch.randn(30, 4, 3, dtype=torch.float64)


def test_lif_eprop_is_the_gradient(task):
    weight, pre, signal = task
    spikes, slopes = simulate(weight, pre, beta=0.0)
    assert 0.05 < spikes.mean() < 0.9
    (gradient,) = torch.autograd.grad((signal * spikes).sum(), weight)
    tau = -1.0 / torch.log(torch.tensor(ALPHA, dtype=torch.float64))
    config = EligibilityConfig(kernel=EProp(tau_m=float(tau)), tau_e=1.0, clamp_range=None, convention=Convention())
    module = EligibilityTraceModule(6, 3, config)  # tau_e = dt: e is this step's f
    total = sum(modulate(c, module.update(p, s), "sum") for p, s, c in zip(pre, slopes, signal, strict=True))
    torch.testing.assert_close(total, gradient, rtol=1e-9, atol=1e-12)


def test_alif_eprop_is_the_gradient_and_lif_eprop_is_not(task):
    weight, pre, signal = task
    spikes, slopes = simulate(weight, pre, beta=BETA)
    (gradient,) = torch.autograd.grad((signal * spikes).sum(), weight)
    totals = {}
    for beta in (BETA, 0.0):
        x, epsilon = torch.zeros(4, 6).double(), torch.zeros(4, 3, 6).double()
        totals[beta] = torch.zeros_like(gradient)
        for p, psi, c in zip(pre, slopes, signal, strict=True):
            x = ALPHA * x + p
            f, epsilon = alif_step(psi, x, epsilon, beta=beta, rho=RHO)
            totals[beta] += modulate(c, f, "sum")
    torch.testing.assert_close(totals[BETA], gradient, rtol=1e-9, atol=1e-12)
    assert (totals[0.0] - gradient).abs().max() > 0.01


def test_wrong_adaptation_state_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        alif_step(torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2, 4, 3), beta=1.0, rho=0.9)


@pytest.mark.parametrize("entries", (1, 40, 359))
def test_psi_of_a_window_is_worked_out_in_parts(entries, monkeypatch):
    monkeypatch.setattr(eprop, "PSI_ENTRIES", entries)
    seen = []
    kernel = EProp(tau_m=5.0, pseudo_derivative=lambda above: seen.append(above.numel()) or pseudo_derivative(above))
    post = torch.randn(30, 4, 3, dtype=torch.float64)
    terms, _ = kernel.window(trains(30, 4, 6, seed=1), post, None)
    assert torch.equal(terms[0].post.tensor, pseudo_derivative(post))
    assert sum(seen) == post.numel() and max(seen) <= max(entries, post[0].numel())
    with pytest.raises(ValueError, match="expected one ψ for each"):
        EProp(pseudo_derivative=lambda above: above[:, :1]).window(trains(30, 4, 6, seed=1), post, None)
