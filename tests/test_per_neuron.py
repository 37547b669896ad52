"""Kernels whose time constants and amplitudes differ among neurons: each pair of neurons is a rule of its own."""

from __future__ import annotations

from itertools import product

import brute_force
import numpy as np
import pytest
import torch
from conftest import trains
from torch import nn

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule, PairSTDP, SymmetricSTDP, TripletSTDP
from snn_plasticity.kernels.eprop import EProp
from snn_plasticity.plasticity._engine import engine as running
from snn_plasticity.plasticity._engine import state

T, B, N_PRE, N_POST = 40, 2, 3, 2
PRE, POST = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)


def of(n: int, low: float, high: float) -> torch.Tensor:
    return torch.linspace(low, high, n, dtype=torch.float64)


PRE_SIDE = {"tau_plus": of(N_PRE, 3.0, 12.0)}
POST_SIDE = {"tau_minus": of(N_POST, 5.0, 15.0), "a_plus": of(N_POST, 0.3, 0.9), "a_minus": of(N_POST, 1.2, 0.4)}
TRIPLET = (
    {"tau_plus": PRE_SIDE["tau_plus"], "tau_x": of(N_PRE, 8.0, 20.0), "a_minus": of(N_PRE, 0.2, 0.7),
     "a3_minus": of(N_PRE, 0.1, 0.5)},
    {"tau_minus": POST_SIDE["tau_minus"], "tau_y": of(N_POST, 9.0, 14.0), "a_plus": POST_SIDE["a_plus"],
     "a3_plus": of(N_POST, 0.6, 0.1)},
)  # fmt: skip
KERNELS = {
    "stdp_pair": (PairSTDP, (PRE_SIDE, POST_SIDE)),
    "stdp_symmetric": (SymmetricSTDP, (PRE_SIDE, POST_SIDE)),
    "stdp_triplet": (TripletSTDP, TRIPLET),
}


def expected(name, sides, convention, clamp):
    """One oracle for each pair of neurons."""
    e = np.zeros((T, B, N_POST, N_PRE))
    rule = {"stdp_pair": brute_force.stdp_pair, "stdp_symmetric": brute_force.stdp_symmetric}
    rule["stdp_triplet"] = brute_force.stdp_triplet
    for i, j in product(range(N_POST), range(N_PRE)):
        numbers = {k: float(v[j]) for k, v in sides[0].items()} | {k: float(v[i]) for k, v in sides[1].items()}
        spikes = PRE.numpy()[:, :, j : j + 1], POST.numpy()[:, :, i : i + 1]
        f = rule[name](*spikes, **numbers, dt=1.0, convention=convention)
        own = brute_force.eligibility(f, tau_e=15.0, dt=1.0, convention=convention, clamp=clamp)
        e[:, :, i : i + 1, j : j + 1] = own
    return e


