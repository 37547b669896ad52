"""An animal whose digits come to mean something else, with affect and without.

After 40 % of its life every digit calls for another action, and nothing tells the animal but the reward that stays
away. What it can notice is that the world promises less than it used to:

    value      v = mean over the digits of the best promise among the actions
    habit      h ← h + (v − h)/τ_h                       what it has come to expect
    shortfall  x = max(h − v, 0)

x is what affect hears as surprise and as uncertainty, in units of `USUAL`, beside the prediction errors themselves.
The loop gives back all that adapts: the factor of the learning rate and the gate (within what the synapses hear), and
the temperature of choice. At rest each is exactly what the animal without affect has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from digits_life import BATCH, LR, NOISE, TAU_E, TEMPERATURE, held_out_accuracy
from digits_reader import ACTIONS, CERTAIN, Trial, choose, newborn, promised
from digits_task import Digits, train_and_held_out
from torch import Tensor
from tqdm import tqdm

from snn_plasticity import (
    EligibilityConfig,
    NeuromodConfig,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    attach,
)
from snn_plasticity.config.affect import AffectiveConfig, AffectiveFullConfig, ModulationConfig
from snn_plasticity.loop import AffectiveLoop

CHANGE = 0.4  # of a life
EVERY = 5  # batches between two looks at the held-out digits
USUAL = 1.0 / 6.0  # a shortfall of this size is an ordinary surprise
TAU_HABIT = 150.0  # batches
GAMMA = 9.0
AFFECT = AffectiveFullConfig(
    AffectiveConfig(
        dominance_scale=3.0, tau_baseline=200.0, reward_error_source="raw", prediction_error_source="raw"
    ),  # its signals come in units of what is usual
    modulation=ModulationConfig(lr_alpha=1.0, exploration_gamma=GAMMA, exploration_ceiling=30.0),
)
GATE = NeuromodConfig(
    da_source="td_error", combination_fn="gated_product", ach_weight=0.0, ne_weight=0.5, sht_weight=0.0
)


class Manner(NamedTuple):
    """How an animal learns: with affect, or with these constants."""

    affect: bool
    lr_factor: float = 1.0
    temperature: float = TEMPERATURE

    def rule(self) -> PlasticityConfig:
        """As in the other lives, but for the gate that norepinephrine opens wider."""
        eligibility = EligibilityConfig(kernel="rate", tau_e=TAU_E, clamp_range=None)
        gate = GATE if self.affect else NeuromodConfig(da_source="td_error")
        return PlasticityConfig(eligibility, gate, ThreeFactorConfig(lr=LR * self.lr_factor))


class Course(NamedTuple):
    """One life: K looks at held-out digits, and what was there at each of T batches."""

    accuracy: Tensor  # (K,)
    looked: Tensor  # (K,) batches before each look
    reward: Tensor  # (T,) share of digits that were paid
    affect: Tensor  # (T, 3) valence, arousal, dominance
    lr_factor: Tensor  # (T,) what dopamine is multiplied by: gate and factor of the learning rate
    temperature: Tensor  # (T,)


class Body:
    """The animal's own signals, and the loop that they run through."""

    def __init__(self, loop: AffectiveLoop) -> None:
        self.loop, self.habit = loop, None

    @property
    def temperature(self) -> Tensor:
        """Of the next choice, (1,): at rest, that of an animal without affect."""
        return self.loop.temperature(TEMPERATURE / (1.0 + GAMMA))

    @property
    def factor(self) -> Tensor:
        """What dopamine is multiplied by before the synapses hear it, (1,): factor of the rate, and open gate."""
        state = self.loop.state
        return state.modulation.learning_rate_scale * (1.0 + GATE.ne_weight * state.modulators["NE"][:1])

    def learn(self, activity: Tensor, error: Tensor) -> None:
        """A prediction error (B,) arrives, after activities (B, 10) of the action neurons."""
        value = (activity.amax(1) / CERTAIN).clamp(max=1.0).mean()
        habit = value if self.habit is None else self.habit
        shortfall = (habit - value).clamp(min=0.0) / USUAL
        self.habit = habit + (value - habit) / TAU_HABIT
        self.loop.step(td_error=error, surprise=shortfall, uncertainty=shortfall)


class Renamed:
    """The same digits, where action k is paid as action `meaning[k]` was before."""

    def __init__(self, digits: Digits, meaning: Tensor) -> None:
        self.images, self._digits, self._meaning = digits.images, digits, meaning

    def reward(self, choice: Tensor) -> Tensor:
        """As of `Digits`: choice (N,) -> (N,)."""
        return self._digits.reward(self._meaning[choice])


def another_meaning(seed: int) -> Tensor:
    """A permutation of the actions that leaves none in its place."""
    rng = torch.Generator().manual_seed(seed)
    while True:
        meaning = torch.randperm(ACTIONS, generator=rng)
        if not bool((meaning == torch.arange(ACTIONS)).any()):
            return meaning


def moments(epochs: int) -> tuple[int, int]:
    """Batches before the world changes, and of a whole life."""
    last = epochs * (len(train_and_held_out()[0]) // BATCH)
    return round(CHANGE * last), last


@torch.no_grad()
def whole_life(host: str, manner: Manner, delay: int, seed: int, epochs: int, bar: tqdm) -> Course:
    """From birth, through the change, to the end."""
    rng = torch.Generator().manual_seed(seed)
    reader, (seen, unseen), meaning = newborn(host, rng), train_and_held_out(), another_meaning(seed)
    change, last = moments(epochs)
    looks, batches = [], []

    def look() -> None:
        known = unseen if len(batches) < change else Renamed(unseen, meaning)
        looks.append((held_out_accuracy(reader, learner, known), len(batches)))

    with attach(reader, manner.rule()) as learner:
        body = Body(AffectiveLoop(learner, AFFECT, shared=True)) if manner.affect else None
        for _ in range(epochs):
            for digits in seen.batches(BATCH, rng):
                if len(batches) % EVERY == 0 or len(batches) == change:
                    look()
                world = digits if len(batches) < change else Renamed(digits, meaning)
                batches.append(live(Trial(reader, digits.images, rng), world, learner, manner, body, delay))
                bar.update()
        look()
    return course(looks, batches)


def live(
    trial: Trial, digits: Digits | Renamed, learner: PlasticityLearner, manner: Manner, body: Body | None, delay: int
) -> Tensor:
    """Look, act, wait, be paid, learn, forget; returns reward, valence, arousal, dominance, factor, temperature."""
    activity = trial.look(NOISE)
    temperature = torch.tensor([manner.temperature]) if body is None else body.temperature
    choice = choose(activity, temperature, trial.rng)
    trial.act(choice)
    trial.wait(delay)
    reward = digits.reward(choice)
    error = reward - promised(activity, choice)
    if body is None:
        learner.step(td_error=error)
        felt, factor = torch.zeros(3), torch.tensor([manner.lr_factor])
    else:
        body.learn(activity, error)
        felt, factor = body.loop.state.affect.point[0], body.factor
        body.loop.reset(scope="eligibility")
    learner.reset()
    return torch.cat((reward.mean(0, keepdim=True), felt, factor, temperature))


def course(looks: list[tuple[float, int]], batches: list[Tensor]) -> Course:
    """What was noted, as curves."""
    accuracy, looked = map(torch.tensor, zip(*looks, strict=True))
    reward, *affect, factor, temperature = torch.stack(batches).unbind(1)
    return Course(accuracy, looked, reward, torch.stack(affect, dim=1), factor, temperature)
