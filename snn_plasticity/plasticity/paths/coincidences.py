"""Spikes of post and pre in the same step of a window, listed: f = u_ti P_tj + v_tj Q_ti where neither is silent.

They are few: a fraction ρ² of all entries and steps for trains of density ρ. Lists are NumPy's where these are faster.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Listed(NamedTuple):
    """Spikes of one population: their neurons, sizes (None: all are one), and what the other's table says there."""

    neuron: np.ndarray
    size: np.ndarray | None
    table: np.ndarray


class Coincidences:
    """The coincidences of one sample, row by row of the eligibility.

    Args:
        post: a CSR matrix (N_post, T) of post spikes.
        spikes: pre spikes (T, N_pre).
        p, q: the tables that meet post and pre spikes, (T, N_pre) and (T, N_post).
        cap: (T,), to what magnitude f must be clamped in each step, if at all.
    """

    def __init__(self, post: Tensor, spikes: Tensor, p: Tensor, q: Tensor, cap: Tensor | None) -> None:
        self.starts, step = post.crow_indices().numpy(), post.col_indices().numpy()
        neuron = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        self.post = Listed(neuron, _sizes(post.values().numpy()), q.numpy()[step, neuron])
        where = np.flatnonzero((spikes != 0).numpy())
        steps, neuron = np.divmod(where, spikes.shape[1])
        self.pre = Listed(neuron, _sizes(spikes.numpy().ravel()[where]), p.numpy().ravel()[where])
        count = np.bincount(steps, minlength=len(spikes))
        self.count, self.first = count[step], (np.cumsum(count) - count)[step]
        self.cap = None if cap is None else cap.numpy()[step]

    def join_(self, up: Tensor, down: Tensor, start: int) -> None:
        """The largest and the smallest f into rows from `start` on."""
        here = slice(self.starts[start], self.starts[start + len(up)])
        count = self.count[here]
        ends = np.cumsum(count)
        if not len(ends) or not ends[-1]:
            return
        of_pre = np.repeat(self.first[here] - ends + count, count)
        of_pre += np.arange(len(of_pre))
        f = self._values(here, count, of_pre)
        entry = np.repeat((self.post.neuron[here] - start) * up.shape[1], count)
        entry += self.pre.neuron[of_pre]
        for extreme, found in (("amax", up), ("amin", down)):
            found.view(-1).scatter_reduce_(0, torch.from_numpy(entry), torch.from_numpy(f), extreme)

    def _values(self, here: slice, count: np.ndarray, of_pre: np.ndarray) -> np.ndarray:
        post, pre = self.post, self.pre
        by_post, by_pre = pre.table[of_pre], np.repeat(post.table[here], count)
        if post.size is not None:
            by_post *= np.repeat(post.size[here], count)
        if pre.size is not None:
            by_pre *= pre.size[of_pre]
        by_post += by_pre
        if self.cap is not None:
            cap = np.repeat(self.cap[here], count)
            np.clip(by_post, -cap, cap, out=by_post)
        return by_post


def _sizes(values: np.ndarray) -> np.ndarray | None:
    return None if (values == 1).all() else values
