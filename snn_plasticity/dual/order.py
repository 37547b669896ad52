"""The order of the data: the same whatever is trained in between, and known again after an interruption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch


class Order:
    """Batches of a loader, with random numbers of their own.

    Args:
        loader: a DataLoader, or anything that can be gone through again and again.
        seed: of shuffling and of transforms that use torch's random numbers; every epoch has its own.
    """

    def __init__(self, loader: Iterable[Any], seed: int) -> None:
        self.loader, self.seed = loader, seed

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from the `start`-th on. Random numbers outside are left as they are.

        Raises:
            ValueError: there is none.
        """
        own = _seeded(self.seed, number)
        self._seed_sampler(number)
        outside, batches, count = torch.get_rng_state(), None, 0
        while True:
            outside = torch.get_rng_state()
            torch.set_rng_state(own)
            try:
                batches = iter(self.loader) if batches is None else batches
                batch = next(batches, None)
                own = torch.get_rng_state()
            finally:
                torch.set_rng_state(outside)
            if batch is None:
                break
            count += 1
            if count > start:
                yield batch
        if not count:
            raise ValueError(
                f"The loader gave no batch in epoch {number}; expected at least one. An iterator that is used up? "
                "Pass a DataLoader or a list."
            )

    def _seed_sampler(self, number: int) -> None:
        sampler = getattr(self.loader, "sampler", None)
        for holder in (self.loader, sampler):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(_mixed(self.seed, number))
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(number)  # type: ignore[union-attr]


def _mixed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % 2**63


def _seeded(seed: int, number: int) -> torch.Tensor:
    return torch.Generator().manual_seed(_mixed(seed, number)).get_state()
