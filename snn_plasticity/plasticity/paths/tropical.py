"""The replacing trace over many steps at once: a product of matrices in which max stands for the sum.

    e_T = the largest in magnitude of  d^T e_0  and  d^(T−1−t) f_t,  t = 0 … T−1

since a decay keeps the order of magnitudes. With f_t = u_ti P_tj + v_tj Q_ti (spikes u of post, v of pre, and tables P
and Q), an f other than zero has spikes on the post side alone, on the pre side alone, or on both. The first two are
sparse products with max for the sum; the third are few enough to be listed. A symmetric clamp can be taken on each f,
since what was kept never exceeds it. Entries whose sign rounding would decide are walked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import filters
from ..sparse import by_neuron
from ..terms import Spikes, Term
from ..traces import Replacing, Trace, scale_of
from .coincidences import Coincidences
from .said import Said

BLOCK = 1 << 17  # entries of e that are worked on together: a few such blocks fit into a cache
SMALL = 1 << 17  # entries × steps of a sample up to which walking is faster
SHARE = 1 / 8  # of entries and steps with spikes on both sides: above it, walking is faster
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}  # two magnitudes nearer than this are a tie
TIED = 1 << 12  # entries that are walked together


class Half(NamedTuple):
    """A part of f that needs a spike on one side: these spikes (T, B, N), and a table (T, B, M) of the other side."""

    spikes: Tensor
    table: Tensor

    def unit(self) -> Half | None:
        """The same with spikes of zeros and ones; None where they are of several sizes."""
        if torch.equal(self.spikes * self.spikes, self.spikes):
            return self
        there, size = self.spikes.sign().abs_(), self.spikes.abs().amax()
        return Half(there, self.table * size) if torch.equal(there * size, self.spikes) else None

    def reach(self) -> tuple[Tensor, Tensor]:
        """Below and above which this part never is."""
        (few, many), (low, high) = ((x.amin().clamp(max=0), x.amax().clamp(min=0)) for x in self)
        return torch.minimum(many * low, few * high), torch.maximum(many * high, few * low)

    def extremes(self) -> list[str]:
        """Which extremes of spikes · table can be other than zero."""
        low, high = self.reach()
        return ["amax"] * bool(high > 0) + ["amin"] * bool(low < 0)


class Window(NamedTuple):
    """The halves of f that post and pre spikes bring, and the magnitude that each f must be clamped to, if any."""

    post: Half
    pre: Half
    limit: float | None = None

    def sample(self, b: int) -> Window:
        """One sample, (T, N)."""
        post, pre = (Half(*(side[:, b].contiguous() for side in half)) for half in self[:2])  # type: ignore[union-attr]
        return Window(post, pre, self.limit)


class Tied(NamedTuple):
    """Entries in which the magnitudes of two signs are equal but for rounding, and what e was there."""

    i: Tensor
    j: Tensor
    before: Tensor


def fold_replacing_(trace: Trace, e: Tensor, said: Said, dt: float) -> bool:
    """In place: e (B, N_post, N_pre) after a window; False, with e as it was, where this is not exact or does not pay.

    Args:
        trace: what is kept and how it is joined.
        e: the eligibility before the window.
        said: the window, without positions (T, B, N).
        dt: step length.
    """
    retained = trace.retained(dt)
    if not isinstance(trace, Replacing) or isinstance(retained, Tensor) or not said.terms:
        return False
    if e.device.type != "cpu" or e.dtype not in TOLERANCE or not len(e):
        return False  # sparse products have no max there
    if e[0].numel() * len(said) <= SMALL:
        return False
    window = _window(said, scale_of(trace))  # type: ignore[arg-type]
    window = None if window is None or _crowded(window) else _limited(window, trace)
    if window is None:
        return False
    tied = [_fold_sample_(trace, e[b], window.sample(b), retained) for b in range(len(e))]
    sample = torch.repeat_interleave(torch.tensor([len(found.i) for found in tied]))
    places = Tied(*(torch.cat(found) for found in zip(*tied, strict=True)))
    for b, *found in zip(*(part.split(TIED) for part in (sample, *places)), strict=True):
        e[b, found[0], found[1]] = _walked(trace, window, b, Tied(*found), retained)
    return True


def _window(said: Said, scale: float) -> Window | None:
    """f as spikes × table on either side; None where one side has several trains."""
    halves: dict[str, Half] = {}
    for term in said.terms:
        post, pre = said.values(term.post), said.values(term.pre)
        side = _sparser(term, post, pre)
        spikes, table = (post, pre) if side == "post" else (pre, post)
        table = table * (scale * term.scale)
        if side in halves:
            if halves[side].spikes is not spikes and not torch.equal(halves[side].spikes, spikes):
                return None
            table += halves[side].table
        halves[side] = Half(spikes, table)
    silent = {"post": Half(post.new_zeros(post.shape), pre.new_zeros(pre.shape))}
    silent["pre"] = Half(*reversed(silent["post"]))
    halves = {side: half.unit() or half for side, half in (silent | halves).items()}
    return Window(halves["post"], halves["pre"])


def _sparser(term: Term, post: Tensor, pre: Tensor) -> str:
    """The side of a term with the fewer entries other than zero."""
    if not isinstance(term.post, Spikes) and not isinstance(term.pre, Spikes):
        fewer = torch.count_nonzero(post) * pre.shape[2] <= torch.count_nonzero(pre) * post.shape[2]
        return "post" if bool(fewer) else "pre"
    return "post" if isinstance(term.post, Spikes) else "pre"


def _crowded(window: Window) -> bool:
    """Whether too many entries have spikes on both sides in the same step."""
    post, pre = (half.spikes.sign().abs_().sum(2) for half in window[:2])  # type: ignore[union-attr]
    entries = window.post.spikes.shape[2] * window.pre.spikes.shape[2]
    return bool((post * pre).sum() > SHARE * post.numel() * entries)


def _limited(window: Window, trace: Trace) -> Window | None:
    """The window with its limit; None where clamping each f would not be exact."""
    if trace.clamp_range is None:
        return window
    low, high = trace.clamp_range
    below, above = (post + pre for post, pre in zip(window.post.reach(), window.pre.reach(), strict=True))
    if bool((below >= low) & (above <= high)):
        return window
    unit = all(half.unit() is not None for half in window[:2])  # type: ignore[union-attr]
    return window._replace(limit=high) if low == -high and unit else None


def _fold_sample_(trace: Trace, e: Tensor, window: Window, retained: float) -> Tied:
    """One sample (N_post, N_pre), a cacheful of rows at a time; the entries whose sign rounding decides."""
    steps, rows = len(window.post.spikes), max(1, BLOCK // e.shape[1])
    ages = filters.ages(retained, steps, e.dtype, e.device).unsqueeze(1)
    aged = Window(*(Half(half.spikes, half.table * ages) for half in window[:2]))  # type: ignore[union-attr]
    cap = None if window.limit is None else window.limit * ages
    post, pre = _alone(aged, cap)
    by_post, by_pre = by_neuron(post.spikes), by_neuron(pre.spikes)
    met = Coincidences(by_post, pre.spikes, aged.post.table, aged.pre.table, None if cap is None else cap.squeeze(1))
    extremes, scratch, tied = (post.extremes(), pre.extremes()), e.new_empty(3, min(rows, len(e)), e.shape[1]), []
    for start in range(0, len(e), rows):
        here = slice(start, min(start + rows, len(e)))
        up, down, spare = scratch[:, : here.stop - start]
        down.copy_(_kept_(trace, torch.mul(e[here], retained, out=up), retained, steps))
        for extreme in extremes[0]:
            _join_(up, down, torch.sparse.mm(_some_rows(by_post, here), post.table, extreme), extreme)
        for extreme in extremes[1]:
            turned = torch.sparse.mm(by_pre, pre.table[:, here].contiguous(), extreme)
            _join_(up, down, spare.copy_(turned.T), extreme)
        met.join_(up, down, start)
        tied.append(_settle_(e[here], up, down, spare, start))
    return Tied(*(torch.cat(found) for found in zip(*tied, strict=True)))


def _alone(aged: Window, cap: Tensor | None) -> tuple[Half, Half]:
    """The halves where the other side is silent, clamped."""
    post, pre = aged.post, aged.pre
    tables = [half.table * (1.0 - other.spikes.sign().abs_()) for half, other in ((post, pre), (pre, post))]
    tables = tables if cap is None else [table.clamp_(-cap, cap) for table in tables]
    return Half(post.spikes, tables[0]), Half(pre.spikes, tables[1])


def _some_rows(matrix: Tensor, here: slice) -> Tensor:
    """Rows of a CSR matrix."""
    starts = matrix.crow_indices()[here.start : here.stop + 1]
    spikes = slice(int(starts[0]), int(starts[-1]))
    parts = (starts - starts[0], matrix.col_indices()[spikes], matrix.values()[spikes])
    return torch.sparse_csr_tensor(*parts, size=(len(starts) - 1, matrix.shape[1]), check_invariants=False)


def _kept_(trace: Trace, e: Tensor, retained: float, steps: int) -> Tensor:
    """What would be left at the end of e, a step after it was."""
    if trace.clamp_range is not None:
        e.clamp_(*trace.clamp_range)
    return e.mul_(retained ** (steps - 1))


def _join_(up: Tensor, down: Tensor, found: Tensor, extreme: str) -> None:
    if extreme == "amax":
        torch.maximum(up, found, out=up)
    else:
        torch.minimum(down, found, out=down)


def _settle_(e: Tensor, up: Tensor, down: Tensor, spare: Tensor, start: int) -> Tied:
    """Rows of e become the larger in magnitude; entries in which the two tie but for rounding."""
    difference = torch.add(up, down, out=spare)
    size = torch.maximum(up, down.neg_(), out=up)
    after = torch.sign(difference, out=down).mul_(size)  # torch.where would branch at every entry
    nearest = difference.abs_().sub_(size, alpha=TOLERANCE[e.dtype]).amin(1)
    rows = torch.from_numpy(np.flatnonzero((nearest < 0).numpy()))
    row, j = np.nonzero((difference[rows] < 0).numpy())
    i, j = rows[torch.from_numpy(row)], torch.from_numpy(j)
    tied = Tied(i + start, j, e[i, j])
    e.copy_(after)
    return tied


def _walked(trace: Trace, window: Window, b: Tensor, tied: Tied, retained: float) -> Tensor:
    """Entries (b, i, j) step by step."""
    post, pre, e = window.post, window.pre, tied.before
    f = post.spikes[:, b, tied.i] * post.table[:, b, tied.j]
    f += pre.spikes[:, b, tied.j] * pre.table[:, b, tied.i]
    for now in f:
        e = trace.join(retained * e, now)
        e = e if trace.clamp_range is None else e.clamp(*trace.clamp_range)
    return e
