"""Matrices and diagonals: every pre neuron to every post neuron, or each to its namesake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .geometry import SmallProducts
from .kernels import Coincidence
from .sparse import by_neuron, by_sample_and_neuron, worthwhile

BLOCK = 1 << 18  # entries of the scratch that non-linear traces work in: small enough for a cache


@dataclass(frozen=True)
class Dense(SmallProducts):
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

    neuron_axis: ClassVar[int] = -1
    closed_form: ClassVar[bool] = True

    @property
    def table_on_pre(self) -> bool:
        """Whether the pre population is the smaller one."""
        return self.n_pre <= self.n_post

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window with positions summed, (T, B, N)."""
        return spikes if spikes.dim() == 3 else spikes.flatten(2, -2).sum(2)

    def contract_(self, out: Tensor, post: Tensor, pre: Tensor, sparse: str | None, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post ⊗ pre; spikes as a sparse matrix where that is faster."""
        if post.dim() > 3:  # positions count as further steps
            post, pre = (side.flatten(2, -2).transpose(1, 2).flatten(0, 1) for side in (post, pre))
        if sparse is not None and not worthwhile(post if sparse == "post" else pre):
            sparse = None
        if out.dim() == 2:
            _contract_shared_(out, post.flatten(0, 1), pre.flatten(0, 1), sparse, beta)
        elif len(out) == 1:
            _contract_shared_(out[0], post[:, 0], pre[:, 0], sparse, beta)
        else:
            _contract_samples_(out, post, pre, sparse, beta)

    def _factors(self, coincidence: Coincidence) -> tuple[Tensor, Tensor]:
        """L (B, N_post, K) and R (B, K, N_pre), with f = L R."""
        pairs = [*coincidence.ltp, *coincidence.ltd]
        posts = [p.post for p in coincidence.ltp] + [-p.post for p in coincidence.ltd]
        left = [post.reshape(len(post), -1, self.n_post) for post in posts]
        right = [pair.pre.reshape(len(pair.pre), -1, self.n_pre) for pair in pairs]
        return torch.cat(left, dim=1).mT, torch.cat(right, dim=1)


def _contract_shared_(out: Tensor, post: Tensor, pre: Tensor, sparse: str | None, beta: float) -> None:
    """out (N_post, N_pre), post (K, N_post), pre (K, N_pre)."""
    if sparse == "post":
        torch.addmm(out, by_neuron(post), pre, beta=beta, out=out)
    elif sparse == "pre":
        out.mul_(beta).add_((by_neuron(pre) @ post).T)
    else:
        out.addmm_(post.T, pre, beta=beta)


def _contract_samples_(out: Tensor, post: Tensor, pre: Tensor, sparse: str | None, beta: float) -> None:
    """out (B, N_post, N_pre), post (K, B, N_post), pre (K, B, N_pre)."""
    if sparse == "post":
        flat = out.view(-1, out.shape[2])
        table = pre.transpose(0, 1).reshape(-1, pre.shape[2])
        torch.addmm(flat, by_sample_and_neuron(post), table, beta=beta, out=flat)
    elif sparse == "pre":
        for b, sample in enumerate(out):
            _contract_shared_(sample, post[:, b], pre[:, b], "pre", beta)
    else:
        out.baddbmm_(post.permute(1, 2, 0), pre.transpose(0, 1), beta=beta)


@dataclass(frozen=True)
class Diagonal(SmallProducts):
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

    neuron_axis: ClassVar[int] = -1
    closed_form: ClassVar[bool] = True

    @property
    def n_post(self) -> int:
        """Rows of e."""
        return self.shape[0]

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window as it is, (T, B, N)."""
        return spikes

    def contract_(self, out: Tensor, post: Tensor, pre: Tensor, sparse: str | None, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post · pre."""
        out.mul_(beta).add_((post * pre).sum(0 if out.dim() == 2 else (0, 1)))
