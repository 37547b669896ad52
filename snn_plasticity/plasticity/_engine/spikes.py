"""Spikes that wait to be worked in: as booleans where all are zeros and ones, anything else as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...layers.spike_trains import Writer, as_binary, as_numbers, roomy, writer_into

PENDING_BYTES = 1 << 25  # that may always wait in long windows, of maps (whose places may hear alone), off the CPU
BLOCK_STEPS = 64, 256  # of a block that grows: as many as fit into its bytes, within these
BLOCK_BYTES = 3 << 20  # or half those of e; with more, memory would grow with time, and with fewer it takes longer
SHORT_STEPS = 64  # steps up to which a window is written into such a block


class SpikeBlock(NamedTuple):
    """Consecutive steps of one length: the first `steps` of pre (T, B, ...) and post (T, B, ...).

    Where it `grows`, further steps are written behind them. Each restart is a number of steps after which the samples
    in a mask (B,) start anew; beyond the last step, it concerns what these steps have added.
    """

    pre: Tensor
    post: Tensor
    dt: float
    steps: int
    grows: bool = False
    restarts: tuple[tuple[int, Tensor], ...] = ()

    def part(self, start: int, stop: int) -> SpikeBlock:
        """Some of its steps, where they lie; a restart between two steps belongs to those before it."""
        restarts = tuple([(at - start, mask) for at, mask in self.restarts if start < at]) if self.restarts else ()
        return SpikeBlock(self.pre[start:stop], self.post[start:stop], self.dt, stop - start, restarts=restarts)

    def first(self, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Pre and post of its first step, in the precision of these."""
        return as_numbers(self.pre[0], like[0].dtype), as_numbers(self.post[0], like[1].dtype)

    def has_room(self, dt: float) -> bool:
        """Whether it grows, and a further step of this length has a place in it."""
        return self.grows and self.dt == dt and self.steps < self.pre.shape[0]

    def takes(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """Whether a step of these kinds can be written into it."""
        kinds = (pre.dtype, self.pre.dtype), (post.dtype, self.post.dtype)
        return self.has_room(dt) and all(new in (torch.bool, kept) for new, kept in kinds)

    def grown(self, pre: Tensor, post: Tensor) -> SpikeBlock:
        """With further steps (T, B, ...) written into it."""
        stop = self.steps + len(pre)
        self.pre[self.steps : stop].copy_(pre)
        self.post[self.steps : stop].copy_(post)
        return self._replace(steps=stop)


class PendingSpikes:
    """Blocks of steps that wait, oldest first; the last one may be growing. What was written stays as it is.

    Args:
        most: bytes in which more than one block of steps may wait.
        single: whether each weight is used once in a step, on the CPU: else as many may wait as in long windows.
        fast: whether compiled loops may be used.

    >>> pending = PendingSpikes()
    >>> pending.append(torch.ones(4, 1, 2), torch.ones(4, 1, 3), 1.0)
    >>> len(pending)
    4
    """

    def __init__(self, most: int = 0, *, single: bool = False, fast: bool = False) -> None:
        self.blocks: list[SpikeBlock] = []
        self.steps, self.most, self.single, self.fast = 0, most, single, fast
        self._writers: tuple[Tensor, Writer, Writer] | None = None  # pre of the block that grows, and both sides

    def __getstate__(self) -> dict[str, Any]:
        """A copy writes into memory of its own."""
        return {**vars(self), "_writers": None}

    def __len__(self) -> int:
        return self.steps

    def append(self, pre: Tensor, post: Tensor, dt: float, *, copy: bool = True) -> None:
        """Steps (T, B, ...). Few are copied; many booleans are kept as they are given, others are copied if `copy`."""
        binary = as_binary(pre), as_binary(post)
        self.steps += len(pre)
        if len(pre) < SHORT_STEPS and copy:
            pre, post = (side if bits is None else bits for side, bits in zip((pre, post), binary, strict=True))
            self._write(pre, post, dt)
            return
        pre, post = (
            bits if bits is not None else side.clone() if copy else side
            for side, bits in zip((pre, post), binary, strict=True)
        )
        self.blocks.append(SpikeBlock(pre, post, dt, len(pre)))

    def append_step(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """One step like those that are being written, zeros and ones or not; False, and nothing, if it is none."""
        if not self.blocks or not self.blocks[-1].has_room(dt):
            return False
        pres, posts, _, steps, grows, restarts = self.blocks[-1]
        writers = self._writers
        if writers is None or writers[0] is not pres:
            fast = self.fast
            writers = self._writers = pres, writer_into(pres, fast=fast), writer_into(posts, fast=fast)
        _, write_pre, write_post = writers
        if not (write_pre(steps, pre) and write_post(steps, post)):
            return False
        self.blocks[-1] = SpikeBlock(pres, posts, dt, steps + 1, grows, restarts)
        self.steps += 1
        return True

    def _write(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """A few steps, copied into blocks that grow."""
        while len(pre):
            if not self.blocks or not self.blocks[-1].takes(pre, post, dt):
                self.blocks.append(self._empty_block(pre[0], post[0], dt))
            count = len(self.blocks[-1].pre) - self.blocks[-1].steps
            self.blocks[-1] = self.blocks[-1].grown(pre[:count], post[:count])
            pre, post = pre[count:], post[count:]

    def windows(self, steps: int, longest: int) -> Iterator[SpikeBlock]:
        """The first `steps` steps in blocks of at most `longest`, each of one dt."""
        for block in self.blocks:
            stop = min(steps, block.steps)
            for start in range(0, stop, longest):
                yield block.part(start, min(start + longest, stop))
            steps -= stop

    def drop(self, steps: int) -> None:
        """Forget the first `steps` steps."""
        self.steps -= steps
        while steps:
            block = self.blocks.pop(0)
            if block.steps > steps:
                rest = block.part(steps, block.steps)
                if block.grows:  # what it goes on from begins where a block that was loaded begins
                    rest = self._empty_block(block.pre[0], block.post[0], block.dt, rest.restarts).grown(*rest[:2])
                self.blocks.insert(0, rest)
            steps -= min(steps, block.steps)

    def drop_first(self) -> None:
        """Forget the first step; the block goes on where it lies."""
        first = self.blocks[0]
        rest = first._replace(pre=first.pre[1:], post=first.post[1:], steps=first.steps - 1)
        if first.grows and len(rest.pre) < 2:  # it has room again, as after a load
            rest = self._empty_block(rest.pre[0], rest.post[0], rest.dt, rest.restarts).grown(*rest[:2])
        self.blocks[0] = rest
        self.steps -= 1

    def drop_last(self, steps: int) -> None:
        """Forget the last `steps` steps."""
        self.steps -= steps
        while steps:
            block = self.blocks.pop()
            if block.steps > steps:
                self.blocks.append(block._replace(steps=block.steps - steps))
            steps -= min(steps, block.steps)

    def restart(self, mask: Tensor) -> None:
        """Samples in `mask` (B,) start anew after the last step."""
        last = len(self.blocks) - 1
        after = [(block.steps + (k < last), mask) for k, block in enumerate(self.blocks)]
        self.blocks = [b._replace(restarts=(*b.restarts, at)) for b, at in zip(self.blocks, after, strict=True)]

    def saved(self) -> list[list]:
        """Every block as it is: pre, post, dt, whether it grows, and its restarts."""
        return [
            [b.pre[: b.steps], b.post[: b.steps], b.dt, b.grows, [list(restart) for restart in b.restarts]]
            for b in self.blocks
        ]

    def restore(self, saved: list[list]) -> None:
        """The blocks that `saved` gave, so that later windows end where they would have ended."""
        for pre, post, dt, grows, restarts in saved:
            after = tuple((at, mask) for at, mask in restarts)
            whole = SpikeBlock(pre, post, dt, len(pre), restarts=after)
            room = self._empty_block(pre[0], post[0], dt, after, len(pre)) if grows else whole
            self.blocks.append(room.grown(pre, post) if grows else whole)
            self.steps += len(pre)

    def one_dt(self) -> bool:
        """Whether all steps are of one length."""
        return len(self.blocks) < 2 or len({block.dt for block in self.blocks}) == 1

    @property
    def nbytes(self) -> int:
        """Memory of all steps that wait."""
        return sum((block.pre.nbytes + block.post.nbytes) * block.steps // len(block.pre) for block in self.blocks)

    def too_many(self, new: int, times: int = 1) -> int:
        """How many steps to fold where more wait than may, looked at when `new` ones are in a block of their own.

        Those of the blocks that grow no more: a step that has just come would make a window by itself. `times` as many
        bytes may wait as else.
        """
        block = self.blocks[-1] if self.blocks else None
        if block is None or (block.steps > 1 and new == 1):
            return 0
        most = times * self.most
        most = most if block.grows and self.single else max(PENDING_BYTES, most)
        return self.steps - (block.steps if block.grows else 0) if self.nbytes > most else 0

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace every tensor (T, B, ...)."""
        self.blocks = [block._replace(pre=change(block.pre), post=change(block.post)) for block in self.blocks]

    def _empty_block(
        self, pre: Tensor, post: Tensor, dt: float, restarts: tuple[tuple[int, Tensor], ...] = (), least: int = 0
    ) -> SpikeBlock:
        """Room for steps like this one, `least` of them or more; those that never come take no memory."""
        fewest, longest = BLOCK_STEPS
        fitting = max(BLOCK_BYTES, self.most) // max(1, pre.nbytes + post.nbytes) // 16 * 16
        room = max(least, fewest, min(longest, fitting) if self.single else longest)
        with torch.inference_mode(False):
            pre, post = (roomy((room, *side.shape), side) for side in (pre, post))
            return SpikeBlock(pre, post, dt, 0, grows=True, restarts=restarts)
