"""Actor: a plastic readout chooses, and what came of it reaches every neuron.

    preference   h_a = Σ activity of the neurons that stand for action a      since the last choice
    policy       π = softmax(h / temperature),   a ~ π
    remembered   1{a} − π
    signal       L = (r − promise) · (1{a} − π) / temperature                 at the readout, by feedback below it
    change       Δw = lr · mean_B(L · e)

With e the e-prop eligibility this is the policy gradient of a reward, worked out locally. With a `trace`, choices are
kept as they are made, E ← trace · E + (1{a} − π) · e, so that one error reaches many of them: Δw = lr · mean_B(δ · E).

Williams 1992; Sutton & Barto 2018, chapter 13; Bellec et al. 2020 (reward-based e-prop).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._changes import land_changes
from .._checks import (
    Signal,
    as_signal,
    known_as,
    require_choice,
    require_count,
    require_finite,
    require_flag,
    require_kind,
    require_mask,
    require_number,
    require_real,
    shown,
)
from .._loss_aims import Reads
from .._saved import FORMAT, described, require_format, require_settings
from ..connection import Connection
from ..feedback import Feedback, FeedbackState, FeedbackWord, feedback_of
from ..hosts.feedback_matrices import Population, matrices, neurons_of
from ..learner import PlasticityLearner
from ..neuromodulation import TDCritic
from ..neuromodulation.critic import CriticState
from ..plasticity.per_sample import modulate_each
from ..plasticity.three_factor import modulate
from .populations import populations
from .promises import Expected, Promise, promise_of, reward_error
from .readout import ReadoutWatch
from .state import Remembered, packed, unpacked

__all__ = ["Actor", "Choice"]

EachFeedback = FeedbackWord | Feedback | Mapping[str, "FeedbackWord | Feedback"]


class Choice(NamedTuple):
    """What was chosen, and is remembered until the reward comes.

    Args:
        action: (B,) a.
        probability: (B,) π_a.
        centred: (B, n_actions) (1{a} − π) / temperature.
        features: (B, n_features) what a critic sees, if there is one.
    """

    action: Tensor
    probability: Tensor
    centred: Tensor
    features: Tensor | None


class Learnt(NamedTuple):
    """What an actor keeps beside the weights: B by layer, the averages of a baseline, or the state of a critic."""

    feedback: dict[str, FeedbackState]
    promise: Expected


class Actor:
    """Reads a plastic readout as preferences of actions, chooses, and turns reward into a signal for every neuron.

    Args:
        learner: from `attach`; its eligibility is that of the policy gradient with `PlasticityConfig.eprop()`.
        readout: name of the connection whose neurons stand for actions; None is the last one.
        n_actions: how many there are; None is one for each neuron of the readout. With fewer, equal shares of
            neighbouring neurons stand for each.
        temperature: above zero; the higher, the more even the choice.
        reads: "spikes" counts those of the readout since the last choice, "membrane" sums its membrane; of a leaky
            integrator, which never fires, it is always the membrane. Where others are read by their membrane, give them
            the kernel `EligibilityVectors(of="membrane")`.
        feedback: how the layers below hear of it: "symmetric", "random", "adaptive", "broadcast", an object, or one of
            these by the name of each connection (those without hear nothing).
        promise: what reward is measured against: "policy" is π_a, the probability of the choice, right where reward is
            1 or 0; a number; a `RewardBaseline`; a `TDCritic`, whose TD error is what dopamine reports.
        trace: None: a reward meets the eligibility as it is. A number in [0, 1], γλ: each choice is kept with its
            eligibility, which then begins anew, and fades by this factor at every further choice. Take 1.0 where a net
            waits for its reward: neurons that are silent meanwhile still change an eligibility that goes on.
        seed: of the choices and of random feedback.

    For feedback that follows weights, layers are taken to follow one another as their neurons do in the model. Neurons
    of a convolution hear for themselves, each at its place.
    `learner.reset()` between episodes forgets the choice as well; `actor.reset(mask)` does both for single samples.
    While the learner is paused, choices are made and none is remembered.

    Raises:
        TypeError, ValueError: an argument that is none of these, or that fits no connection.

    >>> from torch import nn
    >>> from snn_plasticity import Connection, PlasticityConfig
    >>> layer = nn.Linear(2, 2, bias=False)
    >>> connection = Connection("fc", layer, config=PlasticityConfig.dev())
    >>> connection.observe(torch.ones(1, 2), torch.ones(1, 2))
    >>> actor = Actor(PlasticityLearner([connection]), promise=0.0)
    >>> action = actor.act(torch.tensor([[50.0, 0.0]]))
    >>> action, actor.learn(1.0)
    (tensor([0]), tensor([1.]))
    """

    def __init__(
        self,
        learner: PlasticityLearner,
        readout: str | None = None,
        n_actions: int | None = None,
        *,
        temperature: float = 1.0,
        reads: Reads = "spikes",
        feedback: EachFeedback = "symmetric",
        promise: Promise = "policy",
        trace: float | None = None,
        seed: int = 0,
    ) -> None:
        self.learner = require_kind("learner", learner, PlasticityLearner, "From attach(model, config).")
        names = list(learner.connections)
        self.readout: str = names[-1] if readout is None and names else readout  # type: ignore[assignment]
        if not isinstance(self.readout, str) or self.readout not in learner.connections:
            raise ValueError(f"readout = {shown(self.readout)}; expected one of the connections: {', '.join(names)}.")
        require_choice("reads", reads, ("spikes", "membrane"))
        self.temperature = require_number("temperature", temperature, 0.0, open_low=True)
        self.trace = None if trace is None else require_number("trace", trace, 0.0, 1.0)
        self.seed = require_count("seed", seed, 0)
        n_post = learner.connections[self.readout].traces.rule.geometry.n_post
        self.n_actions = n_post if n_actions is None else require_count("n_actions", n_actions)
        if n_post % self.n_actions:
            raise ValueError(
                f"n_actions = {self.n_actions}, and {self.readout} has {n_post} neurons; expected the same number of "
                "neurons for each action."
            )
        if self.trace is not None:
            _require_plain_changes(learner)
        self.promise: Promise = promise_of(promise)
        self.feedback = _feedback_for(feedback, names, self.readout, self.seed)
        for name in self.feedback:
            learner.connections[name].traces.by_place = True
        self.choice: Choice | None = None
        self._learnt, self._kept = Learnt({}, None), dict[str, Tensor]()
        self._per_action = n_post // self.n_actions
        self._generator = torch.Generator().manual_seed(self.seed)
        self._watch = ReadoutWatch(learner, self.readout, reads, self._forget)

    @torch.no_grad()
    def act(self, preferences: Tensor | None = None, *, features: Tensor | None = None, greedy: bool = False) -> Tensor:
        """Choose.

        Args:
            preferences: (B, n_actions) in place of what the readout did since the last choice.
            features: (B, n_features) what the critic sees now, where `promise` is one.
            greedy: take the most preferred action.

        Returns:
            The actions (B,), whole numbers.

        Raises:
            RuntimeError: the readout did nothing since the last choice.
            TypeError, ValueError: preferences or features of another shape or kind, NaN.
        """
        preferences = self._preferences(preferences)
        features = self._features("features", features, len(preferences))
        policy = torch.softmax(preferences / self.temperature, 1)
        action = policy.argmax(1) if require_flag("greedy", greedy) else self._drawn(policy)
        if not self.learner.enabled:
            self._watch.clear()
            return action
        centred = -policy
        centred.scatter_add_(1, action.unsqueeze(1), torch.ones_like(centred[:, :1]))
        probability = policy.gather(1, action.unsqueeze(1)).squeeze(1)
        choice = Choice(action, probability, centred / self.temperature, features)
        if self.trace is not None:
            self._keep(choice.centred)
        self.choice = choice
        self._watch.clear()
        return action

    @torch.no_grad()
    def learn(
        self,
        reward: Signal,
        *,
        promise: Signal | None = None,
        next_features: Tensor | None = None,
        terminated: Any = False,
        truncated: Any = False,
        valid: Tensor | None = None,
    ) -> Tensor:
        """The reward of the last choice has come: every layer changes, or none does.

        Args:
            reward: a number, (), (B,) or (B, 1).
            promise: what it is measured against this time, likewise, in place of the actor's own.
            next_features: (B, n_features) what the critic sees afterwards, where `promise` is one.
            terminated, truncated: for the critic, as in `TDCritic.step`.
            valid: boolean (B,), the samples in which something was chosen at all; None is all of them.

        Returns:
            r − promise, or the TD error, (B,).

        Raises:
            RuntimeError: nothing was chosen since the last reset.
            TypeError, ValueError: as `learner.step` and `TDCritic.step`; nothing is changed then.
        """
        choice = self.choice
        if choice is None:
            raise RuntimeError("There is no choice that a reward could be for; call actor.act() before actor.learn().")
        size, like = len(choice.action), choice.probability
        reward = as_signal(reward, size, name="reward", device=like.device, dtype=like.dtype)
        if valid is None:
            valid = torch.ones_like(choice.action, dtype=torch.bool)
        require_mask(valid, size)
        valid = valid.to(like.device)
        if isinstance(self.promise, TDCritic) and promise is None:
            over = {"terminated": terminated, "truncated": truncated}
            error, expected = self._td_error(choice, reward, next_features, valid, over)
        else:
            told = (promise, reward, choice.probability, valid, self._learnt.promise)
            error, expected = reward_error(self.promise, *told)
        if self.trace is None:
            signals, states = self._signals(error.unsqueeze(1) * choice.centred)
            self.learner.step(signals)
            self._learnt = Learnt(states, expected)
        else:
            self._land(error)
            self._learnt = self._learnt._replace(promise=expected)
        return error

    def reset(self, mask: Tensor | None = None) -> None:
        """An episode ends: the learner forgets it, and so does the actor, whose policy and promise stay.

        Args:
            mask: boolean (B,): those samples only.

        Raises:
            ValueError: a mask that does not fit.
        """
        if mask is not None:
            require_mask(mask, next((len(kept) for kept in self._kept.values()), None))
        self.learner.reset(mask)
        if mask is not None:
            for name, kept in self._kept.items():
                over = mask.to(kept.device).view(-1, *(1,) * (kept.dim() - 1))
                self._kept[name] = kept.masked_fill(over, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Settings, the last choice, what was learnt beside the weights, and where its draws are, as plain values.

        Save it beside the learner's own `state_dict`, and the model's.
        """
        draws = self._generator.get_state()
        known = Remembered(self.choice, *self._learnt, self._kept, self._watch.activity, draws)
        return {"format": FORMAT, "settings": self._settings, **packed(known, self.promise)}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, bit for bit: what is drawn next as well; or refuse it, and nothing is changed.

        Raises:
            TypeError: no such state.
            ValueError: another format, other settings, a part that is strange or shaped otherwise, NaN.
        """
        require_format("The saved actor", saved, ("settings", *Remembered._fields))
        require_settings("The saved actor", saved["settings"], self._settings)
        device, neurons = self.learner.connections[self.readout].weight.device, self._watch.neurons
        found = unpacked(saved, self.learner.connections, self.promise, neurons, self.n_actions, device)
        self.choice = None if found.choice is None else Choice(*found.choice)  # type: ignore[arg-type]
        self._learnt, self._kept = Learnt(found.feedback, found.promise), found.kept
        self._watch.activity = found.heard
        self._generator.set_state(found.draws)

    @property
    def _settings(self) -> dict[str, Any]:
        """What a saved state has to agree with."""
        names = ("readout", "n_actions", "temperature", "trace", "seed", "promise", "feedback")
        return {name: described(getattr(self, name)) for name in names} | {"reads": self._watch.reads}

    def _forget(self) -> None:
        """The learner was reset."""
        self.choice = None
        self._kept.clear()

    def _preferences(self, given: Tensor | None) -> Tensor:
        """What each action is worth, (B, n_actions)."""
        if given is not None:
            require_real("preferences", given)
            if given.dim() != 2 or given.shape[1] != self.n_actions or given.is_meta:
                raise ValueError(f"preferences are {shown(given)}; expected (B, {self.n_actions}).")
            return require_finite("preferences", given.detach().to(torch.promote_types(given.dtype, torch.float32)))
        activity = self._watch.heard()
        if activity is None:
            silent = self._watch.silent
            why = "did nothing since the last choice" if silent is None else f"({silent}) do not tell their membrane"
            raise RuntimeError(
                f"{self.readout}: its neurons {why}. Run the model before actor.act(), or give it preferences "
                "(B, n_actions)."
            )
        return activity.flatten(1).unflatten(1, (self.n_actions, -1)).sum(2)

    def _features(self, name: str, given: object, size: int) -> Tensor | None:
        """What the critic sees, (B, n_features); None where there is none."""
        if not isinstance(self.promise, TDCritic):
            if given is not None:
                raise TypeError(f"{name} was given, and promise is {known_as(self.promise)}; expected a TDCritic.")
            return None
        require_real(name, given)
        assert isinstance(given, Tensor)
        expected = (size, self.promise.config.n_features)
        if tuple(given.shape) != expected or given.is_meta:
            raise ValueError(f"{name} is {shown(given)}; expected {expected}, as the critic reads.")
        return require_finite(name, given.detach().float())

    def _drawn(self, policy: Tensor) -> Tensor:
        """One action (B,) for each sample; chance comes from the CPU, so that every device has it."""
        if policy.is_cpu:
            return torch.multinomial(policy, 1, generator=self._generator).squeeze(1)
        chance = torch.rand(len(policy), 1, generator=self._generator).to(policy)
        return (policy.cumsum(1) < chance).sum(1).clamp(max=policy.shape[1] - 1)

    def _td_error(
        self, choice: Choice, reward: Tensor, next_features: object, valid: Tensor, over: Mapping[str, Any]
    ) -> tuple[Tensor, CriticState]:
        """The critic's error; a sample in which nothing was chosen teaches it nothing."""
        critic, state = self.promise, self._learnt.promise
        assert isinstance(critic, TDCritic) and choice.features is not None
        following = self._features("next_features", next_features, len(reward))
        if not isinstance(state, CriticState):
            state = critic.init(len(reward), reward.device)
        elif len(state.trace) != len(reward):
            state = critic.for_batch(state, len(reward))
        here = valid.unsqueeze(1)
        features, following = choice.features * here, following * here  # type: ignore[operator]
        return critic.step(features, reward * valid, following, state, **over)

    def _signals(self, at_actions: Tensor) -> tuple[dict[str, Tensor], dict[str, FeedbackState]]:
        """A signal for every neuron, by connection, of one (B, n_actions) at the actions; and the state of feedback."""
        at_readout = at_actions.repeat_interleave(self._per_action, 1)
        groups = populations(self.learner, self.readout)
        signals = {connection.name: at_readout for connection in groups[0].connections}
        states, below = dict(self._learnt.feedback), at_readout * self._watch.answer
        ways: dict[str, Tensor] | None = None
        for connection in (c for group in groups[1:] for c in group.connections if c.name in self.feedback):
            name, feedback = connection.name, self.feedback[connection.name]
            if getattr(feedback, "follows", True):
                ways = matrices(groups, at_readout.shape[1], at_readout) if ways is None else ways
                way = ways.get(name)
                if way is None:
                    raise ValueError(_no_way(name, self.readout, groups))
            else:
                way = at_readout.new_zeros(at_readout.shape[1], prod(neurons_of(connection)))
            state = states.get(name)
            state = feedback.init(way) if state is None else state
            signal, states[name] = feedback.step(below, state, way)
            signals[name] = signal.unflatten(1, neurons_of(connection))
        return signals, states

    def _keep(self, centred: Tensor) -> None:
        """E ← trace · E + L · e in every layer, whose eligibility begins anew."""
        signals, states = self._signals(centred)
        kept, seen = dict[str, Tensor](), list[Connection]()
        for name, signal in signals.items():
            connection = self.learner.connections[name]
            if connection.traces.batch_size is None:
                continue
            now = modulate_each(connection.traces, connection.noted.at_places(signal))
            before = self._kept.get(name)
            kept[name] = now if before is None or before.shape != now.shape else now.add_(before, alpha=self.trace)  # type: ignore[arg-type]
            seen.append(connection)
        for connection in seen:
            connection.reset()
        self._kept, self._learnt = kept, self._learnt._replace(feedback=states)

    def _land(self, error: Tensor) -> None:
        """Δw = lr · reduce_B(δ · E) in every layer."""
        learner = self.learner
        changes = []
        for name, kept in self._kept.items():
            connection = learner.connections[name]
            rate = connection.config.three_factor.lr * learner.lr_scale
            changes.append((connection, rate * modulate(error.to(kept), kept, connection.update.reduction)))
        land_changes(changes, learner.reduce)

    def __repr__(self) -> str:
        below = ", ".join(f"{name}: {feedback!r}" for name, feedback in self.feedback.items())
        return (
            f"Actor(readout={self.readout!r}, n_actions={self.n_actions}, temperature={self.temperature:g}, "
            f"promise={self.promise!r}, trace={self.trace}, feedback={{{below}}})"
        )


