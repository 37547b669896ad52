"""Running traces as a dictionary of plain tensors, and back: what `torch.load(weights_only=True)` accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from ..rule import EligibilityRule
from .engine import Ask, RunningTraces


def pack(running: RunningTraces) -> dict[str, Any]:
    """Everything that a running trace remembers, copied."""
    packed = {
        "like": list(running.like),
        "kernel": None if running.past.kernel is None else tree_flatten(running.past.kernel)[0],
        "e": None if running.past.blank else running.past.e,
        "bound": running.past.bound,
        "recorded": running.recorded.saved(),
        "asked": [[met, mods] for met, mods in running.asked],
        "partial": running.partial,
        "changes": running.changes,
        "met": running.met,
        "path": running.path,
        "shape": list(running.rule.geometry.shape),
    }
    return tree_map_only(Tensor, Tensor.clone, packed)


def moved(packed: dict[str, Any], fn: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """After `.to()` or the like; traces stay at least fp32, recorded spikes stay booleans."""

    def move(leaf: Tensor) -> Tensor:
        after = fn(leaf)
        return after.float() if after.dtype in (torch.float16, torch.bfloat16) else after

    return tree_map_only(Tensor, move, packed)


def unpack(rule: EligibilityRule, saved: dict[str, Any], path: str) -> RunningTraces:
    """The traces that `pack` described, for the same rule."""
    saved = tree_map_only(Tensor, Tensor.clone, saved)
    pre, post = saved["like"]
    running = RunningTraces(rule, (pre, post), path)
    if saved["kernel"] is not None:
        running.past.kernel = tree_unflatten(saved["kernel"], tree_flatten(rule.kernel.init(pre, post))[1])
    running.past.e, running.past.bound, running.partial = saved["e"], saved["bound"], saved["partial"]
    running.asked = [Ask(*ask) for ask in saved["asked"]]
    running.changes, running.met = saved["changes"], saved["met"]
    running.recorded.restore(saved["recorded"])
    return running
