"""What happened at one synapse, as it was recorded: spikes on both sides, what was forgotten, what was told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from ..config import ThreeFactorConfig
from ..plasticity.rule import EligibilityRule


class Forgetting(NamedTuple):
    """Traces began anew.

    Args:
        step: steps observed before it.
        update: learner.steps before it.
        samples: those that forgot; None: all.
    """

    step: int
    update: int
    samples: tuple[int, ...] | None = None


class Update(NamedTuple):
    """A `learner.step` that the connection heard.

    Args:
        step: steps observed before it.
        factor: the third factor as it was met, (), (B,), (B, N_post) or (B, C, *places).
        rate: lr · lr_scale.
        before, after: the weight.
        batch: samples of the batch.
        lands: whether the weight's turn had come (`update_frequency`).
        proposed: Δw after `weight_clamp` and `reduce`, which bounds were given; None where they are plain.
        unreduced: Δw before a `reduce`; None where there is none.
        by_place: whether each place of a map heard for itself.
    """

    step: int
    factor: float | Tensor
    rate: float
    before: float
    after: float
    batch: int
    lands: bool = True
    proposed: float | None = None
    unreduced: float | None = None
    by_place: bool = False


class Begun(NamedTuple):
    """Traces that were not new when the history begins.

    Args:
        kernel: its state, for all samples.
        e: of this weight, (B,); (1,) where only the sum of samples is known.
        summed: whether that is so.
    """

    kernel: Any
    e: Tensor
    summed: bool = False


class SynapseHistory(NamedTuple):
    """All of it, from a time at which the traces are known.

    Args:
        name, index: of the connection, and of the weight.
        rule, three_factor: how it learns.
        dt: step length.
        pre, post: (T, B, ...).
        forgotten, updates: in the order of time.
        pending: what earlier updates had left for the next landing.
        mask: what changes are multiplied by; None: nothing.
        first: number of the first step.
        begun: the traces before it; None: as new.
        precision: of the weight's own numbers, relative.
    """

    name: str
    index: tuple[int, ...]
    rule: EligibilityRule
    three_factor: ThreeFactorConfig
    dt: float
    pre: Tensor
    post: Tensor
    forgotten: Sequence[Forgetting]
    updates: Sequence[Update]
    pending: float = 0.0
    mask: float | None = None
    first: int = 0
    begun: Begun | None = None
    precision: float = 0.0

    @property
    def per_sample(self) -> bool:
        """Whether each sample has a weight of its own."""
        return len(self.index) > len(self.rule.geometry.shape)

    @property
    def place(self) -> tuple[int, ...]:
        """Where the weight is, in that of one network."""
        return self.index[1:] if self.per_sample else self.index


class Stretch(NamedTuple):
    """One sample between two times at which it forgot: steps [start, end), and the updates that met it.

    `begun`: whether its traces were not new.
    """

    sample: int
    start: int
    end: int
    updates: range
    begun: bool = False


def runs_of(history: SynapseHistory, told: range) -> Iterator[Stretch]:
    """The runs that the updates `told` met, as far as the last of these."""
    samples = [history.index[0]] if history.per_sample else range(history.pre.shape[1])
    for sample in samples:
        own = [one for one in history.forgotten if one.samples is None or sample in one.samples]
        begins = [Forgetting(0, 0), *own, Forgetting(len(history.pre), len(history.updates))]
        for k, (begin, end) in enumerate(pairwise(begins)):
            met = range(max(begin.update, told.start), min(end.update, told.stop))
            if not met or sample >= history.updates[met[0]].batch:
                continue
            last, begun = history.updates[met[-1]].step, k == 0 and history.begun is not None
            if last > begin.step or begun:
                yield Stretch(sample, begin.step, last, met, begun)
