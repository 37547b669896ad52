"""Eligibility traces, step by step.

ē = d·e
accumulating   e ← ē + f
replacing      e ← f where |f| ≥ |ē|, else ē
dutch          e ← (1 − α)·ē + f       scope "active": only where f ≠ 0, else ē
then the clamp;   normalize_trace: f/τ_e in the place of f
lag 1          what a modulator meets is e of the step before
"""

from __future__ import annotations

import numpy as np

from .kernels import KERNELS, State, decay, silent
from .layers import Layer
from .settings import Eligibility


def join(e: np.ndarray, f: np.ndarray, dt: float, given: Eligibility) -> np.ndarray:
    """One step of a trace."""
    kept = e * decay(given.tau_e, dt, given.convention.eligibility_decay)
    if given.convention.normalize_trace:
        f = f / given.tau_e
    if given.trace_type == "accumulating":
        e = kept + f
    elif given.trace_type == "replacing":
        e = np.where(np.abs(f) >= np.abs(kept), f, kept)
    else:
        given_up = given.dutch_alpha * (np.ones_like(f) if given.dutch_scope == "all" else (f != 0))
        e = (1.0 - given_up) * kept + f
    return e if given.clamp_range is None else np.clip(e, *given.clamp_range)


def reduced(values: np.ndarray, reduction: str) -> np.ndarray:
    """Mean or sum over the batch."""
    return values.sum(0) / (len(values) if reduction == "mean" else 1)


class Traces:
    """The eligibility of one weight, and what it remembers."""

    def __init__(self, layer: Layer, given: Eligibility) -> None:
        self.layer, self.given = layer, given
        self.now: np.ndarray | None = None
        self.before: np.ndarray | None = None
        self.state: State = {}

    @property
    def e(self) -> np.ndarray | None:
        """What a modulator meets, (B, *shape); None before anything was observed."""
        return self.before if self.given.convention.lag else self.now

    def observe(self, pre: np.ndarray, post: np.ndarray, dt: float | None = None) -> None:
        """One step: pre (B, *pre shape), post (B, *post shape)."""
        pre, post = np.asarray(pre, np.float64), np.asarray(post, np.float64)
        dt = self.given.dt if dt is None else dt
        if self.now is None:
            self.now, self.state = np.zeros((len(pre), *self.layer.shape)), silent(pre, post, self.given)
        f = np.zeros_like(self.now)
        for factor, post_side, pre_side in KERNELS[self.given.kernel](pre, post, self.state, dt, self.given):
            f = f + factor * self.layer.product(post_side, pre_side)
        self.before, self.now = self.now, join(self.now, f, dt, self.given)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """As new: everything, or the samples of a mask."""
        if mask is None:
            self.now, self.before, self.state = None, None, {}
        elif self.now is not None and self.before is not None:
            keep = ~np.asarray(mask)
            self.now, self.before = forget(self.now, keep), forget(self.before, keep)
            self.state = {name: forget(values, keep) for name, values in self.state.items()}

    def start_sequence(self) -> None:
        """A new sequence starts from zero, unless traces carry on."""
        if not self.given.carry:
            self.reset()

    def change(self, mod: np.ndarray | float, reduction: str | None = None) -> np.ndarray:
        """reduce_B(mod · e): one number, one per sample (B,) or (B, 1), or one per sample and neuron."""
        assert self.e is not None
        mod, flat = np.asarray(mod, np.float64), (len(self.e), *(1,) * len(self.layer.shape))
        if mod.ndim == 2 and mod.shape[1] != 1:
            scaled = self.layer.per_synapse(mod) * self.e
        else:
            scaled = (mod if mod.ndim == 0 else mod.reshape(flat)) * self.e
        return reduced(scaled, reduction or self.given.convention.reduction)


def forget(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Zero for the samples that are not kept."""
    return values * keep.reshape(-1, *(1,) * (values.ndim - 1))
