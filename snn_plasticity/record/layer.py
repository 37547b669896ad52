"""What is kept of one connection while it learns: both its sides, some of its weights, and what happened when.

Nothing is computed of the eligibility here: a step only writes down what went by, and what is asked later is worked out
from that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from ..connection import Connection
from ..plasticity.bounds import PLAIN_BOUNDS, free
from .at_once import NO_STEPS, StepsAtOnce
from .chosen_weights import ChosenWeights
from .rows import SpikeRows
from .together import Told, step_of

ANCHORS = 8  # of one connection
IDLE = 8  # steps in which no faster way is tried again after two in a row that were of no use
NORM_STEPS = 32  # observed steps at least from one look at the mean |Δw| to the next
Happening = Literal["reset", "batch", "paused", "resumed", "loaded"]


class StepDetails(NamedTuple):
    """What a learner step came to, beside what its factor tells.

    Args:
        lands: whether the weight's turn had come (`update_frequency`).
        by_place: whether each place of a map heard for itself.
        given: Δw of the chosen weights as their bounds were given it, where these, or a `reduce`, look at more than one
            weight; None else.
        unreduced: likewise, before the `reduce`.
    """

    lands: bool = True
    by_place: bool = False
    given: Any = None
    unreduced: Any = None


class LearnerStep(NamedTuple):
    """One `learner.step` that a connection heard.

    Args:
        at: observed steps before it.
        order: its place among all that happened to this connection.
        number: of this step, counted over the learner since the record began.
        factor: the third factor that it met: a number, (), (B,), (B, N_post) or (B, C, *places); None of a loss.
        rate: lr · lr_scale.
        before, after: the chosen weights (K,); with one network for each sample (B, K).
        asked: Δw of these weights, as it was worked out, where it does not land in the weight at once (a gradient, a
            loss); None else.
        norm: mean |Δw| of the layer; None where that was not looked at.
        details: what else is to be known of it; None where it landed at once.
    """

    at: int
    order: int
    number: int
    factor: Any
    rate: float
    before: Any
    after: Any
    asked: Any
    norm: Any
    details: StepDetails | None = None


class LayerEvent(NamedTuple):
    """Something else that happened to a connection.

    Args:
        at: observed steps before it.
        order: its place among all that happened to this connection.
        what: "reset" of its traces, another "batch" size, "paused", "resumed", or "loaded" from a saved state.
        mask: (B,) of a reset; None: of all samples.
    """

    at: int
    order: int
    what: Happening
    mask: Tensor | None = None


class Anchor(NamedTuple):
    """Traces as they were after some observed steps, to go on from.

    Args:
        at: observed steps before it.
        state: of the traces; None: as new.
        order: its place among all that happened to this connection.
        waiting: Δw that earlier learner steps had left for the weight's next turn; None: nothing.
    """

    at: int
    state: dict[str, Any] | None
    order: int = 0
    waiting: Tensor | None = None


class Orders:
    """Numbers, one after the other, of all that happens to a learner."""

    last = 0

    def __next__(self) -> int:
        self.last += 1
        return self.last


class LayerRecorder:
    """What is kept of one connection.

    Args:
        connection: whose steps they are.
        chosen: the weights that are looked at.
        steps: how many observed steps, and learner steps, are kept.
        samples: those that are kept; None: all.
        most_bytes: memory that each side may take.
        weights: keep the whole weight at every so manieth learner step; 0: not at all.
        orders: places among all that happens to the learner.
        told: learner steps that are kept for all layers together.
    """

    def __init__(
        self, connection: Connection, chosen: ChosenWeights, steps: int, samples: Tensor | None, most_bytes: float,
        weights: int, orders: Orders, told: Collection[Told],
    ) -> None:  # fmt: skip
        self.connection, self.chosen, self.steps, self._every_weights = connection, chosen, steps, weights
        self._orders, self._told = orders, told
        rows = [SpikeRows(steps, samples, most_bytes) for _ in range(3)]
        self._pre, self._post, self._spikes = rows
        self._source: LayerRecorder | None = None  # another layer, while its spikes are the inputs
        self.begun, self.shared, self._rearmed, self._wasted = connection.activity.seen, False, 0, False
        self.fast: StepsAtOnce = NO_STEPS  # what writes steps that are like those before
        self._steps: deque[tuple[Any, ...]] = deque(maxlen=steps)  # each what a `LearnerStep` holds
        self._online = connection.config.three_factor.mode == "online"
        self.events: deque[LayerEvent] = deque(maxlen=steps)
        self.begin = connection.weight.detach().clone()
        self.whole: deque[tuple[int, Tensor]] = deque(maxlen=max(1, steps // weights) if weights else 1)
        self._count = self.norm_due = 0
        self._batch: int | None = connection.traces.batch_size
        self._before: Any = None
        self._spread: Any = None
        self._window = False
        self._unreduced: Any = None
        self.anchors: list[Anchor] = [self._anchor()]
        self._due = max(1, steps // 4)  # observed steps after which the next anchor is due

    def step(self, pre: Tensor, post: Tensor | None, *, spikes: bool) -> None:
        """One observed step; `spikes`: whether `post` is spikes."""
        self._go_slower()
        self._count = count = self._count + 1
        if not (self._source is not None and self._source.spikes.ends_with(pre, count)) and not self._own().append(pre):
            self._notice_batch(pre.shape[0])
        if post is not None:
            (self._spikes if spikes else self._post).append(post)
        self._window = False
        if count >= self._due:
            self._take_anchor()

    def window(self, pre: Tensor, post: Tensor | None, *, spikes: bool) -> None:
        """Many observed steps (T, B, …)."""
        self._go_slower()
        self._count = count = self._count + len(pre)
        if not (self._source is not None and self._source.spikes.ends_with(pre, count)):
            self._own(len(pre)).append_window(pre)
            self._notice_batch(pre.shape[1], len(pre))
        if post is not None:
            (self._spikes if spikes else self._post).append_window(post)
        self._window = True
        if count >= self._due:
            self._take_anchor()

    def share(self, other: LayerRecorder) -> None:
        """Its inputs have been, so far, the spikes of another layer: they are kept there."""
        self._source = other
        other.settle()
        other.shared = True
        other.disarm()

    def settle(self) -> None:
        """Count the steps that were written at once."""
        fast = self.fast
        if fast.taken > fast.settled:
            steps, fast.settled = fast.taken - fast.settled, fast.taken
            self._count += steps
            self._spikes.took(steps, fast.last, fast.version)
            if self._source is None:
                self._pre.took(steps, None, -1)

    def _go_slower(self) -> None:
        """What comes next is not written at once."""
        self.settle()
        if self.fast is not NO_STEPS:
            wasted = self.fast.taken == self.fast.first
            if wasted and self._wasted:
                self._rearmed = self.fast.first + IDLE
            self._wasted = wasted
            self.disarm()

    def disarm(self) -> None:
        """The next step is not written at once."""
        if self.fast is not NO_STEPS:
            self.fast.due, self.fast = 0, NO_STEPS

    def arm(self, pre: Tensor, post: Tensor, seen: int) -> None:
        """Write steps like this one, the last, at once from now on, up to where there is something else to do.

        Args:
            pre, post: what was observed in it.
            seen: the number of it.
        """
        source, running, due = self._source, self.connection.running, seen + self._due - self._count
        if (
            self._spikes.count != self._count
            or due <= seen + 1
            or seen < self._rearmed
            or running is None
            or (pre.shape, post.shape) != running._shapes
        ):
            return
        rooms = [self._spikes.room_like(post), None if source is not None else self._pre.room_like(pre)]
        if rooms[0] is None or (rooms[1] is None) != (source is not None) or pre.dtype is not post.dtype:
            self._rearmed = seen + IDLE
            return
        due = min(due, *(seen + 1 + room.steps for room in rooms if room is not None))
        self.fast = StepsAtOnce(self.connection, rooms[1], rooms[0], pre.dtype, seen, due)
        if self.shared:
            self.fast.remember(self._spikes)
        if source is not None:
            self.fast.follow(source, self.begun - source.begun)

    def let_go(self) -> None:
        """Hold nothing of the caller's."""
        self.settle()
        self.disarm()
        for rows in (self._pre, self._post, self._spikes):
            rows.let_go()

    def _own(self, new: int = 1) -> SpikeRows:
        """Where inputs are kept that are no other layer's spikes."""
        if self._source is not None:
            self._pre, self._source = self._source.spikes.copied(self._count - new), None
        return self._pre

    @property
    def count(self) -> int:
        """Observed steps since the record began."""
        self.settle()
        return self._count

    @property
    def pre(self) -> SpikeRows:
        """Its inputs."""
        self.settle()
        return self._pre if self._source is None else self._source.spikes

    @property
    def post(self) -> SpikeRows:
        """What the kernel read of its neurons, where these were no spikes."""
        return self._post

    @property
    def spikes(self) -> SpikeRows:
        """The spikes of its neurons."""
        self.settle()
        return self._spikes

    def fired(self, spikes: Tensor) -> None:
        """The spikes of the step or window that came last, where its post side was something else."""
        time_major = int(self._window)
        if self._batch == 1 and spikes.dim() and spikes.shape[time_major : time_major + 1] != (1,):
            spikes = spikes.unsqueeze(time_major)  # unbatched
        if self._window:
            self.spikes.skip_to(self.count - len(spikes), spikes[0])
            self.spikes.append_window(spikes)
        else:
            self.spikes.skip_to(self.count - 1, spikes)
            self.spikes.append(spikes)

    def happened(self, what: Happening, mask: Tensor | None = None, at: int | None = None) -> None:
        """Something else than a step."""
        order = next(self._orders)
        mask = None if mask is None else mask.detach().clone()
        self.events.append(LayerEvent(self.count if at is None else at, order, what, mask))
        if what == "reset" and mask is None:
            self._anchored(self._anchor())
        elif what == "loaded":
            self._batch = self.connection.traces.batch_size
            self._anchored(self._anchor())

    def found(self, before: np.ndarray) -> None:
        """A `learner.step` has begun that met these chosen weights."""
        self._before = before

    def before(self, *, looked: bool) -> None:
        """A `learner.step` begins."""
        self._before = self.chosen.look()
        if looked and self.count >= self.norm_due:
            self._spread = self.chosen.spread()

    def after(self, number: int, factor: Any, lr_scale: float, change: Tensor | None) -> None:
        """It has ended; `change`: what was worked out, where that is known."""
        order = next(self._orders)
        before, asked, norm = self._before, None, None
        self._before, after = None, self.chosen.look()
        if not self._online:
            asked = before * 0.0 if change is None else self.chosen.of(change)
        if self._spread is not None:
            norm, self._spread, self.norm_due = self._norm(change), None, self.count + NORM_STEPS
        three = self.connection.config.three_factor
        details = None if change is None and three.update_frequency == 1 else self._details(factor, change)
        rate = three.lr * lr_scale
        self._steps.append((self.count, order, number, factor, rate, before, after, asked, norm, details))
        if self._every_weights and number % self._every_weights == 0:
            self.whole.append((self.count, self.connection.weight.detach().clone()))

    def _norm(self, change: Tensor | None) -> Any:
        if self._online:
            return self.chosen.moved(self._spread)
        return 0.0 if change is None else change.detach().abs().mean()

    @property
    def learner_steps(self) -> list[LearnerStep]:
        """Those that are kept, oldest first."""
        together = [step for told in self._told if (step := step_of(told, self)) is not None]
        own = [*self._steps, *together] if together else self._steps
        return [LearnerStep(*one) for one in sorted(own, key=lambda one: one[1])][-self.steps :]

    def worked_out(self, change: Tensor) -> None:
        """Δw before a `reduce`."""
        self._unreduced = self.chosen.of(change).clone()

    def _details(self, factor: Any, change: Tensor | None) -> StepDetails:
        """What a step came to that did not land at once; `change` None: the weight's turn has not come."""
        connection, unreduced = self.connection, self._unreduced
        self._unreduced, bounds = None, connection.update.bounds
        plain = unreduced is None and (bounds is free or type(bounds) in PLAIN_BOUNDS)
        given = None if change is None or plain else self.chosen.of(change).clone()
        mapped = isinstance(factor, Tensor) and factor.dim() > 2 and connection.running is not None
        return StepDetails(change is not None, mapped and not connection.running.mixed, given, unreduced)  # type: ignore

    def _notice_batch(self, size: int, new: int = 1) -> None:
        """Say so where the latest steps have another batch size."""
        if self._batch is not None and size != self._batch:
            self.happened("batch", at=self.count - new)
        self._batch = size

    def _anchor(self) -> Anchor:
        traces = self.connection.traces
        state = None if traces._running is None else traces.get_extra_state()
        waiting = self.connection._pending
        return Anchor(self.count, state, self._orders.last, None if waiting is None else waiting.clone())

    def _take_anchor(self) -> None:
        """Traces as they are now, where they were not new for a while."""
        self._due = self.count + max(1, self.steps // 4)
        if self.count - self.anchors[-1].at >= self.steps // 4:
            self._anchored(self._anchor())

    def _anchored(self, anchor: Anchor) -> None:
        """A newer anchor; those before the oldest step that is kept go, but for the latest of them."""
        self.anchors = [kept for kept in self.anchors if kept.at >= self.pre.first and kept.at < anchor.at]
        if len(self.anchors) >= ANCHORS:
            del self.anchors[1::2]
        self.anchors.append(anchor)

    @property
    def first(self) -> int:
        """The oldest observed step that is kept."""
        return max(rows.first for rows in (self.pre, self.post, self.spikes) if rows.count)

    def merged(self) -> Iterator[LearnerStep | LayerEvent]:
        """All that happened within the steps that are kept, in order."""
        first = self.first if self.count else 0
        both = sorted([*self.learner_steps, *self.events], key=lambda one: one.order)
        return (one for one in both if one.at >= first)

    @property
    def nbytes(self) -> int:
        """Memory of the sides and of whole weights."""
        whole = sum(weight.nbytes for _, weight in self.whole) + self.begin.nbytes
        own = (self.post, self.spikes) if self._source is not None else (self.pre, self.post, self.spikes)
        return sum(rows.nbytes for rows in own) + whole