def _require_plain_changes(learner: PlasticityLearner) -> None:
    """Refuse settings that a trace of choices knows nothing of."""
    for name, connection in learner.connections.items():
        settings = connection.config.three_factor
        if settings.mode == "auxiliary_loss" or settings.update_frequency != 1:
            raise ValueError(
                f"{name}: mode = {settings.mode!r}, update_frequency = {settings.update_frequency}; with a trace the "
                "actor changes weights at each reward: expected 'online' or 'hybrid', and 1."
            )


def _feedback_for(feedback: object, names: list[str], readout: str, seed: int) -> dict[str, Feedback]:
    """The feedback of each layer; those that nothing is said of hear nothing."""
    below = [name for name in names if name != readout]
    if not isinstance(feedback, Mapping):
        feedback_of(feedback)  # type: ignore[arg-type]  # looked at, even where there is nothing below
        feedback = dict.fromkeys(below, feedback)
    strangers = [name for name in feedback if name not in below]
    if strangers:
        raise ValueError(f"feedback is for {shown(strangers)}; expected names below {readout}: {', '.join(below)}.")
    return {
        name: feedback_of(feedback[name], seed + k)  # type: ignore[arg-type]
        for k, name in enumerate(below)
        if name in feedback
    }


def _no_way(name: str, readout: str, groups: list[Population]) -> str:
    chain = " -> ".join(group.connections[0].name for group in reversed(groups))
    return (
        f"{name}: its feedback needs the weights from there to {readout}, and these are not known (taken for a chain: "
        f"{chain}). Give Actor feedback='random', or {{name: feedback}} for single layers. Nothing was changed."
    )
