"""The balance of a kernel: unrelated spikes neither potentiate nor depress, by simulation and in the steady state."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from snn_plasticity import (
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    PairSTDP,
    PlasticityConfig,
    Rate,
    SymmetricSTDP,
    TripletSTDP,
)
from snn_plasticity.kernels.named_kernels import kernel_of

CONVENTIONS = [
    Convention(coincidence=coincidence, spike_trace_decay=decay, pairing=pairing)
    for coincidence, decay, pairing in product(("causal", "both", "none"), ("exponential", "euler"), ("all", "nearest"))
]
KERNELS = {
    "pair": lambda a_minus, c: PairSTDP(4.0, 7.0, 0.8, a_minus, c),
    "triplet": lambda a_minus, c: TripletSTDP(4.0, 7.0, 0.8, a_minus, 9.0, 5.0, 0.6, 0.3, c),
    "symmetric": lambda a_minus, c: SymmetricSTDP(4.0, 7.0, 0.8, a_minus, c),
}
everywhere = pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: f"{c.coincidence}-{c.pairing}")


def changes(kernel, pre, post, dt):
    """f of every synapse of a batch at every step: (T, B)."""
    state, found = kernel.init(pre[0], post[0]), []
    for p, q in zip(pre, post, strict=True):
        (ltp, ltd), state = kernel.step(p, q, state, dt)
        found.append(sum(pair.post * pair.pre for pair in ltp) - sum(pair.post * pair.pre for pair in ltd))
    return torch.stack(found)


@everywhere
@pytest.mark.parametrize("name", KERNELS)
def test_unrelated_spikes_leave_nothing_at_the_balance_and_something_beside_it(name, convention):
    generator, batch, settle, steps, rates = torch.Generator().manual_seed(5), 4000, 60, 150, (0.15, 0.3)
    draw = torch.rand(2, settle + steps, batch, generator=generator, dtype=torch.float64)
    pre, post = ((train < rate).double() for train, rate in zip(draw, rates, strict=True))
    balance = KERNELS[name](1.0, convention).balance(0.5, pre_rate=rates[0], post_rate=rates[1])
    drift = {}
    for factor in (0.85, 1.0, 1.15):
        f = changes(KERNELS[name](factor * balance, convention), pre, post, 0.5)[settle:].mean(0)
        drift[factor] = float(f.mean() / (f.std() / math.sqrt(batch)))
    assert abs(drift[1.0]) < 4.0
    assert drift[0.85] > 6.0 and drift[1.15] < -6.0


@everywhere
@pytest.mark.parametrize("name", ["pair", "symmetric"])
def test_where_both_sides_always_fire_the_steady_state_is_silent(name, convention):
    ones = torch.ones(400, 1, dtype=torch.float64)
    balance = KERNELS[name](1.0, convention).balance(1.0, pre_rate=1.0, post_rate=1.0)
    assert changes(KERNELS[name](balance, convention), ones, ones, 1.0)[-1].abs() < 1e-12


@pytest.mark.parametrize(("coincidence", "factor"), [("causal", math.exp(0.5 / 20)), ("both", 1.0), ("none", 1.0)])
def test_one_time_constant_has_the_balance_that_the_pages_say(coincidence, factor):
    kernel = PairSTDP(a_plus=0.3, a_minus=9.0, convention=Convention(coincidence=coincidence))
    assert kernel.balance(0.5) == pytest.approx(0.3 * factor, rel=1e-12)


def test_constants_that_are_tensors_have_a_balance_each_with_its_gradient():
    tau = torch.tensor([10.0, 20.0], dtype=torch.float64, requires_grad=True)
    balance = PairSTDP(tau_plus=tau, tau_minus=tau).balance()
    torch.testing.assert_close(balance, torch.exp(1 / tau))
    balance.sum().backward()
    torch.testing.assert_close(tau.grad, (-torch.exp(1 / tau) / tau**2).detach())


@pytest.mark.parametrize("preset", [PlasticityConfig.dev, PlasticityConfig.production])
def test_presets_depress_chance_coincidences_by_five_percent(preset):
    rule = preset().eligibility
    assert rule.a_minus / kernel_of(rule).balance(rule.dt) == pytest.approx(1.05, abs=5e-4)


def test_five_percent_of_extra_depression_is_cancelled_by_pairs_of_the_same_step_and_the_presets_is_not():
    """Drift of an eligibility that forgets nothing, in units of its standard error, by the closed form too."""
    generator, rate, steps, batch = torch.Generator().manual_seed(0), 0.05, 4000, 32
    pre, post = (torch.rand(2, steps, batch, 8, generator=generator) < rate).double()
    left, drift = math.exp(-1 / 20), {}
    preset = PlasticityConfig.production().eligibility
    for a_minus in (1.05, preset.a_minus / preset.a_plus):
        config = EligibilityConfig(kernel="stdp_pair", a_minus=a_minus, tau_e=1e15, clamp_range=None)
        e = EligibilityTraceModule(8, 8, config).update_window(pre, post).mean((1, 2))
        expected = steps * rate**2 * (1 - a_minus * left) / (1 - left)
        error = float(e.std() / math.sqrt(batch))
        assert abs(float(e.mean()) - expected) < 4 * error
        drift[a_minus] = float(e.mean()) / error
    assert abs(drift[1.05]) < 3.0 and drift[preset.a_minus / preset.a_plus] < -6.0


def test_what_has_no_balance_says_so():
    with pytest.raises(ValueError, match="Rate has no depression.*baseline"):
        Rate().balance()
    with pytest.raises(ValueError, match="pre_rate is not given.*spikes per step"):
        PairSTDP(convention=Convention(pairing="nearest")).balance()
    with pytest.raises(ValueError, match="post_rate is not given"):
        TripletSTDP().balance(pre_rate=0.1)
    with pytest.raises(ValueError, match=r"post_rate = 0.0; expected a number in \(0, 1\]"):
        TripletSTDP().balance(pre_rate=0.1, post_rate=0.0)
    with pytest.raises(ValueError, match="never decays"):
        PairSTDP(tau_plus=math.inf).balance()
