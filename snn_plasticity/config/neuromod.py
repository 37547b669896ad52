"""Settings of the neuromodulators and of the gate they open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .._checks import shown
from ..neuromodulators import NEUROMODULATORS
from .validation import Serializable, require_count_field, require_number_field, require_word_field

Combination = Literal["weighted_sum", "gated_product", "mlp"]
BaselineKind = Literal["none", "running", "context"]
LearningScope = Literal["sample", "batch"]


@dataclass(frozen=True)
class NeuromodConfig(Serializable):
    """How observable signals become dopamine, acetylcholine, norepinephrine, serotonin, and these one gate.

    Args:
        da_source, ach_source, ne_source, sht_source: the signal that drives each modulator. "normalized_reward",
            "normalized_td_error" and "normalized_surprise" are those signals in units of their usual size.
        da_response: dopamine is the "tanh" of its source, in [−1, 1], or "linear" in it, without a range.
        combination_fn: "weighted_sum", "gated_product", "mlp", or a callable from the modulators to (B,).
        modulator_hidden_dim: hidden units of "mlp".
        da_weight, ach_weight, ne_weight, sht_weight: weights of the combination.
        da_scale, ach_scale, ne_scale, sht_scale: what a signal is multiplied by before it is squashed.
        da_tau, ach_tau, ne_tau, sht_tau: own time constant of each modulator; 0 is phasic only.
        da_baseline, ach_baseline, ne_baseline, sht_baseline: tonic level that is always there.
        reward_baseline: dopamine is its source minus "none", a "running" expectation, or one per "context", which
            settles where dopamine is zero on average.
        reward_baseline_tau: time constant of that expectation. n_contexts: number of contexts.
        baseline_scope: every "sample" of the batch has its own expectation, or the "batch" shares one.
        usual_tau: time over which the usual size of a normalized source is taken.
        dt: step length. seed: initialisation of "mlp".

    Raises:
        ValueError: a field out of range, naming field, value and range.

    >>> NeuromodConfig(da_tau=200.0).ach_source
    'novelty'
    """

    da_source: Literal["reward", "td_error", "normalized_reward", "normalized_td_error"] = "reward"
    ach_source: Literal["novelty", "uncertainty", "entropy"] = "novelty"
    ne_source: Literal["urgency", "surprise", "normalized_surprise"] = "urgency"
    sht_source: Literal["patience", "long_horizon_value"] = "patience"
    combination_fn: Combination | Callable[[Any], Any] = "weighted_sum"
    modulator_hidden_dim: int = 64
    da_weight: float = 1.0
    ach_weight: float = 0.5
    ne_weight: float = 0.25
    sht_weight: float = 0.25
    da_scale: float = 1.0
    ach_scale: float = 1.0
    ne_scale: float = 1.0
    sht_scale: float = 1.0
    da_tau: float = 0.0
    ach_tau: float = 0.0
    ne_tau: float = 0.0
    sht_tau: float = 0.0
    da_baseline: float = 0.0
    ach_baseline: float = 0.0
    ne_baseline: float = 0.0
    sht_baseline: float = 0.0
    reward_baseline: BaselineKind = "none"
    reward_baseline_tau: float = 100.0
    n_contexts: int = 1
    baseline_scope: LearningScope = "sample"
    dt: float = 1.0
    seed: int = 0
    da_response: Literal["tanh", "linear"] = "tanh"
    usual_tau: float = 200.0

    def __post_init__(self) -> None:
        require_word_field(self, "da_response", ("tanh", "linear"))
        require_word_field(
            self, "combination_fn", ("weighted_sum", "gated_product", "mlp"), or_object="a callable(modulators) -> (B,)"
        )
        if not isinstance(self.combination_fn, str) and not callable(self.combination_fn):
            raise ValueError(
                f"NeuromodConfig.combination_fn = {shown(self.combination_fn)}; expected a name or a callable."
            )
        require_word_field(self, "reward_baseline", ("none", "running", "context"))
        require_word_field(self, "baseline_scope", ("sample", "batch"))
        for kind in NEUROMODULATORS:
            if not hasattr(self, f"{kind.prefix}_source"):
                continue  # it acts with the settings of its row
            require_word_field(self, f"{kind.prefix}_source", kind.sources)
            require_number_field(self, f"{kind.prefix}_weight")
            require_number_field(self, f"{kind.prefix}_scale", 0.0)
            require_number_field(self, f"{kind.prefix}_tau", 0.0, infinite=True)
            require_number_field(self, f"{kind.prefix}_baseline", kind.low, 1.0)
        require_number_field(self, "dt", 0.0, open_low=True)
        require_number_field(self, "reward_baseline_tau", 1.0, infinite=True)
        require_number_field(self, "usual_tau", 0.0, open_low=True)
        for name in ("modulator_hidden_dim", "n_contexts"):
            require_count_field(self, name)
        require_count_field(self, "seed", 0)
