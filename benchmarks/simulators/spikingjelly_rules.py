"""SpikingJelly's learners; the factors of potentiation and depression are constants, the cheapest it allows."""

from __future__ import annotations

import torch
from players import StepByStep
from torch import nn
from trains import Rule, Trains


def learner_of(name: str, synapse: nn.Linear, neurons: nn.Module, rule: Rule, **taus: float):
    """One of SpikingJelly's learners, on synapses and the neurons behind them."""
    from spikingjelly.activation_based import learning

    factors = {"f_pre": lambda weight: rule.a_minus, "f_post": lambda weight: rule.a_plus}
    taus |= {"tau_pre": rule.tau_plus, "tau_post": rule.tau_minus}
    return getattr(learning, name)("s", synapse, neurons, **taus, **factors)


def synapse_of(trains: Trains) -> nn.Linear:
    """Weights at zero, as exact as the spikes are."""
    exact = torch.from_numpy(trains.pre).dtype
    synapse = nn.Linear(trains.size.n_pre, trains.size.n_post, bias=False, dtype=exact)
    nn.init.zeros_(synapse.weight)
    return synapse


def _feed(learner, pre: torch.Tensor, post: torch.Tensor) -> None:
    learner.in_spike_monitor.records.append(pre)
    learner.out_spike_monitor.records.append(post)


def mstdpet(trains: Trains, rule: Rule) -> StepByStep:
    """`MSTDPETLearner` knows no batch: one learner for each sample, all on one weight."""
    synapse = synapse_of(trains)
    learners = [
        learner_of("MSTDPETLearner", synapse, nn.Identity(), rule, tau_trace=rule.tau_e)
        for _ in range(trains.size.batch)
    ]

    def step(pre, post, reward):
        for learner, x, y, r in zip(learners, pre, post, reward, strict=True):
            _feed(learner, x, y)
            synapse.weight.data.add_(learner.step(r, on_grad=False, scale=rule.lr))

    return StepByStep(trains, step, lambda: synapse.weight.detach().numpy())


def stdp(trains: Trains, rule: Rule) -> StepByStep:
    """`STDPLearner`: two factors, the batch is summed."""
    synapse = synapse_of(trains)
    learner = learner_of("STDPLearner", synapse, nn.Identity(), rule)

    def step(pre, post, reward):
        _feed(learner, pre, post)
        synapse.weight.data.add_(learner.step(on_grad=False, scale=rule.lr))

    return StepByStep(trains, step, lambda: synapse.weight.detach().numpy())
