"""What the page of a trial tells, from a record or from plain arrays: a part of the time, and some synapses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from .._checks import require_kind, shown
from ..record import Record, Series
from .canvas import as_array

MOST_PRODUCTS = 10**10  # synapses × samples × steps of which e is worked out
STORY_PARTS = ("spikes", "eligibility", "modulators", "changes", "synapses", "steps", "resets")


class Line(NamedTuple):
    """Values (S, …) at times (S,), in steps; what a step of the learner did stands half a step after the last one."""

    time: np.ndarray
    values: np.ndarray


class Story(NamedTuple):
    """What a page tells: firing by layer; e and changes of some synapses; factors, and when they came."""

    firing: dict[str, Line]
    eligibility: Line | None
    factors: dict[str, Line]
    changes: Line | None
    synapses: list[str]
    steps: np.ndarray
    resets: np.ndarray


def of_record(record: Record, sample: int, layer: str | None, bounds: tuple[int, ...]) -> Story:
    """What a record kept of one sample."""
    if not record.layers:
        raise ValueError("The record has no layers; expected one of learner.record().")
    firing: dict[str, Line] = {}
    for k, name in enumerate(record.layers):
        sides = record.spikes(name)
        if sides.pre is None or not len(sides.time):
            raise ValueError(f"{name} has observed no step since the record began; run the model first.")
        if sample >= sides.pre.shape[1]:
            raise ValueError(f"sample = {sample}; {sides.pre.shape[1]} samples are recorded, counted from 0.")
        time = sides.time.numpy()
        both = {"input": sides.pre} if not k else {}
        both |= {name: sides.post} if sides.post is not None and sides.post.numel() else {}
        firing |= {side: Line(time, _plain(values[:, sample]).reshape(len(time), -1)) for side, values in both.items()}
    whose = _of_layer(record, layer)
    e = None if whose is None else _followed(record, whose, firing, bounds)
    told = record.layers[-1] if whose is None else whose
    changes, factor = record.changes(told), record.factor(told)
    steps = changes.time.numpy() - 0.5
    signals = record.modulators or {"third factor": factor}
    moved = None
    if len(steps):
        delta = _plain(changes.values if changes.values.dim() == 2 else changes.values[:, sample])
        moved = Line(
            np.concatenate([[firing_start(firing) - 0.5], steps]), np.vstack([0 * delta[:1], np.cumsum(delta, axis=0)])
        )
    return Story(
        firing,
        None if e is None or not len(e.time) else Line(e.time.numpy() - 0.5, _plain(_of_sample(e.values, sample))),
        {
            name: Line(one.time.numpy() - 0.5, _plain(_level(one.values, sample)))
            for name, one in signals.items()
            if len(one.time)
        },
        moved,
        [_name(index) for index in record.synapses[told]],
        steps,
        record.resets.numpy() - 0.5,
    )


def _followed(record: Record, name: str, firing: Mapping[str, Line], bounds: tuple[int, ...]) -> Series:
    """e after every step, where that is not too much to work out; else as the steps of the learner met it."""
    first = max(bounds[0], firing_start(firing))
    last = min(bounds[1], max(int(line.time[-1]) for line in firing.values()) + 1)
    whole = record.weights(name).values[0].numel() * record.spikes(name).samples.max()
    return (
        record.eligibility(name, first, last) if (last - first) * whole <= MOST_PRODUCTS else record.eligibility(name)
    )


def firing_start(firing: Mapping[str, Line]) -> int:
    """The first step of all layers."""
    return int(min(line.time[0] for line in firing.values()))


def _of_layer(record: Record, layer: str | None) -> str | None:
    """The layer whose synapses are shown; None where none has an eligibility."""
    if layer is not None:
        if not isinstance(layer, str) or layer not in record.layers:
            raise ValueError(f"layer = {shown(layer)}; expected a recorded layer: {', '.join(record.layers)}.")
        return layer
    for name in reversed(record.layers):
        try:
            record.known_from(name)
        except ValueError:
            continue
        return name
    return None


def _of_sample(values: torch.Tensor, sample: int) -> torch.Tensor:
    """(L, B, K) of one sample; where the batch was summed, the sum."""
    return values[:, min(sample, values.shape[1] - 1)]


def _level(values: torch.Tensor, sample: int) -> torch.Tensor:
    """(S, B, …) of one sample, mean over the neurons."""
    one = values[:, min(sample, values.shape[1] - 1)] if values.dim() > 1 else values
    return one.flatten(1).mean(1) if one.dim() > 1 else one


def _plain(values: torch.Tensor) -> np.ndarray:
    values = values.detach().cpu()
    return values.numpy() if values.dtype == torch.bool else values.double().numpy()


def _name(index: tuple[int, ...]) -> str:
    """A synapse by its neurons."""
    post, *pre = index
    return f"{post} ← {pre[0]}" if len(pre) == 1 else f"{post} ← {tuple(pre)}"


def of_arrays(given: Mapping[str, Any], layer: str | None) -> Story:
    """The same from plain arrays.

    Raises:
        TypeError, ValueError: something is missing, unknown, or of another length.
    """
    if layer is not None:
        raise ValueError(f"layer = {shown(layer)}, and plain arrays have no layers to choose from; expected None.")
    unknown = [name for name in given if name not in STORY_PARTS]
    if unknown or not given.get("spikes"):
        wrong = f"the names {unknown}" if unknown else "no spikes"
        raise ValueError(f"record has {wrong}; expected 'spikes', and of {', '.join(STORY_PARTS[1:])} what there is.")
    require_kind("record['spikes']", given["spikes"], Mapping, "As {'input': (T, N)}.")
    firing = {str(name): as_array(f"spikes[{name!r}]", one, ["(T, N)"]) for name, one in given["spikes"].items()}
    steps = len(next(iter(firing.values())))
    lines = {
        name: as_array(name, given[name], ["(T, K)"])
        for name in ("eligibility", "changes")
        if given.get(name) is not None
    }
    levels = require_kind("record['modulators']", given.get("modulators") or {}, Mapping, "As {'DA': (T,)}.")
    factors = {str(name): as_array(f"modulators[{name!r}]", one, ["(T,)"]) for name, one in levels.items()}
    lengths = {name: len(one) for name, one in (*firing.items(), *lines.items(), *factors.items())}
    if set(lengths.values()) != {steps}:
        raise ValueError(f"The parts of record have the steps {lengths}; expected all over the same steps.")
    counts = {one.shape[1] for one in lines.values()}
    names = given.get("synapses")
    names = [str(k) for k in range(max(counts, default=0))] if names is None else [str(name) for name in names]
    if counts - {len(names)}:
        raise ValueError(f"record has {len(names)} synapses, and lines of {sorted(counts)}; expected as many.")
    time = np.arange(steps)
    e, moved = (None if lines.get(n) is None else Line(time, lines[n]) for n in ("eligibility", "changes"))
    marks = [
        as_array(n, given[n], ["(S,)"]) if n in given and len(given[n]) else np.empty(0) for n in ("steps", "resets")
    ]
    return Story(
        {name: Line(time, one) for name, one in firing.items()},
        e, {name: Line(time, one) for name, one in factors.items()},
        moved, names, *marks,
    )  # fmt: skip


def within(told: Story, since: int, until: int) -> Story:
    """The part between two steps.

    Raises:
        ValueError: there is nothing.
    """

    def cut(line: Line) -> Line:
        return Line(*(part[(line.time >= since - 0.5) & (line.time < until)] for part in line))

    firing = {name: cut(line) for name, line in told.firing.items()}
    if not all(len(line.time) for line in firing.values()):
        kept = [line.time for line in told.firing.values() if len(line.time)]
        span = f"{min(t[0] for t in kept)} to {max(t[-1] for t in kept)}" if kept else "none"
        raise ValueError(f"since = {since} and until = {until} leave no step; the steps that were kept are {span}.")
    lines = [None if line is None else cut(line) for line in (told.eligibility, told.changes)]
    factors = {name: cut(line) for name, line in told.factors.items()}
    factors = {name: line for name, line in factors.items() if line.values.any()} or factors
    return Story(
        firing,
        lines[0],
        factors,
        lines[1],
        told.synapses,
        *(t[(t >= since - 0.5) & (t < until)] for t in (told.steps, told.resets)),
    )


def strongest(told: Story, most: int) -> Story:
    """Of all synapses those with the largest |e|, or else with the largest changes."""
    line = told.eligibility or told.changes
    if line is None or line.values.shape[1] <= most:
        return told
    size = np.nan_to_num(np.abs(line.values)).max(axis=0, initial=0.0)
    chosen = np.sort(np.argsort(-size, kind="stable")[:most])
    synapses = [told.synapses[k] for k in chosen]
    both = (told.eligibility, told.changes)
    lines = [None if one is None else Line(one.time, one.values[:, chosen]) for one in both]
    return told._replace(eligibility=lines[0], changes=lines[1], synapses=synapses)
