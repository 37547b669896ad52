"""The Hebbian product of a layer: which synapse sees which pre and which post.

    product(post, pre) = ∂⟨post, layer(pre; W)⟩ / ∂W        one per sample, shaped like the weight

For a matrix this is the outer product; for a convolution it sums over the positions that share a weight. A geometry
only stores and multiplies: it knows neither kernels nor traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ..kernels.stdp import Coincidence
from .spike_trains import SpikeTrains


class Product(NamedTuple):
    """Σ_t post_t ⊗ pre_t over a window, (T, B, ...) both; one side may be mostly zeros.

    Args:
        post, pre: both factors; the side that is mostly zeros may be booleans.
        sparse: the side that is mostly zeros, "post", "pre" or None.
        trains: that side, where it is to be multiplied as sparse matrices.
        first: the sample of `trains` that is the first one here.
    """

    post: Tensor
    pre: Tensor
    sparse: str | None = None
    trains: SpikeTrains | None = None
    first: int = 0

    @property
    def table(self) -> Tensor:
        """The side that is not mostly zeros."""
        return self.pre if self.sparse == "post" else self.post

    def of(self, samples: slice) -> Product:
        """The same for some samples."""
        part = self._replace(post=self.post[:, samples], pre=self.pre[:, samples])
        return part._replace(first=self.first + samples.start)


def scaled_(out: Tensor, beta: float) -> Tensor:
    """In place: beta·out, or zeros whatever was there."""
    return out.mul_(beta) if beta else out.zero_()


class Geometry(Protocol):
    """How the synapses of a layer are laid out."""

    closed_form: ClassVar[bool]  # the product is a plain sum of post × pre, so that it can be bounded
    neuron_axis: ClassVar[int]  # of neurons or channels in a window of spikes (T, B, ...)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        ...

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse spikes that do not fit, naming both shapes."""
        ...

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """Hebbian product (B, *shape): pure and differentiable."""
        ...

    def accumulate_(self, e: Tensor, coincidence: Coincidence, beta: float, scale: float) -> None:
        """In place: e ← beta·e + scale·f."""
        ...

    @property
    def spikes_side(self) -> str:
        """Which side's raw spikes are multiplied where either could be, "post" or "pre"; the other becomes a table."""
        ...

    def multiplies_bool(self, trains: SpikeTrains) -> bool:
        """Whether such trains are multiplied as sparse matrices, for which booleans will do."""
        ...

    @property
    def n_post(self) -> int:
        """Post neurons (or channels): rows, for a modulator per neuron."""
        ...

    def per_synapse(self, mod: Tensor) -> Tensor:
        """A modulator per post neuron (B, N_post) as e is laid out; others as they are."""
        ...

    def row_maxima(self, e: Tensor) -> Tensor:
        """The largest |e| of each post neuron, (B, N_post)."""
        ...

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window (T, B, ...) with positions summed: (T, B, N)."""
        ...

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place, over a window: out ← beta·out + Σ_t post ⊗ pre, per sample or summed over the batch.

        With beta = 0 it does not matter what was in `out`.
        """
        ...

    def blocks(self, e: Tensor, coincidence: Coincidence, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of e with the scale·f that belongs to them, a cacheful at a time."""
        ...


class SharedWeights(Geometry, Protocol):
    """A geometry that tells each use of a weight from the others, as convolutions have one at each position."""

    def columns(self, post: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Factors post (B, R, ...) and pre (B, 1, ...) of each use of each weight.

        Their product, `summed`, is R Hebbian products: of R values for each unit, post (B, R, *units).
        """
        ...

    def summed(self, f: Tensor) -> Tensor:
        """What belongs to each use of each weight, as (B, *shape)."""
        ...


def correlation(geometry: Geometry, coincidence: Coincidence) -> Tensor:
    """f (B, *shape): all products of a coincidence, potentiation minus depression."""
    ltp = [geometry.product(*pair) for pair in coincidence.ltp]
    ltd = [geometry.product(*pair) for pair in coincidence.ltd]
    if coincidence.full is not None:
        ltp.append(coincidence.full)
    if not ltp and not ltd:
        raise ValueError("The coincidence has no products; a kernel must return at least one (it may be zero).")
    total = sum(ltp[1:], ltp[0]) if ltp else -ltd.pop(0)
    return sum((-product for product in ltd), total)


class SmallProducts:
    """What geometries share whose product is small, or whose e has a row for each post neuron (Dense, too)."""

    @property
    def spikes_side(self) -> str:
        """Either would do."""
        return "post"

    def multiplies_bool(self, trains: SpikeTrains) -> bool:
        """They are multiplied as numbers."""
        return False

    def per_synapse(self, mod: Tensor) -> Tensor:
        """A modulator as it is: e has a row for each post neuron."""
        return mod

    def row_maxima(self, e: Tensor) -> Tensor:
        """The largest |e| of each post neuron, (B, N_post)."""
        rows = e.reshape(*e.shape[:2], -1)
        return torch.maximum(rows.amax(2), -rows.amin(2))  # 20 times faster than the infinity norm

    def accumulate_(self: Geometry, e: Tensor, coincidence: Coincidence, beta: float, scale: float) -> None:
        """In place, one product after the other: e ← beta·e + scale·f."""
        e.mul_(beta)
        for sign, pairs in ((scale, coincidence.ltp), (-scale, coincidence.ltd)):
            for pair in pairs:
                e.add_(self.product(*pair), alpha=sign)

    def blocks(self: Geometry, e: Tensor, coincidence: Coincidence, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
        """All at once."""
        yield e, correlation(self, coincidence).to(e) * scale
