"""Confidence under dopamine: what turns out better than expected is believed more.

    c′ = c + gain · DA · c (1 − c)

Certainty moves least at 0 and 1, so c′ stays in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .._checks import Signal, require_finite, require_number, require_real, require_within
from .attention import modulator_named


def gate_confidence(confidence: Tensor, modulators: Mapping[str, Signal], gain: float = 1.0) -> Tensor:
    """Confidence, moved by dopamine: c + gain · DA · c (1 − c).

    Args:
        confidence: (B, ...) in [0, 1].
        modulators: from the gate; "DA" (B,) in [−1, 1] is read.
        gain: in [0, 1].

    Returns:
        (B, ...) in [0, 1], in the dtype of `confidence`; the same where DA is zero.

    Raises:
        TypeError: `confidence` is no floating-point tensor.
        ValueError: no batch dimension, outside [0, 1], NaN, a missing modulator, another batch size, a gain
            outside [0, 1].

    >>> import torch
    >>> gate_confidence(torch.tensor([0.5, 0.5]), {"DA": torch.tensor([1.0, 0.0])})
    tensor([0.7500, 0.5000])
    """
    require_real("confidence", confidence)
    if not confidence.is_floating_point():
        raise TypeError(f"confidence has dtype {confidence.dtype}; expected floats in [0, 1].")
    if confidence.dim() < 1:
        raise ValueError("confidence has shape (); expected (B, ...), as from confidence.unsqueeze(0).")
    gain = require_number("gain", gain, 0.0, 1.0)  # more, and confidence could leave [0, 1]
    require_finite("confidence", confidence)
    require_within("confidence", confidence, 0.0, 1.0)
    da = modulator_named("DA", modulators, len(confidence), confidence)
    da = da.reshape(-1, *[1] * (confidence.dim() - 1))
    return (confidence + gain * da * confidence * (1.0 - confidence)).to(confidence.dtype)
