"""Core affect: from appraisal to valence, arousal and dominance.

    valence     V = [w_c C_V + w_n (1 − 2N_V)] / (w_c + w_n)  +  felt_V
    arousal     A = s_A (R − ½ − R°) / ½                      +  felt_A
    dominance   D = s_D (P − σ(1) − P°) / σ(1)                +  felt_D        each clamped to ±output_clamp

    C_V = tanh(s_V x_C), N_V = σ(s_V x_N)      the scores C and N, with the scale inside their squashing, so that V is
                                               within ±1 for any s_V, and better news never feels the same

    R° ← R° + (R − ½ − R°)/τ_b            what relevance one has got used to, above its value at rest
    P° ← P° + (P̃ − σ(1) − P°)/τ_b         what coping one has got used to; P̃ is that of one who cannot learn

R° and P° start at zero, so that zero signals give zero affect, exactly and for ever. What exceeds the familiar
arouses, what falls short of it calms; mastering what used to be uncertain gives control. Russell & Mehrabian 1977;
habituation as an adaptation level: Helson 1964.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .appraisal import COPING_AT_REST, RELEVANCE_AT_REST, AppraisalResult
from .mood import moving_average


def valence(appraisal: AppraisalResult, shares: tuple[float, float]) -> Tensor:
    """Pleasure: what helps, less what is out of balance; before modulators and clamp.

    Args:
        appraisal: scores, each (B,), with C_V and N_V for congruence and norm deviation.
        shares: of congruence and of norm deviation.

    Returns:
        (B,), in [−1, 1].
    """
    return shares[0] * appraisal.congruence + shares[1] * (1.0 - 2.0 * appraisal.norm_deviation)


def arousal(appraisal: AppraisalResult, familiar: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Activation: relevance beyond the familiar R° (B,); before modulators and clamp."""
    return scale * (appraisal.relevance - RELEVANCE_AT_REST - familiar) / (1.0 - RELEVANCE_AT_REST)


def dominance(appraisal: AppraisalResult, familiar: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Control: coping beyond the familiar P° (B,); before modulators and clamp."""
    return scale * (appraisal.coping - COPING_AT_REST - familiar) / COPING_AT_REST


def habituate(expected: Tensor, appraisal: AppraisalResult, tau: float | Tensor) -> Tensor:
    """What one has got used to after this step, (B, 2): R° and P°.

    Args:
        expected: (B, 2) before it.
        appraisal: scores of this step.
        tau: steps, >= 1.

    >>> from snn_plasticity.affect import AppraisalModule, InternalSignals
    >>> storm = AppraisalModule().appraise(InternalSignals(prediction_error_magnitude=50.0))
    >>> habituate(torch.zeros(1, 2), storm, tau=10.0)
    tensor([[0.0500, 0.0000]])
    """
    found = (appraisal.relevance - RELEVANCE_AT_REST, appraisal.coping_without_learning - COPING_AT_REST)
    return moving_average(expected, torch.stack(found, dim=-1), tau)
