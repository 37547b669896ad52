"""What a record kept of one synapse, as its history; what it did not keep is said in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from .._checks import known_as
from ..plasticity._engine.engine import RunningTraces
from ..record.layer import Anchor, LayerEvent, LayerRecorder, LearnerStep, StepDetails
from ..record.recorder import Recorder
from ..record.replay import KeptSides, require_eligibility, traces_of
from .synapse_history import Begun, Forgetting, SynapseHistory, Update

Happened = LearnerStep | LayerEvent
WeightIndex = tuple[int, ...]


def recorded_history(
    recorder: Recorder | None, name: object, index: Sequence[object], since: int | None, until: int | None
) -> SynapseHistory:
    """The history of a synapse, as far back as its interval needs.

    Args:
        recorder: what was told of every step; None: nothing is recorded.
        name, index: of the connection and of the weight.
        since, until: the interval, in observed steps of the connection since the record began.

    Raises:
        ValueError, TypeError: what was not kept, what cannot be explained, and how it could be.
    """
    layer = _layer(recorder, name)
    found = _index(layer, index)
    _require_explicable(recorder, layer)
    return _read(layer, found, since, until)


def _layer(recorder: Recorder | None, name: object) -> LayerRecorder:
    if recorder is None:
        raise ValueError(
            "Nothing is recorded now; call record = learner.record(synapses={'fc2': [(post, pre)]}) before learning. "
            "For a record that was stopped: snn_plasticity.explain.explain(record, 'fc2', post, pre)."
        )
    known = recorder.recorded
    if not isinstance(name, str) or name not in known:
        shown = f"{name!r}" if isinstance(name, str) else known_as(name)
        raise ValueError(
            f"layer is {shown}; expected one that is recorded: {', '.join(map(repr, known)) or 'none yet'}. To record "
            "others, name them in learner.record(layers=[...])."
        )
    return known[name]


def _index(layer: LayerRecorder, index: Sequence[object]) -> WeightIndex:
    """The index of the weight, with that of the network before it where each sample has its own."""
    connection = layer.connection
    shape = tuple(connection.weight.shape)
    order = "post, pre" if len(shape) == 2 and connection.samples is None else ", ".join("0" * len(shape))
    given = tuple(int(k) if _whole(k) else k for k in index)  # type: ignore[call-overload]
    if len(given) != len(shape) or not all(type(k) is int and 0 <= k < n for k, n in zip(given, shape, strict=True)):
        raise ValueError(
            f"the synapse is {given!r}; expected {len(shape)} whole numbers within the weight {shape} of the layer, as "
            f"explain({connection.name!r}, {order})."
        )
    found: WeightIndex = given  # type: ignore[assignment]
    own = found if connection.samples is None else found[1:]
    if own not in layer.chosen.indices:
        kept = ", ".join(map(str, layer.chosen.indices[:8])) + (", …" if len(layer.chosen.indices) > 8 else "")
        raise ValueError(
            f"{connection.name}{list(own)} is not one of the synapses that the record keeps: {kept}. Ask for one of "
            f"these, or begin a record of it: learner.record(synapses={{{connection.name!r}: [{own}]}})."
        )
    return found


def _whole(value: Any) -> bool:
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    return whole and not (isinstance(value, Tensor) and value.dim())


def _require_explicable(recorder: Recorder | None, layer: LayerRecorder) -> None:
    """Refuse connections whose changes are no sum of spike pairs that a modulator met."""
    connection = layer.connection
    require_eligibility(layer)
    mode = connection.config.three_factor.mode
    if mode != "online":
        raise ValueError(
            f"{connection.name} is in mode {mode!r}, in which something else than learner.step changes the weight; "
            f"expected mode 'online'. What the learner asked for is in record.changes({connection.name!r})."
        )
    if layer.pre.samples is not None:
        raise ValueError(
            f"the record keeps samples {layer.pre.samples.tolist()} only, but every sample of a batch changes the "
            "weight; expected a record of all: learner.record(samples=None)."
        )
    assert recorder is not None
    sharing = [other.connection for other in recorder.recorded.values() if other is not layer]
    others = [other.name for other in sharing if other.weight is connection.weight]
    if others:
        raise ValueError(
            f"{connection.name} shares its weight with {', '.join(others)}, which changes it too; expected a weight of "
            "its own."
        )


def _read(layer: LayerRecorder, index: WeightIndex, since: int | None, until: int | None) -> SynapseHistory:
    connection = layer.connection
    if not layer.count:
        raise ValueError(
            f"{connection.name} has observed nothing since the record began; run the model and call learner.step first."
        )
    happened = list(layer.merged())
    updates = [one for one in happened if isinstance(one, LearnerStep) and one.factor is not None]
    low, high = -1 if since is None else since, layer.count if until is None else until
    inside = [one for one in updates if low < one.at <= high]
    begin = _beginning(layer, happened, inside)
    start = begin.at
    happened = [one for one in happened if one.at >= start and (one.order >= begin.order or one.at > start)]
    sides = KeptSides(layer)
    assert sides.pre is not None and sides.post is not None
    pre, post = (side[start - sides.first :] for side in (sides.pre, sides.post))
    forgotten, told = [], []
    for one in happened:
        if isinstance(one, LayerEvent) and one.what in ("reset", "batch"):
            mask = None if one.mask is None else tuple(one.mask.nonzero().flatten().tolist())
            forgotten.append(Forgetting(one.at - start, len(told), mask))
        elif isinstance(one, LearnerStep) and one.factor is not None:
            told.append(_update(layer, one, index, start, _batch(sides, one.at)))
    begun, pending, last = _begun(layer, begin, index)
    if last is not None:  # a step that comes to e only after the beginning
        sides_then = zip(last[:2], (pre, post), strict=True)
        pre, post = (torch.cat((step.to(side.dtype), side)) for step, side in sides_then)
        start -= 1
        since_then = [one._replace(step=one.step + 1) for one in forgotten]
        forgotten = [*(Forgetting(1, 0, tuple(mask.nonzero().flatten().tolist())) for mask in last[2]), *since_then]
        told = [one._replace(step=one.step + 1) for one in told]
    return SynapseHistory(
        connection.name, index, connection.traces.rule, connection.config.three_factor,
        connection.config.eligibility.dt, pre, post, forgotten, told, pending,
        None if connection.mask is None else float(connection.mask[index]), start, begun,
        torch.finfo(connection.weight.dtype).eps,
    )  # fmt: skip


def _beginning(layer: LayerRecorder, happened: list[Happened], inside: list[LearnerStep]) -> Anchor:
    """The latest time before an interval at which traces were new; else the oldest at which they are known.

    Raises:
        ValueError: there is none.
    """
    first = inside[0] if inside else None
    name, oldest = layer.connection.name, layer.first if layer.count else 0
    kept = [one for one in layer.anchors if one.at >= oldest and (first is None or one.order < first.order)]
    loads = [one.order for one in happened if isinstance(one, LayerEvent) and one.what == "loaded"]
    kept = [one for one in kept if not any(one.order < order for order in loads if first and order < first.order)]
    if first and any(first.order < order < inside[-1].order for order in loads):
        raise ValueError(
            f"A saved state was loaded within the interval, so that {name} went on from other traces; expected an "
            "interval before or after that: since=, until=."
        )
    new = [one for one in kept if one.state is None and one.waiting is None]
    if not kept:
        raise ValueError(
            f"The traces of {name} go back to spikes that are no longer kept: the record has steps {oldest} to "
            f"{layer.count}; expected a longer one, learner.record(steps={2 * layer.count}), or a later since=."
        )
    return new[-1] if new else kept[0]


def _batch(sides: KeptSides, at: int) -> int:
    """Samples of the batch that an update met."""
    seen = sides.samples[: at - sides.first]
    return int(seen[-1]) if len(seen) else int(sides.samples[0]) if len(sides.samples) else 1


def _update(layer: LayerRecorder, one: LearnerStep, index: WeightIndex, start: int, batch: int) -> Update:
    connection = layer.connection
    own = index if connection.samples is None else index[1:]
    at = (layer.chosen.indices.index(own),)
    at = at if connection.samples is None else (index[0], *at)
    factor = connection.noted.at_places(one.factor) if isinstance(one.factor, Tensor) else one.factor
    before, after, details = float(one.before[at]), float(one.after[at]), one.details or StepDetails()
    given, unreduced = (None if held is None else float(held[at]) for held in (details.given, details.unreduced))
    return Update(
        one.at - start, factor, one.rate, before, after, batch, details.lands, given, unreduced, details.by_place
    )  # fmt: skip


def _begun(
    layer: LayerRecorder, begin: Anchor, index: WeightIndex
) -> tuple[Begun | None, float, tuple[Tensor, Tensor, list[Tensor]] | None]:
    """The traces as they were at an anchor, and what waited there for the weight's turn.

    Also, with lag 1, the last step, (1, B, ...) on both sides, and the samples that had forgotten after it.
    """
    waiting = 0.0 if begin.waiting is None else float(begin.waiting[index])
    running = None if begin.state is None else traces_of(layer, begin)._running
    if running is None:
        return None, waiting, None
    if running.queued:
        waiting += float(_averaged(layer, running)[index])
    running.fold()
    own = index if layer.connection.samples is None else index[1:]
    e = running.state.allocated()[(..., *own)].reshape(-1).cpu()
    kernel = running.state.kernel
    kernel = running.rule.kernel.init(*running.like) if kernel is None else kernel
    begun = Begun(tree_map_only(Tensor, lambda leaf: leaf.cpu(), kernel), e, running.shared)
    blocks = running.pending.saved()  # with lag 1
    if not blocks:
        return begun, waiting, None
    pre, post, _, _, restarts = blocks[-1]
    masks = [mask.cpu() for at, mask in restarts if at >= len(pre)]
    return begun, waiting, (pre[-1:].cpu(), post[-1:].cpu(), masks)


def _averaged(layer: LayerRecorder, running: RunningTraces) -> Tensor:
    """What queued modulators come to, as the convention wants it."""
    total = running.flush()
    return total / running.batch_size if layer.connection.update.reduction == "mean" else total
