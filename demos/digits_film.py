"""Filming the animal of the demo: a part of its life on record, and in it the two trials that tell most."""

from __future__ import annotations

from itertools import islice, pairwise, product
from typing import NamedTuple

import torch
from digits_life import CONDITIONS, STORY, live
from digits_reader import ACTIONS, BURST, LOOK, PIXELS, Trial, newborn
from digits_task import train_and_held_out
from torch import Tensor

from snn_plasticity import attach
from snn_plasticity.record import Record

PAUSE = 15  # idle steps after dopamine, so that its effect is seen
TAKES = 80  # trials to choose from


class Film(NamedTuple):
    """One trial: what was seen and done, and the step of the record that it began with."""

    image: Tensor  # (64,)
    choice: int
    paid: bool
    dopamine: float
    start: int


def shoot(weights: Tensor, host: str, delay: int, seed: int) -> tuple[Record, tuple[Film, Film]]:
    """Two successive trials of an animal with these weights: of some takes, a happy surprise and then a sad one."""
    rng = torch.Generator().manual_seed(seed)
    reader, digits = newborn(host, rng), train_and_held_out()[0]
    length, every = LOOK + BURST + delay + PAUSE, list(product(range(ACTIONS), range(PIXELS + 1)))
    seen = list(islice(digits.batches(1, rng), TAKES))
    with attach(reader, CONDITIONS[STORY].rule(batch=1)) as learner, torch.no_grad():
        reader.synapses.weight.copy_(weights)
        record = learner.record(synapses={"synapses": every}, steps=TAKES * length)
        for digit in seen:
            trial = Trial(reader, digit.images, rng)
            live(trial, digit, learner, CONDITIONS[STORY], delay)
            trial.wait(PAUSE)
    films, fired = [], record.spikes("synapses").post[:, 0]
    for k, (digit, dopamine) in enumerate(zip(seen, record.modulators["DA"].values[:, 0], strict=True)):
        choice = fired[k * length + LOOK : k * length + LOOK + BURST].sum(0).argmax()
        films.append(Film(digit.images[0], int(choice), bool(digit.reward(choice)), float(dopamine), k * length))
    return record, max(pairwise(films), key=_contrast)


def _contrast(films: tuple[Film, Film]) -> float:
    first, second = films
    return min(first.dopamine, -second.dopamine) if first.choice != second.choice else -1.0