@pytest.mark.parametrize("small", (False, True))
@pytest.mark.parametrize("clamp", (None, (-0.4, 0.6)))
@pytest.mark.parametrize("pairing", ("all", "nearest"))
@pytest.mark.parametrize("name", KERNELS)
def test_every_path_equals_a_rule_for_each_pair(name, pairing, clamp, small, monkeypatch):
    if small:
        for limit in ("MIN_WINDOW", "MAX_WINDOW", "MAX_CLAMPED_WINDOW"):
            monkeypatch.setattr(running, limit, 7)
        monkeypatch.setattr(state, "TABLE_ENTRIES", 30)
    kind, sides = KERNELS[name]
    convention = Convention(pairing=pairing)
    right = expected(name, sides, convention, clamp)
    mods = torch.randn(T, B, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    config = EligibilityConfig(
        kernel=kind(**sides[0], **sides[1], convention=convention), tau_e=15.0, clamp_range=clamp, convention=convention
    )
    for path in ("plain", "fold", "auto"):
        module, changed = (EligibilityTraceModule(N_PRE, N_POST, config, path=path) for _ in range(2))
        for pre, post in zip(PRE, POST, strict=True):
            module.observe(pre, post)
        np.testing.assert_allclose(module.eligibility.numpy(), right[-1], rtol=1e-10, atol=1e-12)
        change = changed.modulate_window(PRE, POST, mods).numpy()
        np.testing.assert_allclose(change, brute_force.weight_change(mods.numpy(), right), rtol=1e-9, atol=1e-11)


def test_eprop_with_a_membrane_time_constant_for_each_input():
    taus, psi = of(N_PRE, 3.0, 9.0), torch.rand(T, B, N_POST, dtype=torch.float64)
    filtered = np.zeros((T, B, N_PRE))
    for t, s in product(range(T), range(T)):
        filtered[t] += (s <= t) * np.exp(-(t - s) / taus.numpy()) * PRE.numpy()[s]
    f = psi.numpy()[:, :, :, None] * filtered[:, :, None, :]
    right = brute_force.eligibility(f, tau_e=15.0, dt=1.0, convention=Convention())
    for path in ("plain", "fold", "auto"):
        module = EligibilityTraceModule(
            N_PRE, N_POST, EligibilityConfig(kernel=EProp(taus), tau_e=15.0, clamp_range=None), path=path
        )
        np.testing.assert_allclose(module.update_window(PRE, psi).numpy(), right[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("number", (torch.tensor(7.0), torch.tensor([7.0], dtype=torch.float64, requires_grad=True)))
def test_a_tensor_that_is_one_number_is_folded_as_one(number):
    modules = [
        EligibilityTraceModule(N_PRE, N_POST, EligibilityConfig(kernel=PairSTDP(tau_plus=tau, a_minus=tau)))
        for tau in (7.0, number)
    ]
    plain, tensor = (module.update_window(PRE, POST) for module in modules)
    assert torch.equal(plain, tensor) and not tensor.requires_grad
    assert modules[1].rule.kernel.window(PRE, POST, None) is not None


def test_the_pure_rule_keeps_the_gradient_of_each_neuron():
    """Against a difference quotient."""

    def total(taus, amplitudes):
        kernel = PairSTDP(tau_plus=taus, a_minus=amplitudes)
        rule = EligibilityTraceModule(N_PRE, N_POST, EligibilityConfig(kernel=kernel, clamp_range=None)).rule
        state = rule.init(PRE[0], POST[0])
        for pre, post in zip(PRE, POST, strict=True):
            e, state = rule.step(pre, post, state)
        return (e * torch.arange(e.numel(), dtype=e.dtype).view(e.shape)).sum()

    taus, amplitudes = of(N_PRE, 3.0, 12.0).requires_grad_(), of(N_POST, 0.5, 1.5).requires_grad_()
    assert torch.autograd.gradcheck(total, (taus, amplitudes))


def test_channels_of_a_convolution():
    layer = nn.Conv1d(2, 3, 3).double()
    kernel = PairSTDP(tau_plus=of(2, 4.0, 9.0).view(2, 1), a_minus=of(3, 0.5, 1.5).view(3, 1))
    pre, post = trains(30, B, 2, 8, seed=1), trains(30, B, 3, 6, seed=2)
    modules = [
        EligibilityTraceModule.for_layer(layer, EligibilityConfig(kernel=kernel), path=path)
        for path in ("plain", "auto")
    ]
    plain, auto = (module.update_window(pre, post) for module in modules)
    torch.testing.assert_close(auto, plain, rtol=1e-10, atol=1e-12)
    for c in range(2):  # an input channel is a rule with its own time constant
        own = PairSTDP(tau_plus=float(kernel.tau_plus[c]), a_minus=kernel.a_minus)
        alone = EligibilityTraceModule.for_layer(layer, EligibilityConfig(kernel=own), path="plain")
        torch.testing.assert_close(plain[:, :, c], alone.update_window(pre, post)[:, :, c], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("path", ("plain", "fold", "auto"))
@pytest.mark.parametrize(
    ("kernel", "word"),
    [
        (PairSTDP(tau_plus=torch.ones(4)), "tau_plus has shape (4,)"),
        (PairSTDP(a_plus=torch.ones(B, 1)), "one for each post neuron, (2,)"),
        (TripletSTDP(a3_minus=torch.ones(2)), "one for each pre neuron, (3,)"),
        (EProp(torch.ones(5)), "tau_m has shape (5,)"),
        (PairSTDP(tau_plus=torch.tensor([5.0, 0.5, 5.0]), convention=Convention(spike_trace_decay="euler")), "0.5 is"),
    ],
)
def test_what_fits_no_neuron_is_refused_before_anything_is_taken(kernel, word, path):
    module = EligibilityTraceModule(N_PRE, N_POST, EligibilityConfig(kernel=kernel), path=path)
    with pytest.raises(ValueError, match=r".") as error:
        module.observe(PRE[0], POST[0])
    assert word in str(error.value)
    assert module.eligibility is None and module.batch_size is None


def test_a_kernel_of_negative_time_constants_is_none():
    with pytest.raises(ValueError, match=r"SymmetricSTDP\.tau_minus is -1 at least once"):
        SymmetricSTDP(tau_minus=torch.tensor([5.0, -1.0]))


@pytest.mark.parametrize("path", ("plain", "fold", "auto"))
@pytest.mark.parametrize(
    ("config", "dt", "word"),
    [
        (EligibilityConfig(tau_e=20.0), 21.0, "tau_e = 20 is shorter"),
        (EligibilityConfig(kernel="stdp_pair", convention=Convention("exponential", "euler")), 21.0, "tau_plus = 20"),
        (EligibilityConfig(), float("nan"), "dt = nan"),
        (EligibilityConfig(), float("inf"), "dt = inf"),
        (EligibilityConfig(), -1.0, "dt = -1.0"),
        (EligibilityConfig(), True, "dt = True"),
        (EligibilityConfig(), "1", "dt = '1'"),
        (EligibilityConfig(), torch.ones(2), "dt = a Tensor"),
    ],
)
def test_a_step_that_no_decay_can_take_is_refused_before_anything_is_taken(config, dt, word, path):
    module, untouched = (EligibilityTraceModule(N_PRE, N_POST, config, path=path) for _ in range(2))
    for one in (module, untouched):
        one.observe(PRE[0], POST[0])
    for call in (module.observe, module.update):
        with pytest.raises(ValueError, match=r".") as error:
            call(PRE[1], POST[1], dt=dt)
        assert word in str(error.value)
    with pytest.raises(ValueError, match=r"."):
        module.observe_window(PRE, POST, dt=dt)
    for one in (module, untouched):
        one.observe(PRE[1], POST[1], dt=np.float32(0.5))
    assert torch.equal(module.eligibility, untouched.eligibility)
