"""The gate: nothing from nothing, ranges, determinism, isolation of samples, gradients, bad input."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_plasticity.config import NeuromodConfig
from snn_plasticity.neuromodulation import (
    ModulatorMLP,
    NeuromodState,
    NeuromodulatoryGate,
    gate_attention,
    gate_confidence,
    gated_product,
    reset_samples,
    weighted_sum,
)

NAMES = ("DA", "ACh", "NE", "5HT")


def sharp(modulators):
    return modulators["DA"] * (1.0 + modulators["NE"])


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, modulators):
        return self.weight * modulators["DA"]


COMBINATIONS = ["weighted_sum", "gated_product", "mlp", sharp]
combinations = pytest.mark.parametrize("combination", COMBINATIONS)
lively = {"da_tau": 20.0, "ach_tau": 5.0, "ne_tau": 10.0, "sht_tau": 50.0}
bases = pytest.mark.parametrize(
    "baseline, scope",
    [
        ("none", "sample"),
        ("running", "sample"),
        ("context", "sample"),
        ("running", "batch"),
        ("context", "batch"),
    ],
)


def signals_at(t, batch=4, dtype=torch.float32):
    rng = np.random.default_rng(t)
    draw = {name: rng.uniform(0, 2, batch) for name in ("novelty", "urgency", "patience")}
    draw |= {"reward": rng.normal(size=batch), "context": rng.integers(0, 2, batch)}
    return {name: torch.tensor(value, dtype=dtype) for name, value in draw.items()}


def run(gate, steps=10, state=None, **options):
    outputs = []
    for t in range(steps):
        modulators, plasticity, state = gate.step(signals_at(t, **options), state)
        outputs.append(torch.stack([*modulators.values(), plasticity], dim=-1))
    return torch.stack(outputs), state


@combinations
@bases
def test_nothing_makes_nothing_for_ever(combination, baseline, scope):
    config = NeuromodConfig(
        combination_fn=combination, reward_baseline=baseline, baseline_scope=scope, n_contexts=2, **lively
    )
    gate, state = NeuromodulatoryGate(config), None
    zero = torch.zeros(3)
    for signals in ({"reward": zero, "novelty": zero, "urgency": zero, "patience": zero}, {}) * 20:
        modulators, plasticity, state = gate.step(signals, state)
        assert list(modulators) == list(NAMES)
        assert all(torch.equal(m, zero) for m in modulators.values())
        assert torch.equal(plasticity, zero)


@combinations
@bases
def test_same_signals_same_bits(combination, baseline, scope):
    config = NeuromodConfig(
        combination_fn=combination, reward_baseline=baseline, baseline_scope=scope, n_contexts=2, **lively
    )
    first, first_state = run(NeuromodulatoryGate(config))
    torch.manual_seed(99)
    again, again_state = run(NeuromodulatoryGate(config))
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(first_state, again_state, strict=True))


@combinations
@pytest.mark.parametrize("baseline", ["none", "running", "context"])
def test_a_batch_is_a_loop_over_its_samples(combination, baseline):
    config = NeuromodConfig(combination_fn=combination, reward_baseline=baseline, n_contexts=2, **lively)
    gate = NeuromodulatoryGate(config)
    batched, batched_state = run(gate, dtype=torch.float64)
    for b in range(4):
        state = None
        for t in range(10):
            one = {name: value[b : b + 1] for name, value in signals_at(t, dtype=torch.float64).items()}
            modulators, plasticity, state = gate.step(one, state)
            got = torch.stack([*modulators.values(), plasticity], dim=-1)[0]
            torch.testing.assert_close(got, batched[t, b], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(state.levels[0], batched_state.levels[b], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(state.baseline[0], batched_state.baseline[b], rtol=1e-12, atol=1e-14)


@combinations
@given(scale=st.sampled_from([1e-6, 1.0, 1e3, 1e6]), sign=st.sampled_from([-1.0, 1.0]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_ranges_hold_for_signals_of_a_million(combination, scale, sign, seed):
    gate, state = NeuromodulatoryGate(NeuromodConfig(combination_fn=combination, **lively)), None
    for t in range(5):
        signals = {name: scale * value for name, value in signals_at(seed + t).items() if name != "context"}
        signals["reward"] = sign * signals["reward"].abs()
        modulators, plasticity, state = gate.step(signals, state)
        assert modulators["DA"].abs().max() <= 1.0
        assert all(m.min() >= 0.0 and m.max() <= 1.0 for m in list(modulators.values())[1:])
        assert torch.isfinite(plasticity).all()


def test_weighted_sum_and_gated_product_are_their_formulas():
    m = {name: torch.tensor([v], dtype=torch.float64) for name, v in zip(NAMES, (-0.4, 0.3, 0.9, 0.5), strict=True)}
    weights = (1.5, 0.2, -0.7, 0.6)
    total = 1.5 * -0.4 + 0.2 * 0.3 - 0.7 * 0.9 + 0.6 * 0.5
    product = 1.5 * -0.4 * (1 + 0.2 * 0.3) * (1 - 0.7 * 0.9) * (1 + 0.6 * 0.5)
    assert weighted_sum(m, weights).item() == pytest.approx(total, rel=1e-14)
    assert gated_product(m, weights).item() == pytest.approx(product, rel=1e-14)


@pytest.mark.parametrize("name", ["weighted_sum", "gated_product"])
def test_the_weights_are_the_configs(name):
    config = NeuromodConfig(combination_fn=name, da_weight=0.5, ach_weight=2.0, ne_weight=3.0, sht_weight=4.0)
    modulators, plasticity = NeuromodulatoryGate(config)(signals_at(0))
    function = {"weighted_sum": weighted_sum, "gated_product": gated_product}[name]
    assert torch.equal(plasticity, function(modulators, (0.5, 2.0, 3.0, 4.0)))


def test_mlp_is_odd_bounded_rising_in_dopamine_and_its_formula():
    mlp = ModulatorMLP(hidden_dim=16, seed=3)
    m = torch.rand(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    m.requires_grad_()
    as_dict = dict(zip(NAMES, m.unbind(-1), strict=True))
    gain = mlp(as_dict)
    w1, w2 = mlp.inward.detach().double().numpy(), mlp.outward.detach().double().numpy()
    expected = np.tanh(np.tanh(m.detach().numpy() @ w1.T) @ w2.T)[:, 0]
    np.testing.assert_allclose(gain.detach().numpy(), expected, rtol=1e-12)
    torch.testing.assert_close(mlp({name: -value for name, value in as_dict.items()}), -gain)
    assert gain.abs().max() <= 1.0
    gain.sum().backward()
    assert m.grad is not None and (m.grad[:, 0] > 0).all()


def test_mlp_starts_the_same_from_its_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    gates = [NeuromodulatoryGate(NeuromodConfig(combination_fn="mlp", seed=s)) for s in (7, 7, 8)]
    assert torch.equal(torch.get_rng_state(), before)
    same, twin, other = (gate.combine.inward for gate in gates)
    assert torch.equal(same, twin) and not torch.equal(same, other)


def test_the_gate_holds_nothing_but_what_is_learnt():
    assert not NeuromodulatoryGate().state_dict()
    gate = NeuromodulatoryGate(NeuromodConfig(combination_fn="mlp", modulator_hidden_dim=8))
    assert {name: tuple(p.shape) for name, p in gate.named_parameters()} == {
        "combine.inward": (8, 4),
        "combine.outward": (1, 8),
    }
    run(gate)
    assert set(gate.state_dict()) == {"combine.inward", "combine.outward"}
    assert len(list(NeuromodulatoryGate(NeuromodConfig(combination_fn=Scaled())).parameters())) == 1


@bases
def test_forward_leaves_the_state_and_agrees_with_step_and_update_state(baseline, scope):
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline=baseline, baseline_scope=scope, n_contexts=2, **lively))
    _, state = run(gate, steps=3)
    kept = copy.deepcopy(state)
    signals = signals_at(7)
    modulators, plasticity = gate(signals, state)
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))
    stepped, stepped_plasticity, after = gate.step(signals, state)
    assert all(torch.equal(state_part, kept_part) for state_part, kept_part in zip(state, kept, strict=True))
    assert all(torch.equal(modulators[name], stepped[name]) for name in NAMES)
    assert torch.equal(plasticity, stepped_plasticity)
    updated = gate.update_state(
        *(signals[name] for name in ("reward", "novelty", "urgency", "patience")),
        state=state,
        context=signals["context"],
    )
    assert all(torch.equal(a, b) for a, b in zip(after, updated, strict=True))


def test_update_state_drives_the_modulator_whatever_its_source():
    named = NeuromodConfig(da_source="td_error", ach_source="entropy", ne_source="surprise", **lively)
    state = NeuromodulatoryGate(named).update_state(0.3, 0.2, 0.1, 0.4, batch_size=2)
    plain = NeuromodulatoryGate(NeuromodConfig(**lively)).update_state(0.3, 0.2, 0.1, 0.4, batch_size=2)
    assert torch.equal(state.levels, plain.levels) and state.levels.shape == (2, 4)


@pytest.mark.parametrize(
    "field, source, name",
    [
        ("da", "td_error", "DA"),
        ("ach", "uncertainty", "ACh"),
        ("ach", "entropy", "ACh"),
        ("ne", "surprise", "NE"),
        ("sht", "long_horizon_value", "5HT"),
    ],
)
def test_a_source_is_what_drives_its_modulator_and_nothing_else_does(field, source, name):
    gate = NeuromodulatoryGate(NeuromodConfig(**{f"{field}_source": source}))
    modulators, _ = gate({source: 0.5})
    assert modulators[name].item() == pytest.approx(math.tanh(0.5))
    assert all(modulators[other].item() == 0.0 for other in NAMES if other != name)
    default = {"da": "reward", "ach": "novelty", "ne": "urgency", "sht": "patience"}[field]
    assert gate({default: 0.5})[0][name].item() == 0.0


def test_a_negative_long_horizon_value_releases_no_serotonin():
    gate = NeuromodulatoryGate(NeuromodConfig(sht_source="long_horizon_value"))
    assert gate({"long_horizon_value": -3.0})[0]["5HT"].item() == 0.0


def test_a_reward_holds_the_gate_open_with_the_time_constant_of_dopamine():
    gate = NeuromodulatoryGate(NeuromodConfig(da_tau=200.0))
    _, opened, state = gate.step({"reward": torch.tensor([0.5], dtype=torch.float64)})
    for _ in range(200):
        _, plasticity, state = gate.step({}, state)
    assert (plasticity / opened).item() == pytest.approx(math.exp(-1.0), rel=1e-12)


def test_time_constants_are_in_the_unit_of_dt():
    gate = NeuromodulatoryGate(NeuromodConfig(da_tau=20.0, dt=2.0))
    _, opened, state = gate.step({"reward": torch.tensor([0.5], dtype=torch.float64)})
    assert (gate({}, state)[1] / opened).item() == pytest.approx(math.exp(-0.1), rel=1e-12)


@combinations
def test_full_precision_under_autocast(combination):
    gate = NeuromodulatoryGate(NeuromodConfig(combination_fn=combination, **lively))
    plain, _ = run(gate)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, state = run(gate)
    assert cast.dtype == torch.float32 and state.levels.dtype == torch.float32
    assert torch.equal(plain, cast)


@combinations
def test_double_stays_double(combination):
    gate = NeuromodulatoryGate(NeuromodConfig(combination_fn=combination, reward_baseline="running", **lively))
    modulators, plasticity, state = gate.step({"reward": 0.1}, gate.init(2, dtype=torch.float64))
    kinds = {t.dtype for t in (*modulators.values(), plasticity, *state)}
    assert kinds == {torch.float64} and modulators["DA"][0].item() == math.tanh(0.1)
    outputs, after = run(gate, dtype=torch.float64)
    assert outputs.dtype == after.levels.dtype == after.baseline.dtype == torch.float64


def test_state_changes_precision_and_never_falls_below_single():
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", **lively))
    _, state = run(gate, steps=3)
    double = state.to(dtype=torch.float64)
    _, plasticity, after = gate.step(signals_at(5), double)
    assert plasticity.dtype == after.levels.dtype == torch.float64
    torch.testing.assert_close(after.levels.float(), gate.step(signals_at(5), state)[2].levels)
    assert state.to(dtype=torch.float16).levels.dtype == torch.float32
    assert gate.init(2, dtype=torch.bfloat16).levels.dtype == torch.float32


@pytest.mark.parametrize("baseline", ["none", "running", "context"])
def test_reset_of_some_samples_makes_them_as_new_and_leaves_the_rest(baseline):
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline=baseline, n_contexts=2, **lively))
    _, state = run(gate)
    mask = torch.tensor([True, False, True, False])
    reset, fresh = reset_samples(state, mask), gate.init(4)
    for after, before, new in zip(reset, state, fresh, strict=True):
        assert torch.equal(after[mask], new[mask]) and torch.equal(after[~mask], before[~mask])
    kept = reset_samples(state, mask, keep_baseline=True)
    assert torch.equal(kept.levels, reset.levels) and torch.equal(kept.baseline, state.baseline)


def test_a_baseline_shared_by_the_batch_survives_the_reset_of_a_sample():
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", baseline_scope="batch"))
    _, state = run(gate)
    reset = reset_samples(state, torch.tensor([True] * 4))
    assert torch.equal(reset.baseline, state.baseline) and torch.equal(reset.levels, torch.zeros(4, 4))


def test_gradients_equal_finite_differences():
    gate = NeuromodulatoryGate(NeuromodConfig(combination_fn="mlp", modulator_hidden_dim=6, **lively)).double()
    _, state = run(gate, steps=2, dtype=torch.float64)
    state = NeuromodState(*(part.detach() for part in state))

    def gain(reward, novelty, inward, outward):
        parameters = {"combine.inward": inward, "combine.outward": outward}
        return torch.func.functional_call(gate, parameters, ({"reward": reward, "novelty": novelty}, state))[1]

    signals = signals_at(4, dtype=torch.float64)
    inputs = [
        signals["reward"],
        signals["novelty"] * 0.2 + 0.1,
        *(p.detach().clone() for p in gate.parameters()),
    ]
    assert torch.autograd.gradcheck(gain, [x.requires_grad_() for x in inputs])


@combinations
def test_vmap_and_grad_agree_with_the_batch(combination):
    gate = NeuromodulatoryGate(NeuromodConfig(combination_fn=combination, **lively))
    signals = signals_at(1)
    del signals["context"]

    def one(signals):
        return gate(signals)[1].squeeze(0)

    torch.testing.assert_close(torch.func.vmap(one)(signals), gate(signals)[1])
    slopes = torch.func.vmap(torch.func.grad(lambda reward, rest: one({"reward": reward, **rest})))(
        signals.pop("reward"), signals
    )
    assert (slopes > 0).all()


def test_stepping_through_a_saved_state_goes_on_bit_for_bit(tmp_path):
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="context", n_contexts=2, **lively))
    _, state = run(gate, steps=4)
    torch.save(tuple(state), tmp_path / "state.pt")
    loaded = NeuromodState(*torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(run(gate, state=state)[0], run(gate, state=loaded)[0])


def test_repr_says_what_drives_what():
    assert "DA←td_error (τ=200)" in repr(NeuromodulatoryGate(NeuromodConfig(da_source="td_error", da_tau=200.0)))


@pytest.mark.parametrize(
    "function, error, pattern",
    [
        (lambda m: m["DA"] + 0.5, ValueError, "zero modulators into 0.5"),
        (lambda m: m["DA"] / m["DA"], ValueError, "zero modulators into nan"),
        (lambda m: m["DA"].sum(), ValueError, r"shape \(\); expected \(2,\)"),
        (lambda m: torch.stack(list(m.values())), ValueError, r"shape \(4, 2\)"),
        (lambda m: 0.0, TypeError, "returned a float"),
    ],
)
def test_a_combination_that_breaks_the_contract_is_refused_at_construction(function, error, pattern):
    with pytest.raises(error, match=pattern):
        NeuromodulatoryGate(NeuromodConfig(combination_fn=function))


@pytest.mark.parametrize(
    "signals, error, pattern",
    [
        ({"novelty": -0.1}, ValueError, "novelty >= 0"),
        ({"reward": math.nan}, ValueError, "reward"),
        ({"rewards": 1.0}, ValueError, "no signal is called 'rewards'"),
        ({"reward": torch.zeros(2, 2)}, ValueError, "reward has shape"),
        ({"reward": torch.zeros(2), "novelty": torch.zeros(3)}, ValueError, "novelty has shape"),
        ({"reward": "much"}, TypeError, "reward"),
        (torch.ones(2), TypeError, "expected a mapping"),
        ({"reward": 0.0, "context": 2.0}, ValueError, "context <= 1"),
    ],
)
def test_bad_signals_are_refused_and_the_state_is_as_before(signals, error, pattern):
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="context", n_contexts=2, **lively))
    state = gate.init(2)
    for call in (gate, gate.step):
        with pytest.raises(error, match=pattern):
            call(signals, state)
        with pytest.raises(error, match=pattern):
            call(signals)
    assert all(torch.equal(a, b) for a, b in zip(state, gate.init(2), strict=True))


def test_a_state_of_another_batch_or_gate_is_refused():
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running"))
    with pytest.raises(ValueError, match="batch of 3 with a state for one of 2"):
        gate({"reward": torch.zeros(3)}, gate.init(2))
    with pytest.raises(ValueError, match="batch of 3 with a state for one of 2"):
        gate.update_state(state=gate.init(2), batch_size=3)
    with pytest.raises(ValueError, match="state.baseline has shape"):
        gate({}, NeuromodulatoryGate().init(2))
    with pytest.raises(ValueError, match="state.levels has shape"):
        gate({}, NeuromodState(torch.zeros(4), torch.zeros(2, 1)))
    with pytest.raises(TypeError, match="expected the NeuromodState"):
        gate({}, torch.zeros(2, 4))


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "two"])
def test_a_batch_size_that_is_none_is_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        NeuromodulatoryGate().init(batch_size)


@pytest.mark.parametrize(
    "mask, error",
    [(torch.ones(4), TypeError), ([True] * 4, TypeError), (torch.ones(3, dtype=torch.bool), ValueError)],
)
def test_a_mask_that_does_not_fit_is_refused(mask, error):
    with pytest.raises(error, match="mask"):
        reset_samples(NeuromodulatoryGate().init(4), mask)


def test_attention_is_untouched_without_novelty_and_sharper_with_it():
    logits = torch.tensor([[1.0, 2.0, -math.inf], [1.0, 2.0, -math.inf]])
    gated = gate_attention(logits, {"ACh": torch.tensor([0.0, 0.8])}, gain=2.0)
    assert torch.equal(gated[0], logits[0])
    torch.testing.assert_close(gated[1], torch.tensor([2.6, 5.2, -math.inf]))
    entropy = torch.distributions.Categorical(logits=gated[:, :2]).entropy()
    assert entropy[1] < entropy[0]


@given(ach=st.floats(0.0, 1.0), more=st.floats(0.0, 1.0), gain=st.floats(0.0, 10.0))
@settings(deadline=None)
def test_more_acetylcholine_never_flattens_attention(ach, more, gain):
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    low, high = sorted((ach, more))
    peaks = [torch.softmax(gate_attention(logits, {"ACh": a}, gain), -1).max().item() for a in (low, high)]
    assert peaks[1] >= peaks[0] - 1e-12


def test_attention_keeps_dtype_and_any_number_of_dimensions():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).half()
    gated = gate_attention(logits, {"ACh": torch.tensor([0.0, 1.0])})
    assert gated.dtype == torch.float16
    assert torch.equal(gated[0], logits[0]) and torch.equal(gated[1], 2 * logits[1])


@given(c=st.floats(0.0, 1.0, width=32), da=st.floats(-1.0, 1.0, width=32), gain=st.floats(0.0, 1.0, width=32))
@settings(deadline=None, max_examples=300)
def test_confidence_stays_a_probability_and_follows_dopamine(c, da, gain):
    confidence = torch.tensor([c])
    moved = gate_confidence(confidence, {"DA": da}, gain)
    assert 0.0 <= moved.item() <= 1.0
    assert (moved.item() - c) * da >= 0.0
    assert torch.equal(gate_confidence(confidence, {"DA": 0.0}, gain), confidence)
    assert moved.item() == pytest.approx(c + gain * da * c * (1 - c), abs=1e-6)


def test_confidence_just_below_one_does_not_pass_it():
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        below = 1.0 - torch.arange(0, 64, dtype=dtype) * torch.finfo(dtype).eps / 2
        assert gate_confidence(below, {"DA": 1.0}).max() <= 1.0


@pytest.mark.parametrize(
    "call, error, pattern",
    [
        (lambda: gate_attention(torch.ones(3), {"ACh": 0.0}), ValueError, r"logits has shape \(3,\)"),
        (lambda: gate_attention(torch.ones(2, 3), {"DA": 0.0}), ValueError, "holds DA; expected 'ACh'"),
        (lambda: gate_attention(torch.ones(2, 3), {"ACh": torch.ones(3)}), ValueError, "ACh has shape"),
        (lambda: gate_attention(torch.ones(2, 3), {"ACh": -0.1}), ValueError, "ACh >= 0"),
        (lambda: gate_attention(torch.ones(2, 3), {"ACh": 0.1}, gain=-1.0), ValueError, "gain"),
        (lambda: gate_attention(torch.full((2, 3), math.nan), {"ACh": 0.1}), ValueError, "logits"),
        (lambda: gate_attention(torch.ones(2, 3, dtype=torch.long), {"ACh": 0.1}), TypeError, "logits"),
        (lambda: gate_attention([1.0], {"ACh": 0.1}), TypeError, "logits"),
        (lambda: gate_attention(torch.ones(2, 3), 0.1), TypeError, "modulators"),
        (lambda: gate_confidence(torch.tensor([1.2]), {"DA": 0.0}), ValueError, "confidence <= 1"),
        (lambda: gate_confidence(torch.tensor([-0.1]), {"DA": 0.0}), ValueError, "confidence >= 0"),
        (lambda: gate_confidence(torch.tensor([math.nan]), {"DA": 0.0}), ValueError, "confidence"),
        (lambda: gate_confidence(torch.tensor(0.5), {"DA": 0.0}), ValueError, "confidence has shape"),
        (lambda: gate_confidence(torch.tensor([0.5]), {"DA": 1.5}), ValueError, "DA <= 1"),
        (lambda: gate_confidence(torch.tensor([0.5]), {"DA": 0.5}, gain=1.5), ValueError, "gain"),
        (lambda: gate_confidence(torch.tensor([1]), {"DA": 0.5}), TypeError, "confidence"),
        (lambda: gate_confidence(torch.tensor([0.5]), {}), ValueError, "expected 'DA'"),
    ],
)
def test_the_hooks_check_what_they_are_given(call, error, pattern):
    with pytest.raises(error, match=pattern):
        call()


def test_a_step_that_says_nothing_of_reward_is_no_disappointment():
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", reward_baseline_tau=2.0))
    _, _, state = gate.step({"reward": 1.0})
    modulators, plasticity, after = gate.step({"novelty": 0.0}, state)
    assert not modulators["DA"].any() and not plasticity.any()
    assert torch.equal(after.baseline, state.baseline)
    assert float(gate({"reward": 0.0}, state)[0]["DA"]) < 0.0
