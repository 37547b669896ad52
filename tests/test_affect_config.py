"""The settings of affect: the contract's defaults, errors that name field and range, and the way to JSON and back."""

from __future__ import annotations

import dataclasses
import math

import pytest

from snn_plasticity.config.affect import AffectiveConfig, AffectiveFullConfig, AppraisalConfig, ModulationConfig

KINDS = (AffectiveConfig, AppraisalConfig, ModulationConfig, AffectiveFullConfig)
CONTRACT = {
    AffectiveConfig: {
        "valence_scale": 1.0, "arousal_scale": 1.0, "dominance_scale": 1.0, "tau_mood": 100,
        "mood_congruence_bias": 0.1, "output_clamp": 1.0, "use_somatic_markers": True, "somatic_marker_weight": 1.0,
        "hidden_dim": 64,
    },
    AppraisalConfig: {
        "relevance_weight": 1, "congruence_weight": 1, "coping_weight": 1, "norm_weight": 0.5,
        "use_learned_appraisal": False,
    },
    ModulationConfig: {
        "lr_alpha": 0.5, "lr_floor": 0.1, "lr_ceiling": 3, "attention_beta": 0.3, "attention_floor": 0.5,
        "attention_ceiling": 2, "exploration_gamma": 0.5, "exploration_floor": 0.1, "exploration_ceiling": 3,
        "memory_delta": 0.5, "risk_epsilon": 0.3,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTRACT)
def test_defaults_are_the_contracts(kind):
    assert {name: getattr(kind(), name) for name in CONTRACT[kind]} == CONTRACT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind, tmp_path):
    made = [kind()] if kind is not AffectiveFullConfig else [kind.minimal(), kind.dev(), kind.production()]
    for config in made:
        assert kind.from_dict(config.to_dict()) == config
        assert kind.from_json(config.to_json(tmp_path / "affect.json")) == config
        assert kind.from_json(tmp_path / "affect.json") == config
    with pytest.raises(ValueError, match="has no field"):
        kind.from_dict({"no_such": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        made[0].seed = 1


def test_presets_differ_and_infinity_survives_the_trip():
    assert len({AffectiveFullConfig.minimal(), AffectiveFullConfig.dev(), AffectiveFullConfig.production()}) == 3
    never = AffectiveConfig(marker_tau=math.inf)
    assert AffectiveConfig.from_json(never.to_json()) == never


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(AffectiveConfig)])
@pytest.mark.parametrize("value", [-1, "much", None, math.nan])
def test_bad_values_of_affect_are_named(field, value):
    with pytest.raises(ValueError, match=f"AffectiveConfig.{field} = .*expected"):
        AffectiveConfig(**{field: value})


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(ModulationConfig)])
@pytest.mark.parametrize("value", [-0.5, "much", None, math.nan, True])
def test_bad_values_of_modulation_are_named(field, value):
    with pytest.raises(ValueError, match=f"ModulationConfig.{field} = .*expected"):
        ModulationConfig(**{field: value})


@pytest.mark.parametrize("part", ["lr", "attention", "exploration", "memory", "risk"])
def test_floors_lie_below_ceilings_and_above_zero(part):
    with pytest.raises(ValueError, match=f"{part}_floor = 3.*below its ceiling"):
        ModulationConfig(**{f"{part}_floor": 3.0, f"{part}_ceiling": 3.0})
    with pytest.raises(ValueError, match=f"{part}_floor = 0"):
        ModulationConfig(**{f"{part}_floor": 0.0})


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(AppraisalConfig)])
@pytest.mark.parametrize("value", [-1, "much", None, math.nan])
def test_bad_values_of_appraisal_are_named(field, value):
    with pytest.raises(ValueError, match=f"AppraisalConfig.{field} = .*expected"):
        AppraisalConfig(**{field: value})


def test_parts_are_of_their_kind_and_weights_are_shares():
    with pytest.raises(ValueError, match="appraisal is a ModulationConfig; expected an AppraisalConfig"):
        AffectiveFullConfig(appraisal=ModulationConfig())
    assert AppraisalConfig().valence_shares == (2 / 3, 1 / 3)
    assert AppraisalConfig(congruence_weight=0.0, norm_weight=0.0).valence_shares == (0.0, 0.0)
    assert (
        AppraisalConfig(relevance_weight=7.0).arousal_share == 1.0
        and AppraisalConfig(coping_weight=0.0).dominance_share == 0.0
    )
