"""The eligibility that a recorded connection had, worked out again from the spikes that were kept.

Traces begin where they are known: as new after a reset, or at an anchor, a state that was put aside now and then.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .._loss_changes import reads_gradient
from ..plasticity.eligibility import EligibilityTraceModule
from ..plasticity.leaky_readout import settings_of_traces
from .layer import Anchor, LayerEvent, LayerRecorder
from .rows import SpikeRows


class KeptSides:
    """Both sides of the steps that are kept, as the kernel read them.

    Args:
        layer: whose they are.
    """

    def __init__(self, layer: LayerRecorder) -> None:
        of_spikes = layer.connection.post_side in ("spikes", "gradient")
        self.pre_rows, self.post_rows = layer.pre, layer.spikes if of_spikes else layer.post
        self.first, (self.pre, self.post), self.samples = aligned([self.pre_rows, self.post_rows])

    def window(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Steps that are kept, (T, B, …) each, of one batch size."""
        part = slice(start - self.first, stop - self.first)
        batch = int(self.samples[part][0])
        assert self.pre is not None and self.post is not None
        return self.pre[part, :batch], self.post[part, :batch]


def aligned(rows: Sequence[SpikeRows]) -> tuple[int, list[Tensor | None], Tensor]:
    """The first step that all of these keep, what they hold from there on, and how many samples each step had."""
    read = [one.read() for one in rows]
    there = [(first, held, samples) for first, held, samples in read if held is not None]
    if not there:
        return 0, [None for _ in rows], torch.zeros(0, dtype=torch.long, device="cpu")
    first = max(first for first, _, _ in there)
    held = [None if values is None else values[first - start :] for start, values, _ in read]
    start, _, samples = there[0]
    return first, held, samples[first - start :]


def require_eligibility(layer: LayerRecorder) -> None:
    """Refuse a connection that has no eligibility that could be followed.

    Raises:
        ValueError: it learns from a loss, or its edges have changed.
    """
    connection = layer.connection
    if reads_gradient(connection):
        raise ValueError(
            f"{connection.name} learns from the gradient of a loss, and has no eligibility to look at; expected a "
            f"layer that learns from a modulator. What its weights did is in record.changes({connection.name!r})."
        )
    if layer.chosen.lost:
        raise ValueError(
            f"The edges of {connection.name} have changed since the record began, and its synapses are others now; "
            "expected edges that stay. Begin a new record after they changed."
        )


def known_from(layer: LayerRecorder) -> int:
    """The first observed step before which the traces are known."""
    return _start(layer).at


def _start(layer: LayerRecorder) -> Anchor:
    """The oldest state that can be gone on from with the spikes that are kept."""
    first = layer.first if layer.count else 0
    whole = layer.pre.samples is None
    usable = [one for one in layer.anchors if one.at >= first and (whole or one.state is None)]
    return usable[0] if usable else Anchor(layer.count, None)


def traces_of(layer: LayerRecorder, anchor: Anchor) -> EligibilityTraceModule:
    """Traces like those of the connection, as they were at an anchor."""
    connection = layer.connection
    known = connection.traces
    settings = settings_of_traces(connection.config)
    traces = EligibilityTraceModule(1, 1, settings, geometry=known.rule.geometry, path=known.path)
    traces.by_place = known.by_place
    if anchor.state is not None:
        traces.set_extra_state(anchor.state)
    return traces


def eligibility_at(layer: LayerRecorder, points: Sequence[tuple[int, int]]) -> Iterator[Tensor | None]:
    """e of the chosen synapses (B, K) at points (observed steps before it, order); None where it is not known.

    Args:
        layer: what was kept.
        points: in the order in which they came.
    """
    require_eligibility(layer)
    anchor = _start(layer)
    sides, traces, now = KeptSides(layer), traces_of(layer, anchor), anchor.at
    resets = [one for one in layer.merged() if isinstance(one, LayerEvent) and one.what == "reset"]
    resets = [one for one in resets if one.at >= now]
    for at, order in points:
        if at < now or at < anchor.at or sides.pre is None or sides.post is None:
            yield None
            continue
        while resets and resets[0].order < order:
            reset = resets.pop(0)
            now = _go_on(traces, sides, now, reset.at)
            _reset(traces, layer, reset.mask)
        now = _go_on(traces, sides, now, at)
        yield _chosen(traces, layer)


def points_after(layer: LayerRecorder, counts: Sequence[int]) -> list[tuple[int, int]]:
    """The moments just after so many observed steps, before anything else that happened there."""
    happened = sorted((one.at, one.order) for one in layer.merged())
    points: list[tuple[int, int]] = []
    for at in counts:
        place = bisect_left(happened, (at, -1))
        points.append((at, happened[place][1] if place < len(happened) else sys.maxsize))
    return points


def _reset(traces: EligibilityTraceModule, layer: LayerRecorder, mask: Tensor | None) -> None:
    if mask is None:
        traces.reset()
    elif traces.batch_size is not None:
        kept = layer.pre.samples
        mask = mask if kept is None else mask[kept[kept < len(mask)].to(mask.device)]
        traces.reset(mask=mask)


def _go_on(traces: EligibilityTraceModule, sides: KeptSides, now: int, until: int) -> int:
    """Observe the steps in between."""
    while now < until:
        samples = sides.samples[now - sides.first : until - sides.first]
        alike = int((samples == samples[0]).long().cumprod(0).sum())
        pre, post = sides.window(now, now + alike)
        kind = torch.promote_types(pre.dtype, post.dtype)
        kind = kind if kind in (torch.float32, torch.float64) else torch.float32
        if traces.device is not None:
            pre, post = pre.to(traces.device), post.to(traces.device)
        traces.observe_window(pre.to(kind), post.to(kind))
        now += alike
    return now


def _chosen(traces: EligibilityTraceModule, layer: LayerRecorder) -> Tensor | None:
    """e of the chosen synapses, (B, K); (1, K), the sum over the batch, on the path "shared"."""
    running = traces._running
    if running is None:
        return None
    if running.shared:
        running.fold()
        e = running.state.allocated().unsqueeze(0)
    else:
        e = running.eligibility()
    return e.flatten(1)[:, torch.from_numpy(layer.chosen.flat).to(e.device)].cpu()
