"""From what pairs add to Δw to what the weight did: mask, clamp, `reduce` and bounds, each in its place.

    Δw = clamp(mask · Σ_pairs value · left · gate)    w ← bounds(w, reduce(Δw))

A clamp and plain bounds let a share of Δw through, which is a factor of every pair. What else changes Δw is a row of
its own, as it was recorded or works out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..plasticity.bounds import PLAIN_BOUNDS, bounds_of, free
from .replay import Met
from .synapse_history import SynapseHistory


class OtherCause(NamedTuple):
    """What changed the weight beside spike pairs.

    Args:
        cause: "remembered" (eligibility from before the record), "mask", "reduce", "bounds", "waiting" (left by updates
            before the record), "elsewhere" (the weight was written by somebody else) or "faded" (pairs too small to be
            listed, together).
        step: when, in steps of the record.
        change: by how much.
    """

    cause: str
    step: int
    change: float


class Landed(NamedTuple):
    """What landings made of pairs: the share (n,) of each that was let through, and all other causes."""

    share: np.ndarray
    others: list[OtherCause]


def groups_of(history: SynapseHistory, told: range) -> Iterator[range]:
    """The updates behind each landing among `told`; those that wait for theirs are left out."""
    start = told.start
    for number in told:
        if history.updates[number].lands:
            yield range(start, number + 1)
            start = number + 1


def landed(history: SynapseHistory, met: Met, beside: Mapping[str, np.ndarray], told: range) -> Landed:
    """The shares and the other causes of all landings among `told`; `beside`: by cause and update, beside pairs."""
    share, others = np.zeros(len(met.update)), []
    total = np.bincount(met.update, weights=met.change, minlength=len(history.updates))
    order = np.argsort(met.update, kind="stable")
    ends = np.searchsorted(met.update[order], np.arange(len(history.updates) + 1))
    known = history.updates[told.start].before if len(told) else 0.0
    for group in groups_of(history, told):
        last = history.updates[group[-1]]
        step = last.step + history.first
        waiting = history.pending if group.start == 0 else 0.0
        more = [(cause, float(values[group.start : group.stop].sum())) for cause, values in beside.items()]
        more.append(("waiting", waiting))
        raw = float(total[group.start : group.stop].sum()) + sum(change for _, change in more)
        through, own = _through(history, raw, group[-1], step)
        share[order[ends[group.start] : ends[group.stop]]] = through
        rows = [*((cause, change * through) for cause, change in more), ("elsewhere", last.before - known)]
        others += [row for row in (*(OtherCause(cause, step, change) for cause, change in rows), *own) if row.change]
        known = last.after
    return Landed(share, others)


def _through(history: SynapseHistory, raw: float, number: int, step: int) -> tuple[float, list[OtherCause]]:
    """The share of a change that is let through, and what else came to it."""
    update, config, rows = history.updates[number], history.three_factor, []
    mask = 1.0 if history.mask is None else history.mask
    delta = raw * mask
    if mask != 1.0:
        rows.append(("mask", delta - raw))
    low, high = config.weight_clamp or (-np.inf, np.inf)
    clamped = min(max(delta, low), high)
    share, now = _ratio(clamped, delta), clamped
    rows = [(cause, change * share) for cause, change in rows]
    if update.unreduced is not None and update.proposed is not None:
        rows.append(("reduce", update.proposed - update.unreduced))
        now += rows[-1][1]
    bounds = bounds_of(config)
    if mask == 0.0:
        rows.append(("mask", -now))  # bounds do not move it either
    elif type(bounds) in PLAIN_BOUNDS:
        pair = torch.tensor([update.before, now], dtype=torch.float64)
        more = _ratio(float(bounds(pair[:1], pair[1:])) - update.before, now)  # type: ignore[arg-type]
        share, rows = share * more, [(cause, change * more) for cause, change in rows]
    elif bounds is not free and update.proposed is not None:
        rows.append(("bounds", update.after - update.before - update.proposed))
    return share, [OtherCause(cause, step, change) for cause, change in rows]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def require_known(history: SynapseHistory, told: Sequence[int]) -> None:
    """Refuse what no row could tell: bounds that look at other weights, where what they were given was not kept.

    Raises:
        ValueError: in a sentence.
    """
    bounds = bounds_of(history.three_factor)
    if bounds is free or type(bounds) in PLAIN_BOUNDS:
        return
    if any(history.updates[k].lands and history.updates[k].proposed is None for k in told):
        raise ValueError(
            f"{history.name}: weight_bounds look at other weights, and the change that they were given was not kept; "
            f"expected a record of this synapse: learner.record(synapses={{{history.name!r}: [{history.index}]}})."
        )
