"""What is kept of one connection while it learns: both its sides, some of its weights, and what happened when.

Nothing is computed of the eligibility here: a step only writes down what went by, and what is asked later is worked out
from that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._checks import PRECISE
from ..connection import Connection
from ..notices import notice
from ..plasticity.bounds import PLAIN_BOUNDS, free
from .rows import SpikeRows

SEEN_WHOLE, SEEN_OF_LARGE = 1 << 13, 1 << 11  # weights of which the mean |Δw| is that of all, and how many else
ANCHORS = 8  # of one connection
NORM_STEPS = 16  # observed steps at least from one look at the mean |Δw| to the next
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


class ChosenWeights:
    """Looks at some weights of a connection, and at how far all of them move.

    Args:
        connection: whose they are.
        indices: of the weight of the geometry.
    """

    def __init__(self, connection: Connection, indices: list[tuple[int, ...]]) -> None:
        self.connection, self.indices = connection, indices
        shape = connection.traces.rule.geometry.shape
        flat = np.ravel_multi_index(tuple(np.array(indices, np.int64).reshape(-1, len(shape)).T), shape)
        self.flat = np.asarray(flat, np.int64).reshape(-1)
        self._held: Tensor | None = None
        self._at, self._values = 0, np.empty(0)
        self._places: Tensor | None = None
        self._parameters, self._attribute, self.version = connection.module._parameters, connection.attribute, -1
        self._apart, self._shape = connection.samples is not None, connection.weight.shape
        self._stride = stride_of(connection.weight.shape)
        self.lost = False  # whether edges have come or gone, so that the chosen ones are others by now

    def look(self) -> np.ndarray | Tensor:
        """The chosen weights as they are."""
        weight = self._parameters.get(self._attribute)
        if weight is not None and weight is self._held and weight.data_ptr() == self._at:
            self.version = weight._version
            return self._values[self.flat]
        weight = self.connection.weight
        self.version = weight._version
        if weight.shape != self._shape:
            return self._missing(weight)
        if weight.is_cpu and weight.dtype in PRECISE and weight.is_contiguous():
            values = weight.detach().numpy()
            if self._apart:
                return values.reshape(len(values), -1)[:, self.flat]
            self._held, self._at, self._values = weight, weight.data_ptr(), values.reshape(-1)
            return self._values[self.flat]
        return self.of(weight)

    def untouched(self) -> bool:
        """Whether nobody has changed the weight since the last look, as its version tells."""
        weight = self._parameters.get(self._attribute)
        return weight is not None and weight is self._held and weight._version == self.version

    def _missing(self, weight: Tensor) -> Tensor:
        """NaN, where the edges are others than those that were chosen from."""
        if not self.lost:
            self.lost = True
            notice(
                f"{self.connection.name}: its edges have changed while it is recorded, and the synapses that were "
                "chosen are others now: their weights and eligibilities are not known from here on. Begin a new record "
                "after edges have changed.",
                stacklevel=6,
            )
        return weight.new_full((len(self.indices),), torch.nan)

    def of(self, values: Tensor) -> Tensor:
        """The chosen entries of what is shaped like the weight, wherever it is."""
        if self.lost:
            return self._missing(values.detach())
        if self._places is None or self._places.device != values.device:
            self._places = torch.from_numpy(self.flat).to(values.device)
        return values.detach().flatten(int(self._apart))[..., self._places]

    def spread(self) -> Any:
        """All weights, or of a large layer some that are spread over it: a copy, to be compared later."""
        values = self._spread()
        return values.copy() if isinstance(values, np.ndarray) else values.clone()

    def moved(self, before: Any) -> Any:
        """Mean |Δw| since then."""
        values = self._spread()
        if type(values) is not type(before) or values.shape != before.shape:
            return torch.nan
        if isinstance(before, np.ndarray):
            np.subtract(values, before, out=before)
            np.absolute(before, out=before)
            return np.add.reduce(before) / max(1, before.size)
        return (values - before).abs().mean()

    def _spread(self) -> Any:
        held = self._held
        if held is not None and self._parameters.get(self._attribute) is held and held.data_ptr() == self._at:
            return self._values[:: self._stride]
        weight = self.connection.weight.detach()
        flat = weight.reshape(-1)[:: stride_of(weight.shape)]
        return flat.numpy() if flat.is_cpu and flat.dtype in PRECISE else flat


def stride_of(shape: torch.Size) -> int:
    """Every how manieth weight is looked at: all of a small layer, else some 2,000 that meet every row and column."""
    size = shape.numel()
    if size <= SEEN_WHOLE:
        return 1
    stride = size // SEEN_OF_LARGE
    while np.gcd(stride, size // shape[0]) > 1:
        stride += 1
    return stride


class LayerRecorder:
    """What is kept of one connection.

    Args:
        connection: whose steps they are.
        chosen: the weights that are looked at.
        steps: how many observed steps, and learner steps, are kept.
        samples: those that are kept; None: all.
        most_bytes: memory that each side may take.
        weights: keep the whole weight at every so manieth learner step; 0: not at all.
    """

    def __init__(
        self, connection: Connection, chosen: ChosenWeights, steps: int, samples: Tensor | None, most_bytes: float,
        weights: int = 0,
    ) -> None:  # fmt: skip
        self.connection, self.chosen, self.steps, self._every_weights = connection, chosen, steps, weights
        rows = [SpikeRows(steps, samples, most_bytes) for _ in range(3)]
        self.pre, self.post, self.spikes = rows
        self._source: SpikeRows | None = None  # the spikes of another layer, while these are its inputs
        self._steps: deque[tuple[Any, ...]] = deque(maxlen=steps)  # each what a `LearnerStep` holds
        self._online = connection.config.three_factor.mode == "online"
        self.events: deque[LayerEvent] = deque(maxlen=steps)
        self.begin = connection.weight.detach().clone()
        self.whole: deque[tuple[int, Tensor]] = deque(maxlen=max(1, steps // weights) if weights else 1)
        self.count = self._order = self._norm_due = 0
        self._batch: int | None = connection.traces.batch_size
        self._before: Any = None
        self._spread: Any = None
        self._window = False
        self._unreduced: Any = None
        self.anchors: list[Anchor] = [self._anchor()]
        self._due = max(1, steps // 4)  # observed steps after which the next anchor is due

    def step(self, pre: Tensor, post: Tensor | None, *, spikes: bool) -> None:
        """One observed step; `spikes`: whether `post` is spikes."""
        self.count = count = self.count + 1
        if not (self._source is not None and self._source.ends_with(pre, count)) and not self._own().append(pre):
            self._notice_batch(pre.shape[0])
        if post is not None:
            (self.spikes if spikes else self.post).append(post)
        self._window = False
        if count >= self._due:
            self._take_anchor()

    def window(self, pre: Tensor, post: Tensor | None, *, spikes: bool) -> None:
        """Many observed steps (T, B, …)."""
        self.count = count = self.count + len(pre)
        if not (self._source is not None and self._source.ends_with(pre, count)):
            self._own(len(pre)).append_window(pre)
            self._notice_batch(pre.shape[1], len(pre))
        if post is not None:
            (self.spikes if spikes else self.post).append_window(post)
        self._window = True
        if count >= self._due:
            self._take_anchor()

    def share(self, rows: SpikeRows) -> None:
        """Its inputs have been, so far, what another layer gave: they are kept there."""
        self._source = self.pre = rows

    def _own(self, new: int = 1) -> SpikeRows:
        """Where inputs are kept that are no other layer's spikes."""
        if self._source is not None:
            self.pre, self._source = self._source.copied(self.count - new), None
        return self.pre

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
        self._order += 1
        mask = None if mask is None else mask.detach().clone()
        self.events.append(LayerEvent(self.count if at is None else at, self._order, what, mask))
        if what == "reset" and mask is None:
            self._anchored(self._anchor())
        elif what == "loaded":
            self._batch = self.connection.traces.batch_size
            self._anchored(self._anchor())

    def before(self, *, looked: bool) -> None:
        """A `learner.step` begins."""
        if not self.chosen.untouched():
            self._before = self.chosen.look()
        if looked and self.count >= self._norm_due:
            self._spread = self.chosen.spread()

    def after(self, number: int, factor: Any, lr_scale: float, change: Tensor | None) -> None:
        """It has ended; `change`: what was worked out, where that is known."""
        self._order = order = self._order + 1
        before, asked, norm = self._before, None, None
        self._before = after = self.chosen.look()
        if not self._online:
            asked = before * 0.0 if change is None else self.chosen.of(change)
        if self._spread is not None:
            norm, self._spread, self._norm_due = self._norm(change), None, self.count + NORM_STEPS
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
        return [LearnerStep(*one) for one in self._steps]

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
        return Anchor(self.count, state, self._order, None if waiting is None else waiting.clone())

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
