"""Three-factor learning as a careful user writes it into a training loop: in place, one function call a line."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

A_PLUS, A_MINUS = 0.01, 0.0105


class PairSTDP:
    """Pair STDP with eligibility and weight of one layer, for pair STDP of the default convention.

    Args:
        weight: what learns, (N_post, N_pre), changed in place.
        batch: samples. lr: learning rate of the sum over the batch's mean.
        clamp: bound of e on either side, or None.
    """

    def __init__(
        self, weight: Tensor, batch: int, lr: float, *, tau_e: float = 200.0, tau: float = 20.0,
        a_plus: float = A_PLUS, a_minus: float = A_MINUS, clamp: float | None = None,
    ) -> None:  # fmt: skip
        n_post, n_pre = weight.shape
        self.weight, self.lr, self.clamp = weight, lr / batch, clamp
        self.x, self.y = weight.new_zeros(batch, n_pre), weight.new_zeros(batch, n_post)
        self.e = weight.new_zeros(batch, n_post, n_pre)
        self.decay, self.kept, self.a_plus, self.a_minus = math.exp(-1.0 / tau), 1.0 - 1.0 / tau_e, a_plus, a_minus

    def step(self, pre: Tensor, post: Tensor, factor: Tensor) -> None:
        """One step: x, y, e and, with a factor for each sample, the weight."""
        self.observe(pre, post)
        change = factor @ self.e.view(len(factor), -1)
        self.weight.add_(change.view_as(self.weight), alpha=self.lr)

    def observe(self, pre: Tensor, post: Tensor) -> None:
        """x, y and e alone."""
        self.x.mul_(self.decay).add_(pre)
        self.y.mul_(self.decay)
        self.e.mul_(self.kept)
        self.e.addcmul_(post.unsqueeze(2), self.x.unsqueeze(1), value=self.a_plus)
        self.e.addcmul_(self.y.unsqueeze(2), pre.unsqueeze(1), value=-self.a_minus)
        self.y.add_(post)
        if self.clamp is not None:
            self.e.clamp_(-self.clamp, self.clamp)

    def reset(self) -> None:
        """As new."""
        for state in (self.x, self.y, self.e):
            state.zero_()


def on_layers(linears: list[nn.Linear], batch: int, lr: float) -> list[PairSTDP]:
    """One for each layer."""
    return [PairSTDP(linear.weight.detach(), batch, lr) for linear in linears]


@torch.no_grad()
def learn(rules: list[PairSTDP], trains: list[Tensor], factor: Tensor) -> None:
    """A step of every layer; its spikes are those of the next."""
    for rule, pre, post in zip(rules, trains, trains[1:], strict=False):
        rule.step(pre, post, factor)
