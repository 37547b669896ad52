"""Filming the animal of the demo: every step of single trials, of its spikes, tags and weights."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import NamedTuple

import torch
from digits_life import CONDITIONS, STORY, live
from digits_reader import BURST, LOOK, PIXELS, Reader, Trial, newborn
from digits_task import Digits, train_and_held_out
from torch import Tensor

from snn_plasticity import PlasticityLearner, attach

PAUSE = 15  # idle steps after dopamine, so that its effect is seen
TAKES = 80  # trials to choose from


class Film(NamedTuple):
    """One trial, step by step: T steps of looking, acting, waiting, and the pause after dopamine."""

    image: Tensor  # (64,)
    choice: int
    paid: bool
    dopamine: float
    spikes: Tensor  # (T, 65)
    fired: Tensor  # (T, 10)
    eligibility: Tensor  # (T, 10, 65)
    weights: Tensor  # (T, 10, 65)

    @property
    def series(self) -> tuple[Tensor, ...]:
        """What has a value at every step: spikes, fired, eligibility, weights."""
        return self.spikes, self.fired, self.eligibility, self.weights

    @property
    def brightest(self) -> int:
        """The pixel that fired most while the chosen neuron burst."""
        return int(self.spikes[LOOK : LOOK + BURST, :PIXELS].sum(0).argmax())


class Camera:
    """Writes down every step of a reader and its learner."""

    def __init__(self, reader: Reader, learner: PlasticityLearner) -> None:
        self.weight, self.synapses = reader.synapses.weight, learner.connections["synapses"]
        self.steps: list[tuple[Tensor, ...]] = []

    def __call__(self, spikes: Tensor, fired: Tensor) -> None:
        """One step has passed."""
        now = (spikes[0], fired[0], self.synapses.eligibility[0], self.weight.detach())
        self.steps.append(tuple(tensor.clone() for tensor in now))

    def film(self, digit: Digits, dopamine: Tensor) -> Film:
        """What was seen; the dopamine (1,) came before the pause."""
        spikes, fired, eligibility, weights = map(torch.stack, zip(*self.steps, strict=True))
        choice = fired[LOOK : LOOK + BURST].sum(0).argmax()
        paid = bool(digit.reward(choice))
        return Film(digit.images[0], int(choice), paid, float(dopamine), spikes, fired, eligibility, weights)


def shoot(weights: Tensor, host: str, delay: int, seed: int) -> tuple[Film, Film]:
    """Two successive trials of an animal with these weights: of some takes, a happy surprise and then a sad one."""
    rng = torch.Generator().manual_seed(seed)
    reader, digits = newborn(host, rng), train_and_held_out()[0]
    with attach(reader, CONDITIONS[STORY].rule(batch=1)) as learner, torch.no_grad():
        reader.synapses.weight.copy_(weights)
        takes = [_take(reader, learner, digit, delay, rng) for digit in islice(digits.batches(1, rng), TAKES)]
    return max(pairwise(takes), key=_contrast)


def _contrast(films: tuple[Film, Film]) -> float:
    first, second = films
    return min(first.dopamine, -second.dopamine) if first.choice != second.choice else -1.0


def _take(reader: Reader, learner: PlasticityLearner, digit: Digits, delay: int, rng: torch.Generator) -> Film:
    camera = Camera(reader, learner)
    trial = Trial(reader, digit.images, rng, watch=camera)
    dopamine = live(trial, digit, learner, CONDITIONS[STORY], delay)
    trial.wait(PAUSE)
    return camera.film(digit, dopamine)
