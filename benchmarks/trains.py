"""Spike trains and the rule that every contestant plays, plain arrays that fit through a .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Size(NamedTuple):
    """Pre neurons, post neurons, samples."""

    n_pre: int
    n_post: int
    batch: int

    def __str__(self) -> str:
        return f"{self.n_pre}×{self.n_post} B{self.batch}"


class Rule(NamedTuple):
    """Reward-modulated pair STDP with an eligibility trace; time constants in steps."""

    tau_plus: float = 20.0
    tau_minus: float = 20.0
    tau_e: float = 200.0
    a_plus: float = 0.01
    a_minus: float = 0.0105
    lr: float = 1e-3
    pairing: str = "all"  # or "nearest": a spike trace is set to one, not raised by one


class Trains(NamedTuple):
    """Spikes and rewards of T steps; with `edges`, only the synapses that exist."""

    pre: np.ndarray  # (T, B, N_pre)
    post: np.ndarray  # (T, B, N_post)
    reward: np.ndarray  # (T, B)
    edges: np.ndarray | None = None  # (2, E): pre and post neuron of each synapse

    @property
    def size(self) -> Size:
        """How many neurons and samples."""
        return Size(self.pre.shape[2], self.post.shape[2], self.pre.shape[1])

    def first(self, steps: int) -> Trains:
        """The beginning of these trains."""
        return Trains(self.pre[:steps], self.post[:steps], self.reward[:steps], self.edges)


def bernoulli(size: Size, steps: int, density: float = 0.05, seed: int = 0) -> Trains:
    """Independent spikes with the same probability everywhere; a normally distributed reward per step and sample."""
    rng = np.random.default_rng(seed)
    pre = rng.random((steps, size.batch, size.n_pre), dtype=np.float32) < density
    post = rng.random((steps, size.batch, size.n_post), dtype=np.float32) < density
    reward = rng.normal(size=(steps, size.batch)).astype(np.float32)
    return Trains(pre.astype(np.float32), post.astype(np.float32), reward)


def recurrent(steps: int, every: int = 1, n: int = 1000, fan_out: int = 100, density: float = 0.01) -> Trains:
    """One population onto itself, `fan_out` synapses from each neuron; a reward every `every` steps."""
    rng = np.random.default_rng(0)
    spikes = (rng.random((steps, 1, n)) < density).astype(np.float32)
    reward = rng.normal(size=(steps, 1)).astype(np.float32)
    reward[np.arange(steps) % every != 0] = 0.0
    post = np.concatenate([rng.choice(n, fan_out, replace=False) for _ in range(n)])
    return Trains(spikes, spikes, reward, np.stack([np.repeat(np.arange(n), fan_out), post]))


def save(path: Path, trains: Trains) -> None:
    """Write trains for a simulator in another environment."""
    np.savez(path, **{name: array for name, array in trains._asdict().items() if array is not None})


def load(path: Path) -> Trains:
    """Read what `save` wrote."""
    with np.load(path) as arrays:
        return Trains(**arrays)
