"""The running traces of one batch: eligibility so far, kernel state, and the spikes that wait to be worked into them.

    plain    every step at once, in place; windows and their modulators too, one step after the other
    fold     spikes wait; many steps are folded into e by one contraction
    auto     as fold, but no e is built before it is needed: a weight change comes straight from the spikes
    shared   only Σ_b e_b is kept, for modulators that the whole batch shares
    rows     spikes wait; many steps of a trace that is not linear: row by row
    torch    as auto (or rows), without compiled loops
    compiled as auto (or rows), refused where no compiled loop could take these steps

All give the same e and the same changes. Within a path, what happened last decides the strategy of the next steps:

    lazy       nothing is built before it is asked for (auto, before the first modulator)
    folded     spikes wait, and go into e many at a time
    stepwise   a modulator met the step after the one before: each step goes into e at once
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..._checks import has_finite_sum, require_finite
from ..._untracked import untracked
from ...kernels.kernel_state import careful_step, require_shape
from ...kernels.terms import Windowed
from ..rule import EligibilityRule
from ..three_factor import contracted
from .spikes import PendingSpikes, SpikeBlock
from .state import TraceState, require_compiled, silenced
from .stepping import QueuedModulators, change_from_spikes, met_by, step_once, update_state

PATHS = ("auto", "plain", "fold", "shared", "rows", "compiled", "torch")
Strategy = Literal["lazy", "folded", "stepwise"]
FEW_STEPS = 8  # up to so many, e is worked out step by step where it is needed after them
MIN_WINDOW, MAX_WINDOW = 64, 1024  # steps of a contraction: as many as leave the table of a sample small, within these
MAX_CLAMPED_WINDOW = 256  # where a clamp has to be shown not to bind, or traces are not linear
SAMPLE_ENTRIES = 1 << 19  # of the table of a sample
MAX_QUEUED, MAX_QUEUED_ENTRIES = 1 << 10, 1 << 24  # modulators that may wait, and their entries


class RunningTraces:
    """Traces of one batch, on one of the paths.

    Args:
        rule: kernel, geometry and trace.
        like: zeros shaped like one step's pre and post.
        path: one of `PATHS`.
        by_place: whether each place of a map will hear for itself.
    """

    def __init__(
        self, rule: EligibilityRule, like: tuple[Tensor, Tensor], path: str, *, by_place: bool = False
    ) -> None:
        if path == "compiled":
            require_compiled(rule, like)
        compilable = path not in ("plain", "torch")
        path = ("auto" if rule.trace.linear else "rows") if path in ("compiled", "torch") else path
        path = "plain" if getattr(rule.kernel, "per_synapse", False) else path
        self.rule, self.like, self.path = rule, like, path
        self._shapes = like[0].shape, like[1].shape
        self.shared = path == "shared"  # whether e is summed over the batch
        self.batch_size = like[1].shape[0]
        self.state = TraceState(rule, like, self.shared, fast=compilable)
        self.state.by_place = by_place
        single = like[0].is_cpu and self.state.each == 1
        half = 2 * self.batch_size * math.prod(rule.geometry.shape)
        self.pending = PendingSpikes(half, single=single, fast=compilable)
        self.queued: list[QueuedModulators] = []
        self.partial: Tensor | None = None  # what queued modulators came to that met e before the last fold
        self.strategy: Strategy = {"auto": "lazy", "plain": "stepwise"}.get(path, "folded")  # type: ignore[assignment]
        self.unmet = 0  # steps since the last one that met a modulator
        self.admitted: float | None = None  # the step length that is known to suit these neurons
        self._length = 1 if path == "plain" else _window_length(rule, like)
        if path not in ("auto", "shared"):
            self.state.empty()

    @property
    def visible(self) -> int:
        """Pending steps that a modulator meets now; with lag 1 the last one is yet to come."""
        return max(0, self.pending.steps - self.rule.trace.convention.lag)

    @property
    def at_once(self) -> bool:
        """Whether the next step goes into e at once."""
        due = self.strategy == "stepwise" and (not self.unmet or self.path == "plain")
        return due and not self.rule.trace.convention.lag and not len(self.pending)

    @property
    def mixed(self) -> bool:
        """Whether a modulator of each place met an e that only tells channels apart."""
        state = self.state
        return state.by_place and state.places is None and not state.begins

    def meet(self) -> None:
        """Decide the strategy: a modulator meets e."""
        if self.path != "plain" and self.unmet:
            self.strategy = "stepwise" if self.unmet == 1 else "folded"
        self.unmet = 0

    def _unmet(self, steps: int) -> None:
        """Decide the strategy: steps that no modulator has met yet."""
        self.unmet += steps
        if self.path != "plain" and self.strategy == "stepwise" and self.unmet > 1:
            self.strategy = "folded"

    def record(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """One step."""
        if self.at_once:
            self._step(pre, post, dt)
            self._unmet(1)
        else:
            self._append(pre.unsqueeze(0), post.unsqueeze(0), dt)

    def record_window(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """Many steps (T, B, ...)."""
        if self.path == "plain":
            for now_pre, now_post in zip(pre, post, strict=True):
                self.record(now_pre, now_post, dt)
        else:
            self._append(pre, post, dt)

    def take_step(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """One step as it came, by a compiled loop or written down to wait; False, and nothing, where that is no way.

        It looks at all that there is to refuse but says nothing: whatever does not fit is left to slower ways.
        """
        if not (
            dt == self.admitted and type(pre) is Tensor is type(post) and (pre.shape, post.shape) == self._shapes
            and pre.is_cpu and post.is_cpu and self.like[0].is_cpu and pre.layout is post.layout is torch.strided
        ):  # fmt: skip
            return False
        if self.pending.blocks:
            if not self.pending.append_step(pre, post, dt):
                return False
            if self.strategy == "lazy":  # only memory counts, which is looked at when a block is full
                self.unmet += 1
            else:
                self._appended(1, dt)
            return True
        state, steps = self.state, self.state.steps
        if (
            steps is None or not steps.pairs or self.strategy != "stepwise" or self.unmet or self.queued or steps.due
            or not pre.dtype is post.dtype is self.like[0].dtype or self.rule.trace.convention.lag
            or not (pre.is_contiguous() and post.is_contiguous())
            or not steps.step(state._e, state.kernel, pre, post, dt)
        ):  # fmt: skip
            return False
        state.bound, self.unmet = None, 1
        return True

    def _step_lagging(self, dt: float) -> bool:
        """With lag 1 and a modulator at every step: the step before the last, compiled; False, and nothing, if not."""
        state, steps, pending = self.state, self.state.steps, self.pending
        if (
            steps is None or not steps.pairs or self.queued or state._e is None
            or len(pending) != 2 or len(pending.blocks) > 1 or not self.visible
        ):  # fmt: skip
            return False
        if state.kernel is None:  # e may be there, all zeros, before the first step is worked in
            state.kernel = self.rule.kernel.init(*self.like)
        block = pending.blocks[0]
        pre, post = (side.contiguous() for side in block.first(self.like))
        if block.dt != dt or block.restarts or not steps.step(state.allocated(), state.kernel, pre, post, dt):
            return False
        pending.drop_first()
        state.bound = None
        return True

    def change_at_once(self, mod: float | Tensor, factor: float, *, finite: bool = True) -> Tensor | None:
        """factor · Σ_b mod_b · e_b, known to be finite unless that is not asked for; None where that is not the way.

        That a modulator has met the latest step is said by `meet`, once the change is sure to land.
        """
        state, like = self.state, self.like[1]
        if state.edge_steps is not None:
            return state.edge_steps.total(self, mod, factor)
        if self.queued or not (self.batch_size and like.is_cpu) or not (type(mod) is float or self.meets(mod)):
            return None
        steps = state.steps  # the same way whether what waits is folded now, or was by a step that was left undone
        if steps is not None and not self._waiting() and (total := steps.total(state._e, mod, factor)) is not None:
            return total
        given = like.new_full((), mod) if type(mod) is float else require_finite("modulator", mod.detach())  # type: ignore[union-attr]
        total = self.change(given if factor == 1.0 else given * factor)
        return total if not finite or has_finite_sum(total) else None

    def update(self, pre: Tensor, post: Tensor, dt: float) -> Tensor:
        """One step, and e after it."""
        if len(self.pending) or self.rule.trace.convention.lag or self.shared:
            self.record(pre, post, dt)
        else:
            self._step(pre, post, dt)
            self._unmet(1)
        return self.eligibility()

    def fold(self, steps: int | None = None) -> None:
        """Everything visible into e (or the first `steps` of it)."""
        steps = self.visible if steps is None else steps
        if self.queued and steps:
            before = self.visible
            self.partial = self._flushed()
            steps = max(0, steps - (before - self.visible))  # working them out may have folded some
        done = 0
        try:
            with untracked(self.like[0]):
                for block in self.pending.windows(steps, self._length):
                    update_state(self.state, block)
                    done += block.steps
        finally:
            self.pending.drop(done)

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
        return self.state.allocated()

    def meets(self, mod: object) -> bool:
        """Whether a modulator, (B,) or (), is as it should be, but for its values."""
        like = self.like[1]
        return (
            type(mod) is torch.Tensor and mod.dtype is like.dtype and mod.device == like.device
            and mod.layout is torch.strided and mod.shape in (() if self.shared else like.shape[:1], ())
            and self.batch_size > 0
        )  # fmt: skip

    def _waiting(self) -> int:
        """How many visible steps wait: none where e will be needed again, into which they are folded then."""
        if self.visible and not self.queued and (self.strategy != "lazy" or self.unmet <= 1):
            self.fold()
        return self.visible

    def change(self, mod: Tensor) -> Tensor:
        """Σ_b mod_b · e_b as things stand, shaped like the weight; that they have met is said by `meet`."""
        self.state.by_place |= mod.dim() > 2
        waiting = self._waiting()
        if waiting or self.state._e is None:
            return self._worked_out([QueuedModulators(waiting, mod.unsqueeze(0))])
        with untracked(self.like[0]):
            if mod.dim() > 2 or self.shared:
                return met_by(self.state, mod)
            return contracted(self.rule.geometry.per_synapse(mod), self.state.allocated())

    def modulate_window(self, pre: Tensor, post: Tensor, dt: float, mod: Tensor) -> Tensor:
        """Append a window, with a modulator (T, ...) after each of its steps: Σ_t Σ_b m_tb · e_tb."""
        self.state.by_place |= mod.dim() > 3
        if self.path == "plain":
            return self._modulate_plainly(pre, post, dt, mod)
        going_on = self.strategy != "lazy" and not self.queued  # one window after the other: e pays
        if going_on:
            self.fold()
        one = QueuedModulators(len(self.pending) + 1 - self.rule.trace.convention.lag, mod)
        self.pending.append(pre, post, dt, copy=not going_on)
        total = self._worked_out([one], update=going_on)
        self.strategy, self.unmet = "folded", 0
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
        if len(self.queued) >= min(MAX_QUEUED, max(1, MAX_QUEUED_ENTRIES // max(1, mod.numel()))):
            self.fold()
        self.state.by_place |= mod.dim() > 2
        self.queued.append(QueuedModulators(self.visible, mod.unsqueeze(0)))

    def flush(self) -> Tensor:
        """Σ over all modulators that were queued since the last time, shaped like the weight."""
        going_on = self.strategy != "lazy"  # not for the first time: what is worked out goes into e
        total, self.partial = self._flushed(update=going_on), None
        self.strategy = self.strategy if going_on else "folded"
        return total

    def _step(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """One step at once, with nothing pending before it."""
        if self.queued:
            self.partial = self._flushed()
        with untracked(self.like[0]):
            if self.shared and self.state.steps is None:
                update_state(self.state, SpikeBlock(pre.unsqueeze(0), post.unsqueeze(0), dt, 1))
            else:
                step_once(self.state, pre, post, dt)

    def _append(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """Steps (T, B, ...) that wait."""
        self.pending.append(pre, post, dt)
        self._appended(len(pre), dt)

    def _appended(self, steps: int, dt: float) -> None:
        """What follows of steps that have just been written down to wait."""
        if steps == 1 and self.strategy == "stepwise" and not self.unmet and self._step_lagging(dt):
            self.unmet = 1
        else:
            self._fold_if_due(steps)
            self._unmet(steps)

    def _fold_if_due(self, new: int) -> None:
        """Fold what has waited long enough, or takes more room than the eligibility is worth.

        Where that is refused the `new` steps, which were appended last, have not been.
        """
        steps = self.visible
        if self.strategy == "lazy" or steps < self._length:
            steps = min(steps, self.pending.too_many(new, 2 * self.state.each if self.state.by_place else 1))
        if not steps:
            return
        try:
            self.fold(steps)
        except (ValueError, MemoryError):
            self.pending.drop_last(min(new, len(self.pending)))
            raise

    def _flushed(self, *, update: bool = False) -> Tensor:
        queued, self.queued = self.queued, []
        total = self._worked_out(queued, update=update)
        return total if self.partial is None else total + self.partial

    def _worked_out(self, queued: list[QueuedModulators], *, update: bool = False) -> Tensor:
        """Σ_r Σ_b m_rb · e_rb, from the spikes where that is exact, else from e at each time.

        With `update` all that is visible is folded, at the same time where that is exact.
        """
        if not queued:
            return self.like[1].new_zeros(self.rule.geometry.shape)
        at_once = update and self.rule.trace.clamp_range is None and not self.state.by_place
        with untracked(self.like[0]):
            total = None
            if self.path != "plain" and self.pending.one_dt() and not (update and self.visible <= FEW_STEPS):
                blocks = list(self.pending.windows(self.visible, self._length))
                total = change_from_spikes(self.state, blocks, queued, update=at_once)
            if total is None:
                total = self._from_e(queued)
            elif at_once:
                self.pending.drop(self.visible)
            if update:
                self.fold()
            return total

    def _from_e(self, queued: list[QueuedModulators]) -> Tensor:
        """The same, from e at each time."""
        total, folded = self.like[1].new_zeros(self.rule.geometry.shape), 0
        for one in queued:
            for steps, mod in enumerate(one.mods, start=one.met):
                self.fold(steps - folded)
                folded = steps
                total = total.add_(met_by(self.state, mod))
        return total

    def check_forget(self) -> None:
        """Refuse that samples forget alone.

        Raises:
            ValueError: on the shared path, once the samples' eligibilities are one sum; or a kernel whose state does
                not tell what belongs to a sample. Nothing was changed.
        """
        if self.shared and self.state.e is not None and self.batch_size:
            raise ValueError(
                "The path is 'shared': its samples are one sum by now, and none can be reset alone. Reset them all, or "
                "use path='auto'. Nothing was changed."
            )
        kernel, state = self.rule.kernel, self.state.kernel
        if not self.batch_size or (state is None and (isinstance(kernel, Windowed) or not len(self.pending))):
            return
        self.rule.batch_axes(self.like)
        if state is None:
            block = next(self.pending.windows(1, 1))
            pre, post = block.first(self.like)
            state = careful_step(kernel, pre, post, kernel.init(*self.like), block.dt)[1]
        require_shape(kernel, self.like, state)

    def forget(self, mask: Tensor) -> None:
        """The samples in `mask` (B,) bool start anew; the others go on bit for bit; errors as `check_forget`."""
        self.check_forget()
        if not self.batch_size:
            return
        if self.queued:
            self.partial = self._flushed()
        with untracked(self.like[0]):
            if isinstance(self.rule.kernel, Windowed) or not len(self.pending):
                self.pending.map(lambda trains: silenced(trains, mask, 1))
                self.state.forget(mask)
            else:  # silence need not be a fresh start to such a kernel
                self.pending.restart(mask)
                self.state.silence(mask)


def _window_length(rule: EligibilityRule, like: tuple[Tensor, Tensor]) -> int:
    """Steps of one contraction: enough to pay, few enough for the table of a sample to stay small."""
    entries = max(1, max(side.numel() for side in like) // max(1, len(like[1])))
    longest = MAX_WINDOW if rule.trace.linear and rule.trace.clamp_range is None else MAX_CLAMPED_WINDOW
    return max(MIN_WINDOW, min(longest, SAMPLE_ENTRIES // entries))
