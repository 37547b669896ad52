"""Three-factor learning as one first writes it: every line of the equations as a tensor operation, out of place."""

from __future__ import annotations

import math

import numpy as np
import torch
from players import Player, StepByStep
from trains import Rule, Trains


class _Traces:
    """x, y and e of the default convention: causal coincidence, Euler decay of e."""

    def __init__(self, trains: Trains, rule: Rule, replacing: bool = False, clamp: float | None = None) -> None:
        size = trains.size
        self.x, self.y = torch.zeros(size.batch, size.n_pre), torch.zeros(size.batch, size.n_post)
        self.e = torch.zeros(size.batch, size.n_post, size.n_pre)
        self.rule, self.replacing, self.clamp = rule, replacing, clamp

    def step(self, pre: torch.Tensor, post: torch.Tensor) -> torch.Tensor:
        rule = self.rule
        self.x = math.exp(-1.0 / rule.tau_plus) * self.x + pre
        before = math.exp(-1.0 / rule.tau_minus) * self.y
        self.y = before + post
        ltp = rule.a_plus * post.unsqueeze(2) * self.x.unsqueeze(1)
        f = ltp - rule.a_minus * before.unsqueeze(2) * pre.unsqueeze(1)
        kept = (1.0 - 1.0 / rule.tau_e) * self.e
        self.e = torch.where(f.abs() >= kept.abs(), f, kept) if self.replacing else kept + f
        if self.clamp is not None:
            self.e = self.e.clamp(-self.clamp, self.clamp)
        return self.e


def three_factor(trains: Trains, rule: Rule) -> Player:
    """A reward for each sample in every step."""
    traces = _Traces(trains, rule)
    weight = torch.zeros(trains.size.n_post, trains.size.n_pre)

    def step(pre, post, reward):
        nonlocal weight
        weight = weight + rule.lr * (reward.view(-1, 1, 1) * traces.step(pre, post)).mean(0)

    return StepByStep(trains, step, lambda: weight.numpy())


def eligibility(trains: Trains, rule: Rule, *, replacing: bool = False, clamp: float | None = None) -> Player:
    """e alone."""
    traces = _Traces(trains, rule, replacing, clamp)
    return StepByStep(trains, lambda pre, post, reward: traces.step(pre, post), lambda: traces.e.numpy())


def closed_loop(trains: Trains, rule: Rule) -> Player:
    """Forward pass with the weight as it is now, then one reward for the whole batch, in every step."""
    traces = _Traces(trains, rule)
    weight, current = torch.zeros(trains.size.n_post, trains.size.n_pre), torch.empty(0)

    def step(pre, post, reward):
        nonlocal weight, current
        current = pre @ weight.T
        weight = weight + rule.lr * (reward[0] * traces.step(pre, post)).mean(0)

    return StepByStep(trains, step, lambda: np.concatenate([weight.numpy().ravel(), current.numpy().ravel()]))
