"""How often both sides of a connection are active, from a few of its steps: looking at all of them would cost time.

    rate = entries that are not zero / entries looked at

The first `DENSE` steps are looked at, then one of `OFTEN`, later one of `SPARSE`: primes, so that sequences of a usual
length are met at every phase. Counts stay on their device until they are asked for, and older ones are forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DENSE, OFTEN, SPARSE = 8, 13, 61
EARLY = 512  # steps up to which one of `OFTEN` is looked at
GENERATION = 128  # looks of one generation of counts; the one before it is kept


class Rates(NamedTuple):
    """Share of entries that were active, over `steps` steps that were looked at; post None where nothing showed it."""

    pre: float
    post: float | None
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


def _read_by_numpy(values: Tensor) -> bool:
    """Whether it is on the CPU, where NumPy counts and compares in half the time."""
    return values.is_cpu and values.layout is torch.strided and values.dtype in (torch.float32, torch.float64)


def _count(values: Tensor) -> Tensor | int:
    """How many entries are not zero."""
    return int(np.count_nonzero(values.numpy() != 0.0)) if _read_by_numpy(values) else torch.count_nonzero(values)


def _extremes(values: Tensor, axes: tuple[int, ...]) -> Extremes:
    """Over these axes."""
    if not _read_by_numpy(values):
        return Extremes(values.amin(axes), values.amax(axes))
    given = values.numpy()
    with np.errstate(invalid="ignore"):  # NaN is refused elsewhere
        low, high = np.asarray(np.minimum.reduce(given, axes)), np.asarray(np.maximum.reduce(given, axes))
    return Extremes(torch.from_numpy(low), torch.from_numpy(high))


class _Counts(NamedTuple):
    pre: Tensor | int = 0
    post: Tensor | int = 0
    pre_entries: int = 0
    post_entries: int = 0
    steps: int = 0
    inputs: Extremes | None = None

    def plus(self, pre: Tensor, steps: int, axes: tuple[int, ...]) -> _Counts:
        inputs = _extremes(pre, axes).joined(self.inputs) if pre.numel() else self.inputs
        active, entries = self.pre + _count(pre), self.pre_entries + pre.numel()
        return self._replace(pre=active, pre_entries=entries, steps=self.steps + steps, inputs=inputs)

    def plus_post(self, post: Tensor) -> _Counts:
        return self._replace(post=self.post + _count(post), post_entries=self.post_entries + post.numel())


class Activity:
    """Counts steps, and what was active in those that it looks at.

    >>> activity = Activity()
    >>> activity.see(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 3))
    >>> activity.rates()
    Rates(pre=0.5, post=0.0, steps=1)
    """

    def __init__(self) -> None:
        self.seen = 0
        self.fires = True  # whether there are spikes on the post side, that could be missing
        self.due = 1  # the step that is looked at next
        self._now, self._before = _Counts(), _Counts()
        self.looked, self._at = 0, slice(None)  # when it last looked, and at which steps of a window

    def see(self, pre: Tensor, post: Tensor | None, *, spikes: bool = True) -> None:
        """One step (B, ...); `spikes`: whether post is these, which `fired` may tell of else."""
        self.seen += 1
        if self.seen >= self.due:
            self.look(pre, post, spikes=spikes)

    def look(self, pre: Tensor, post: Tensor | None, *, spikes: bool = True) -> None:
        """The step that was counted last is one of those that are looked at."""
        self._look(pre, post if spikes else None, 1, (0,), slice(None))
        self._plan()

    def count(self, pre: Tensor) -> None:
        """One step, of a layer that no neuron reads."""
        self.seen += 1

    def begin_anew(self, mask: Tensor | None) -> None:
        """Traces were reset, of all samples or of those in a mask (B,); how active they are is no matter of that."""

    def worked_out(self, change: Tensor) -> None:
        """Δw, before a `reduce` makes something else of it; how active both sides are is no matter of that."""

    def see_window(self, pre: Tensor, post: Tensor | None, *, spikes: bool = True) -> None:
        """Many steps (T, B, ...)."""
        post = post if spikes else None
        first, self.seen = self.seen, self.seen + len(pre)
        if first < DENSE:
            every, at = max(1, len(pre) // DENSE), 0
        else:
            every = OFTEN if first < EARLY else SPARSE
            at = -(first + 1) % every
        if at < len(pre):
            self._look(pre, post, len(range(at, len(pre), every)), (0, 1), slice(at, None, every))
        self._plan()

    def fired(self, spikes: Tensor) -> None:
        """The spikes of the step, or the window, that was seen last, where post was something else."""
        if self.looked == self.seen:
            self._now, self.looked = self._now.plus_post(spikes.detach()[self._at]), -1

    def rates(self) -> Rates | None:
        """The rates of late; None before anything was seen. This reads the device."""
        now, before = self._now, self._before
        pre, post = now.pre_entries + before.pre_entries, now.post_entries + before.post_entries
        if not pre:
            return None
        active = [int(a) + int(b) for a, b in ((now.pre, before.pre), (now.post, before.post))]
        return Rates(active[0] / pre, active[1] / post if post and self.fires else None, now.steps + before.steps)

    def inputs(self) -> Extremes | None:
        """Between what the inputs were of late; None before anything was seen."""
        now, before = self._now.inputs, self._before.inputs
        return before if now is None else now.joined(before)

    def _plan(self) -> None:
        """When to look again."""
        every = 1 if self.seen < DENSE else OFTEN if self.seen < EARLY - EARLY % OFTEN else SPARSE
        self.due = self.seen + every - self.seen % every

    def _look(self, pre: Tensor, post: Tensor | None, steps: int, axes: tuple[int, ...], at: slice) -> None:
        if self._now.steps >= GENERATION:
            self._now, self._before = _Counts(), self._now
        self._now, self.looked, self._at = self._now.plus(pre.detach()[at], steps, axes), self.seen, at
        if post is not None:
            self._now = self._now.plus_post(post.detach()[at])
