"""SpikingJelly's own learners, which watch a layer and its neurons being called."""

from __future__ import annotations

from players import StepByStep
from simulators.spikingjelly_rules import learner_of, synapse_of
from torch import nn
from trains import Rule, Trains


def _player(name: str, trains: Trains, rule: Rule, asked, **taus: float) -> StepByStep:
    """`asked(reward)` are the positional arguments of `learner.step`."""
    synapse, neurons = synapse_of(trains), nn.Identity()
    learner = learner_of(name, synapse, neurons, rule, **taus)

    def step(pre, post, reward):
        synapse(pre.squeeze(0))  # `MSTDPETLearner` knows no batch, not even of one
        neurons(post.squeeze(0))
        synapse.weight.data.add_(learner.step(*asked(reward), on_grad=False, scale=rule.lr))

    return StepByStep(trains, step, lambda: synapse.weight.detach().numpy())


def mstdpet(trains: Trains, rule: Rule) -> StepByStep:
    """Reward times eligibility trace, for one sample."""
    return _player("MSTDPETLearner", trains, rule, lambda reward: (float(reward),), tau_trace=rule.tau_e)


def mstdp(trains: Trains, rule: Rule) -> StepByStep:
    """Reward times this correlation, without a trace of it; the batch is summed."""
    return _player("MSTDPLearner", trains, rule, lambda reward: (reward,))


def stdp(trains: Trains, rule: Rule) -> StepByStep:
    """Plain STDP; the batch is summed."""
    return _player("STDPLearner", trains, rule, lambda reward: ())
