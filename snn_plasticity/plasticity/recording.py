"""Spikes that are not folded yet: kept as they came, and where memory runs short at a byte per spike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

RUN = 64  # single steps that are joined into one block


class Block(NamedTuple):
    """Consecutive steps of one length: pre (T, B, ...), post (T, B, ...)."""

    pre: Tensor
    post: Tensor
    dt: float


class Recording:
    """Blocks of steps, oldest first.

    >>> recording = Recording()
    >>> recording.append(torch.ones(1, 2), torch.ones(1, 3), 1.0)
    >>> len(recording)
    1
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.nbytes = 0
        self._single = 0  # how many of the last blocks are single steps

    def __len__(self) -> int:
        return sum(len(block.pre) for block in self.blocks)

    def append(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """One step, copied."""
        if self.blocks and self.blocks[-1].dt != dt:
            self._join()
        self._add(Block(pre.unsqueeze(0).clone(), post.unsqueeze(0).clone(), dt))
        self._single += 1
        if self._single == RUN:
            self._join()

    def append_window(self, pre: Tensor, post: Tensor, dt: float) -> None:
        """Many steps (T, B, ...), copied."""
        self._join()
        self._add(Block(pre.clone(), post.clone(), dt))

    def windows(self, steps: int, longest: int) -> Iterator[Block]:
        """The first `steps` steps in blocks of at most `longest`, each of one dt, however they were recorded."""
        self._join()
        self._merge()
        for block in self.blocks:
            take = min(steps, len(block.pre))
            for start in range(0, take, longest):
                stop = min(start + longest, take)
                yield Block(block.pre[start:stop], block.post[start:stop], block.dt)
            steps -= take

    def drop(self, steps: int) -> None:
        """Forget the first `steps` steps."""
        self._join()
        while steps:
            block = self.blocks[0]
            take = min(steps, len(block.pre))
            rest = Block(block.pre[take:].clone(), block.post[take:].clone(), block.dt)
            self.blocks[:1] = [rest] if len(rest.pre) else []
            steps -= take
        self._count()

    def compact(self) -> None:
        """Trains of zeros and ones as booleans, where looking costs no synchronisation."""
        self._join()
        self.map(_compacted)

    def one_dt(self) -> bool:
        """Whether all steps are of one length."""
        return len({block.dt for block in self.blocks}) <= 1

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace every tensor (T, B, ...)."""
        self.blocks = [Block(change(block.pre), change(block.post), block.dt) for block in self.blocks]
        self._count()

    def _add(self, block: Block) -> None:
        self.blocks.append(block)
        self.nbytes += block.pre.nbytes + block.post.nbytes

    def _count(self) -> None:
        self.nbytes = sum(block.pre.nbytes + block.post.nbytes for block in self.blocks)

    def _merge(self) -> None:
        """Neighbouring blocks of one dt as one."""
        groups = [list(group) for _, group in groupby(self.blocks, key=lambda block: block.dt)]
        self.blocks = [
            group[0]
            if len(group) == 1
            else Block(torch.cat([b.pre for b in group]), torch.cat([b.post for b in group]), group[0].dt)
            for group in groups
        ]

    def _join(self) -> None:
        """The single steps at the end as one block."""
        if self._single:
            singles = self.blocks[-self._single :]
            pre, post = (torch.cat([getattr(block, side) for block in singles]) for side in ("pre", "post"))
            self.blocks[-self._single :] = [Block(pre, post, singles[0].dt)]
            self._single = 0


def _compacted(trains: Tensor) -> Tensor:
    if trains.dtype == torch.bool or trains.device.type != "cpu":
        return trains
    ones = trains.bool()
    return ones if torch.equal(ones.to(trains.dtype), trains) else trains
