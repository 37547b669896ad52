"""Matrices and diagonals: every pre neuron to every post neuron, or each to its namesake."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..config.validation import require_count_field
from ..kernels.stdp import Coincidence
from .geometry import Product, SmallProducts, scaled_
from .spike_trains import EmbeddingBags, SpikeTrains

SMALL_POPULATION = 80  # neurons of the smaller population up to which the dense product is cheaper
SMALLER = 3  # how many times smaller a post population is when its table is cheaper than that of the pre population
TILE_COLUMNS = (64, 256)  # columns of a table that are multiplied at once: within these, as many as
TILE_ENTRIES = 1 << 17  # entries, which leave room in the cache
CACHED_ENTRIES = 1 << 18  # entries of the scratch that non-linear traces work in: small enough for a cache


@dataclass(frozen=True)
class Dense(SmallProducts):
    """A full matrix, W (N_post, N_pre); positions (B, S, N) of one sample are summed, as in a convolution."""

    n_pre: int
    n_post: int

    def __post_init__(self) -> None:
        for name in ("n_pre", "n_post"):
            require_count_field(self, name, 0)

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
        samples = max(1, CACHED_ENTRIES // (self.n_post * self.n_pre))
        rows = min(self.n_post, max(1, CACHED_ENTRIES // self.n_pre))
        for b in range(0, len(e), samples):
            for row in range(0, self.n_post, rows):
                here = (slice(b, b + samples), slice(row, row + rows))
                yield e[here], torch.bmm(left[here], right[here[0]])

    neuron_axis: ClassVar[int] = -1
    closed_form: ClassVar[bool] = True

    @property
    def spikes_side(self) -> str:
        """The post side, unless the post population is so much smaller that it should be the table."""
        smaller = self.n_post < min(SMALL_POPULATION, self.n_pre) or self.n_post * SMALLER <= self.n_pre
        return "pre" if smaller else "post"

    def multiplies_bool(self, trains: SpikeTrains) -> bool:
        """Where they are multiplied as a sparse matrix."""
        return min(self.n_pre, self.n_post) >= SMALL_POPULATION and trains.sparse

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window with positions summed, (T, B, N)."""
        return spikes if spikes.dim() == 3 else spikes.flatten(2, -2).sum(2)

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post ⊗ pre; spikes as sparse matrices where that is faster."""
        product = product if product.post.dim() == 3 else _in_a_row(product)
        if product.trains is None:
            _contract_dense_(out, product, beta)
        elif out.dim() == 2:
            _contract_sparse_(out, product, beta, apart=False)
        elif product.sparse == "post":
            _contract_sparse_(out.view(-1, self.n_pre), product, beta, apart=True)
        else:
            for b, sample in enumerate(out):
                _contract_sparse_(sample, product.of(slice(b, b + 1)), beta, apart=False)

    def columns(self, post: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of each weight at each position: post (B, R, N_post, S, 1), pre (B, 1, 1, S, N_pre)."""
        post, pre = post.reshape(*post.shape[:2], -1, self.n_post), pre.reshape(len(pre), -1, self.n_pre)
        return post.transpose(2, 3).unsqueeze(-1), pre[:, None, None]

    def summed(self, f: Tensor) -> Tensor:
        """What belongs to one weight at all positions (B, N_post, S, N_pre): their sum, (B, *shape)."""
        return f.squeeze(2) if f.shape[2] == 1 else f.sum(2)

    def _factors(self, coincidence: Coincidence) -> tuple[Tensor, Tensor]:
        """L (B, N_post, K) and R (B, K, N_pre), with f = L R."""
        pairs = [*coincidence.ltp, *coincidence.ltd]
        posts = [p.post for p in coincidence.ltp] + [-p.post for p in coincidence.ltd]
        left = [post.reshape(post.shape[0], -1, self.n_post) for post in posts]
        right = [pair.pre.reshape(pair.pre.shape[0], -1, self.n_pre) for pair in pairs]
        return torch.cat(left, dim=1).mT, torch.cat(right, dim=1)


def _in_a_row(product: Product) -> Product:
    """Positions as further steps."""
    post, pre = (side.flatten(2, -2).transpose(1, 2).flatten(0, 1) for side in (product.post, product.pre))
    if product.trains is None:
        return Product(post, pre)
    trains = SpikeTrains(post if product.sparse == "post" else pre, product.trains.dtype)
    return Product(post, pre, product.sparse, trains)


def _contract_dense_(out: Tensor, product: Product, beta: float) -> None:
    """Both sides as numbers; out (N_post, N_pre) or (B, N_post, N_pre)."""
    post, pre = product.post, product.pre
    if out.dim() == 2:
        out.addmm_(post.flatten(0, 1).T, pre.flatten(0, 1), beta=beta)
    else:
        out.baddbmm_(post.permute(1, 2, 0), pre.transpose(0, 1), beta=beta)


def _contract_sparse_(out: Tensor, product: Product, beta: float, *, apart: bool) -> None:
    """Out (N_post, N_pre), or with `apart` (B·N_post, N_pre); as many columns at a time as registers hold."""
    bags, table = _sparse_factors(product, apart=apart)
    out = out if product.sparse == "post" else out.T
    tiles = math.ceil(table.shape[1] / min(max(TILE_COLUMNS[0], TILE_ENTRIES // len(table)), TILE_COLUMNS[1]))
    width = math.ceil(table.shape[1] / tiles / 16) * 16
    for part, room in zip(table.split(width, 1), out.split(width, 1), strict=True):
        found = bags.times(part.contiguous())
        if beta:
            torch.add(found, room, alpha=beta, out=room)
        else:
            room.copy_(found)


def _sparse_factors(product: Product, *, apart: bool) -> tuple[EmbeddingBags, Tensor]:
    """Spikes (N, K) and the table (K, M); with `apart` spikes (B·N, K), each sample's for itself."""
    assert product.trains is not None
    table = product.table
    whole = not apart and table.shape[1] > 1
    bags = product.trains.together if whole else product.trains.apart(product.first, table.shape[1])
    return bags, table.reshape(-1, table.shape[2])


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

    def columns(self, post: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of each weight: post (B, R, N), pre (B, 1, N)."""
        return post, pre[:, None]

    def summed(self, f: Tensor) -> Tensor:
        """There is one position, (B, N)."""
        return f

    neuron_axis: ClassVar[int] = -1
    closed_form: ClassVar[bool] = True

    @property
    def n_post(self) -> int:
        """Rows of e."""
        return self.shape[0]

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window as it is, (T, B, N)."""
        return spikes

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post · pre."""
        scaled_(out, beta).add_((product.post * product.pre).sum(0 if out.dim() == 2 else (0, 1)))
