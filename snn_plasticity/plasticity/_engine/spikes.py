"""Spikes that are not folded yet: trains of zeros and ones at a byte per entry, anything else as it came.

Single steps are written into blocks of `RUN` steps, so that nothing need be joined when they are folded; long windows
are blocks of their own. The memory of the last block is used again: touching fresh memory takes longer than writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .bits import bits_into, bits_of

RUN = 256  # steps of a block that grows; those that never come take no memory
SHORT = 64  # steps up to which a window is written into such a block


class Block(NamedTuple):
    """Consecutive steps of one length: pre (T, B, ...), post (T, B, ...), of which the first `used` are there.

    Its memory is the recording's own where it `grows`. Each restart is a number of steps after which the samples in a
    mask (B,) start anew; beyond the last step, it concerns what these steps have added.
    """

    pre: Tensor
    post: Tensor
    dt: float
    used: int
    grows: bool = False
    restarts: tuple[tuple[int, Tensor], ...] = ()

    def part(self, start: int, stop: int) -> Block:
        """Some of its steps, where they lie; a restart between two steps belongs to those before it."""
        restarts = tuple((at - start, mask) for at, mask in self.restarts if start < at)
        return Block(self.pre[start:stop], self.post[start:stop], self.dt, stop - start, restarts=restarts)

    def has_room(self, dt: float) -> bool:
        """Whether it grows, and a further step of this length has a place in it."""
        return self.grows and self.dt == dt and self.used < RUN

    def takes(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """Whether a step of these kinds can be written into it."""
        kinds = (pre.dtype, self.pre.dtype), (post.dtype, self.post.dtype)
        return self.has_room(dt) and all(new in (torch.bool, kept) for new, kept in kinds)

    def renewed(self, pre: Tensor, post: Tensor, dt: float) -> Block | None:
        """An empty block in the same memory, if steps like these fit into it."""
        pairs = (pre, self.pre), (post, self.post)
        same = all((new.shape, new.dtype, new.device) == (old.shape[1:], old.dtype, old.device) for new, old in pairs)
        return Block(self.pre, self.post, dt, 0, grows=True) if same else None


class Recording:
    """Blocks of steps, oldest first; the last one may be growing.

    >>> recording = Recording()
    >>> recording.append(torch.ones(1, 2), torch.ones(1, 3), 1.0)
    >>> len(recording)
    1
    """

    def __init__(self, before: Recording | None = None) -> None:
        self.blocks: list[Block] = []
        self._steps = 0
        self._spare = None if before is None else before._memory()

    def __len__(self) -> int:
        return self._steps

    @property
    def nbytes(self) -> int:
        """Memory of all blocks."""
        return sum(block.pre.nbytes + block.post.nbytes for block in self.blocks)

    def append(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """One step, copied."""
        pre, post = _kept(pre), _kept(post)
        block = self._growing(pre, post, dt)
        block.pre[block.used].copy_(pre)
        block.post[block.used].copy_(post)
        self._grown(block)

    def append_bits(self, pre: Tensor, post: Tensor, dt: float) -> bool:
        """One step of zeros and ones, where such steps are being written; False, and nothing, if it is none."""
        block = self.blocks[-1] if self.blocks else None
        if block is None or not block.has_room(dt):
            return False
        if block.pre.dtype != torch.bool or block.post.dtype != torch.bool:
            return False
        if not (bits_into(block.pre, block.used, pre) and bits_into(block.post, block.used, post)):
            return False
        self._grown(block)
        return True

    def append_window(self, pre: Tensor, post: Tensor, dt: float, *, copy: bool = True) -> None:
        """Many steps (T, B, ...). Booleans are kept as they are given; others are copied if `copy`."""
        if len(pre) < SHORT and copy:
            self._append_short(_kept(pre), _kept(post), dt)
            return
        pre, post = (_kept(trains, copy=copy) for trains in (pre, post))
        self.blocks.append(Block(pre, post, dt, len(pre)))
        self._steps += len(pre)

    def _append_short(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """A few steps, copied to where single steps are written."""
        done = 0
        while done < len(pre):
            block = self._growing(pre[0], post[0], dt)
            count = min(len(block.pre) - block.used, len(pre) - done)
            for room, steps in ((block.pre, pre), (block.post, post)):
                room[block.used : block.used + count].copy_(steps[done : done + count])
            self.blocks[-1] = block._replace(used=block.used + count)
            self._steps += count
            done += count

    def windows(self, steps: int, longest: int) -> Iterator[Block]:
        """The first `steps` steps in blocks of at most `longest`, each of one dt."""
        for block in self.blocks:
            take = min(steps, block.used)
            for start in range(0, take, longest):
                yield block.part(start, min(start + longest, take))
            steps -= take

    def drop(self, steps: int) -> None:
        """Forget the first `steps` steps."""
        self._steps -= steps
        while steps:
            block = self.blocks.pop(0)
            rest = block.used - steps
            if rest >= SHORT or (rest > 0 and block.restarts):  # the rest is read where it lies
                self.blocks.insert(0, block.part(steps, block.used))
            elif rest > 0:
                self._steps -= rest
                blocks, self.blocks = self.blocks, []
                self.append_window(block.pre[steps : block.used], block.post[steps : block.used], block.dt)
                self.blocks += blocks
            elif block.grows:
                self._spare = block
            steps -= min(steps, block.used)

    def undo(self, steps: int) -> None:
        """Forget the last `steps` steps, which were just written."""
        self._steps -= steps
        while steps:
            block = self.blocks.pop()
            if block.used > steps:
                self.blocks.append(block._replace(used=block.used - steps))
            elif block.grows:
                self._spare = block
            steps -= min(steps, block.used)

    def restart(self, mask: Tensor) -> None:
        """Samples in `mask` (B,) start anew after the last step."""
        beyond = [block.used + (block is not self.blocks[-1]) for block in self.blocks]
        pairs = zip(self.blocks, beyond, strict=True)
        self.blocks = [block._replace(restarts=(*block.restarts, (at, mask))) for block, at in pairs]

    def saved(self) -> list[list]:
        """Every block as it is: pre, post, dt, whether it grows, and its restarts."""
        restarts = ([list(restart) for restart in b.restarts] for b in self.blocks)
        return [
            [b.pre[: b.used], b.post[: b.used], b.dt, b.grows, m] for b, m in zip(self.blocks, restarts, strict=True)
        ]

    def restore(self, saved: list[list]) -> None:
        """The blocks that `saved` gave, so that later windows end where they would have ended."""
        for pre, post, dt, grows, restarts in saved:
            block = Block(pre, post, dt, len(pre))
            if grows:
                block = _room(pre[0], post[0], dt)._replace(used=len(pre))
                block.pre[: len(pre)].copy_(pre)
                block.post[: len(post)].copy_(post)
            self.blocks.append(block._replace(restarts=tuple((at, mask) for at, mask in restarts)))
            self._steps += len(pre)

    def one_dt(self) -> bool:
        """Whether all steps are of one length."""
        return len({block.dt for block in self.blocks}) <= 1

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace every tensor (T, B, ...)."""
        self.blocks = [block._replace(pre=change(block.pre), post=change(block.post)) for block in self.blocks]

    def _growing(self, pre: Tensor, post: Tensor, dt: float) -> Block:
        """The last block if it has room for such a step, else a new one."""
        last = self.blocks[-1] if self.blocks else None
        if last is None or not last.takes(pre, post, dt):
            if last is not None and last.used < len(last.pre):
                self.blocks[-1] = last.part(0, last.used)
            last = self._spare and self._spare.renewed(pre, post, dt)
            self._spare = None
            last = last or _room(pre, post, dt)
            self.blocks.append(last)
        return last

    def _grown(self, block: Block) -> None:
        self.blocks[-1] = block._replace(used=block.used + 1)
        self._steps += 1

    def _memory(self) -> Block | None:
        """A block that nobody needs any more once this is gone."""
        return next((block for block in reversed(self.blocks) if block.grows), self._spare)


def _room(pre: Tensor, post: Tensor, dt: float) -> Block:
    """An empty block for steps like this one."""
    with torch.inference_mode(False):
        return Block(pre.new_empty(RUN, *pre.shape), post.new_empty(RUN, *post.shape), dt, 0, grows=True)


def _kept(trains: Tensor, *, copy: bool = False) -> Tensor:
    """Trains as booleans, if they are zeros and ones and looking costs no synchronisation; else as they are."""
    bits = bits_of(trains)
    return (trains.clone() if copy else trains) if bits is None else bits
