"""The product of post and pre for each way in which synapses may be laid out: what each weight sees of a step.

matrix        post_i · pre_j, positions of one sample summed
diagonal      post_i · pre_i
edges         post[target] · pre[source]
convolution   Σ over the places where the weight is used of  post(place) · pre(what it saw there)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np


class Dense:
    """W (N_post, N_pre)."""

    def __init__(self, n_pre: int, n_post: int) -> None:
        self.pre, self.post, self.shape = (n_pre,), (n_post,), (n_post, n_pre)

    def product(self, post: np.ndarray, pre: np.ndarray) -> np.ndarray:
        """(B, N_post, N_pre)."""
        if post.ndim == 2:
            return post[:, :, None] * pre[:, None, :]
        post, pre = post.reshape(len(post), -1, post.shape[-1]), pre.reshape(len(pre), -1, pre.shape[-1])
        return sum(post[:, s, :, None] * pre[:, s, None, :] for s in range(post.shape[1]))

    def per_synapse(self, mod: np.ndarray) -> np.ndarray:
        """A modulator per neuron (B, N_post) beside e."""
        return mod[:, :, None]


class Diagonal:
    """w (N,)."""

    def __init__(self, n: int) -> None:
        self.pre, self.post, self.shape = (n,), (n,), (n,)

    def product(self, post: np.ndarray, pre: np.ndarray) -> np.ndarray:
        """(B, N)."""
        return post * pre

    def per_synapse(self, mod: np.ndarray) -> np.ndarray:
        """(B, N)."""
        return mod


class Edges:
    """w (E,), from source to target."""

    def __init__(self, source: Sequence[int], target: Sequence[int], n_pre: int, n_post: int) -> None:
        self.source, self.target = list(source), list(target)
        self.pre, self.post, self.shape = (n_pre,), (n_post,), (len(self.source),)

    def product(self, post: np.ndarray, pre: np.ndarray) -> np.ndarray:
        """(B, E)."""
        return post[:, self.target] * pre[:, self.source]

    def per_synapse(self, mod: np.ndarray) -> np.ndarray:
        """(B, E)."""
        return mod[:, self.target]


class Conv:
    """W (C_out, C_in / groups, *k); `padding` is (before, after) of each dimension."""

    def __init__(
        self,
        shape: tuple[int, ...],
        size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[tuple[int, int], ...],
        dilation: tuple[int, ...],
        groups: int,
        mode: str = "zeros",
    ) -> None:
        self.shape, self.stride, self.padding, self.dilation, self.groups = shape, stride, padding, dilation, groups
        self.mode = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}[mode]
        places = [
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(size, padding, dilation, shape[2:], stride, strict=True)
        ]
        self.taps = list(itertools.product(*map(range, shape[2:])))
        self.uses = [
            (place, tap, tuple(s * p + d * k for s, p, d, k in zip(stride, place, dilation, tap, strict=True)))
            for place in itertools.product(*map(range, places))
            for tap in self.taps
        ]
        self.pre, self.post = (shape[1] * groups, *size), (shape[0], *places)

    def product(self, post: np.ndarray, pre: np.ndarray) -> np.ndarray:
        """(B, C_out, C_in / groups, *k): each tap at each place multiplies the post there by the pre that it sees."""
        pre = np.pad(pre, ((0, 0), (0, 0), *self.padding), mode=self.mode)  # type: ignore[call-overload]
        out = np.zeros((len(post), *self.shape))
        n_out, n_in = self.shape[0] // self.groups, self.shape[1]
        for g in range(self.groups):
            rows, columns = slice(g * n_out, (g + 1) * n_out), slice(g * n_in, (g + 1) * n_in)
            for place, tap, seen in self.uses:
                a, b = post[(slice(None), rows, *place)], pre[(slice(None), columns, *seen)]
                out[(slice(None), rows, slice(None), *tap)] += a[:, :, None] * b[:, None, :]
        return out

    def per_synapse(self, mod: np.ndarray) -> np.ndarray:
        """A modulator per channel (B, C_out) beside e."""
        return mod.reshape(*mod.shape, *(1,) * (len(self.shape) - 1))


Layer = Dense | Diagonal | Edges | Conv
