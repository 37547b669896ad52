"""Leaps: the n-th pieces of many rows of e together, each as two sums of a few rows of tables, and a clamp.

    e ← min( max( β^k e − a H_start + b H_stop + g X,   c F + g X − d P ),  U )

The rows of e that are worked on lie below the tables, so that they may be summands. F is the lower clamp as far as it
has decayed since the last pre spike. A piece that ends without a post spike has g = d = 0.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import filters
from .pieces import Falling, Pieces, pieces_of

ROWS, COLUMNS = 256, 1024  # of e that are worked on together
NEVER = -1e30  # a bound that does not bind
UPPER, LOWER = 4, 3  # summands on either side of max


class Drive(NamedTuple):
    """f = g X − A y p of a window, (T, B, N), or of one sample, (T, N)."""

    size: Tensor  # g, of post spikes
    table: Tensor  # X
    seen: Tensor  # y as pre spikes see it
    jump: Tensor  # how much higher it is after the step
    lead: Tensor  # y before the window, without T
    pre: Tensor  # p
    amplitude: float  # A
    decay: float  # of y
    sizes: tuple[float, float]  # the smallest p that is not zero, and the largest

    def steps(self, start: int, stop: int) -> Drive:
        """Some of its steps."""
        if start == 0 and stop >= len(self.pre):
            return self
        parts = {name: getattr(self, name)[start:stop] for name in ("size", "table", "seen", "jump", "pre")}
        lead = self.lead if start == 0 else self.seen[start - 1] + self.jump[start - 1]
        return self._replace(lead=lead, **parts)

    def sample(self, b: int, rows: Tensor | None) -> Drive:
        """One sample, all of its post neurons or some."""
        size, seen, jump = (side[:, b] for side in (self.size, self.seen, self.jump))
        lead = self.lead[b]
        if rows is not None:
            size, seen, jump, lead = (side.index_select(-1, rows) for side in (size, seen, jump, lead))
        return self._replace(size=size, table=self.table[:, b], seen=seen, jump=jump, lead=lead, pre=self.pre[:, b])


class Clamp(NamedTuple):
    """A clamp around zero, and what is kept of e in a step."""

    low: float
    high: float
    beta: float


class Places(NamedTuple):
    """Where the summands lie: the first row of each table, of ones, and of e."""

    floor: int
    ahead: int
    table: int
    pre: int
    one: int
    e: int

    @classmethod
    def of(cls, steps: int) -> Places:
        """With tables of so many steps."""
        return cls(0, steps + 1, 2 * steps + 2, 3 * steps + 2, 4 * steps + 2, 4 * steps + 3)


class Leap(NamedTuple):
    """How many rows leap, and what they sum: rows of the tables, and their weights."""

    count: int
    index: Tensor
    weight: Tensor


def advance_(e: Tensor, drive: Drive, clamp: Clamp, room: Tensor) -> None:
    """In place: rows of one sample, e (rows, N_pre), after a window; `room` is what `room_for` gave."""
    pieces, places = _pieces(drive, clamp), Places.of(len(drive.pre))
    rounds = np.bincount(pieces.row, minlength=len(e))
    order, rank = np.argsort(-rounds, kind="stable"), np.empty(len(e), int)
    rank[order] = np.arange(len(e))
    blocks = list(zip(torch.from_numpy(order).split(ROWS), _leaps(drive, clamp, pieces, rank), strict=True))
    for start in range(0, e.shape[1], COLUMNS):
        part = e[:, start : start + COLUMNS]
        tables = room[: (places.e + ROWS) * part.shape[1]].view(-1, part.shape[1])
        _tables_(tables, places, drive, clamp, slice(start, start + COLUMNS))
        for rows, leaps in blocks:
            block = tables[places.e : places.e + len(rows)]
            torch.index_select(part, 0, rows, out=block)
            _leap_(block, tables, leaps, clamp)
            part.index_copy_(0, rows, block)


def room_for(e: Tensor, steps: int) -> Tensor:
    """Memory for the tables of a window on e (..., N_pre); of use for one sample after the other."""
    return e.new_empty((Places.of(steps).e + ROWS) * min(COLUMNS, e.shape[-1]))


def share(drive: Drive, clamp: Clamp, rows: int = 64) -> float:
    """Leaps of each row and step, as far as the first rows tell."""
    some = drive.sample(0, torch.arange(min(rows, drive.size.shape[2])))
    return len(_pieces(some, clamp).row) / max(1, some.size.numel())


def _leap_(e: Tensor, tables: Tensor, leaps: list[Leap], clamp: Clamp) -> None:
    """In place: some rows, one leap after the other."""
    high = e.new_tensor(clamp.high)
    starts = torch.from_numpy((np.arange(len(e) + 1)[:, None] * (UPPER + LOWER) + [0, UPPER]).ravel().astype(np.int32))
    for count, index, weight in leaps:
        sums = torch.embedding_bag(tables, index, starts[: 2 * count + 1], False, 0, False, weight, True)[0]
        raised, floor = sums.view(count, 2, -1).unbind(1)
        torch.clamp(raised, floor, high, out=e[:count])
    e.clamp_(clamp.low, clamp.high)  # which rounding may have left


def _pieces(drive: Drive, clamp: Clamp) -> Pieces:
    size, seen, jump, lead = (side.numpy() for side in (drive.size, drive.seen, drive.jump, drive.lead))
    least, most = (drive.amplitude * extreme for extreme in drive.sizes)
    falling = Falling.of((least, most), drive.decay, clamp.beta, clamp.low, len(drive.pre))
    return pieces_of(size != 0 if drive.size is drive.jump else (size != 0) | (jump != 0), seen, lead, jump, falling)


def _leaps(drive: Drive, clamp: Clamp, pieces: Pieces, rank: np.ndarray) -> list[list[Leap]]:
    """The leaps of each block of rows, in the order of their rank."""
    block, nth = np.divmod(rank, ROWS)
    rounds = int(pieces.round.max()) + 1
    group = block[pieces.row] * rounds + pieces.round
    count = np.bincount(group, minlength=(int(block.max()) + 1) * rounds)
    ordered = np.empty_like(group)
    ordered[(np.cumsum(count) - count)[group] + nth[pieces.row]] = np.arange(len(group))
    pieces = Pieces(*(entries[ordered] for entries in pieces))
    summands = _summands(drive, clamp, pieces, nth[pieces.row])
    shape = len(ordered), UPPER + LOWER
    index, weight = np.empty(shape, np.int32), np.empty(shape, pieces.before.dtype)
    for k, (where, factor) in enumerate(summands):
        index[:, k], weight[:, k] = where, factor
    sizes = [int(size) for size in count if size]
    entries = [(UPPER + LOWER) * size for size in sizes]
    leaps = map(Leap, sizes, *(torch.from_numpy(side).view(-1).split(entries) for side in (index, weight)))
    return [list(itertools.islice(leaps, int(n))) for n in np.count_nonzero(count.reshape(-1, rounds), axis=1)]


def _summands(drive: Drive, clamp: Clamp, pieces: Pieces, nth: np.ndarray) -> list[tuple]:
    """Which rows each piece sums and with what weights, four above and three below."""
    steps, at = len(drive.pre), Places.of(len(drive.pre))
    spike = (pieces.stop == pieces.next) & (pieces.next < steps)
    step, stop = np.minimum(pieces.next, steps - 1), pieces.stop + spike
    kept = np.power(clamp.beta, np.arange(steps + 1)).astype(pieces.before.dtype)[stop - pieces.start]
    seen = drive.amplitude * np.where(spike, drive.decay * pieces.after, pieces.after)
    came = np.where(spike, at.table + step, at.one), drive.size.numpy()[step, pieces.row] * spike
    floor = np.where(pieces.unbound, NEVER, np.where(spike, clamp.beta, 1.0))
    return [
        (at.e + nth, kept),
        (at.ahead + pieces.start, -drive.amplitude * pieces.before * kept),
        (at.ahead + stop, seen),
        came,
        (np.where(pieces.unbound, at.one, at.floor + pieces.stop), floor),
        came,
        (np.where(spike, at.pre + step, at.one), -seen * spike),
    ]


def _tables_(out: Tensor, at: Places, drive: Drive, clamp: Clamp, columns: slice) -> None:
    """F, H, X, P and ones of some columns."""
    pre, ratio = drive.pre[:, columns], drive.decay / clamp.beta
    floor, ahead = out[at.floor : at.ahead], out[at.ahead : at.table]
    floor[0] = clamp.low
    torch.mul(pre.sign(), clamp.low, out=floor[1:])
    for before, now in itertools.pairwise(floor.numpy()):
        np.minimum(now, clamp.beta * before, out=now)
    filters.backward(pre, ratio, exclusive=True, out=ahead[1:])
    torch.add(ahead[1], pre[0], out=ahead[0]).mul_(ratio)
    out[at.table : at.pre], out[at.pre : at.one], out[at.one] = drive.table[:, columns], pre, 1.0
