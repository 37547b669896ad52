"""Mapping: affect into neuromodulators, and neuromodulators into affect.

    out    DA = V        NE = max(A, 0)        5HT = max(D, 0)        ACh = epistemic share · max(A, 0)
    back   felt_V = k_DA DA        felt_A = k_NE NE + k_ACh ACh        felt_D = k_5HT 5HT

Levels are those of the gate: DA in [−1, 1], the others in [0, 1]. Both ways together pass a difference on by at most
the loop gains of `config/affect.py`, which are below 1, so that the loop settles. Dopamine and valence: Schultz, Dayan
& Montague 1997; norepinephrine and arousal, acetylcholine and what is uncertain: Yu & Dayan 2005; serotonin and
patience: Doya 2002.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..config.affect import AffectiveConfig
from ..config.validation import require_config
from ..signals import levels_of
from .state import AffectiveState, require_affect_state


def to_neuromodulators(state: AffectiveState) -> dict[str, Tensor]:
    """The modulators that this affect releases.

    Args:
        state: of the estimator.

    Returns:
        {"DA", "ACh", "NE", "5HT"}, each (B,), in the ranges of the gate; zero where affect is neutral.

    >>> from snn_plasticity.affect import AffectiveEstimator, InternalSignals
    >>> to_neuromodulators(AffectiveEstimator().estimate(InternalSignals(novelty_score=1.0)))["ACh"]
    tensor([0.4621])
    """
    require_affect_state(state, None, None)
    return release(state)


def release(state: AffectiveState) -> dict[str, Tensor]:
    """As `to_neuromodulators`, of a state that was checked already."""
    activation = state.arousal.clamp(min=0.0)
    return {
        "DA": state.valence,
        "ACh": state.appraisal.epistemic_share * activation,
        "NE": activation,
        "5HT": state.dominance.clamp(min=0.0),
    }


def from_neuromodulators(levels: Mapping[str, Tensor], config: AffectiveConfig) -> tuple[Tensor, Tensor, Tensor]:
    """What the levels of the modulators add to valence, arousal and dominance.

    Args:
        levels: "DA", "ACh", "NE", "5HT", each (B,).
        config: how strongly each is felt.

    Returns:
        (felt_V, felt_A, felt_D), each (B,).

    >>> import torch
    >>> levels = {name: torch.ones(1) for name in ("DA", "ACh", "NE", "5HT")}
    >>> from_neuromodulators(levels, AffectiveConfig(ne_feedback=0.3))
    (tensor([0.1000]), tensor([0.4000]), tensor([0.1000]))
    """
    config = require_config(config, AffectiveConfig)
    levels_of("levels", levels)
    return felt(levels, config)


def felt(levels: Mapping[str, Tensor], config: AffectiveConfig) -> tuple[Tensor, Tensor, Tensor]:
    """As `from_neuromodulators`, of levels that were checked already."""
    return (
        config.da_feedback * levels["DA"],
        config.ne_feedback * levels["NE"] + config.ach_feedback * levels["ACh"],
        config.sht_feedback * levels["5HT"],
    )
