"""From what was recorded of a synapse to why it moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import require_count, require_kind
from ..record.recorder import Recorder
from .explanation import Eligibility, Explanation, SpikeTimes
from .landings import groups_of, landed, require_known
from .recorded import recorded_history
from .replay import Met, post_axes, replay, uses_in
from .synapse_history import SynapseHistory
from .uses import Uses


def explain(
    record: Recorder | None, layer: str, *index: int, since: int | None = None, until: int | None = None
) -> Explanation:
    """Why a weight moved, as its record tells; `learner.explain` asks the record that runs.

        Δw = Σ_pairs coincidence · trace · gate · bounds  +  Σ other causes

    Args:
        record: what `learner.record` gave, running or stopped.
        layer: name of a connection.
        index: of the weight: post and pre neuron, for a convolution channels and place in the kernel, for edges their
            number. It is one of `record.synapses[layer]`.
        since, until: learner steps after so many observed steps, and up to so many, of the connection since the record
            began; None: all that are kept.

    Raises:
        TypeError, ValueError: what was not kept, and how it would have been; what cannot be explained, and why.

    >>> import torch
    >>> from torch import nn
    >>> from snn_plasticity import Connection, EligibilityConfig, PlasticityConfig, PlasticityLearner
    >>> config = PlasticityConfig(EligibilityConfig(kernel="stdp_pair", tau_e=50.0))
    >>> connection = Connection("fc", nn.Linear(1, 1), config=config)
    >>> learner = PlasticityLearner([connection])
    >>> record = learner.record()
    >>> for pre, post in [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.0, 0.0)]:
    ...     connection.observe(torch.tensor([[pre]]), torch.tensor([[post]]))
    >>> learner.step(2.0)
    >>> pair = explain(record, "fc", 0, 0).largest(1)[0]
    >>> pair.pre_step, pair.post_step, round(pair.coincidence, 4), round(pair.trace, 2), round(pair.gate, 4)
    (0, 2, 0.9048, 0.98, 0.002)
    """
    if record is not None:
        require_kind("record", record, Recorder, "Give what learner.record() returned.")
    since, until = (
        None if value is None else require_count(name, value, 0) for name, value in (("since", since), ("until", until))
    )
    with torch.device("cpu"):  # what was recorded lies there, whatever device is the default
        return explained(recorded_history(record, layer, index, since, until), since, until)


def explained(history: SynapseHistory, since: int | None = None, until: int | None = None) -> Explanation:
    """Why the weight moved by the updates after step `since`, up to step `until`.

    Raises:
        ValueError: an interval without a change; what no row could tell.
    """
    told = _told(history, since, until)
    groups = list(groups_of(history, told))
    told = range(told.start, groups[-1].stop) if groups else range(0)
    if not groups:
        raise ValueError(
            f"{history.name}: no learner.step changed its weights{_between(since, until)}, of those that the record "
            "keeps; expected at least one."
        )
    require_known(history, told)
    uses = uses_in(history)
    met, beside, held = replay(history, told, uses)
    share, others = landed(history, met, beside, told)
    columns = _columns(history, met, share)
    updates = [history.updates[group[-1]] for group in groups]
    first = history.first
    return Explanation(
        history.name, history.index,
        first if since is None else since, updates[-1].step + first if until is None else until,
        columns, tuple(others), updates[0].before, updates[-1].after,
        _spikes(history, held, uses, "pre"), _spikes(history, held, uses, "post"),
        tuple(Eligibility(one.sample, one.start + first, one.e) for one in held),
        np.array([update.step + first for update in updates]),
        np.array([updates[0].before, *(update.after for update in updates)]), history.precision,
    )  # fmt: skip


def _between(since: int | None, until: int | None) -> str:
    """An interval in words."""
    after = "" if since is None else f" after step {since}"
    return after + ("" if until is None else f"{' and' if after else ''} up to step {until}")


def _told(history: SynapseHistory, since: int | None, until: int | None) -> range:
    """The updates of the interval; those that waited for the first landing in it are part of it."""
    low = -1 if since is None else since - history.first
    high = len(history.pre) if until is None else until - history.first
    inside = [k for k, one in enumerate(history.updates) if low < one.step <= high]
    if not inside:
        return range(0)
    start = inside[0]
    while start and not history.updates[start - 1].lands:
        start -= 1
    return range(start, inside[-1] + 1)


def _columns(history: SynapseHistory, met: Met, share: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of the rows, in the order of time."""
    steps = np.array([update.step for update in history.updates]) + history.first
    order = np.lexsort((met.post, met.pre, met.sample, met.update))
    met = Met(*(column[order] for column in met))
    share = share[order]
    alone = (met.pre < 0) | (met.post < 0)
    return {
        "sample": met.sample, "place": met.place, "pre_step": met.pre, "post_step": met.post,
        "dt": np.where(alone, 0, met.post - met.pre), "coincidence": met.value, "trace": met.left,
        "step": steps[met.update] if len(order) else met.update, "gate": met.gate, "bounds": share,
        "change": met.change * share,
    }  # fmt: skip


def _spikes(history: SynapseHistory, held: list[Any], uses: Uses, side: str) -> SpikeTimes:
    """What one side did in the runs that were looked at, at the places of this weight."""
    axes = post_axes(history.rule) if side == "post" else 0
    spikes: Tensor = getattr(history, side)
    parts = [(np.zeros(0, int),) * 3 + (np.zeros(0),)]
    for one in held:
        own = spikes[one.start : one.start + len(one.e), one.sample].detach().cpu().double()
        own = own[(slice(None), *(0,) * axes)].flatten(1)[:, getattr(uses, side)]
        step, place = own.nonzero().unbind(1)
        values = own[step, place].numpy()
        parts.append((torch.full_like(step, one.sample).numpy(), place.numpy(), step.numpy() + one.start, values))
    sample, place, step, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SpikeTimes(sample, place, step + history.first, value)
