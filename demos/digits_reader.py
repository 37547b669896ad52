"""The animal of the demo: 64 pixels and a bias drive ten action neurons, and one of them acts.

A trial has three parts: it *looks* (the action neurons compete), it *acts* (the chosen neuron bursts while it still
sees the digit, which tags its active synapses above all others), and it *waits* in silence. Nothing here learns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

PIXELS, ACTIONS = 64, 10
LOOK, BURST = 20, 10  # steps
RATE = 0.7  # spikes per step of the brightest pixel
RECENT = 0.95  # what remains of an action neuron's activity after a step
CERTAIN = 5.0  # the activity at which an action neuron is sure of its reward
INHIBITION, DRIVE = 0.5, 2.5  # current, in units of the threshold


class Reader(nn.Module):
    """A spiking network as anyone might write it.

    Args:
        neuron: (current, state) -> (spikes, state), as in snnTorch and in Norse.
        rest: the state to begin with.
    """

    def __init__(self, neuron: nn.Module, rest: Callable[[], Any]) -> None:
        super().__init__()
        self.synapses = nn.Linear(PIXELS + 1, ACTIONS, bias=False)
        self.action, self.rest = neuron, rest

    def forward(self, spikes: Tensor, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step: input spikes (B, 65) and other currents (B, 10) -> action spikes (B, 10) and state."""
        return self.action(self.synapses(spikes) + current, state)


def snntorch_reader() -> Reader:
    """Ten of snnTorch's leaky integrate-and-fire neurons."""
    import snntorch

    neuron = snntorch.Leaky(beta=0.9, reset_mechanism="zero")
    return Reader(neuron, rest=neuron.reset_mem)


def norse_reader() -> Reader:
    """Ten of Norse's. A unit of current moves the membrane by dt/tau = 0.1 here, so the threshold is 0.1 too."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    return Reader(LIFBoxCell(LIFBoxParameters(v_th=torch.tensor(0.1))), rest=lambda: None)


HOSTS = {"snntorch": snntorch_reader, "norse": norse_reader}


def newborn(host: str, rng: torch.Generator) -> Reader:
    """A reader that cannot read: weak random synapses, a little above zero, so that every action is worth a try."""
    reader = HOSTS[host]()
    with torch.no_grad():
        reader.synapses.weight.normal_(0.03, 0.004, generator=rng)
    return reader


class Trial:
    """One trial for each of B digits at once.

    Args:
        reader: who looks at them.
        images: (B, 64), brightness in [0, 1].
        rng: source of every random spike.
    """

    def __init__(self, reader: Reader, images: Tensor, rng: torch.Generator) -> None:
        self.reader, self.rng = reader, rng
        self.rates = RATE * torch.cat((images, torch.ones(len(images), 1)), dim=1)
        self.state, self.fired = reader.rest(), torch.zeros(len(images), ACTIONS)

    def look(self, noise: float) -> Tensor:
        """The action neurons compete; returns how active each of them was, (B, 10), recent spikes counting more."""
        activity = torch.zeros_like(self.fired)
        for _ in range(LOOK):
            rivals = self.fired.sum(1, keepdim=True) - self.fired
            noises = noise * torch.randn(self.fired.shape, generator=self.rng)
            self._step(self._spikes(), noises - INHIBITION * rivals)
            activity = RECENT * activity + self.fired
        return activity

    def act(self, choice: Tensor) -> None:
        """The chosen neuron (B,) hears of its own choice and bursts; the others are held silent."""
        chosen = one_hot(choice, ACTIONS).float()
        for _ in range(BURST):
            self._step(self._spikes(), DRIVE * (2.0 * chosen - 1.0))

    def wait(self, steps: int) -> None:
        """Nothing to see, nothing to do."""
        nothing = torch.zeros_like(self.rates), torch.zeros_like(self.fired)
        for _ in range(steps):
            self._step(*nothing)

    def _spikes(self) -> Tensor:
        return torch.bernoulli(self.rates, generator=self.rng)

    def _step(self, spikes: Tensor, current: Tensor) -> None:
        self.fired, self.state = self.reader(spikes, current, self.state)


def choose(activity: Tensor, temperature: float, rng: torch.Generator) -> Tensor:
    """An action (B,), the more likely the more active its neuron (B, 10) was: a softmax."""
    return torch.multinomial(torch.softmax(activity / temperature, dim=1), 1, generator=rng).squeeze(1)


def promised(activity: Tensor, choice: Tensor) -> Tensor:
    """The reward that the chosen neuron's own activity promised, (B,) in [0, 1]."""
    return (activity.gather(1, choice.unsqueeze(1)).squeeze(1) / CERTAIN).clamp(max=1.0)
