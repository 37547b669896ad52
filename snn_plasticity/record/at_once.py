"""Both sides of single steps, written down by one compiled pass, as long as they are like the steps before.

A step of one sample takes less time than what there is to look at in it; what cannot change from one step to the next
is therefore looked at once, and all else is left to the slower way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._compiled import loops_over_spikes, suits
from .rows import Room, SpikeRows


class StepsAtOnce:
    """Writes steps of a layer from the one after `first` on, and before `due`.

    Args:
        connection: whose steps they are.
        pre: where its inputs are written next; None where they are the spikes of another layer (`follow`).
        post: where its spikes are.
        kind: of the numbers of both sides.
        first: the number of the step that came last.
        due: the first one in which there is something else to do.
    """

    __slots__ = (
        "_activity", "_ahead", "_connection", "_followed", "_kind", "_post", "_pre", "_remembers", "_running",
        "_shapes", "_single", "_write", "due", "first", "last", "settled", "taken", "version",
    )  # fmt: skip

    def __init__(self, connection: Any, pre: Room | None, post: Room | None, kind: Any, first: int, due: int) -> None:
        self._connection, self._running = connection, None if connection is None else connection.running
        self._activity: Any = None if connection is None else connection.activity
        self._shapes = None if self._running is None else self._running._shapes
        self._pre, self._post = ((0, 0) if room is None else (room.at, room.size) for room in (pre, post))
        self._kind, self._single, self.due = kind, kind is torch.float32, due
        self.first = self.taken = self.settled = first  # the last step that was written, and that was counted
        self._write: Any = None if post is None else loops_over_spikes().write_sides
        self._followed: Any = None
        self._ahead, self._remembers = 0, False
        self.last: Tensor | None = None  # the spikes of the last step, as they were given, where another layer asks
        self.version = -1

    def remember(self, spikes: SpikeRows) -> None:
        """Another layer will ask whether its inputs are these spikes."""
        self.last, self.version = spikes.last()
        self._remembers = True

    def follow(self, source: Any, ahead: int) -> None:
        """Inputs are the spikes of another layer, whose steps have these numbers less `ahead`."""
        self._followed, self._ahead = source, ahead

    def resembles(self, pre: Tensor, post: Tensor) -> bool:
        """Whether a step is like the others that begins a sequence, or that traces took in a way of their own."""
        if not (suits(pre) and suits(post) and pre.layout is post.layout is torch.strided):
            return False
        if (pre.shape, post.shape) != self._shapes:
            return False
        self._running = self._connection.running
        return True

    def look(self, pre: Tensor, post: Tensor, *, spikes: bool = True) -> None:
        """In the place of the activity's own `look`: the step that was counted last, at once or the slower way.

        All in one frame: a call costs as much as what it does.
        """
        activity, kind = self._activity, self._kind
        seen = activity.seen
        if (
            spikes and seen < self.due and pre.dtype is kind and post.dtype is kind and post.is_contiguous()
            and self._connection._traces._running is self._running  # whose shapes these are
        ):  # fmt: skip
            if self._followed is None:
                fits, at = pre.is_contiguous(), pre.data_ptr()
            else:
                source, at = self._followed.fast, 0
                fits = source.last is pre and source.taken + self._ahead == seen and pre._version == source.version
            if fits and self._write(
                self._single, seen - self.first - 1, *self._pre, at, *self._post, post.data_ptr()
            ):  # fmt: skip
                if self._remembers:
                    self.last, self.version = post, -1 if post.is_inference() else post._version
                self.taken = seen
                if seen >= activity.next_look:
                    activity.look_now(pre, post, spikes=True)
                return
        activity.see_slowly(pre, post, spikes=spikes)


NO_STEPS = StepsAtOnce(None, None, None, None, 0, 0)
