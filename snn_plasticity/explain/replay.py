"""A synapse's eligibility once more, in double precision, as the sum of its spike pairs.

    e ← κ·e + ν·f    κ, ν: what the trace, its clamp and `normalize_trace` leave of e, and take of f, in this step
    e = Σ_pairs value · left,    left = ν(t) · κ(t+1) · … · κ(now)
    Δw = Σ_pairs value · left · gate

All pairs that come in one step fade alike, whatever the trace: κ and ν are numbers of the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..plasticity.rule import EligibilityRule
from ..plasticity.traces import Accumulating, Dutch, Replacing, scale_of
from .spike_pairs import PairedSpikes, pairs_of
from .spike_shares import Trains, products_of, state_of
from .synapse_history import Stretch, SynapseHistory, Update, runs_of
from .uses import Uses, row_of, uses_of

MOST_ROWS = 20_000_000
FADED = 1e-12  # of the largest change that a sample makes at an update: what is below is told together


class Met(NamedTuple):
    """Pairs that an update met, (n,) each; steps count from the beginning of the record."""

    update: np.ndarray
    sample: np.ndarray
    place: np.ndarray
    pre: np.ndarray
    post: np.ndarray
    value: np.ndarray
    left: np.ndarray
    gate: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """What each adds to Δw."""
        return self.value * self.left * self.gate


class Held(NamedTuple):
    """e of a sample after each step of a run."""

    sample: int
    start: int
    e: np.ndarray


class Replayed(NamedTuple):
    """What updates met: pairs, and beside them, by cause, what they met else (n,); e of all runs.

    Beside pairs there is what was "remembered" from before the history, and pairs that have "faded", together.
    """

    met: Met
    beside: dict[str, np.ndarray]
    held: list[Held]


def uses_in(history: SynapseHistory) -> Uses:
    """Where the weight is used, in layers of this size."""
    sizes = tuple(history.pre.shape[2:]), tuple(history.post.shape[2 + post_axes(history.rule) :])
    return uses_of(history.rule.geometry, history.place, *sizes)


def replay(history: SynapseHistory, told: range, uses: Uses) -> Replayed:
    """What the updates `told` met, where the weight is used.

    Raises:
        ValueError: more pairs than can be listed; a trace that is not known here.
    """
    alike: dict[tuple[int, bool], list[Stretch]] = {}
    for run in runs_of(history, told):
        alike.setdefault((run.end - run.start, run.begun), []).append(run)
    parts, held, count = [], [], 0
    beside = {cause: np.zeros(len(history.updates)) for cause in ("remembered", "faded")}
    for (length, begun), runs in alike.items():
        pairs, f = _pairs_of_runs(history, uses, runs, length)
        before = _begun_e(history, runs) if begun else np.zeros(len(runs))
        kept, taken, e = trace_factors(history.rule, f, history.dt, before)
        held += [Held(run.sample, run.start, e[:, k]) for k, run in enumerate(runs)]
        if begun:
            _add_remembered(beside["remembered"], history, uses, runs, before, kept)
        for part in _meetings(history, uses, runs, pairs, (kept, taken), beside["faded"]):
            count += len(part.update)
            if count > MOST_ROWS:
                raise ValueError(
                    f"{history.name}: more than {MOST_ROWS:,} meetings of a spike pair and a learner.step lie behind "
                    "this change; expected fewer. Ask for a shorter interval: since=, until=."
                )
            parts.append(part)
    nothing = np.zeros(0, dtype=np.int64)
    parts = parts or [Met(*(nothing,) * 5, *(np.zeros(0),) * 3)]
    return Replayed(Met(*(np.concatenate(column) for column in zip(*parts, strict=True))), beside, held)


def post_axes(rule: EligibilityRule) -> int:
    """Axes between those of samples and neurons on the post side."""
    return getattr(rule.kernel, "post_axes", 0)


def _pairs_of_runs(
    history: SynapseHistory, uses: Uses, runs: list[Stretch], length: int
) -> tuple[PairedSpikes, np.ndarray]:
    """Pairs of all uses of the weight in runs of one length, and f (L, runs)."""

    def cut(spikes: Tensor) -> Tensor:
        parts = [spikes[run.start : run.end, run.sample] for run in runs]
        return torch.stack(parts, 1).detach().cpu().double()

    trains = Trains(cut(history.pre), cut(history.post), uses.pre, uses.post, post_axes(history.rule))
    kernel = history.rule.kernel
    if runs[0].begun and length:
        assert history.begun is not None
        all_of_them = trains.between(history.pre, history.post, history.begun.kernel)
        state = state_of(kernel, all_of_them, torch.tensor([run.sample for run in runs]))
        trains = trains.between(trains.pre, trains.post, state)
    products, f = products_of(kernel, trains, history.dt)
    pairs = pairs_of(products, length)
    found = np.zeros(f.shape)
    np.add.at(found, (pairs.step, pairs.unit), pairs.value)
    if not np.allclose(found, f.numpy(), 1e-9, 1e-12):
        raise ValueError(
            f"{history.name}: {type(kernel).__name__} makes something else of a sample when others are beside it, so "
            "that its changes cannot be split into spike pairs; expected a kernel that works sample by sample."
        )
    share = uses.share.numpy()
    pairs = pairs._replace(value=pairs.value * share[pairs.unit % len(uses)])
    return pairs, (f.view(length, len(runs), len(uses)) * uses.share).sum(2).numpy()


def _begun_e(history: SynapseHistory, runs: list[Stretch]) -> np.ndarray:
    """e of runs before their first step; the sum of all samples is told of the first of them."""
    assert history.begun is not None
    e = history.begun.e.detach().cpu().double().numpy()
    if history.begun.summed:
        return np.array([e[0], *(0.0 for _ in runs[1:])])
    return e[[run.sample for run in runs]]


def _add_remembered(
    remembered: np.ndarray,
    history: SynapseHistory,
    uses: Uses,
    runs: list[Stretch],
    before: np.ndarray,
    kept: np.ndarray,
) -> None:
    """What updates met of the eligibility that was there before the first step."""
    left = np.concatenate((np.ones((1, len(runs))), np.cumprod(kept, 0)))
    for r, run in enumerate(runs):
        for number in run.updates:
            update = history.updates[number]
            gate = float(_gates(history, uses, update, run.sample).mean())
            remembered[number] += before[r] * left[update.step - run.start, r] * gate


def trace_factors(
    rule: EligibilityRule, f: np.ndarray, dt: float, before: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """κ and ν of each step, and e after it, (T, R), for f (T, R) and e `before` the first (R,).

    With lag 1 the first step brings nothing to e, which does not fade in it either.

    Raises:
        TypeError: a trace of another kind.
    """
    trace, lag = rule.trace, rule.trace.convention.lag
    if type(trace) not in (Accumulating, Replacing, Dutch):
        raise TypeError(f"{trace!r} is not known here; expected an accumulating, replacing or Dutch trace.")
    retained, scale = float(trace.retained(dt)), float(scale_of(trace))
    kept, taken, held = np.ones_like(f), np.ones_like(f), np.zeros_like(f)
    e = before
    for t in range(len(f)):
        held[t] = e
        if t < lag:
            continue
        due = f[t - lag] * scale
        old, new = np.full_like(e, retained), np.ones_like(e)
        if isinstance(trace, Replacing):
            replaces = np.abs(due) >= np.abs(retained * e)
            old, new = np.where(replaces, 0.0, retained), np.where(replaces, 1.0, 0.0)
        elif isinstance(trace, Dutch) and not trace.linear:
            old = np.where(due != 0, (1.0 - float(trace.alpha)) * retained, retained)
        joined = old * e + new * due
        e = joined if trace.clamp_range is None else joined.clip(*trace.clamp_range)
        cut = np.divide(e, joined, out=np.ones_like(e), where=e != joined)
        kept[t], taken[t], held[t] = old * cut, scale * new * cut, e
    return kept, taken, held


def _meetings(
    history: SynapseHistory,
    uses: Uses,
    runs: list[Stretch],
    pairs: PairedSpikes,
    factors: tuple[np.ndarray, np.ndarray],
    faded: np.ndarray,
) -> Iterator[Met]:
    """Update by update: the pairs of each run that it met, with what was left of them; by update, what has `faded`."""
    (kept, taken), lag, places = factors, history.rule.trace.convention.lag, len(uses)
    ends = np.searchsorted(pairs.unit, np.arange(len(runs) + 1) * places)
    left, due = np.zeros_like(kept), {}
    for r, run in enumerate(runs):
        for number in run.updates:
            steps = history.updates[number].step - run.start
            if steps > 0:
                due.setdefault(steps, []).append((r, number))
    for t in range(len(kept)):
        left[: max(0, t - lag)] *= kept[t]
        if t >= lag:
            left[t - lag] = taken[t]
        for r, number in due.get(t + 1, ()):
            own, run = slice(ends[r], ends[r + 1]), runs[r]
            gate = _gates(history, uses, history.updates[number], run.sample)[pairs.unit[own] % places]
            remains = left[pairs.step[own], r]
            change = pairs.value[own] * remains * gate
            some = np.abs(change) > FADED * np.abs(change).max(initial=0.0)
            faded[number] += change[~some].sum()
            pre, post = (_counted(side[own][some], run.start + history.first) for side in (pairs.pre, pairs.post))
            rows, place = int(some.sum()), (pairs.unit[own] % places)[some]
            yield Met(
                np.full(rows, number), np.full(rows, run.sample), place, pre, post, pairs.value[own][some],
                remains[some], gate[some],
            )  # fmt: skip


def _counted(steps: np.ndarray, start: int) -> np.ndarray:
    """Steps of a run as those of the record; −1 stays."""
    return np.where(steps < 0, -1, steps + start)


def _gates(history: SynapseHistory, uses: Uses, update: Update, sample: int) -> np.ndarray:
    """lr · factor of each use, shared among the batch where it is averaged."""
    mean = history.rule.trace.convention.reduction == "mean" and not history.per_sample
    rate = update.rate / (update.batch if mean else 1)
    factor = update.factor
    if not isinstance(factor, Tensor) or not factor.dim():
        return np.full(len(uses), float(factor) * rate)
    own = factor[sample].detach().cpu().double()
    if own.dim() > 1:
        own = own.flatten()[uses.post] if update.by_place else own.flatten(1).mean(1)
    if own.numel() > 1 and not (update.by_place and factor.dim() > 2):
        own = own[row_of(history.rule.geometry, history.place)]
    return np.broadcast_to(own.numpy() * rate, len(uses))
