"""Configs: every field refuses what is out of range by name, and goes to JSON and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from snn_plasticity import (
    Convention,
    EligibilityConfig,
    NeuromodConfig,
    PlasticityConfig,
    PlasticityFullConfig,
    ThreeFactorConfig,
)
from snn_plasticity._checks import as_signal, require_finite, require_real, require_within
from snn_plasticity.config.validation import require_config
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
    (EligibilityConfig, "clamp_range", (1.0, 5.0), "leaves out zero"),
    (EligibilityConfig, "clamp_range", (-math.inf, math.nan), "low < high"),
    (EligibilityConfig, "clamp_range", ("-5", "5"), "low < high"),
    (EligibilityConfig, "a_plus", math.nan, "(-inf, inf)"),
    (EligibilityConfig, "a_minus", math.inf, "(-inf, inf)"),
    (EligibilityConfig, "a_plus", 10**400, "(-inf, inf)"),
    (EligibilityConfig, "carry", "no", "True or False"),
    (EligibilityConfig, "diagonal", 1, "True or False"),
    (EligibilityConfig, "dt", math.inf, "(0, inf)"),
    (EligibilityConfig, "dt", 0.0, "(0, inf)"),
    (EligibilityConfig, "convention", "nest", "Convention.preset"),
    (NeuromodConfig, "da_source", "novelty", "'td_error'"),
    (NeuromodConfig, "combination_fn", "product", "'gated_product'"),
    (NeuromodConfig, "combination_fn", 3, "callable"),
    (NeuromodConfig, "ach_scale", -1.0, "[0, inf)"),
    (NeuromodConfig, "ne_baseline", 1.5, "[0, 1]"),
    (NeuromodConfig, "modulator_hidden_dim", 0, "whole number"),
    (NeuromodConfig, "modulator_hidden_dim", 2.5, "whole number"),
    (NeuromodConfig, "da_scale", math.inf, "[0, inf)"),
    (NeuromodConfig, "n_contexts", -1, "whole number"),
    (NeuromodConfig, "seed", 2**64, "whole number"),
    (NeuromodConfig, "reward_baseline", "mean", "'running'"),
    (ThreeFactorConfig, "mode", "offline", "'hybrid'"),
    (ThreeFactorConfig, "lr", -0.1, "[0, inf)"),
    (ThreeFactorConfig, "lr", True, "a number"),
    (ThreeFactorConfig, "lr", math.inf, "[0, inf)"),
    (ThreeFactorConfig, "weight_clamp", (-1.0, -0.5), "leaves out zero"),
    (ThreeFactorConfig, "update_frequency", True, "whole number"),
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
    assert (
        repr(value) in message or f"{value!r}"[:60] in message or "needs" in message or type(value).__name__ in message
    )


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


def test_infinity_goes_to_strict_json_and_back():
    """JSON has no number for what never ends; a word stands for it, so that every reader of JSON can read it."""
    config = EligibilityConfig(tau_e=math.inf, clamp_range=(-math.inf, 5.0))
    text = config.to_json()

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(text, parse_constant=refuse)["tau_e"] == "inf"
    assert EligibilityConfig.from_json(text) == config


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ('{"lr": NaN}', "NaN"),
        ('{"tau_e": Infinity}', "Infinity"),
        ('{"tau_e": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ("[" * 100_000, "nested too deep"),
        ('{"tau_e": 20', "no JSON"),
        ("[1, 2]", "to_dict"),
        ('{"convention": {"lag": 3}}', "Convention.lag"),
        ('{"convention": {"lags": 1}}', "has no field lags; it has .*lag"),
        ('{"convention": 3}', "Convention"),
        ('{"clamp_range": "wide"}', "low < high"),
    ),
)
def test_json_that_is_no_config_is_refused_in_a_sentence(text, words):
    with pytest.raises((ValueError, TypeError), match=words):
        EligibilityConfig.from_json(text)


def test_files_that_are_not_there_and_paths_that_are_none_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="path of a file that exists"):
        EligibilityConfig.from_json(tmp_path / "missing.json")
    with pytest.raises(FileNotFoundError, match="expected the path"):
        EligibilityConfig.from_json("x" * 100_000)
    with pytest.raises(FileNotFoundError, match="folder that exists"):
        EligibilityConfig().to_json(tmp_path / "nowhere" / "config.json")
    for wrong in (3, None, b"{}"):
        with pytest.raises(TypeError, match="source is"):
            EligibilityConfig.from_json(wrong)
        with pytest.raises(TypeError, match="tau_e|to_dict"):
            EligibilityConfig.from_dict(wrong)


def test_lists_arrays_and_numpy_scalars_become_what_a_config_holds():
    """The same settings, however they were written: equal, hashable, and with plain Python numbers inside."""
    written = (
        EligibilityConfig(tau_e=20, clamp_range=[-5, 5], dt=np.float32(1), carry=np.bool_(True)),
        EligibilityConfig(tau_e=np.int64(20), clamp_range=np.array([-5.0, 5.0]), dt=1, carry=True),
    )
    for config in written:
        assert config == EligibilityConfig(carry=True) and hash(config) == hash(EligibilityConfig(carry=True))
        assert [type(v) for v in (config.tau_e, *config.clamp_range, config.dt)] == [float] * 4
        assert EligibilityConfig.from_json(config.to_json()) == config
    listed = ThreeFactorConfig(
        lr=np.float64(0.1),
        weight_bounds=[0, 1],
        soft_bounds=[1, np.float32(0.5)],
        target_layers=["a", "b"],
        update_frequency=np.int32(2),
    )
    assert listed == ThreeFactorConfig("online", 0.1, (-1.0, 1.0), (0.0, 1.0), (1.0, 0.5), ("a", "b"), 2)
    assert type(listed.lr) is float and type(listed.update_frequency) is int
    assert ThreeFactorConfig.from_json(listed.to_json()) == listed
    assert Convention(lag=np.int64(1), normalize_trace=np.bool_(True)) == Convention(lag=1, normalize_trace=True)


def test_weight_bounds_may_exclude_zero_and_be_open_at_one_end():
    """They bound the weight, not the change of it: no modulator is still no change."""
    assert ThreeFactorConfig(weight_bounds=(0.5, 1.0)).weight_bounds == (0.5, 1.0)
    assert ThreeFactorConfig(weight_bounds=(0.0, math.inf)).weight_bounds == (0.0, math.inf)
    with pytest.raises(ValueError, match="needs weight_bounds"):
        ThreeFactorConfig(weight_bounds=(0.0, math.inf), soft_bounds=1.0)


def test_the_document_s_name_of_the_config_is_the_config():
    assert PlasticityFullConfig is PlasticityConfig


@pytest.mark.parametrize(
    ("value", "remedy"),
    (
        (EligibilityConfig(), r"Wrap it: PlasticityConfig\(eligibility=\.\.\.\)"),
        (ThreeFactorConfig(), r"Wrap it: PlasticityConfig\(three_factor=\.\.\.\)"),
        ({"lr": 0.1}, r"Build it: PlasticityConfig\.from_dict"),
        ("dev", r"Call the preset: PlasticityConfig\.dev\(\)"),
        ("config.json", r"From a file or JSON text: PlasticityConfig\.from_json"),
        (PlasticityConfig, r"Call it: PlasticityConfig\(\)"),
        (0.1, r"For instance PlasticityConfig\(\)"),
    ),
)
def test_settings_of_another_kind_are_told_how_to_become_the_right_one(value, remedy):
    with pytest.raises(TypeError, match=f"config is .*; expected a PlasticityConfig. {remedy}"):
        require_config(value, PlasticityConfig)
    assert require_config(None, PlasticityConfig) == PlasticityConfig()
    with pytest.raises(TypeError, match=r"Take its part: config\.neuromod"):
        require_config(PlasticityConfig(), NeuromodConfig)


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
    "value",
    (
        np.array([1.0, 0.0, 1.0]),
        np.array([1.0, 0.0, 1.0], dtype=np.float32),
        np.array([True, False, True]),
        np.array([1, 0, 1]),
        np.array([[1], [0], [1]]),
        [1.0, 0.0, 1.0],
        [True, False, True],
        (1, 0, 1),
        [np.float64(1.0), 0, True],
    ),
)
def test_rewards_as_environments_give_them_are_signals(value):
    signal = as_signal(value, 3, name="reward")
    assert signal.tolist() == [1.0, 0.0, 1.0] and signal.dtype == torch.float32
    assert as_signal(value, 3, name="reward", dtype=torch.float64).dtype == torch.float64


def test_a_signal_owns_its_values():
    """An environment that fills the same array again must not change what was heard."""
    reward = np.ones(3, dtype=np.float32)
    signal = as_signal(reward, 3, name="reward")
    reward[:] = 7.0
    assert signal.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("value", (np.float64(0.5), np.float32(0.5), np.array(0.5)))
def test_numpy_numbers_are_numbers(value):
    assert as_signal(value, 2, name="reward").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "value",
    (
        None,
        "1.0",
        ["a", "b", "c"],
        [1.0, [2.0], 3.0],
        np.array([1.0, 2.0, 3.0], dtype=complex),
        np.array([None, 1.0, 2.0]),
        [math.nan, 1.0, 2.0],
        np.array([math.inf, 1.0, 2.0]),
        [1.0, 2.0],
        [],
        1e300,
        10**400,
        -math.inf,
        {"reward": 1.0},
        torch.ones(3, dtype=torch.complex64),
        torch.ones(3, device="meta"),
        torch.ones(3).to_sparse(),
        lambda: 1.0,
    ),
)
def test_what_is_no_signal_is_refused_by_name(value):
    with pytest.raises((ValueError, TypeError), match="reward .*expected"):
        as_signal(value, 3, name="reward", device="cpu")


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
