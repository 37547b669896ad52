"""The latest steps of one side of a connection: a bit for each spike where all are zeros and ones, else numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._checks import PRECISE
from .._compiled import suits
from ..layers.spike_trains import as_binary, roomy, writer_into

CHUNK_BYTES = 1 << 20  # of the steps that are written before they are packed
WAITING = 256  # steps on a device that are brought here together
CHUNK_STEPS = 16, 2048  # as many as fit, within these


class SideSpikes(NamedTuple):
    """What both sides of a connection did.

    Args:
        time: (T,) numbers of the observed steps since the record began.
        pre, post: (T, B, …) spikes: booleans where all are zeros and ones, else numbers. `post` is None where no neuron
            is behind the layer, or its spikes were not seen.
        samples: (T,) how many samples of a step there were; behind them, rows are zero.
    """

    time: Tensor
    pre: Any  # Tensor | None, of which one knows the net which it is
    post: Any
    samples: Tensor


class PackedRows(NamedTuple):
    """Some steps that are not written to any more: `bits` (n, bytes) of each, or else numbers (n, …)."""

    first: int
    shape: tuple[int, ...]
    steps: int
    bits: np.ndarray | None
    numbers: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return sum(part.nbytes for part in (self.bits, self.numbers) if part is not None)

    def until(self, count: int) -> PackedRows:
        """Those of them that are among the first `count` of all."""
        steps = min(self.steps, count - self.first)
        bits, numbers = (None if part is None else part[:steps] for part in (self.bits, self.numbers))
        return self._replace(steps=steps, bits=bits, numbers=numbers)

    def unpacked(self) -> np.ndarray:
        """(n, …) booleans or numbers."""
        if self.bits is None:
            assert self.numbers is not None
            return self.numbers
        size = int(np.prod(self.shape))
        return np.unpackbits(self.bits, axis=1, count=size).view(np.bool_).reshape(self.steps, *self.shape)


class Room(NamedTuple):
    """Memory for steps, from an address on; bytes of a step."""

    at: int
    size: int
    steps: int


class SpikeRows:
    """A ring of steps. What is appended is copied.

    Args:
        most: steps that are kept, and a part of a chunk more.
        samples: those that are kept; None: all.
        most_bytes: memory that may be taken, beside the chunk that is written to.

    >>> rows = SpikeRows(100)
    >>> _ = rows.append(torch.tensor([[1.0, 0.0]]))
    >>> rows.read()[1]
    tensor([[[ True, False]]])
    """

    def __init__(self, most: int, samples: Tensor | None = None, most_bytes: float = float("inf")) -> None:
        self.most, self.samples, self.most_bytes = most, samples, most_bytes
        self.count = 0  # steps that have come
        self.dropped_bytes = False  # whether steps were dropped since they took too much memory
        self._packed: deque[PackedRows] = deque()
        self._at = self._room = 0
        self._shape: torch.Size | None = None
        self._chunk: Tensor = torch.empty(0, device="cpu")
        self._write: Callable[[int, Tensor], bool] = _never
        self._waiting: list[Tensor] = []  # of a device: looked at many at a time
        self._last: Tensor | None = None  # what was appended last, as it was given
        self._version = -1

    def append(self, row: Tensor) -> bool:
        """One step (B, …); whether it was like the one before."""
        self._last = row
        try:
            self._version = row._version
        except RuntimeError:  # made in inference mode, without one
            self._version = -1
        if self.samples is not None:
            row = row[self._kept(len(row), row.device)]
        at = self._at
        if at < self._room and row.shape == self._shape and row.is_cpu and self._write(at, row):
            self._at = at + 1
            self.count += 1
            return True
        self._append_otherwise(row.detach())
        return False

    def ends_with(self, rows: Tensor, count: int) -> bool:
        """Whether these very rows, as they are, were appended last, and are the ones up to this number."""
        last = self._last
        if last is None or count != self.count or self._version < 0:
            return False
        if rows is last:
            return rows._version == self._version
        same = rows.data_ptr() == last.data_ptr() and rows.shape == last.shape and rows.stride() == last.stride()
        return same and rows.dtype is last.dtype and not rows.is_inference() and rows._version == self._version

    def room_like(self, row: Tensor) -> Room | None:
        """Where steps like this one can be written next, as bytes; None where there is no such place."""
        fits = row.shape == self._shape and self.samples is None and self._chunk.dtype == torch.bool
        if not fits or not suits(row) or self._at >= self._room:
            return None
        size = row.numel()
        return Room(self._chunk.data_ptr() + self._at * size, size, self._room - self._at)

    def took(self, steps: int, last: Tensor | None, version: int) -> None:
        """So many steps were written there; the last one, as it was given, where that is known."""
        self._at += steps
        self.count += steps
        self._last, self._version = last, version

    def last(self) -> tuple[Tensor | None, int]:
        """What was appended last, as it was given, and its version."""
        return self._last, self._version

    def let_go(self) -> None:
        """Hold nothing of the caller's."""
        self._last = None

    def copied(self, count: int) -> SpikeRows:
        """The first `count` of all that have come, to go on apart."""
        if self._waiting:
            self._drain()
        other = SpikeRows(self.most, self.samples, self.most_bytes)
        parts = [*self._packed, *([self._open_rows(packed=True)] if self._at else [])]
        other._packed = deque(part.until(count) for part in parts if part.first < count)
        other.count = min(count, self.count)
        return other

    def append_window(self, rows: Tensor) -> None:
        """Many steps (T, B, …)."""
        self._last, self._version = rows, -1 if rows.is_inference() else rows._version
        rows = rows.detach()
        rows = rows if self.samples is None else rows[:, self._kept(rows.shape[1], rows.device)]
        if not rows.is_cpu:
            for row in rows:
                self._append_otherwise(row)
            return
        bits = rows if rows.dtype == torch.bool else as_binary(rows) if rows.dtype in PRECISE else None
        rows = rows if bits is None else bits
        while len(rows):
            self._make_room(rows[0], binary=bits is not None)
            part = rows[: self._room - self._at]
            self._chunk[self._at : self._at + len(part)].copy_(part)
            self._at += len(part)
            self.count += len(part)
            rows = rows[len(part) :]

    def skip_to(self, count: int, like: Tensor) -> None:
        """Silence for steps that did not come here, up to a number of them."""
        while self.count < count:
            self.append(torch.zeros_like(like))

    def _kept(self, batch: int, device: torch.device) -> Tensor:
        """The samples that are kept of a batch."""
        assert self.samples is not None
        return self.samples[self.samples < batch].to(device)

    def _append_otherwise(self, row: Tensor) -> None:
        if not row.is_cpu:
            self._waiting.append(row.clone())
            self.count += 1
            if len(self._waiting) >= WAITING:
                self._drain()
            return
        row = row if row.dtype in (torch.bool, *PRECISE) else row.to(torch.float32)
        self._make_room(row, binary=True)
        if not self._write(self._at, row):
            self._take_numbers(row.dtype)
            self._chunk[self._at].copy_(row)
        self._at += 1
        self.count += 1

    def _drain(self) -> None:
        """What waits on a device, brought here at once."""
        waiting, self._waiting = self._waiting, []
        self.count -= len(waiting)
        samples, self.samples = self.samples, None
        while waiting:
            alike = next((n for n, row in enumerate(waiting) if row.shape != waiting[0].shape), len(waiting))
            self.append_window(torch.stack(waiting[:alike]).cpu())
            waiting = waiting[alike:]
        self.samples = samples

    def _make_room(self, row: Tensor, *, binary: bool) -> None:
        """A chunk in which such a row has a place."""
        if self._at >= self._room or row.shape != self._shape:
            before = self._room
            self._pack()
            if row.shape == self._shape and self._chunk.dtype == torch.bool:
                self._room = before  # what was written there is bits by now
                self._hold_numbers(row, binary=binary)
                return
            fewest, longest = CHUNK_STEPS
            steps = max(fewest, min(longest, CHUNK_BYTES // max(1, row.numel()), max(fewest, self.most // 8)))
            self._shape, self._room = row.shape, steps
            self._chunk = roomy((steps, *row.shape), torch.empty(0, dtype=torch.bool, device="cpu"))
            self._write = writer_into(self._chunk, fast=True)
        self._hold_numbers(row, binary=binary)

    def _hold_numbers(self, row: Tensor, *, binary: bool) -> None:
        if not binary and self._chunk.dtype == torch.bool:
            self._take_numbers(row.dtype)

    def _take_numbers(self, dtype: torch.dtype) -> None:
        """The open chunk holds numbers from now on."""
        kind = torch.float32 if dtype == torch.bool else dtype
        if self._chunk.dtype != torch.bool:
            kind = torch.promote_types(self._chunk.dtype, kind)
        chunk = roomy(tuple(self._chunk.shape), torch.empty(0, dtype=kind, device="cpu"))
        chunk[: self._at].copy_(self._chunk[: self._at])
        self._chunk, self._write = chunk, writer_into(chunk, fast=True)

    def _pack(self) -> None:
        """The open chunk is closed, and the oldest ones go."""
        if self._at:
            self._packed.append(self._open_rows(packed=True))
        self._at = self._room = 0
        while self._packed and self._packed[0].first + self._packed[0].steps <= self.count - self.most:
            self._packed.popleft()
        total = sum(part.nbytes for part in self._packed)
        while total > self.most_bytes and len(self._packed) > 1:
            total -= self._packed.popleft().nbytes
            self.dropped_bytes = True

    def _open_rows(self, *, packed: bool) -> PackedRows:
        """The open chunk."""
        held, first = self._chunk[: self._at].numpy(), self.count - self._at
        shape = tuple(held.shape[1:])
        if held.dtype == np.bool_:
            return PackedRows(first, shape, self._at, np.packbits(held.reshape(self._at, -1), axis=1), None)
        return PackedRows(first, shape, self._at, None, held if not packed else held.copy())

    @property
    def first(self) -> int:
        """The oldest step that is kept."""
        kept = self._packed[0].first if self._packed else self.count - len(self._waiting) - self._at
        return max(kept, self.count - self.most)

    @property
    def nbytes(self) -> int:
        """Memory of all that is kept."""
        return sum(part.nbytes for part in self._packed) + self._chunk.nbytes + sum(r.nbytes for r in self._waiting)

    def read(self) -> tuple[int, Tensor | None, Tensor]:
        """The first step, all that follow (T, B, …) with zeros behind the samples of smaller batches, and (T,) samples.

        Steps before a change of more than the batch size are left out.
        """
        if self._waiting:
            self._drain()
        parts = [*self._packed, *([self._open_rows(packed=False)] if self._at else [])]
        while parts and any(p.shape[1:] != parts[-1].shape[1:] for p in parts):
            parts = parts[1:]
        if not parts:
            return self.count, None, torch.zeros(0, dtype=torch.long, device="cpu")
        skipped = max(0, self.first - parts[0].first)
        batch = max(part.shape[0] for part in parts)
        held: list[Any] = []
        for part in parts:
            rows = part.unpacked()
            missing = batch - part.shape[0]
            held.append(np.pad(rows, [(0, 0), (0, missing), *[(0, 0)] * (rows.ndim - 2)]) if missing else rows)
        samples = np.concatenate([np.full(part.steps, part.shape[0]) for part in parts])
        rows = torch.from_numpy(np.concatenate(held)[skipped:].copy())
        return parts[0].first + skipped, rows, torch.from_numpy(samples[skipped:])


def _never(at: int, row: Tensor) -> bool:
    """There is no room yet."""
    return False
