"""The running traces of one batch: eligibility so far, kernel state, and the spikes that are not folded into them yet.

    plain    every step at once, in place; windows and their modulators too, one step after the other
    fold     spikes wait; many steps are folded into e by one contraction
    auto     as fold, but no e is built before it is needed: a weight change comes straight from the spikes
    shared   only Σ_b e_b is kept, for modulators that the whole batch shares
    rows     spikes wait; many steps of a trace that is not linear: folded with max for the sum, or row by row

All give the same e and the same changes. What a fold may do, and what must be walked through, is decided in `advance`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...untracked import untracked
from ..kernel_state import careful_step, require_shape
from ..rule import EligibilityRule
from ..three_factor import contracted
from .bits import numbers_of
from .change import Ask, change_from_spikes
from .spikes import Recording
from .state import Past, silenced
from .update import advance, step_once
from .window_terms import Windowed

PATHS = ("auto", "plain", "fold", "shared", "rows")
FOLD, LONGEST = 64, 1024  # steps of a contraction: as many as leave its table small, between these
CERTAIN = 256  # at most, where a clamp has to be shown not to bind, or traces are not linear
TABLE = 1 << 19  # entries of such a table for one sample
BUDGET = 1 << 25  # bytes of spikes that may always wait (or half the bytes of e, if that is more)
WAITING, HELD = 1 << 10, 1 << 24  # modulators that may wait, and their entries; more are worked out so many at a time


class RunningTraces:
    """Traces of one batch, on one of the paths.

    Args:
        rule: kernel, geometry and trace.
        like: zeros shaped like one step's pre and post.
        path: one of `PATHS`.
        before: a recording that is over, whose memory may be used again.
    """

    def __init__(
        self, rule: EligibilityRule, like: tuple[Tensor, Tensor], path: str, before: Recording | None = None
    ) -> None:
        self.rule, self.like, self.path = rule, like, path
        self.batch_size = like[1].shape[0]
        self.past = Past(rule, like, self.shared, fast=path != "plain")
        self.recorded = Recording(before)
        self.asked: list[Ask] = []  # modulators that wait
        self.partial: Tensor | None = None  # what the modulators before the last fold asked for
        self.changes = 0
        self.admitted: float | None = None  # the step length that is known to suit these neurons
        self.met = False  # whether a modulator met the latest step
        self._length = 1 if path == "plain" else _window_length(rule, like)
        if path not in ("auto", "shared"):
            self.past.require_room()

    @property
    def shared(self) -> bool:
        """Whether e is summed over the batch."""
        return self.path == "shared"

    @property
    def visible(self) -> int:
        """Recorded steps that a modulator meets now; with lag 1 the last one is yet to come."""
        return max(0, len(self.recorded) - self.rule.trace.convention.lag)

    @property
    def at_once(self) -> bool:
        """Whether the next step need not wait: on the plain path, or with a change at every step."""
        soon = self.path == "plain" or (self.met and self.changes > 1)
        return soon and not self.rule.trace.convention.lag and not len(self.recorded)

    def record(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """One step."""
        at_once, self.met = self.at_once, False
        if at_once:
            self._advance_one(pre, post, dt)
            return
        self.recorded.append(pre, post, dt)
        self._fold_if_due(1)

    def take_step(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """One step as it came, by a compiled loop or written down to wait; False, and nothing, where that is no way.

        It looks at all that there is to refuse but says nothing: whatever does not fit is left to slower ways.
        """
        like_pre, like_post = self.like
        if not (
            dt == self.admitted and type(pre) is Tensor is type(post) and like_pre.is_cpu
            and pre.is_cpu and post.is_cpu and pre.shape == like_pre.shape and post.shape == like_post.shape
        ):  # fmt: skip
            return False
        if self.recorded.blocks:
            if not self.recorded.append_bits(pre, post, dt):
                return False
            self.met = False
            if self.changes > 1 or self.path != "auto":  # else only memory counts, which grows with new blocks only
                self._fold_if_due(1)
            return True
        past, steps, kind = self.past, self.past.steps, like_pre.dtype
        if (
            steps is None or not steps.pairs or not self.met or self.changes < 2 or self.asked
            or past._e is None or past.blank or pre.requires_grad or post.requires_grad
            or pre.dtype is not kind or post.dtype is not kind or self.rule.trace.convention.lag
            or not (pre.is_contiguous() and post.is_contiguous())
            or not steps.step(past.e, past.kernel, pre, post, dt)
        ):  # fmt: skip
            return False
        past.bound, self.met = None, False
        return True

    def change_at_once(self, mod: Tensor, factor: float) -> Tensor | None:
        """factor · Σ_b mod_b · e_b, finite, by one compiled loop; None, and nothing, where that is not the way."""
        past, steps = self.past, self.past.steps
        if steps is None or past.blank or self.asked or self.visible or not self.meets(mod):
            return None
        total = steps.total(past._e, mod, factor)
        if total is not None:
            self.changes, self.met = self.changes + 1, True
        return total

    def record_bits(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """One step as it came, if it is zeros and ones and has to wait; False, and nothing, if not."""
        if self.at_once or not self.recorded.append_bits(pre, post, dt):
            return False
        self.met = False
        self._fold_if_due(1)
        return True

    def record_window(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """Many steps (T, B, ...)."""
        if self.path == "plain":
            for now_pre, now_post in zip(pre, post, strict=True):
                self.record(now_pre, now_post, dt)
            return
        self.met = False
        self.recorded.append_window(pre, post, dt)
        self._fold_if_due(len(pre))

    def update(self, pre: Tensor, post: Tensor, dt: float) -> Tensor:
        """One step, and e after it."""
        if len(self.recorded) or self.rule.trace.convention.lag or self.shared:
            self.record(pre, post, dt)
        else:
            self._advance_one(pre, post, dt)
        return self.eligibility()

    def fold(self, steps: int | None = None) -> None:
        """Everything visible into e (or the first `steps` of it)."""
        steps = self.visible if steps is None else steps
        if self.asked and steps:
            before = self.visible
            self.partial = self._waiting()
            steps -= before - self.visible  # working them out may have folded some
        done = 0
        try:
            with untracked(self.like[0]):
                for block in self.recorded.windows(steps, self._length):
                    advance(self.past, block.pre, block.post, block.dt, block.restarts)
                    done += block.used
        finally:
            self.recorded.drop(done)

    def eligibility(self) -> Tensor:
        """e (B, *shape) with everything visible in it.

        Raises:
            ValueError: on the shared path, which has no eligibility of single samples.
        """
        if self.shared:
            raise ValueError(
                "The path is 'shared', which keeps only the batch's sum; the eligibility of single samples was asked "
                "for. Use path='fold' or 'auto'."
            )
        self.fold()
        return self.past.allocated()

    def meets(self, mod: object) -> bool:
        """Whether a modulator, (B,) or (), is as it should be, but for its values."""
        like = self.like[1]
        return (
            type(mod) is torch.Tensor and mod.dtype is like.dtype and mod.device == like.device
            and mod.layout is torch.strided and mod.shape in (() if self.shared else like.shape[:1], ())
            and self.batch_size > 0
        )  # fmt: skip

    def change(self, mod: Tensor) -> Tensor:
        """Σ_b mod_b · e_b as things stand, shaped like the weight."""
        if self.changes and self.visible and not self.asked:  # a second one: e pays from now on
            self.fold()
        self.changes, self.met = self.changes + 1, True
        if self.past._e is not None and not self.visible:  # e is as the modulator meets it
            with untracked(self.like[0]):
                if self.shared:
                    return mod * self.past.allocated()
                return contracted(self.rule.geometry.per_synapse(mod), self.past.allocated())
        return self._worked_out([Ask(self.visible, mod.unsqueeze(0))])

    def modulate_window(self, pre: Tensor, post: Tensor, dt: float, mod: Tensor) -> Tensor:
        """Record a window, with a modulator (T, ...) after each of its steps: Σ_t Σ_b m_tb · e_tb."""
        if self.path == "plain":
            return self._modulate_plainly(pre, post, dt, mod)
        going_on = self.changes > 0 and not self.asked  # one window after the other: e pays
        if going_on:
            self.fold()
        self.changes += 1
        asking = Ask(len(self.recorded) + 1 - self.rule.trace.convention.lag, mod)
        self.recorded.append_window(pre, post, dt, copy=not going_on)
        total = self._worked_out([asking], fold=going_on)
        self.met = True
        self._fold_if_due(0)
        return total

    def _modulate_plainly(self, pre: Tensor, post: Tensor, dt: float, mod: Tensor) -> Tensor:
        """The same, a step and its modulator after the other."""
        total = self.like[1].new_zeros(self.rule.geometry.shape)
        for now_pre, now_post, now in zip(pre, post, mod, strict=True):
            self.record(now_pre, now_post, dt)
            total = total.add_(self.change(now))
        return total

    def queue(self, mod: Tensor) -> None:
        """A modulator that meets e as it stands, to be worked out by `flush`."""
        if len(self.asked) >= min(WAITING, max(1, HELD // max(1, mod.numel()))):
            self.fold()
        self.asked.append(Ask(self.visible, mod.unsqueeze(0)))

    def flush(self) -> Tensor:
        """Σ over everything asked since the last time, shaped like the weight."""
        total, self.partial = self._waiting(), None
        return total

    def _advance_one(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """One step at once, with nothing recorded before it."""
        if self.asked:
            self.partial = self._waiting()
        with untracked(self.like[0]):
            if self.shared and self.past.steps is None:
                advance(self.past, pre.unsqueeze(0), post.unsqueeze(0), dt)
            else:
                step_once(self.past, pre, post, dt)

    def _fold_if_due(self, new: int) -> None:
        """Fold what has waited long enough, or takes more room than the eligibility is worth.

        Where that is refused the `new` steps, which were recorded last, have not been.
        """
        if self.path != "auto" or self.changes > 1:
            due = self.visible >= self._length
        else:
            due = self.recorded.nbytes > max(BUDGET, 2 * self.batch_size * math.prod(self.rule.geometry.shape))
        if not due:
            return
        try:
            self.fold()
        except (ValueError, MemoryError):
            self.recorded.undo(min(new, len(self.recorded)))
            raise

    def _waiting(self) -> Tensor:
        asked, self.asked = self.asked, []
        total = self._worked_out(asked)
        return total if self.partial is None else total + self.partial

    def check_forget(self) -> None:
        """Refuse that samples forget alone.

        Raises:
            ValueError: on the shared path, once the samples' eligibilities are one sum; or a kernel whose state does
                not tell what belongs to a sample. Nothing was changed.
        """
        if self.shared and self.past.e is not None and self.batch_size:
            raise ValueError(
                "The path is 'shared': its samples are one sum by now, and none can be reset alone. Reset them all, or "
                "use path='auto'. Nothing was changed."
            )
        if self.batch_size:
            self._require_samples()

    def forget(self, mask: Tensor) -> None:
        """The samples in `mask` (B,) bool start anew; the others go on bit for bit; errors as `check_forget`."""
        self.check_forget()
        if not self.batch_size:
            return
        windowed = isinstance(self.rule.kernel, Windowed)  # if not, silence need not be a fresh start to it
        if self.asked:
            self.partial = self._waiting()
        with untracked(self.like[0]):
            if windowed or not len(self.recorded):
                self.recorded.map(lambda trains: silenced(trains, mask, 1))
                self.past.forget(mask)
            else:
                self.recorded.restart(mask)
                self.past.silence(mask)

    def _require_samples(self) -> None:
        """Refuse a kernel whose state does not tell what belongs to a sample."""
        kernel, state = self.rule.kernel, self.past.kernel
        if state is None and (isinstance(kernel, Windowed) or not len(self.recorded)):
            return
        self.rule.batch_axes(self.like)
        if state is None:
            (first,) = self.recorded.windows(1, 1)
            pre, post = (numbers_of(side[0], like.dtype) for side, like in zip(first[:2], self.like, strict=True))
            state = careful_step(kernel, pre, post, kernel.init(*self.like), first.dt)[1]
        require_shape(kernel, self.like, state)

    def _worked_out(self, asked: list[Ask], *, fold: bool = False) -> Tensor:
        """Σ_r Σ_b m_rb · e_rb, from the spikes where that is exact, else from e at each time.

        With `fold` all that is visible is folded, at the same time where that is exact.
        """
        if not asked:
            return self.like[1].new_zeros(self.rule.geometry.shape)
        at_once = fold and self.rule.trace.clamp_range is None
        with untracked(self.like[0]):
            total = None
            if self.path != "plain" and self.recorded.one_dt():
                window = list(self.recorded.windows(self.visible, self._length))
                total = change_from_spikes(self.past, window, asked, fold=at_once)
            if total is None:
                total = self._from_traces(asked)
            elif at_once:
                self.recorded.drop(self.visible)
            if fold:
                self.fold()
            return total

    def _from_traces(self, asked: list[Ask]) -> Tensor:
        total: Tensor | None = None
        folded = 0
        for ask in asked:
            for steps, mod in enumerate(ask.mods, start=ask.met):
                self.fold(steps - folded)
                folded = steps
                mod, e = self.rule.geometry.per_synapse(mod), self.past.allocated()
                now = mod * e if self.shared else contracted(mod, e)
                total = now if total is None else total.add_(now)
        return self.like[1].new_zeros(self.rule.geometry.shape) if total is None else total


def _window_length(rule: EligibilityRule, like: tuple[Tensor, Tensor]) -> int:
    """Steps of one contraction: enough to pay, few enough for the table of a sample to stay small."""
    entries = max(1, max(side.numel() for side in like) // max(1, len(like[1])))
    longest = LONGEST if rule.trace.linear and rule.trace.clamp_range is None else CERTAIN
    return max(FOLD, min(longest, TABLE // entries))
