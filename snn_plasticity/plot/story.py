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
    """What a page tells: firing by layer; e and changes of some synapses; factors, and when they came.

    Where a third factor is one for each neuron, `heard` holds that of the neuron of each synapse, and `neurons` who
    that is.
    """

    firing: dict[str, Line]
    eligibility: Line | None
    factors: dict[str, Line]
    changes: Line | None
    synapses: list[str]
    steps: np.ndarray
    resets: np.ndarray
    heard: Line | None = None
    neurons: tuple[str, ...] = ()


def of_record(
    record: Record, sample: int, layer: str | None, bounds: tuple[int, ...], wanted: Mapping[Any, str | None] | None
) -> Story:
    """What a record kept of one sample; of the synapses that are wanted, which may have names, or of all."""
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
    told = record.layers[-1] if whose is None else whose
    which = _columns(record.synapses[told], told, wanted)
    known = [record.synapses[told][k] for k in which]
    steps = record.changes(told).time.numpy() - 0.5
    factors, heard, neurons = _factors(record, told, sample, known)
    e = None if whose is None else _followed(record, whose, firing, bounds)
    return Story(
        firing,
        None
        if e is None or not len(e.time)
        else Line(e.time.numpy() - 0.5, _plain(_of_sample(e.values, sample))[:, which]),
        factors,
        _moved(record, told, sample, _shown(firing, bounds), which) if len(steps) else None,
        [(wanted or {}).get(index) or _name(index) for index in known],
        steps,
        record.resets.numpy() - 0.5,
        heard,
        neurons,
    )


def _followed(record: Record, name: str, firing: Mapping[str, Line], bounds: tuple[int, ...]) -> Series:
    """e after every step, where that is not too much to work out; else as the steps of the learner met it."""
    first, last = _shown(firing, bounds)
    whole = record.weights(name).values[0].numel() * record.spikes(name).samples.max()
    return (
        record.eligibility(name, first, last) if (last - first) * whole <= MOST_PRODUCTS else record.eligibility(name)
    )


def _shown(firing: Mapping[str, Line], bounds: tuple[int, ...]) -> tuple[int, int]:
    """The first step of any layer that is shown, and the first that is not any more."""
    first = int(min(line.time[0] for line in firing.values()))
    last = int(max(line.time[-1] for line in firing.values()))
    return max(bounds[0], first), min(bounds[1], last + 1)


def _columns(known: list[tuple[int, ...]], layer: str, wanted: Mapping[Any, str | None] | None) -> list[int]:
    """Where the wanted synapses stand among those that were recorded.

    Raises:
        ValueError: one was not recorded.
    """
    missing = [index for index in wanted or () if index not in known]
    if missing:
        kept = f"{', '.join(map(str, known[:8]))}{' …' * (len(known) > 8)}"
        raise ValueError(
            f"synapses has {shown(missing[0])}; the record kept {kept} of {layer}. Others have to be named before: "
            f"learner.record(synapses={{{layer!r}: [...]}})."
        )
    return list(range(len(known))) if wanted is None else [known.index(index) for index in wanted]


def _moved(record: Record, layer: str, sample: int, shown_steps: tuple[int, int], which: list[int]) -> Line:
    """Δw since the first step that is shown: at it, at every step of the learner, and at the end."""
    changes = record.changes(layer)
    delta = _plain(changes.values if changes.values.dim() == 2 else changes.values[:, sample])[:, which]
    times = np.concatenate([[-np.inf], changes.time.numpy() - 0.5])
    total = np.vstack([0 * delta[:1], np.cumsum(delta, axis=0)])
    first, last = (edge - 0.5 for edge in shown_steps)
    when = np.unique([first, *times[(times > first) & (times < last)], last])
    values = total[np.searchsorted(times, when, side="right") - 1]
    return Line(when, values - values[0])


def _factors(
    record: Record, layer: str, sample: int, synapses: list[tuple[int, ...]]
) -> tuple[dict[str, Line], Line | None, tuple[str, ...]]:
    """Modulators; or else the third factor: one for all neurons, or of the neurons of these synapses."""
    factor = record.factor(layer)
    several = factor.values.dim() > 2 and factor.values.shape[2] > max((i[0] for i in synapses), default=0)
    if several and not record.modulators and factor.values.shape[2] > 1:
        one = _of_sample(factor.values, sample)[:, [index[0] for index in synapses]]
        word = "neuron" if one.dim() == 2 else "mean of channel"
        values = _plain(one if one.dim() == 2 else one.flatten(2).mean(2))
        return {}, Line(factor.time.numpy() - 0.5, values), tuple(f"{word} {index[0]}" for index in synapses)
    signals = record.modulators or {"third factor": factor}
    lines = {
        name: Line(one.time.numpy() - 0.5, _plain(_level(one.values, sample)))
        for name, one in signals.items()
        if len(one.time)
    }
    return {name: line for name, line in lines.items() if np.isfinite(line.values).any()}, None, ()


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


def of_arrays(given: Mapping[str, Any], layer: str | None, wanted: Mapping[Any, str | None] | None) -> Story:
    """The same from plain arrays.

    Raises:
        TypeError, ValueError: something is missing, unknown, or of another length.
    """
    if layer is not None:
        raise ValueError(f"layer = {shown(layer)}, and plain arrays have no layers to choose from; expected None.")
    if wanted is not None:
        raise ValueError(
            "synapses names those of a record; expected None: plain arrays have their own, under 'synapses'."
        )
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
        moved, names, marks[0], marks[1],
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
    lines = [None if line is None else cut(line) for line in (told.eligibility, told.changes, told.heard)]
    factors = {name: cut(line) for name, line in told.factors.items()}
    factors = {name: line for name, line in factors.items() if line.values.any()} or factors
    steps, resets = (t[(t >= since - 0.5) & (t < until)] for t in (told.steps, told.resets))
    return Story(firing, lines[0], factors, lines[1], told.synapses, steps, resets, lines[2], told.neurons)


def strongest(told: Story, most: int) -> Story:
    """Of all synapses those with the largest |e|, or else with the largest changes."""
    line = told.eligibility or told.changes
    if line is None or line.values.shape[1] <= most:
        return told
    size = np.nan_to_num(np.abs(line.values)).max(axis=0, initial=0.0)
    chosen = np.sort(np.argsort(-size, kind="stable")[:most])
    synapses, neurons = [told.synapses[k] for k in chosen], tuple(told.neurons[k] for k in chosen if told.neurons)
    every = {"eligibility": told.eligibility, "changes": told.changes, "heard": told.heard}
    lines = {name: None if one is None else Line(one.time, one.values[:, chosen]) for name, one in every.items()}
    return told._replace(synapses=synapses, neurons=neurons, **lines)


def from_time(told: Story, start: float | None) -> Story:
    """With other times, if any: the first step that is shown at `start`, in steps."""
    if start is None:
        return told
    by = start - min(line.time[0] for line in told.firing.values())

    def moved(line: Line | None) -> Any:
        return None if line is None else Line(line.time + by, line.values)

    return Story(
        {name: moved(line) for name, line in told.firing.items()},
        moved(told.eligibility),
        {name: moved(line) for name, line in told.factors.items()},
        moved(told.changes), told.synapses, told.steps + by, told.resets + by, moved(told.heard), told.neurons,
    )  # fmt: skip
