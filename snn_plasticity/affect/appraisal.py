"""Appraisal: what an event means, in four scores.

    relevance        R = σ(x_R)         x_R = |pe| + novelty                  in [½, 1)
    congruence       C = tanh(x_C)      x_C = rpe                             in (−1, 1)
    coping           P = σ(1 − x_P)     x_P = uncertainty                     in (0, σ(1)]
    norm deviation   N = σ(x_N)         x_N = homeostatic deviation           in [½, 1)

Where the two kinds of uncertainty u_e (epistemic) and u_a (aleatoric) are told apart, both are relevant, only the one
that no learning removes is beyond control, and to be at the mercy of chance is itself a deviation:

    x_R = |pe| + novelty + u_e + u_a        x_P = u_a        x_N = homeostatic deviation + u_a

A learned appraisal corrects each x by z = W₂ tanh(W₁ signals), without biases; x_R, x_P and x_N stay >= 0. So the
scores keep their ranges, and all signals zero still mean nothing. Scherer's component process model (2001).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._checks import known_as, require_count, require_flag, require_real, shown
from .._untracked import uncast
from ..config.affect import AppraisalConfig
from ..config.validation import require_config
from .signals import InternalReading, InternalSignals, layout, read_internal

RELEVANCE_AT_REST = 0.5
COPING_AT_REST = 1.0 / (1.0 + math.exp(-1.0))


class AppraisalResult(NamedTuple):
    """Scores of one event, each (B,).

    Args:
        relevance: whether it matters, in [½, 1).
        congruence: whether it helps, in (−1, 1).
        coping: whether it can be dealt with, in (0, σ(1)].
        norm_deviation: how far from where things should be, in [½, 1).
        coping_without_learning: coping of one who cannot learn, to whom all uncertainty is the same.
        epistemic_share: share of relevance that comes from novelty and from what can be learned, in [0, 1].
    """

    relevance: Tensor
    congruence: Tensor
    coping: Tensor
    norm_deviation: Tensor
    coping_without_learning: Tensor
    epistemic_share: Tensor


class Evidence(NamedTuple):
    """What the scores are squashed from, each (B,): x_R, x_C, x_P, x_N, and x_P of one who cannot learn."""

    relevance: Tensor
    congruence: Tensor
    challenge: Tensor
    deviation: Tensor
    challenge_without_learning: Tensor
    epistemic_share: Tensor


def evidence(readings: InternalReading) -> Evidence:
    """The analytic x of each score."""
    chance, learnable = readings.aleatoric_uncertainty, readings.epistemic_uncertainty
    uncertainty, curiosity = chance + learnable, readings.novelty_score
    relevance = readings.prediction_error_magnitude + readings.novelty_score
    if readings.aleatoric_known:
        curiosity, relevance = curiosity + learnable, relevance + uncertainty
    return Evidence(
        relevance=relevance,
        congruence=readings.reward_prediction_error,
        challenge=chance if readings.aleatoric_known else uncertainty,
        deviation=readings.homeostatic_deviation + chance,
        challenge_without_learning=uncertainty,
        epistemic_share=curiosity / relevance.clamp(min=1e-6),
    )


def coping(challenge: Tensor) -> Tensor:
    """σ(1 − x), such that x = 0 gives `COPING_AT_REST` to the bit, wherever it stands in a tensor.

    σ(1 − x) = σ(1) − ½ tanh(x/2) (1 − tanh(½) tanh((1 − x)/2))

    >>> coping(torch.tensor([0.0, 1.0]))
    tensor([0.7311, 0.5000])
    """
    # sigmoid(1 − 0) differs in the last bit between vectorised and scalar code; this is exactly 0 at x = 0.
    lost = 0.5 * torch.tanh(0.5 * challenge) * (1.0 - math.tanh(0.5) * torch.tanh(0.5 - 0.5 * challenge))
    return (COPING_AT_REST - lost).clamp(min=0.0)


def score(found: Evidence) -> AppraisalResult:
    """The scores of some evidence."""
    coped, harder = coping(found.challenge), found.challenge_without_learning
    return AppraisalResult(
        relevance=torch.sigmoid(found.relevance),
        congruence=torch.tanh(found.congruence),
        coping=coped,
        norm_deviation=torch.sigmoid(found.deviation),
        coping_without_learning=coped if harder is found.challenge else coping(harder),
        epistemic_share=found.epistemic_share,
    )


def checked_evidence(appraisal: nn.Module, readings: InternalReading) -> Evidence:
    """What an appraisal makes of signals; one of the user's is held to its contract, and does not see the modulators.

    Raises:
        TypeError: it returns no `Evidence`.
        ValueError: evidence of another shape or device.
    """
    if getattr(appraisal.weigh, "__func__", None) is AppraisalModule.weigh:
        return appraisal._weighed(readings)  # type: ignore[operator]
    if isinstance(appraisal, AppraisalModule):
        return appraisal.weigh(readings)
    found, like = appraisal.weigh(readings._replace(modulators={})), readings.reward_prediction_error  # type: ignore
    if not isinstance(found, Evidence):
        raise TypeError(
            f"appraisal.weigh returned {known_as(found)}; expected Evidence, as from AppraisalModule().weigh(readings)."
        )
    for name, x in zip(found._fields, found, strict=True):
        require_real(f"Evidence.{name}", x)
        if x.shape != like.shape or x.device != like.device:
            raise ValueError(f"Evidence.{name} is {shown(x)}; expected {tuple(like.shape)} on {like.device}.")
    return found


class AppraisalModule(nn.Module):
    """Judges events by formula, or by formula and a small network that corrects it.

    The network starts close to the formulas, and the same for the same seed; the global random state is neither read
    nor changed. Its weights are the only parameters.

    Args:
        config: whether the appraisal is learned, and its seed.
        hidden_dim: hidden units of the network.

    >>> result = AppraisalModule().appraise(InternalSignals(reward_prediction_error=torch.tensor([0.0, 1.0])))
    >>> result.congruence, result.relevance
    (tensor([0.0000, 0.7616]), tensor([0.5000, 0.5000]))
    """

    def __init__(self, config: AppraisalConfig | None = None, hidden_dim: int = 64) -> None:
        super().__init__()
        self.config = require_config(config, AppraisalConfig)
        hidden_dim = require_count("hidden_dim", hidden_dim)
        self.inward: nn.Parameter | None = None
        self.outward: nn.Parameter | None = None
        if self.config.use_learned_appraisal:
            generator = torch.Generator().manual_seed(self.config.seed)
            self.inward = nn.Parameter(torch.randn(hidden_dim, 6, generator=generator) / math.sqrt(6))
            self.outward = nn.Parameter(0.1 * torch.randn(4, hidden_dim, generator=generator) / math.sqrt(hidden_dim))

    def appraise(self, signals: InternalSignals) -> AppraisalResult:
        """Scores of an event, as a mind without mood judges it.

        Args:
            signals: each a float or a tensor (), (B,) or (B, 1).

        Raises:
            TypeError, ValueError: signals of another kind, shape or range; the sentence names the signal.
        """
        size, device, dtype = layout(signals)
        device = device or (None if self.inward is None else self.inward.device)
        readings = read_internal(signals, size or 1, device, dtype)
        with uncast(readings.novelty_score):
            return score(self.weigh(readings))

    def weigh(self, readings: InternalReading) -> Evidence:
        """The x of each score: analytic, and corrected if the appraisal is learned.

        Raises:
            TypeError: readings of another kind.
            ValueError: readings of several shapes.
        """
        if not isinstance(readings, InternalReading) or not all(isinstance(r, Tensor) for r in readings[:6]):
            raise TypeError(f"readings is {known_as(readings)}; expected an InternalReading, each (B,).")
        for name, reading in zip(readings._fields[:6], readings[:6], strict=True):
            if reading.shape != readings[0].shape or reading.device != readings[0].device or reading.is_complex():
                raise ValueError(f"readings.{name} is {shown(reading)}; expected real (B,), all on one device.")
            require_real(f"readings.{name}", reading)
        require_flag("readings.aleatoric_known", readings.aleatoric_known)
        return self._weighed(readings)

    def _weighed(self, readings: InternalReading) -> Evidence:
        """As `weigh`, of readings that were checked already."""
        found = evidence(readings)
        if self.inward is None or self.outward is None:
            return found
        seen = torch.stack(readings[:6], dim=-1)
        hidden = torch.tanh(F.linear(seen, self.inward.to(seen)))
        z_r, z_c, z_p, z_n = F.linear(hidden, self.outward.to(seen)).unbind(-1)
        return found._replace(
            relevance=(found.relevance + z_r).clamp(min=0.0),
            congruence=found.congruence + z_c,
            challenge=(found.challenge + z_p).clamp(min=0.0),
            deviation=(found.deviation + z_n).clamp(min=0.0),
            challenge_without_learning=(found.challenge_without_learning + z_p).clamp(min=0.0),
        )

    def forward(self, signals: InternalSignals) -> AppraisalResult:
        """As `appraise`."""
        return self.appraise(signals)
