"""Sparse connectivity: synapses as a list of edges, w (E,), each from one pre to one post neuron.

    f_e = post[target_e] · pre[source_e]

A window is folded event by event where few neurons are active: every spike reaches the edges of its neuron and no
other, so that work is in proportion to spikes × edges per neuron. Busy windows of a small network are folded as a full
matrix that is read at the edges.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from .bits import numbers_of
from .dense import Dense
from .geometry import SmallProducts, scaled_
from .product import Product

SCRATCH = 1 << 24  # entries of a full matrix that is still worth writing down
PER_ENTRY, PER_EDGE = 64, 10  # entries of such a matrix, and edges at a step, that cost as much as an edge of an event


class Edges(SmallProducts):
    """Synapses from `source` (E,) to `target` (E,) neurons.

    Args:
        source, target: indices of the pre and the post neuron of each synapse.
        n_pre, n_post: numbers of neurons.

    Raises:
        ValueError: lists of different length, indices outside the populations, or two edges between the same neurons.

    >>> Edges(torch.tensor([0, 2]), torch.tensor([1, 1]), n_pre=3, n_post=2).shape
    (2,)
    """

    closed_form: ClassVar[bool] = True
    neuron_axis: ClassVar[int] = -1

    def __init__(self, source: Tensor, target: Tensor, n_pre: int, n_post: int) -> None:
        source, target = source.long(), target.long()
        if source.dim() != 1 or source.shape != target.shape or not len(source):
            raise ValueError(
                f"source has shape {tuple(source.shape)} and target {tuple(target.shape)}; "
                "expected both (E,) with E >= 1."
            )
        for name, index, size in (("source", source, n_pre), ("target", target, n_post)):
            if int(index.min()) < 0 or int(index.max()) >= size:
                found = f"{int(index.min())} to {int(index.max())}"
                raise ValueError(f"{name} runs from {found}; expected 0 to {size - 1}.")
        twice = len(source) - len(torch.unique(target * n_pre + source))
        if twice:
            raise ValueError(f"{twice} edges join neurons that are joined already; expected each pair at most once.")
        self.source, self.target, self.n_pre, self.n_post = source, target, n_pre, n_post
        self.shape = (len(source),)
        self._places = target * n_pre + source  # in the full matrix
        self._of = {"pre": _Lists(source, n_pre), "post": _Lists(target, n_post)}

    @classmethod
    def of(cls, connectivity: Tensor, n_pre: int, n_post: int) -> Edges:
        """From an edge list (2, E), sources above targets, or a boolean mask (N_post, N_pre)."""
        if connectivity.dtype == torch.bool:
            if connectivity.shape != (n_post, n_pre):
                raise ValueError(f"connectivity is a mask {tuple(connectivity.shape)}; expected ({n_post}, {n_pre}).")
            target, source = connectivity.nonzero().unbind(1)
        elif connectivity.dim() == 2 and len(connectivity) == 2 and not connectivity.is_floating_point():
            source, target = connectivity
        else:
            raise ValueError(
                f"connectivity is {connectivity.dtype} of shape {tuple(connectivity.shape)}; expected a boolean mask "
                f"({n_post}, {n_pre}) or an integer list (2, E) of sources and targets."
            )
        return cls(source, target, n_pre, n_post)

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse anything but pre (B, N_pre) and post (B, N_post)."""
        if pre.shape != (len(post), self.n_pre) or post.shape != (len(pre), self.n_post):
            raise ValueError(
                f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; "
                f"expected (B, {self.n_pre}) and (B, {self.n_post}) with the same B."
            )

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """post[target] · pre[source], (B, E)."""
        return post[..., self.target.to(post.device)] * pre[..., self.source.to(pre.device)]

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window as it is, (T, B, N)."""
        return spikes

    def per_synapse(self, mod: Tensor) -> Tensor:
        """A modulator per post neuron (B, N_post) as one per synapse (B, E)."""
        return mod[:, self.target.to(mod.device)] if mod.dim() == 2 else mod

    def row_maxima(self, e: Tensor) -> Tensor:
        """The largest |e| onto each post neuron, (B, N_post)."""
        target = self.target.to(e.device).expand_as(e)
        return e.new_zeros(len(e), self.n_post).scatter_reduce(1, target, e.abs(), "amax")

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post ⊗ pre: by the cheapest of three ways.

        Event by event, where few neurons of one side are active; as a full matrix, read at the edges, where that is
        small enough to be written down; else all edges at every step.
        """
        scaled_(out, beta)
        side = self._events(out, product) if out.is_cpu else None
        if side is not None:
            post, pre = (numbers_of(spikes, out.dtype) for spikes in (product.post, product.pre))
            self._spread(out, post, pre, side)
        elif self._small(product):
            self._read_off(out, product)
        else:
            for post, pre in zip(product.post, product.pre, strict=True):
                now = self.product(post, pre)
                out.add_(now.sum(0) if out.dim() == 1 else now)

    def _small(self, product: Product) -> bool:
        """Whether the full matrix may be written down, and is worth it."""
        return self.n_pre * self.n_post <= SCRATCH and len(product.post) > 1

    def _events(self, out: Tensor, product: Product) -> str | None:
        """The side whose events are followed along their edges; None where another way costs less."""
        edges = self.shape[0]
        active = {side: int(torch.count_nonzero(getattr(product, side))) for side in ("post", "pre")}
        reached = {"post": active["post"] * edges / self.n_post, "pre": active["pre"] * edges / self.n_pre}
        side = product.sparse or min(reached, key=lambda side: reached[side])
        if self._small(product):
            matrices = 1 if out.dim() == 1 else len(out)
            return side if PER_ENTRY * reached[side] < self.n_pre * self.n_post * matrices else None
        steps = product.post.shape[0] * product.post.shape[1]
        return side if PER_EDGE * reached[side] < steps * edges else None

    def _read_off(self, out: Tensor, product: Product) -> None:
        """The full matrix, sample by sample or summed, at the edges."""
        full, at = Dense(self.n_pre, self.n_post), self._places.to(out.device)
        scratch = product.post.new_zeros(self.n_post, self.n_pre)
        if out.dim() == 1:
            full.contract_(scratch, product, beta=0.0)
            out.add_(torch.take(scratch, at))
            return
        for b, sample in enumerate(out):
            full.contract_(scratch, product.of(slice(b, b + 1)), beta=0.0)
            sample.add_(torch.take(scratch, at))

    def _spread(self, out: Tensor, post: Tensor, pre: Tensor, sparse: str) -> None:
        """Every spike to the edges of its neuron."""
        spikes, other = (post, pre) if sparse == "post" else (pre, post)
        step, sample, neuron = spikes.nonzero().unbind(1)
        event, edge = self._of[sparse].expand(neuron)
        far = (self.source if sparse == "post" else self.target)[edge]
        step, sample = step[event], sample[event]
        values = spikes[step, sample, neuron[event]] * other[step, sample, far]
        where = edge if out.dim() == 1 else edge + sample * out.shape[1]
        out.view(-1).index_add_(0, where, values)

    def __repr__(self) -> str:
        return f"Edges({self.shape[0]} of {self.n_post}×{self.n_pre})"


class _Lists:
    """The edges of each neuron, one after the other."""

    def __init__(self, neuron: Tensor, n: int) -> None:
        self.edges = torch.argsort(neuron, stable=True)
        self.counts = torch.bincount(neuron, minlength=n)
        self.starts = torch.cumsum(self.counts, 0) - self.counts

    def expand(self, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """For a list of spiking neurons: which of them, and which edge, for every edge that is reached."""
        counts = self.counts[neurons]
        event = torch.repeat_interleave(counts)
        before = torch.cumsum(counts, 0) - counts
        place = torch.arange(len(event)) - before[event] + self.starts[neurons][event]
        return event, self.edges[place]
