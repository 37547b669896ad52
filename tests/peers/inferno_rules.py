"""Inferno's own MSTDPET, through the forward pass of its layer."""

from __future__ import annotations

import torch
from players import StepByStep
from simulators.inferno_rules import cell_of
from trains import Rule, Trains


def mstdpet(trains: Trains, rule: Rule, trace_mode: str = "cumulative") -> StepByStep:
    """In fp32; the batch is summed."""
    cell = cell_of(trains, rule, trace_mode)

    @torch.no_grad()
    def step(pre, post, signal):
        cell.neurons.next_spikes = post.bool()
        cell.layer(pre)
        cell.trainer(signal, scale=rule.lr)
        cell.connection.update()

    return StepByStep(trains, step, lambda: cell.connection.weight.detach().numpy())
