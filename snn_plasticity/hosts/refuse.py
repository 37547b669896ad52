"""Weights that must not learn, and why: a change of theirs would be lost or would not mean what it says."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

_RECOMPUTED = {
    "_orig": "it is pruned or spectrally normalised; call torch.nn.utils.prune.remove (or remove_spectral_norm) first",
    "_g": "it is weight-normalised; call torch.nn.utils.remove_weight_norm first",
}


def refusal_of(module: nn.Module, attribute: str) -> str | None:
    """Why this weight cannot be plastic; None if it can.

    >>> refusal_of(nn.Linear(2, 3), "weight")
    >>> refusal_of(nn.LazyLinear(3), "weight")
    'it has no shape yet; run the model once, then attach'
    """
    if parametrize.is_parametrized(module, attribute):
        return (
            "it is parametrized, so that it is computed anew at each forward and a change would be lost; "
            "call torch.nn.utils.parametrize.remove_parametrizations first"
        )
    for suffix, reason in _RECOMPUTED.items():
        if attribute + suffix in module._parameters:
            return reason
    weight = getattr(module, attribute, None)
    if weight is None:
        return f"it has no tensor `{attribute}`"
    if is_lazy(weight):
        return "it has no shape yet; run the model once, then attach"
    if weight.is_meta:
        return "it is on the meta device and holds no numbers; materialise the model, then attach"
    if not weight.is_floating_point():
        return f"it is {weight.dtype}; expected floating point"
    return None
