"""Many seeds side by side: nets of one shape that learn at once, each from its own batches and by its own history.

Neurons are the host's own; weights are (seeds, outputs, inputs). What is done to two such stacks in a step is what
`DualModelTrainer` does to two nets, several times as fast for small ones. A test holds the two against each other.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parent.parent / "demos"))
from seeking_data import STEPS  # noqa: E402
from seeking_nets import LR  # noqa: E402

from snn_plasticity.dual import Coupling, Distill, WeightsMap  # noqa: E402
from snn_plasticity.dual.nets import reset_hidden_state, tensors_of  # noqa: E402

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Stack:
    """Nets of `nn.Linear` and neurons in turn, one for each seed, and Adam for each.

    Args:
        nets: of one shape, one for each seed.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        self.model, self.layers = nets[0], list(nets[0])  # type: ignore[call-overload]
        self.weights = [torch.stack(same).detach() for same in zip(*(net.parameters() for net in nets), strict=True)]
        self.passes_state = "state" in inspect.signature(nets[0].forward).parameters
        self.names = [name for name, _ in nets[0].named_parameters()]
        self.moments = [[torch.zeros_like(w) for w in self.weights] for _ in BETAS]
        self.steps = torch.zeros(len(nets))
        self.synapses = [w[0].numel() for w in self.weights if w.dim() == 3]

    def leaves(self, seeds: Tensor) -> list[Tensor]:
        """The weights of some seeds, to take gradients of."""
        return [w[seeds].requires_grad_() for w in self.weights]

    def output(self, leaves: Sequence[Tensor], x: Tensor) -> Tensor:
        """Spikes (seeds, B, classes) for x (seeds, B, inputs) or (seeds, B, steps, inputs)."""
        reset_hidden_state(self.model)
        total: Tensor = torch.zeros(())
        states: list[Any] = [None] * len(self.layers)
        for t in range(STEPS):
            h, given = x if x.dim() == 3 else x[:, :, t], iter(leaves)
            for place, layer in enumerate(self.layers):
                if isinstance(layer, nn.Linear):
                    weight, bias = next(given), next(given)
                    h = torch.baddbmm(bias[:, None], h, weight.mT)
                elif self.passes_state:
                    h, states[place] = layer(h, states[place])
                else:
                    h = layer(h)
            total = total + h
        return total

    def losses(self, output: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each seed."""
        return F.cross_entropy(output.transpose(1, 2), y, reduction="none").mean(1)

    def learn(self, seeds: Tensor, leaves: Sequence[Tensor], losses: Tensor) -> None:
        """A step of Adam for some seeds, each down its own loss."""
        gradients = torch.autograd.grad(losses.sum(), leaves)
        self.steps[seeds] += 1
        t = self.steps[seeds]
        for weight, gradient, mean, square in zip(self.weights, gradients, *self.moments, strict=True):
            age = t.view(-1, *[1] * (weight.dim() - 1))
            mean[seeds] = m = BETAS[0] * mean[seeds] + (1 - BETAS[0]) * gradient
            square[seeds] = v = BETAS[1] * square[seeds] + (1 - BETAS[1]) * gradient.square()
            size = (v / (1 - BETAS[1] ** age)).sqrt() + EPSILON
            weight[seeds] -= LR * m / (1 - BETAS[0] ** age) / size

    def train(self, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """One step on a batch for each seed; its losses."""
        leaves = self.leaves(seeds)
        losses = self.losses(self.output(leaves, x), y)
        self.learn(seeds, leaves, losses)
        return losses.detach()

    def macs(self, x: Tensor) -> int:
        """Multiply-accumulates of a step on a batch, forward and backward; the first layer's input has no gradient."""
        return 3 * self.forward_macs(x) - self.synapses[0] * STEPS * x.shape[1]

    def forward_macs(self, x: Tensor) -> int:
        """Of a forward pass."""
        return sum(self.synapses) * STEPS * x.shape[1]

    @torch.no_grad()
    def accuracies(self, x: Tensor, y: Tensor) -> list[float]:
        """Of every seed, on data that they all see."""
        output = self.output(self.weights, x.expand(len(self.steps), *x.shape))
        return (output.argmax(-1) == y).double().mean(1).tolist()


class StackedPair:
    """Two stacks, the first inside the second; `costs` are multiply-accumulates of each seed."""

    def __init__(self, base: Stack, large: Stack, weights: WeightsMap, coupling: Coupling) -> None:
        self.base, self.large, self.coupling = base, large, coupling
        old, new = tensors_of(base.model), tensors_of(large.model)
        self.places = [
            (i, large.names.index(slot.name), slot.index(old[name], new[slot.name]))
            for i, name in enumerate(base.names)
            for slot in [weights.slots[name]]
        ]
        self.costs = torch.zeros(len(base.steps), dtype=torch.int64)

    def up(self, seeds: Tensor) -> None:
        """The shared part of some seeds into the large nets."""
        for mine, other, index in self.places:
            for seed in seeds.tolist():
                self.large.weights[other][seed][index] = self.base.weights[mine][seed]

    def down(self, seeds: Tensor) -> None:
        """And back."""
        for mine, other, index in self.places:
            for seed in seeds.tolist():
                self.base.weights[mine][seed] = self.large.weights[other][seed][index]

    def step(self, motivated: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """One step of every seed, (seeds,) of them motivated; the losses that the trainer would note."""
        first = self.coupling.base_first
        losses, everyone = torch.zeros(len(motivated)), torch.arange(len(motivated))
        small, large = everyone if first else everyone[~motivated], everyone[motivated]
        if len(small):
            losses[small] = self.base.train(small, x[small], y[small])
            self._pay(small, self.base, x)
        if len(large):
            seen = self._motivated(large, x[large], y[large])
            self._pay(large, self.large, x)
            if not first:
                losses[large] = seen
        return losses

    def _motivated(self, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
        self.up(seeds)
        leaves = self.large.leaves(seeds)
        output = self.large.output(leaves, x)
        losses = self.large.losses(output, y)
        self.large.learn(seeds, leaves, losses)
        self.down(seeds)
        if isinstance(self.coupling, Distill):
            self._teach(seeds, x, y, output.detach())
        return losses.detach()

    def _teach(self, seeds: Tensor, x: Tensor, y: Tensor, answers: Tensor) -> None:
        share, heat = self.coupling.share, self.coupling.temperature  # type: ignore[attr-defined]
        leaves = self.base.leaves(seeds)
        output = self.base.output(leaves, x)
        wanted, said = (F.log_softmax(o / heat, -1) for o in (answers, output))
        gap = (wanted.exp() * (wanted - said)).sum(-1).mean(1)
        self.base.learn(seeds, leaves, (1 - share) * self.base.losses(output, y) + share * heat**2 * gap)
        self._pay(seeds, self.base, x)

    def _pay(self, seeds: Tensor, net: Stack, x: Tensor) -> None:
        self.costs[seeds] += net.macs(x)
