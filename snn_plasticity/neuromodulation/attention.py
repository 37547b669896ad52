"""Attention under acetylcholine: novelty sharpens the competition.

    logits′ = logits · (1 + gain · ACh)

Acetylcholine acts as an inverse temperature of whatever softmax follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .._checks import Signal, as_signal, require_finite, require_number, require_real, require_within


def modulator_named(name: str, modulators: Mapping[str, Signal], batch_size: int, like: Tensor) -> Tensor:
    """One modulator as (B,), on the device of `like` and at least in fp32."""
    if not isinstance(modulators, Mapping):
        raise TypeError(f"modulators is a {type(modulators).__name__}; expected the dict that the gate returns.")
    if name not in modulators:
        found = ", ".join(map(str, modulators))
        raise ValueError(f"modulators holds {found or 'nothing'}; expected {name!r}, as in what the gate returns.")
    dtype = torch.promote_types(like.dtype, torch.float32)
    amount = as_signal(modulators[name], batch_size, name=name, device=like.device, dtype=dtype)
    require_within(name, amount, -1.0 if name == "DA" else 0.0, 1.0)
    return amount


def gate_attention(logits: Tensor, modulators: Mapping[str, Signal], gain: float = 1.0) -> Tensor:
    """Attention logits, sharpened by acetylcholine: logits · (1 + gain · ACh).

    Args:
        logits: (B, ...) scores before the softmax; −inf masks stay masks.
        modulators: from the gate; "ACh" (B,) in [0, 1] is read.
        gain: >= 0; how much full acetylcholine adds to the inverse temperature.

    Returns:
        (B, ...) in the dtype of `logits`; the same logits where ACh is zero.

    Raises:
        TypeError: `logits` is no floating-point tensor, `modulators` no mapping.
        ValueError: no batch dimension, NaN, a missing modulator, another batch size, a gain below zero.

    >>> gate_attention(torch.tensor([[1.0, 2.0]]), {"ACh": torch.tensor([0.5])})
    tensor([[1.5000, 3.0000]])
    """
    require_real("logits", logits)
    if not logits.is_floating_point():
        raise TypeError(f"logits has dtype {logits.dtype}; expected floating-point scores.")
    if logits.dim() < 2:
        raise ValueError(f"logits has shape {tuple(logits.shape)}; expected (B, ...): logits.unsqueeze(0).")
    gain = require_number("gain", gain, 0.0, 1e6)
    require_finite("logits", logits.nan_to_num(nan=float("nan"), posinf=0.0, neginf=0.0))
    ach = modulator_named("ACh", modulators, len(logits), logits)
    sharpness = (1.0 + gain * ach).reshape(-1, *[1] * (logits.dim() - 1))
    return (logits * sharpness).to(logits.dtype)
