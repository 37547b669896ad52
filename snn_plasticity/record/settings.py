"""How much a record keeps, looked at before anything is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._checks import known_as, require_count, shown
from ..connection import Connection
from ..plasticity.memory import SHARE, free_memory
from .choice import require_indices

MOST_BYTES = 1 << 30  # of spikes in one record, however much memory is free
LEAST_BYTES = 1 << 22  # of one side of a connection


@dataclass(frozen=True)
class RecordSettings:
    """What `PlasticityLearner.record` was asked for, checked."""

    layers: list[str] | None
    steps: int
    every: int
    samples: Tensor | None
    synapses: dict[str, list[tuple[int, ...]]]
    weights: int
    most_bytes: float  # of one side


def read_settings(
    connections: Mapping[str, Connection],
    layers: Collection[str] | None,
    steps: int,
    every: int,
    samples: Sequence[int] | Tensor | None,
    synapses: Mapping[str, Sequence[Any]] | None,
    weights: int,
) -> RecordSettings:
    """Look at what was asked for.

    Raises:
        TypeError, ValueError: names of no connection, counts below 1, samples or synapses that are not there.
        MemoryError: it would take more than is free.
    """
    if layers is not None:
        known = ", ".join(map(repr, connections)) or "none yet"
        listed = isinstance(layers, (list, tuple, set, frozenset, dict))
        if not listed or not layers or not all(isinstance(name, str) and name in connections for name in layers):
            raise ValueError(f"layers = {shown(layers)}; expected a list of the learner's layers: {known}.")
    names = list(connections) if layers is None else list(layers)
    steps, every = require_count("steps", steps), require_count("every", every)
    weights = require_count("weights", weights, 0)
    chosen = _samples(samples, [connections[name] for name in names])
    wanted: dict[str, list[tuple[int, ...]]] = {}
    if synapses is not None:
        if not isinstance(synapses, Mapping):
            raise TypeError(
                f"synapses = {known_as(synapses)}; expected a dict, as {{'fc2': [(post, pre), ...]}}, or None."
            )
        for name, some in synapses.items():
            if name not in names:
                raise ValueError(
                    f"synapses names the layer {shown(name)}; expected one that is recorded: "
                    f"{', '.join(map(repr, names))}."
                )
            wanted[name] = require_indices(name, some, connections[name].traces.rule.geometry.shape)
    free = free_memory(torch.device("cpu")) or MOST_BYTES
    _require_room([connections[name] for name in names], steps, weights, chosen, free)
    each = max(LEAST_BYTES, min(MOST_BYTES, SHARE * free) / max(1, 3 * len(names)))
    return RecordSettings(None if layers is None else names, steps, every, chosen, wanted, weights, each)


def _samples(samples: object, connections: Sequence[Connection]) -> Tensor | None:
    if samples is None:
        return None
    values = samples.tolist() if isinstance(samples, Tensor) else samples
    whole = isinstance(values, (list, tuple, range)) and len(values) > 0
    if not whole or not all(isinstance(k, int) and not isinstance(k, bool) and k >= 0 for k in values):  # type: ignore
        raise TypeError(
            f"samples = {known_as(samples)}; expected a list of sample numbers from 0 on, as [0, 5], or None for all."
        )
    kept = torch.tensor(sorted(set(values)), dtype=torch.long, device="cpu")  # type: ignore[arg-type]
    batch = next((c.traces.batch_size for c in connections if c.traces.batch_size is not None), None)
    if batch is not None and int(kept.max()) >= batch:
        raise ValueError(f"samples = {shown(samples)}; expected numbers below {batch}: the batch has {batch} samples.")
    return kept


def _require_room(
    connections: Sequence[Connection], steps: int, weights: int, samples: Tensor | None, free: int
) -> None:
    """Refuse whole weights, and spikes of batches whose size is known, that take more than is free."""
    whole = sum(c.weight.nbytes for c in connections) * (2 + (steps // weights if weights else 0))
    if whole > SHARE * free:
        raise MemoryError(
            f"To keep the whole weights {2 + (steps // weights if weights else 0):,} times takes {whole / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free; expected at most {SHARE:.0%} of that. Take a larger weights=, fewer "
            "steps=, or layers=[...]. Nothing was changed."
        )
    bits = 0
    for c in connections:
        if c.running is not None:
            kept = 1.0 if samples is None else len(samples) / max(1, c.running.batch_size)
            bits += int(kept * sum(side.numel() for side in c.running.like))
    if bits / 8 * steps > SHARE * free:
        raise MemoryError(
            f"Spikes of {steps} steps take {bits / 8e9 * steps:.1f} GB as bits, and {free / 1e9:.1f} GB are free; "
            f"expected at most {SHARE:.0%} of that. Take fewer steps=, some samples=[...], or layers=[...]. Nothing "
            "was changed."
        )
