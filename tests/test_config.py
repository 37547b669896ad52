"""Configs: every field refuses what is out of range by name, and goes to JSON and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from snn_plasticity import Convention, EligibilityConfig, NeuromodConfig, PlasticityConfig, ThreeFactorConfig
from snn_plasticity.checks import as_signal, require_finite, require_real, require_within
from snn_plasticity.conventions import PRESETS
from snn_plasticity.decay import decay_factor

BAD = [
    (EligibilityConfig, "trace_type", "acumulating", "'accumulating', 'replacing', 'dutch'"),
    (EligibilityConfig, "tau_e", 0.0, "(0, inf]"),
    (EligibilityConfig, "tau_e", math.nan, "(0, inf]"),
    (EligibilityConfig, "tau_e", "20", "a number"),
    (EligibilityConfig, "tau_e", 0.02, "same unit"),
    (EligibilityConfig, "kernel", "stdp", "'stdp_pair'"),
    (EligibilityConfig, "kernel", 3, "init(pre, post)"),
    (EligibilityConfig, "kernel", None, "a kernel object"),
    (EligibilityConfig, "stdp_tau_plus", -1.0, "(0, inf]"),
    (EligibilityConfig, "dutch_alpha", 1.5, "[0, 1]"),
    (EligibilityConfig, "dutch_scope", "some", "'active'"),
    (EligibilityConfig, "clamp_range", (5.0, -5.0), "low < high"),
    (EligibilityConfig, "clamp_range", 5.0, "low < high"),
    (EligibilityConfig, "dt", 0.0, "(0, inf]"),
    (EligibilityConfig, "convention", "nest", "Convention.preset"),
    (NeuromodConfig, "da_source", "novelty", "'td_error'"),
    (NeuromodConfig, "combination_fn", "product", "'gated_product'"),
    (NeuromodConfig, "combination_fn", 3, "callable"),
    (NeuromodConfig, "ach_scale", -1.0, "[0, inf]"),
    (NeuromodConfig, "ne_baseline", 1.5, "[0, 1]"),
    (NeuromodConfig, "modulator_hidden_dim", 0, "whole number"),
    (NeuromodConfig, "modulator_hidden_dim", 2.5, "whole number"),
    (NeuromodConfig, "reward_baseline", "mean", "'running'"),
    (ThreeFactorConfig, "mode", "offline", "'hybrid'"),
    (ThreeFactorConfig, "lr", -0.1, "[0, inf]"),
    (ThreeFactorConfig, "lr", True, "a number"),
    (ThreeFactorConfig, "weight_clamp", (1.0,), "low < high"),
    (ThreeFactorConfig, "soft_bounds", 1.0, "needs weight_bounds"),
    (ThreeFactorConfig, "target_layers", "fc1", "tuple of layer names"),
    (ThreeFactorConfig, "target_layers", (), "tuple of layer names"),
    (ThreeFactorConfig, "update_frequency", 0, "whole number"),
    (PlasticityConfig, "eligibility", NeuromodConfig(), "EligibilityConfig"),
    (Convention, "coincidence", "sometimes", "'causal', 'both', 'none'"),
    (Convention, "lag", 2, "0, 1"),
    (Convention, "normalize_trace", 1, "False, True"),
    (Convention, "lag", True, "0, 1"),
]


@pytest.mark.parametrize(("kind", "field", "value", "words"), BAD)
def test_every_refusal_names_field_value_and_range(kind, field, value, words):
    with pytest.raises(ValueError, match=r".") as error:
        kind(**{field: value})
    message = str(error.value)
    assert f"{kind.__name__}.{field}" in message and words in message
    assert repr(value) in message or f"{value:g}" in message or "needs" in message or kind is PlasticityConfig


def test_soft_bounds_refuse_negative_exponents():
    with pytest.raises(ValueError, match="exponent >= 0"):
        ThreeFactorConfig(weight_bounds=(0.0, 1.0), soft_bounds=(1.0, -1.0))


def test_a_time_constant_below_one_step_warns_where_decay_is_exact():
    with pytest.warns(UserWarning, match="same unit"):
        EligibilityConfig(stdp_tau_plus=0.02)


FULL = PlasticityConfig(
    EligibilityConfig(kernel="stdp_triplet", convention=Convention.preset("nest"), clamp_range=None, diagonal=True),
    NeuromodConfig(combination_fn="mlp", da_tau=200.0, reward_baseline="context", n_contexts=3),
    ThreeFactorConfig(
        weight_bounds=(0.0, 1.0), soft_bounds=(0.5, 1.0), target_layers=("fc1", "fc2"), update_frequency=4
    ),
)


@pytest.mark.parametrize(
    "config", (PlasticityConfig.minimal(), PlasticityConfig.dev(), PlasticityConfig.production(), FULL)
)
def test_json_and_back_is_the_same_config(config, tmp_path):
    assert PlasticityConfig.from_json(config.to_json()) == config
    config.to_json(tmp_path / "config.json")
    assert PlasticityConfig.from_json(tmp_path / "config.json") == config
    assert PlasticityConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_fields_and_objects_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no field tau; it has .*tau_e"):
        EligibilityConfig.from_dict({"tau": 20.0})
    with pytest.raises(TypeError, match="NeuromodConfig.combination_fn"):
        NeuromodConfig(combination_fn=lambda modulators: modulators["DA"]).to_json()


def test_configs_are_frozen():
    with pytest.raises(AttributeError):
        EligibilityConfig().tau_e = 3.0  # type: ignore[misc]


def test_production_has_a_reward_baseline_and_bounds():
    production = PlasticityConfig.production()
    assert production.neuromod.reward_baseline == "running"
    assert production.three_factor.weight_bounds is not None


def test_presets_are_conventions_and_unknown_ones_name_the_others():
    assert set(PRESETS) == {
        "izhikevich2007",
        "florian2007",
        "nest",
        "spikingjelly",
        "bindsnet",
        "inferno",
        "snntorch",
        "norse",
    }
    with pytest.raises(ValueError, match="'spikingjelly'"):
        Convention.preset("spikingJelly")


def test_decay_is_the_exact_solution_or_its_first_order():
    assert decay_factor(20.0, 1.0) == math.exp(-0.05)
    assert decay_factor(20.0, 1.0, "euler") == 0.95
    assert decay_factor(math.inf) == decay_factor(math.inf, mode="euler") == 1.0
    tau = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: decay_factor(t, 2.0), tau)
    with pytest.raises(ValueError, match="'euler'"):
        decay_factor(20.0, mode="linear")


@pytest.mark.parametrize("value", (0.5, 1, True, torch.tensor(0.5), torch.full((3,), 0.5), torch.full((3, 1), 0.5)))
def test_signals_leave_as_one_number_per_sample(value):
    signal = as_signal(value, 3, name="reward")
    assert signal.shape == (3,) and signal.dtype == torch.float32
    assert as_signal(torch.ones(3).double(), 3, name="reward").dtype == torch.float64


@pytest.mark.parametrize(
    "value", (torch.ones(2), torch.ones(3, 2), torch.ones(1, 3), torch.tensor([0.0, math.nan, 0.0]), math.inf)
)
def test_signals_of_another_shape_or_not_finite_are_refused_by_name(value):
    with pytest.raises(ValueError, match="reward"):
        as_signal(value, 3, name="reward")
    with pytest.raises(TypeError, match="reward"):
        as_signal("much", 3, name="reward")


def test_checks_name_what_they_read():
    with pytest.raises(ValueError, match="1 value"):
        require_finite("pre", torch.tensor([1.0, math.nan]))
    with pytest.raises(ValueError, match="-2 .*novelty >= 0"):
        require_within("novelty", torch.tensor([-2.0]), low=0.0)
    with pytest.raises(ValueError, match="novelty <= 1"):
        require_within("novelty", torch.tensor([2.0]), high=1.0)
    with pytest.raises(TypeError, match="list"):
        require_real("pre", [1.0])


def test_replacing_a_field_checks_again():
    with pytest.raises(ValueError, match="tau_e"):
        replace(EligibilityConfig(), tau_e=-1.0)
