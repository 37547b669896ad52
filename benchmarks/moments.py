"""When the large net is recruited: schedules of equal length, and the couplings that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from stacked import Stack
from torch import Tensor

from snn_plasticity.dual import (
    AffectSignals,
    BaseToo,
    Condition,
    CountMatched,
    Coupling,
    Distill,
    FromStep,
    History,
    LossDecrease,
    Replace,
    Seeking,
    loss_signals,
)

SHARE = 0.3
PAPERS, AS_OFTEN = "loss fell twice", "at random, as often"
WINDOW = LAST = 20
COUPLINGS: dict[str, Coupling] = {
    "replace": Replace(),
    "base too": BaseToo(),
    "distill": Distill(),
    "teach": Distill(base_first=True),
}


@dataclass(frozen=True)
class Paced(Condition):
    """`count` of the first `of` steps at regular distances; with a power above 1, ever closer."""

    count: int
    of: int
    power: float = 1.0

    def __call__(self, history: History) -> bool:
        """Whether count · (t / of)^power passes a whole number at this step."""
        before, after = (int(self.count * (t / self.of) ** self.power + 1e-9) for t in (history.step, history.step + 1))
        return after > before


@dataclass(frozen=True)
class Ranked(Condition):
    """`count` of the first `of` steps: those at which a signal ranks high (or low) among its last values.

    The share that is left to recruit says how high is high enough.
    """

    signal: str
    count: int
    of: int
    high: bool = True

    def __call__(self, history: History) -> bool:
        """Whether the signal does now."""
        *past, now = history.signal(self.signal)[-WINDOW - 1 :]
        ahead = sum(value > now if self.high else value < now for value in past)
        left = (self.count - sum(history.motivated)) / (self.of - history.step)
        return (ahead + 0.5) / (len(past) + 1) < left


Measure = Callable[[Sequence[History], Tensor, Tensor], Iterable[Mapping[str, float]]]


def hardness(base: Stack) -> Measure:
    """The base's loss on the batch that it is about to learn from."""

    def measure(histories: Sequence[History], x: Tensor, y: Tensor) -> Iterable[dict[str, float]]:
        with torch.no_grad():
            losses = base.losses(base.output(base.weights, x), y)
        return ({"hardness": loss} for loss in losses.tolist())

    return measure


def agreement(base: Stack) -> Measure:
    """Cosine of the batch's gradient and a running mean of those before it."""
    mean: list[Tensor] = []

    def measure(histories: Sequence[History], x: Tensor, y: Tensor) -> Iterable[dict[str, float]]:
        leaves = base.leaves(torch.arange(len(histories)))
        losses = base.losses(base.output(leaves, x), y)
        now = torch.cat([g.flatten(1) for g in torch.autograd.grad(losses.sum(), leaves)], 1)
        before = mean[0] if mean else now
        mean[:] = [0.9 * before + 0.1 * now]
        return ({"agreement": cosine} for cosine in torch.cosine_similarity(before, now, dim=1).tolist())

    return measure


def progress(base: Stack) -> Measure:
    """Curiosity and anticipation from the losses so far."""
    return lambda histories, x, y: map(loss_signals, histories)


def affect(base: Stack) -> Measure:
    """Arousal and valence of an affective life for each seed."""
    lives = [AffectSignals() for _ in base.steps]
    return lambda histories, x, y: (life(history, x) for life, history in zip(lives, histories, strict=True))


class Moment(NamedTuple):
    """A schedule for (count, of, seed), the signals that it reads, and what these cost for a batch."""

    condition: Callable[[int, int, int], Condition]
    signals: Callable[[Stack], Measure] | None = None
    cost: Callable[[Stack, Tensor], int] = lambda base, x: 0


MOMENTS = {
    PAPERS: Moment(lambda count, of, seed: LossDecrease(2)),
    AS_OFTEN: Moment(lambda count, of, seed: CountMatched(count, of, seed)),
    "at random": Moment(lambda count, of, seed: CountMatched(count, of, seed)),
    "spaced": Moment(lambda count, of, seed: Paced(count, of)),
    "ever closer": Moment(lambda count, of, seed: Paced(count, of, 2.0)),
    "closer still": Moment(lambda count, of, seed: Paced(count, of, 3.0)),
    "refreshed": Moment(lambda count, of, seed: CountMatched(count - LAST, of - LAST, seed) | FromStep(of - LAST)),
    "hard batches": Moment(lambda count, of, seed: Ranked("hardness", count, of), hardness, Stack.forward_macs),
    "easy batches": Moment(
        lambda count, of, seed: Ranked("hardness", count, of, high=False), hardness, Stack.forward_macs
    ),
    "gradients agree": Moment(lambda count, of, seed: Ranked("agreement", count, of), agreement, Stack.macs),
    "gradients disagree": Moment(
        lambda count, of, seed: Ranked("agreement", count, of, high=False), agreement, Stack.macs
    ),
    "first block": Moment(lambda count, of, seed: ~FromStep(count)),
    "seeking": Moment(lambda count, of, seed: Seeking(share=count / of), progress),
    "affect": Moment(lambda count, of, seed: Seeking(share=count / of), affect),
    "last block": Moment(lambda count, of, seed: FromStep(of - count)),
}
