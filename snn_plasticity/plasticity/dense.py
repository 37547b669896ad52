"""Matrices and diagonals: every pre neuron to every post neuron, or each to its namesake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .geometry import add_products_, correlation
from .kernels import Coincidence

BLOCK = 1 << 18  # entries of the scratch that non-linear traces work in: small enough for a cache


@dataclass(frozen=True)
class Dense:
    """A full matrix, W (N_post, N_pre); positions (B, S, N) of one sample are summed, as in a convolution."""

    n_pre: int
    n_post: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight."""
        return (self.n_post, self.n_pre)

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse anything but pre (B, ..., N_pre) and post (B, ..., N_post)."""
        fits = pre.dim() >= 2 and pre.shape[:-1] == post.shape[:-1]
        if not fits or pre.shape[-1] != self.n_pre or post.shape[-1] != self.n_post:
            raise ValueError(
                f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; expected (B, {self.n_pre}) and "
                f"(B, {self.n_post}) with the same B. Are pre and post swapped, or is the batch dimension missing?"
            )

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """post ⊗ pre, (B, N_post, N_pre)."""
        return torch.einsum("b...o,b...i->boi", post, pre)

    def accumulate_(self, e: Tensor, coincidence: Coincidence, beta: float, scale: float) -> None:
        """In place, all products in one fused operation: e ← beta·e + scale·L R."""
        left, right = self._factors(coincidence)
        e.baddbmm_(left.to(e), right.to(e), beta=beta, alpha=scale)

    def blocks(self, e: Tensor, coincidence: Coincidence, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Several samples at a time, or several rows of one."""
        left, right = self._factors(coincidence)
        left, right = left.to(e) * scale, right.to(e)
        samples = max(1, BLOCK // (self.n_post * self.n_pre))
        rows = min(self.n_post, max(1, BLOCK // self.n_pre))
        for b in range(0, len(e), samples):
            for row in range(0, self.n_post, rows):
                here = (slice(b, b + samples), slice(row, row + rows))
                yield e[here], torch.bmm(left[here], right[here[0]])

    def _factors(self, coincidence: Coincidence) -> tuple[Tensor, Tensor]:
        """L (B, N_post, K) and R (B, K, N_pre), with f = L R."""
        pairs = [*coincidence.ltp, *coincidence.ltd]
        posts = [p.post for p in coincidence.ltp] + [-p.post for p in coincidence.ltd]
        left = [post.reshape(len(post), -1, self.n_post) for post in posts]
        right = [pair.pre.reshape(len(pair.pre), -1, self.n_pre) for pair in pairs]
        return torch.cat(left, dim=1).mT, torch.cat(right, dim=1)


@dataclass(frozen=True)
class Diagonal:
    """One synapse from each pre neuron to the post neuron of the same number, w (N,)."""

    n: int

    @property
    def shape(self) -> tuple[int]:
        """Shape of the weight."""
        return (self.n,)

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse anything but pre (B, N) and post (B, N)."""
        if pre.dim() != 2 or pre.shape != post.shape or pre.shape[1] != self.n:
            raise ValueError(
                f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; "
                f"expected both (B, {self.n}) for diagonal synapses."
            )

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """post · pre, (B, N)."""
        return post * pre

    def accumulate_(self, e: Tensor, coincidence: Coincidence, beta: float, scale: float) -> None:
        """In place: e ← beta·e + scale·f."""
        add_products_(e, self, coincidence, beta, scale)

    def blocks(self, e: Tensor, coincidence: Coincidence, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
        """All at once: neuron-sized."""
        yield e, correlation(self, coincidence).to(e) * scale
