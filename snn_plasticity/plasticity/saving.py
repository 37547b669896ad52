"""Running traces as a dictionary of plain tensors, and back: what `torch.load(weights_only=True)` accepts."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .rule import EligibilityRule, EligibilityState

Spikes = tuple[Tensor, Tensor]


def pack(state: EligibilityState, like: Spikes) -> dict[str, Any]:
    """State and the shape of one step's spikes, copied."""
    kernel, waiting = tree_flatten(state.kernel)[0], tree_flatten(state.waiting)[0]
    return {
        "like": [spikes.clone() for spikes in like],
        "kernel": [_copy(leaf) for leaf in kernel],
        "e": state.e.clone(),
        "waiting": [leaf.clone() for leaf in waiting if leaf is not None],
    }


def unpack(rule: EligibilityRule, saved: dict[str, Any], dt: float) -> tuple[EligibilityState, Spikes]:
    """The state that `pack` described, for the same rule.

    Raises:
        ValueError: the traces belong to a layer of another shape.
    """
    if tuple(saved["e"].shape[1:]) != rule.geometry.shape:
        raise ValueError(
            f"The saved traces have shape {tuple(saved['e'].shape[1:])}; expected {rule.geometry.shape}. "
            "They belong to another layer."
        )
    pre, post = saved["like"]
    coincidence, blank = rule.kernel.step(pre, post, rule.kernel.init(pre, post), dt)
    kernel = tree_unflatten([_copy(leaf) for leaf in saved["kernel"]], tree_flatten(blank)[1])
    waiting = None
    if saved["waiting"]:
        waiting = tree_unflatten([leaf.clone() for leaf in saved["waiting"]], tree_flatten(coincidence)[1])
    return EligibilityState(kernel, saved["e"].clone(), waiting), (pre.clone(), post.clone())


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
