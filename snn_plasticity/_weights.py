"""Weights that must not learn, and why: a change of theirs would be lost or would not mean what it says.

Asked when a learner is attached, and again at a step that meets another weight than the one before.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ._checks import known_as, require_callable
from .notices import notice

FLATTENED = "_fsdp_flattened"  # what `FullyShardedDataParallel` notes on a parameter that it keeps in a flat one
REPLACED = 3  # consecutive steps that met another parameter each, until that is worth a word
_RECOMPUTED = {
    "_orig": "it is pruned or spectrally normalised; call torch.nn.utils.prune.remove (or remove_spectral_norm) "
    "first, and give attach(masks={name: weight != 0}) so that what is pruned stays so",
    "_g": "it is weight-normalised; call torch.nn.utils.remove_weight_norm first",
}
_SHARDED = (
    "it is sharded over ranks, and what it learns here is lost when it is sharded again; keep the layers that learn "
    "out of fully_shard (ignored_params=) and FullyShardedDataParallel (ignored_modules=), or use DDP"
)


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
    if not isinstance(weight, Tensor):
        return f"it has no tensor `{attribute}`"
    if is_lazy(weight):
        return "it has no shape yet; run the model once, then attach"
    if weight.is_meta:
        return (
            "it is on the meta device and holds no numbers (not made yet, or offloaded); materialise the model, and "
            "offload no layers that learn"
        )
    if not weight.is_floating_point():
        return f"it is {weight.dtype}; expected floating point"
    return _stored_elsewhere(module, attribute, weight)


def _stored_elsewhere(module: nn.Module, attribute: str, weight: Tensor) -> str | None:
    """Why writing into this tensor would not change what the layer computes with."""
    if is_flattened(weight) or type(weight).__name__ == "DTensor":
        return _SHARDED
    if getattr(type(weight), "__torch_dispatch__") is not getattr(Tensor, "__torch_dispatch__"):  # noqa: B009
        return (
            f"it is a {type(weight).__name__}, whose numbers are stored in another form (quantised, say); expected a "
            "plain torch.Tensor: let it learn first, then convert it"
        )
    plain = isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and attribute == "weight"
    if plain and module._parameters.get(attribute) is not weight:
        return (
            f"`{attribute}` is no parameter any more but a tensor that something else makes anew (sharding, or a "
            "wrapper of the weight); give the layer its parameter back first"
        )
    return None


class WeightGuard:
    """Looks at the weight of a layer before it changes for the first time, and whenever it is another one.

    Args:
        name: how the weight is called.
        module, attribute: where it lives.
    """

    def __init__(self, name: str, module: nn.Module, attribute: str) -> None:
        self.name, self.module, self.attribute = name, module, attribute
        weight = getattr(module, attribute)
        self.shape, self.dtype = weight.shape, weight.dtype
        self.replaced = 0  # consecutive looks that met another parameter than the one before
        self.verified: weakref.ref[Tensor] | None = None  # the weight that was last found fit to learn

    def look(self, around: Callable[[], Iterable[nn.Module]]) -> None:
        """Refuse a weight in which a change would be lost; `around` tells the modules that the layer is in.

        Raises:
            RuntimeError: it is computed from others, sharded, on the meta device, or of another shape than at first.
        """
        known = self.verified
        reason = refusal_of(self.module, self.attribute)
        weight = getattr(self.module, self.attribute, None)
        if reason is None and weight is not None and weight.shape != self.shape:
            reason = f"its shape is {tuple(weight.shape)} now and was {tuple(self.shape)}; attach anew"
        require_callable("around", None if isinstance(around, nn.Module) else around, "that tells the modules around")
        outer = around()
        if not isinstance(outer, Iterable):
            raise TypeError(f"around returned {known_as(outer)}; expected the modules that the layer is in.")
        if reason is None and weight is not None:
            reason = shard_of(weight, outer, thorough=known is not None)
        if reason is not None or weight is None:
            raise RuntimeError(f"{self.name} cannot learn: {reason}. Nothing was changed.")
        self._tell(weight)
        self.dtype, self.verified = weight.dtype, weakref.ref(weight)
        self.replaced += known is not None
        if self.replaced == REPLACED:
            notice(
                f"{self.name}: between each of the last {REPLACED} steps its parameter was replaced by another. If it "
                "is not made of the weight as it has become (an offloaded copy, say), what is learned is lost: let "
                "layers that learn keep their parameter.",
                stacklevel=5,
            )

    def _tell(self, weight: Tensor) -> None:
        if low_precision(weight) and weight.dtype is not self.dtype:
            notice(
                f"{self.name} is {weight.dtype} now, which rounds small changes away (0.5 + 0.0001 is 0.5); keep "
                "plastic weights in float32.",
                stacklevel=6,
            )


def low_precision(weight: Tensor) -> bool:
    """Whether small changes of this weight are rounded away."""
    return weight.dtype in (torch.float16, torch.bfloat16)


def is_flattened(weight: Tensor) -> bool:
    """Whether `FullyShardedDataParallel` keeps this parameter in a flat one of its own."""
    return FLATTENED in weight.__dict__


def shard_of(weight: Tensor, around: Iterable[nn.Module], *, thorough: bool = False) -> str | None:
    """Why a weight that looks like any other is lost: `fully_shard` has gathered it for a while; None if it has not.

    Args:
        weight: as the layer holds it.
        around: the modules that it is in.
        thorough: ask every sharded parameter there is, also those of models around these modules. This is slow.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", None)
    if kind is None:
        return None
    states = [module._get_fsdp_state() for module in around if isinstance(module, kind)]  # type: ignore[attr-defined]
    held = [param for state in states for group in _groups(state) for param in group.fsdp_params]
    if thorough:  # a gathered weight bears no mark: only its shard knows it
        held += [owner for owner in gc.get_objects() if type(owner).__name__ == "FSDPParam"]
    return _SHARDED if any(getattr(param, "_unsharded_param", None) is weight for param in held) else None


def _groups(state: object) -> list:
    several = getattr(state, "_fsdp_param_groups", None)
    return several if several is not None else [g for g in [getattr(state, "_fsdp_param_group", None)] if g]
