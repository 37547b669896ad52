"""Internal signals: what a model can tell about itself, from which its affect is estimated.

    reward_prediction_error                                             any real number
    epistemic_uncertainty, aleatoric_uncertainty                        >= 0
    prediction_error_magnitude, homeostatic_deviation                   >= 0
    novelty_score                                                       in [0, 1]
    modulators                                                          DA in [−1, 1]; ACh, NE, 5HT in [0, 1]

Each is a number, or a tensor, an array or a list of shape (), (B,) or (B, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import Signal
from ..neuromodulators import NAMES
from ..signals import AFFECT


class InternalSignals(NamedTuple):
    """What a model knows about its own situation at one step.

    Uncertainty that learning can remove is epistemic, uncertainty that stays whatever one does is aleatoric. Only who
    can tell them apart gives `aleatoric_uncertainty` (0.0 says: there is none); where it is None, all uncertainty is in
    `epistemic_uncertainty`, and counts against coping.

    Args:
        reward_prediction_error: how much better than expected things went; any real number.
        epistemic_uncertainty: what is not known yet, >= 0.
        prediction_error_magnitude: size of the sensory prediction error, >= 0.
        novelty_score: in [0, 1].
        homeostatic_deviation: distance from where the system should be, >= 0.
        aleatoric_uncertainty: what cannot be known, >= 0; None: not told apart.
        modulators: levels "DA" in [−1, 1], "ACh", "NE", "5HT" in [0, 1]; missing ones are zero.

    >>> InternalSignals(reward_prediction_error=0.5).novelty_score
    0.0
    """

    reward_prediction_error: Signal = 0.0
    epistemic_uncertainty: Signal = 0.0
    prediction_error_magnitude: Signal = 0.0
    novelty_score: Signal = 0.0
    homeostatic_deviation: Signal = 0.0
    aleatoric_uncertainty: Signal | None = None
    modulators: Mapping[str, Signal] | None = None


class InternalReading(NamedTuple):
    """Internal signals as they were read: checked, each (B,), on one device and in one precision.

    `aleatoric_known` says whether the two uncertainties were given apart; if not, `aleatoric_uncertainty` is zero.
    """

    reward_prediction_error: Tensor
    epistemic_uncertainty: Tensor
    prediction_error_magnitude: Tensor
    novelty_score: Tensor
    homeostatic_deviation: Tensor
    aleatoric_uncertainty: Tensor
    modulators: dict[str, Tensor]
    aleatoric_known: bool


def _given(signals: InternalSignals) -> dict[str, Signal]:
    """Every signal that was given, the levels of the modulators among them, by name."""
    if not isinstance(signals, InternalSignals):
        raise TypeError(f"signals is a {type(signals).__name__}; expected InternalSignals, as in {AFFECT.example}.")
    levels = {} if signals.modulators is None else signals.modulators
    if not isinstance(levels, Mapping):
        raise TypeError(f"modulators is a {type(levels).__name__}; expected a mapping such as {{'DA': 0.2}}, or None.")
    for name in levels:
        if name not in NAMES:
            raise ValueError(f"no modulator is called {name!r}; expected {', '.join(NAMES)}.")
    own: dict[str, Signal] = {name: getattr(signals, name) for name in InternalSignals._fields[:5]}
    if signals.aleatoric_uncertainty is not None:
        own["aleatoric_uncertainty"] = signals.aleatoric_uncertainty
    return {**own, **levels}


def layout(signals: InternalSignals) -> tuple[int | None, torch.device | None, torch.dtype]:
    """Batch size, device and precision that the tensors among the signals ask for.

    Raises:
        TypeError: no `InternalSignals`.
        ValueError: tensors on several devices, an unknown modulator.

    >>> layout(InternalSignals(novelty_score=torch.ones(3, 1)))
    (3, device(type='cpu'), torch.float32)
    """
    return AFFECT.layout(_given(signals))


def read_internal(
    signals: InternalSignals, batch_size: int, device: torch.device | str | None, dtype: torch.dtype
) -> InternalReading:
    """Every signal as a checked (B,) tensor; modulators that are missing are zero.

    Raises:
        TypeError: a value that is no number.
        ValueError: a wrong shape, NaN or infinity, a value out of its range.
    """
    place = None if device is None else torch.device(device)
    given = AFFECT.read(_given(signals), batch_size, place, dtype)
    known = "aleatoric_uncertainty" in given
    return reading_of(given, torch.zeros_like(given.like), aleatoric_known=known)


def reading_of(given: Mapping[str, Tensor], zero: Tensor, *, aleatoric_known: bool) -> InternalReading:
    """Signals by name that were checked before; what is missing is zero."""
    own = {name: given.get(name, zero) for name in InternalReading._fields[:6]}
    levels = {name: given.get(name, zero) for name in NAMES}
    return InternalReading(**own, modulators=levels, aleatoric_known=aleatoric_known)
