"""Neurons as relays: the synaptic weights at which they pass every spike train through, found by trying."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..hosts.survey import kind_of
from .tensors import clone, forget

STEPS = 8  # all 2^8 spike trains of this length are tried, and some long ones
LONG = 200
MARGINS = 60


def relay_gains(neuron: nn.Module, units: int) -> Tensor:
    """The weights of one-to-one synapses at which each neuron fires exactly when it gets a spike.

    Args:
        neuron: what is tried, as a copy.
        units: how many there are.

    Returns:
        (units,): weights that work, with a margin to either side, at most twice what a single spike needs.

    Raises:
        ValueError: none does: it fires late, more than once, or forgets to.
    """
    neuron = clone(neuron)
    least = _least(neuron, units)
    gains = least * (1.0 + torch.logspace(-4, 0, MARGINS)[:, None])  # (MARGINS, units)
    short = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * STEPS).T
    even = torch.rand(LONG, 8, generator=torch.Generator().manual_seed(0))
    long = (even < torch.linspace(0.1, 1.0, 8)).float()
    fits = torch.isfinite(gains)
    for trains in (short, long):
        wanted = trains[:, :, None, None]
        answers = _run(neuron, (wanted * gains).flatten(1, 2)).reshape(*trains.shape, *gains.shape)
        fits &= (answers == wanted).all(0).all(0)
    if not bool(fits.any(0).all()):
        raise ValueError(
            f"{type(neuron).__name__} passes no spike train through unchanged, whatever the weight (a synaptic current "
            "that outlasts the step? a membrane that never leaks?); expected a neuron that can relay. Use "
            'init="fresh".'
        )
    return torch.stack([gains[_middle(fits[:, unit]), unit] for unit in range(units)])


def _least(neuron: nn.Module, units: int) -> Tensor:
    """The smallest current that fires each neuron at once, by bisection; NaN where none does."""
    low, high = torch.full((units,), -7.0), torch.full((units,), 9.0)
    for _ in range(48):
        middle = (low + high) / 2
        fires = _run(neuron, middle.exp()[None, None])[0, 0] > 0
        low, high = torch.where(fires, low, middle), torch.where(fires, middle, high)
    return torch.where(high < 9.0, high, torch.nan).exp()


def _run(neuron: nn.Module, inputs: Tensor) -> Tensor:
    """Spikes (T, B, units) for currents (T, B, units)."""
    forget(neuron)
    kind = kind_of(neuron)
    with torch.no_grad():
        if kind is not None and kind.time_major:
            output = neuron(inputs)
            return output[0] if isinstance(output, tuple) else output
        state: tuple[Any, ...] = ()
        spikes = []
        for x in inputs:
            output = neuron(x, *state)
            output = output if isinstance(output, tuple) else (output,)
            spikes.append(output[0])
            state = output[1:]
    return torch.stack(spikes)


def _middle(fits: Tensor) -> int:
    """The middle of the longest run of True."""
    best, start = (0, 0), None
    for k, fit in enumerate([*fits.tolist(), False]):
        if fit and start is None:
            start = k
        elif not fit and start is not None:
            best, start = max(best, (start, k), key=lambda run: run[1] - run[0]), None
    return (best[0] + best[1] - 1) // 2
