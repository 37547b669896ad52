"""Relays: at which weight a neuron passes every spike train through, found by trying."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ...hosts.adapter import kind_of
from ..nets import clone, reset_hidden_state

TRAIN_LENGTH = 8  # all 2^8 spike trains of this length are tried, and some long ones
LONG_TRAIN = 200
N_MARGINS = 60


def relay_gains(neuron: nn.Module, units: int, places: int = 0) -> Tensor:
    """The weights of one-to-one synapses at which each neuron fires exactly when it gets a spike.

    Args:
        neuron: what is tried, as a copy.
        units: how many there are.
        places: axes behind them, of a map.

    Returns:
        (units,): weights that work, with a margin to either side, at most twice what a single spike needs.

    Raises:
        ValueError: none does: it fires late, more than once, or forgets to.
    """
    neuron = clone(neuron).cpu()  # a small search: many tiny steps, each read at once
    least = _firing_current(neuron, units, places)
    # From just above the least current to twice it: a stronger synapse would leave so much in a membrane that resets by
    # subtraction that it fires again, unasked.
    gains = least * (1.0 + torch.logspace(-4, 0, N_MARGINS)[:, None])  # (N_MARGINS, units)
    short = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * TRAIN_LENGTH).T
    uniform = torch.rand(LONG_TRAIN, 8, generator=torch.Generator().manual_seed(0))
    long = (uniform < torch.linspace(0.1, 1.0, 8)).float()
    fits = torch.isfinite(gains)
    for trains in (short, long):
        wanted = trains[:, :, None, None]
        answers = _spikes_of(neuron, (wanted * gains).flatten(1, 2), places).reshape(*trains.shape, *gains.shape)
        fits &= (answers == wanted).all(0).all(0)
    if not bool(fits.any(0).all()):
        raise ValueError(
            f"{type(neuron).__name__} passes no spike train through unchanged, whatever the weight (a synaptic current "
            "that outlasts the step? a membrane that never leaks?); expected a neuron that can relay. Use "
            'init="fresh".'
        )
    return torch.stack([gains[_middle_of_longest_run(fits[:, unit]), unit] for unit in range(units)])


def _firing_current(neuron: nn.Module, units: int, places: int) -> Tensor:
    """The smallest current that fires each neuron at once, by bisection; NaN where none does."""
    low, high = torch.full((units,), -7.0), torch.full((units,), 9.0)  # logarithms: currents from 0.001 to 8000
    for _ in range(48):  # 16 · 2^−48 is below the resolution of fp32 everywhere
        middle = (low + high) / 2
        fires = _spikes_of(neuron, middle.exp()[None, None], places)[0, 0] > 0
        low, high = torch.where(fires, low, middle), torch.where(fires, middle, high)
    return torch.where(high < 9.0, high, torch.nan).exp()


def _spikes_of(neuron: nn.Module, inputs: Tensor, places: int) -> Tensor:
    """Spikes (T, B, units) for currents (T, B, units)."""
    reset_hidden_state(neuron)
    kind, shape = kind_of(neuron), inputs.shape
    inputs = inputs.reshape(*shape, *[1] * places)
    with torch.no_grad():
        if kind is not None and kind.time_major:
            output = neuron(inputs)
            return (output[0] if isinstance(output, tuple) else output).reshape(shape)
        state: tuple[Any, ...] = ()
        spikes = []
        for x in inputs:
            output = neuron(x, *state)
            output = output if isinstance(output, tuple) else (output,)
            spikes.append(output[0])
            state = next_state(neuron, output)
    return torch.stack(spikes).reshape(shape)


def next_state(neuron: nn.Module, output: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a neuron is handed at its next call, of what it gave: its spikes too where its forward asks for them."""
    asked = len(inspect.signature(neuron.forward).parameters) - 1
    return output if len(output) > 1 and asked == len(output) else output[1:]


def _middle_of_longest_run(fits: Tensor) -> int:
    """The middle of the longest run of True."""
    best, start = (0, 0), None
    for k, fit in enumerate([*fits.tolist(), False]):
        if fit and start is None:
            start = k
        elif not fit and start is not None:
            best, start = max(best, (start, k), key=lambda run: run[1] - run[0]), None
    return (best[0] + best[1] - 1) // 2
