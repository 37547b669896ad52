"""How often both sides of a connection are active, from a few of its steps: looking at all of them would cost time.

    rate = entries that are not zero / entries looked at

The first `DENSE` steps are looked at, then one of `OFTEN`, later one of `SPARSE`: primes, so that sequences of a usual
length are met at every phase. Counts stay on their device until they are asked for, and older ones are forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

DENSE, OFTEN, SPARSE = 8, 13, 61
EARLY = 512  # steps up to which one of `OFTEN` is looked at
GENERATION = 128  # looks of one generation of counts; the one before it is kept


class Rates(NamedTuple):
    """Share of entries that were active, over `steps` steps that were looked at."""

    pre: float
    post: float
    steps: int


class Extremes(NamedTuple):
    """The least and the most that each input was, over all samples and steps looked at."""

    low: Tensor
    high: Tensor

    def joined(self, other: Extremes | None) -> Extremes:
        """Of both; of this one where the other has another shape."""
        if other is None or other.low.shape != self.low.shape or other.low.device != self.low.device:
            return self
        return Extremes(torch.minimum(self.low, other.low), torch.maximum(self.high, other.high))


class _Counts(NamedTuple):
    pre: Tensor | int = 0
    post: Tensor | int = 0
    pre_entries: int = 0
    post_entries: int = 0
    steps: int = 0
    inputs: Extremes | None = None

    def plus(self, pre: Tensor, post: Tensor, steps: int, axes: tuple[int, ...]) -> _Counts:
        inputs = Extremes(pre.amin(axes), pre.amax(axes)).joined(self.inputs) if pre.numel() else self.inputs
        return _Counts(
            self.pre + torch.count_nonzero(pre), self.post + torch.count_nonzero(post),
            self.pre_entries + pre.numel(), self.post_entries + post.numel(), self.steps + steps, inputs,
        )  # fmt: skip


class Activity:
    """Counts steps, and what was active in those that it looks at.

    >>> activity = Activity()
    >>> activity.see(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 3))
    >>> activity.rates()
    Rates(pre=0.5, post=0.0, steps=1)
    """

    def __init__(self) -> None:
        self.seen = 0
        self.due = 1  # the step that is looked at next
        self._now, self._before = _Counts(), _Counts()

    def see(self, pre: Tensor, post: Tensor) -> None:
        """One step (B, ...)."""
        self.seen += 1
        if self.seen >= self.due:
            self.look(pre, post)

    def look(self, pre: Tensor, post: Tensor) -> None:
        """The step that was counted last is one of those that are looked at."""
        self._look(pre, post, 1, (0,))
        self._plan()

    def see_window(self, pre: Tensor, post: Tensor) -> None:
        """Many steps (T, B, ...)."""
        first, self.seen = self.seen, self.seen + len(pre)
        if first < DENSE:
            every = max(1, len(pre) // DENSE)
            self._look(pre[::every], post[::every], len(range(0, len(pre), every)), (0, 1))
        else:
            every = OFTEN if first < EARLY else SPARSE
            at = -(first + 1) % every
            if at < len(pre):
                self._look(pre[at::every], post[at::every], len(range(at, len(pre), every)), (0, 1))
        self._plan()

    def rates(self) -> Rates | None:
        """The rates of late; None before anything was seen. This reads the device."""
        now, before = self._now, self._before
        pre, post = now.pre_entries + before.pre_entries, now.post_entries + before.post_entries
        if not (pre and post):
            return None
        active = [int(a) + int(b) for a, b in ((now.pre, before.pre), (now.post, before.post))]
        return Rates(active[0] / pre, active[1] / post, now.steps + before.steps)

    def inputs(self) -> Extremes | None:
        """Between what the inputs were of late; None before anything was seen."""
        now, before = self._now.inputs, self._before.inputs
        return before if now is None else now.joined(before)

    def _plan(self) -> None:
        """When to look again."""
        every = 1 if self.seen < DENSE else OFTEN if self.seen < EARLY - EARLY % OFTEN else SPARSE
        self.due = self.seen + every - self.seen % every

    def _look(self, pre: Tensor, post: Tensor, steps: int, axes: tuple[int, ...]) -> None:
        if self._now.steps >= GENERATION:
            self._now, self._before = _Counts(), self._now
        self._now = self._now.plus(pre.detach(), post.detach(), steps, axes)
