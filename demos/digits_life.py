"""How the animal of the demo learns: trials, dopamine, and what is done to the controls.

    Δw = lr · DA · e,    DA = tanh(reward − what the chosen neuron's own activity promised)

The promise as critic and the burst of the chosen neuron as tag follow Roelfsema & van Ooyen 2005.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from digits_reader import Reader, Trial, choose, newborn, promised
from digits_task import Digits, train_and_held_out
from torch import Tensor
from tqdm import tqdm

from snn_plasticity import (
    EligibilityConfig,
    NeuromodConfig,
    PlasticityConfig,
    PlasticityLearner,
    PlasticityWarning,
    ThreeFactorConfig,
    attach,
)

BATCH = 64  # digits that are seen at the same time
LR = 0.06
TAU_E = 200.0  # steps that a synapse remembers, whatever the delay
NOISE, TEMPERATURE = 0.3, 1.0  # of the membranes, and of the choice


class Condition(NamedTuple):
    """What is done to an animal: how long its synapses remember, and what becomes of its prediction error (B,)."""

    tau_e: float
    hears: Callable[[Tensor, torch.Generator], Tensor]

    def rule(self, batch: int = BATCH) -> PlasticityConfig:
        """Coincidences of pre and post are remembered until dopamine comes; each digit weighs the same in any batch."""
        return PlasticityConfig(
            EligibilityConfig(kernel="rate", tau_e=self.tau_e, clamp_range=None),
            NeuromodConfig(da_source="td_error"),
            ThreeFactorConfig(lr=LR * batch / BATCH),
        )


CONDITIONS = {
    "delayed_reward": Condition(TAU_E, lambda error, rng: error),
    "no_trace": Condition(1.0, lambda error, rng: error),  # one step later, the eligibility is gone
    "random_dopamine": Condition(TAU_E, lambda error, rng: error[torch.randperm(len(error), generator=rng)]),
    "no_dopamine": Condition(TAU_E, lambda error, rng: torch.zeros_like(error)),
}
STORY, *CONTROLS = CONDITIONS


class Life(NamedTuple):
    """What became of one animal, at birth and after each epoch."""

    accuracy: list[float]  # on held-out digits
    weights: list[Tensor]  # (10, 65)

    @property
    def unchanged(self) -> bool:
        """Whether the weights have, to the bit, the values they were born with."""
        return torch.equal(self.weights[0], self.weights[-1])


@torch.no_grad()
def live(trial: Trial, digits: Digits, learner: PlasticityLearner, condition: Condition, delay: int) -> Tensor:
    """Look, act, wait, be paid, learn, forget; returns the dopamine (B,) that came."""
    activity = trial.look(NOISE)
    choice = choose(activity, TEMPERATURE, trial.rng)
    trial.act(choice)
    trial.wait(delay)
    error = digits.reward(choice) - promised(activity, choice)
    seen = learner.step(td_error=condition.hears(error, trial.rng), return_details=True)
    learner.reset()
    return seen.modulators["DA"]


@torch.no_grad()
def held_out_accuracy(reader: Reader, learner: PlasticityLearner, digits: Digits) -> float:
    """The share of unseen digits that the most active neuron names, without noise and without learning."""
    with learner.paused():
        activity = Trial(reader, digits.images, torch.Generator().manual_seed(0)).look(noise=0.0)
    return float(digits.reward(activity.argmax(dim=1)).mean())


def whole_life(host: str, condition: Condition, delay: int, seed: int, epochs: int, bar: tqdm) -> Life:
    """From birth through all epochs."""
    rng = torch.Generator().manual_seed(seed)
    reader, (seen, unseen) = newborn(host, rng), train_and_held_out()
    life = Life([], [])
    with warnings.catch_warnings(), attach(reader, condition.rule()) as learner:
        if condition is not CONDITIONS[STORY]:
            warnings.simplefilter("ignore", PlasticityWarning)  # that a control learns nothing is what it is for
        for epoch in range(epochs + 1):
            for digits in seen.batches(BATCH, rng) if epoch else ():
                live(Trial(reader, digits.images, rng), digits, learner, condition, delay)
                bar.update()
            life.accuracy.append(held_out_accuracy(reader, learner, unseen))
            life.weights.append(reader.synapses.weight.detach().clone())
    return life
