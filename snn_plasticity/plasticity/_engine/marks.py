"""A mark in running traces, to go back to when what follows is refused: a step changes everything or nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from .engine import RunningTraces


class TraceMark(NamedTuple):
    """Running traces as they were.

    What they remember is replaced rather than changed, so that holding it is enough, with two exceptions: e, and the
    memory of spikes that wait, which may be used again once they are folded. Where steps wait, both are copied.
    """

    running: RunningTraces
    own: dict[str, Any]
    past: dict[str, Any]
    recorded: dict[str, Any]
    copies: list[tuple[Tensor, Tensor]] | None  # of memory, and what it held; None: what is folded stays folded


def marked(running: RunningTraces, *, safe: bool) -> TraceMark:
    """A mark to go back to. Unless `safe`, nothing is copied, and what is folded after it stays folded."""
    past, recorded = running.past, running.recorded
    copies: list[tuple[Tensor, Tensor]] | None = None
    if (safe or running.asked) and len(recorded):
        held = [side[: block.used] for block in recorded.blocks for side in (block.pre, block.post)]
        held += [] if past.e is None or past.blank else [past.e]
        copies = [(memory, memory.clone()) for memory in held]
    own = {**vars(running), "asked": list(running.asked)}
    return TraceMark(running, own, dict(vars(past)), {**vars(recorded), "blocks": list(recorded.blocks)}, copies)


def gone_back(mark: TraceMark) -> RunningTraces:
    """The running traces as they were at the mark, bit for bit; folded, where no copy was kept: the same e."""
    running = mark.running
    folded = len(running.recorded) != mark.recorded["_steps"]
    vars(running).update(mark.own)
    if folded and mark.copies is None:
        return running
    vars(running.past).update(mark.past)
    vars(running.recorded).update(mark.recorded)
    for memory, held in mark.copies or ():
        memory.copy_(held)
    return running
