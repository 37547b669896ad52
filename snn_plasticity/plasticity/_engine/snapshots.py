"""Running traces as they were: a mark in memory, to go back to; plain values and tensors, to save and load.

And as they go on in a layer of other neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from ..._untracked import untracked
from ..rule import EligibilityRule
from .engine import RunningTraces
from .state import Units, unit_axis
from .stepping import QueuedModulators


class TraceMark(NamedTuple):
    """Running traces as they were, to go back to when what follows is refused: a step changes everything or nothing."""

    running: RunningTraces
    own: dict[str, Any]
    state: dict[str, Any]
    pending: dict[str, Any]
    whole: bool  # else what is folded after the mark stays folded, which is the same eligibility


def marked(running: RunningTraces, *, safe: bool) -> TraceMark:
    """A mark to go back to. Unless `safe`, nothing is copied, and what is folded after it stays folded.

    What running traces remember is replaced rather than changed, so that holding it is enough, but for e and the
    kernel's state, into which pending steps are worked in place: where there are such steps, they go on with copies.
    """
    state, whole = running.state, (safe or bool(running.queued)) and len(running.pending) > 0
    own = {**vars(running), "queued": list(running.queued)}
    mark = TraceMark(
        running, own, dict(vars(state)), {**vars(running.pending), "blocks": [*running.pending.blocks]}, whole
    )
    if whole:
        kept = state.e, state.kernel, state.places
        state.e, state.kernel, state.places = tree_map_only(Tensor, Tensor.clone, kept)
    return mark


def gone_back(mark: TraceMark) -> RunningTraces:
    """The running traces as they were at the mark, bit for bit; folded, unless it is whole: the same e."""
    running = mark.running
    folded = len(running.pending) != mark.pending["steps"]
    vars(running).update(mark.own)
    if mark.whole or not folded:
        vars(running.state).update(mark.state)
        vars(running.pending).update(mark.pending)
    return running


def pack(running: RunningTraces) -> dict[str, Any]:
    """All that running traces remember, copied, as plain values: what `torch.load(weights_only=True)` accepts."""
    packed = {
        "like": list(running.like),
        "kernel": None if running.state.kernel is None else tree_flatten(running.state.kernel)[0],
        "e": running.state.e,
        "bound": running.state.bound,
        "pending": running.pending.saved(),
        "queued": [[met, mods] for met, mods in running.queued],
        "partial": running.partial,
        "strategy": running.strategy,
        "unmet": running.unmet,
        "path": running.path,
        "shape": list(running.rule.geometry.shape),
    }
    if running.state.by_place:
        packed["places"] = running.state.places
    return tree_map_only(Tensor, Tensor.clone, packed)


def unpack(rule: EligibilityRule, saved: dict[str, Any], path: str) -> RunningTraces:
    """The traces that `pack` described, for the same rule."""
    saved = tree_map_only(Tensor, Tensor.clone, saved)
    pre, post = saved["like"]
    running = RunningTraces(rule, (pre, post), path, by_place="places" in saved)
    running.state.places = saved.get("places")
    if saved["kernel"] is not None:
        running.state.kernel = tree_unflatten(saved["kernel"], tree_flatten(rule.kernel.init(pre, post))[1])
    running.state.e, running.state.bound, running.partial = saved["e"], saved["bound"], saved["partial"]
    running.queued = [QueuedModulators(*one) for one in saved["queued"]]
    running.strategy, running.unmet = saved["strategy"], saved["unmet"]
    running.pending.restore(saved["pending"])
    return running


def moved(packed: dict[str, Any], fn: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """After `.to()` or the like; traces stay at least fp32, pending spikes stay booleans."""

    def move(leaf: Tensor) -> Tensor:
        after = fn(leaf)
        return after.float() if after.dtype in (torch.float16, torch.bfloat16) else after

    return tree_map_only(Tensor, move, packed)


def of_units(
    rule: EligibilityRule, path: str, source: RunningTraces, units: Units, own: RunningTraces | None = None
) -> RunningTraces:
    """Traces that go on where others are, whose neurons (and edges) lie elsewhere; what waits there is folded.

    Args:
        rule, path: of the new traces.
        source: the others.
        units: where each neuron (and edge) lies in the source; −1 is new.
        own: what new neurons go on from; None is a fresh start.

    Raises:
        ValueError: a kernel whose state does not tell what belongs to a neuron.
    """
    source.fold()
    axes = [unit_axis(rule.geometry.shape, side) for side in source.like]
    with untracked(source.like[0]):
        running = RunningTraces(rule, units.moved_spikes(source.like, axes), path)
        if own is not None:
            running.state.kernel, running.state.e, running.partial = own.state.kernel, own.state.e, own.partial
        running.state.take_units(source.state, units)
        blocks = source.pending.saved()
        running.pending.restore([[*units.moved_spikes(block[:2], axes, 1), *block[2:]] for block in blocks])
    running.strategy, running.unmet = source.strategy, source.unmet
    return running
