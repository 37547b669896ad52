"""Sparse connectivity: synapses as a list of edges, w (E,), each from one pre to one post neuron.

    f_e = post[target_e] · pre[source_e]

A window is folded event by event where few neurons are active: every spike reaches the edges of its neuron and no
other, so that work is in proportion to spikes × edges per neuron. Busy windows of a small network are folded as a full
matrix that is read at the edges.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from .. import _compiled
from .._checks import require_count, require_real, shown
from .dense import Dense
from .geometry import Product, SmallProducts, scaled_
from .spike_trains import as_numbers

SCRATCH = 1 << 24  # entries of a full matrix that is still worth writing down
PER_ENTRY, PER_EDGE = 10, 5  # entries of such a matrix, and edges at a step, that cost as much as an edge of an event
PER_ROW = 6  # entries that a spike adds to one row of such a matrix, for the cost of an entry as such


class Edges(SmallProducts):
    """Synapses from `source` (E,) to `target` (E,) neurons; several may join the same two.

    Args:
        source, target: indices of the pre and the post neuron of each synapse.
        n_pre, n_post: numbers of neurons.

    Raises:
        ValueError: lists of different length, or indices outside the populations.

    >>> Edges(torch.tensor([0, 2]), torch.tensor([1, 1]), n_pre=3, n_post=2).shape
    (2,)
    """

    closed_form: ClassVar[bool] = True
    neuron_axis: ClassVar[int] = -1

    def __init__(self, source: Tensor, target: Tensor, n_pre: int, n_post: int) -> None:
        source, target = _within(source, n_pre, target, n_post)
        self.source, self.target, self.n_pre, self.n_post = source, target, n_pre, n_post
        self.shape = (len(source),)
        self._places = target * n_pre + source  # in the full matrix
        self.after: Rewiring | None = None  # what has replaced them, where they came and went
        self._elsewhere: dict[tuple[str, torch.device], Tensor] = {}  # the tables, on other devices

    @classmethod
    def of(cls, connectivity: Tensor, n_pre: int, n_post: int) -> Edges:
        """From an edge list (2, E), sources above targets, or a boolean mask (N_post, N_pre)."""
        return cls(*edge_list(connectivity, n_pre, n_post), n_pre, n_post)

    @cached_property
    def fingerprint(self) -> int:
        """A number that two different wirings hardly share."""
        start = crc32(self.source.numpy().tobytes(), self.n_pre * self.n_post % 2**32)
        return crc32(self.target.numpy().tobytes(), start)

    @cached_property
    def of_pre(self) -> EdgeLists:
        """The edges that leave each pre neuron."""
        return EdgeLists(self.source, self.n_pre)

    @cached_property
    def of_post(self) -> EdgeLists:
        """The edges that end on each post neuron."""
        return EdgeLists(self.target, self.n_post)

    @cached_property
    def compact(self) -> tuple[Lists, Lists]:
        """The edges of each pre and of each post neuron, as compiled loops read them."""
        return _lists(self.of_pre, self.of_post), _lists(self.of_post, self.of_pre)

    def ends(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pre and post neuron of each edge, there."""
        return self._at("source", self.source, device), self._at("target", self.target, device)

    def onto(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The edges in the order of their post neurons, and where in it those of each begin, there."""
        lists = self.of_post
        return self._at("order", lists.edges, device), self._at("starts", lists.starts, device)

    def prepare(self, device: torch.device) -> None:
        """Make the tables that are needed there: a compiler cannot, in the middle of a graph."""
        self.ends(device)
        self.onto(device)

    def _at(self, name: str, table: Tensor, device: torch.device) -> Tensor:
        if table.device == device:
            return table
        if (name, device) not in self._elsewhere:
            self._elsewhere[name, device] = table.to(device)
        return self._elsewhere[name, device]

    def delivered(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """The currents (R, N_post) of spikes (R, N_pre) on the CPU, each along the edges of its neuron and no other.

        Args:
            spikes: of R rows; row r is of sample r modulo B.
            weight: (E,), or (B, E) with weights of its own for each sample.
        """
        if _compiled.suits(spikes) and weight.dtype is spikes.dtype:
            current = spikes.new_zeros(len(spikes), self.n_post)
            held = (one.detach().contiguous().numpy() for one in (current, spikes, weight.view(-1, self.shape[0])))
            _compiled.loops_over_edges().deliver(*held, self.compact[0])
            return current
        numbers, width = spikes.detach().contiguous().numpy().ravel(), spikes.shape[1]
        spike = np.flatnonzero(numbers)
        row, neuron = np.divmod(spike, width)
        event, edge = self.of_pre.reached(neuron)
        row = row[event]
        place, held = self.of_post.neuron[edge] + row * self.n_post, weight.detach().numpy()
        sent = held.ravel()[edge if held.ndim == 1 else edge + row % len(held) * held.shape[1]] * numbers[spike][event]
        current = spikes.new_zeros(len(spikes), self.n_post)
        np.add.at(current.numpy().ravel(), place, sent)  # in NumPy, whose calls cost a tenth of torch's
        return current

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse anything but pre (B, N_pre) and post (B, N_post)."""
        if pre.shape != (len(post), self.n_pre) or post.shape != (len(pre), self.n_post):
            raise ValueError(
                f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; "
                f"expected (B, {self.n_pre}) and (B, {self.n_post}) with the same B."
            )

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """post[target] · pre[source], (B, E)."""
        source, target = self.ends(post.device)
        return post[..., target] * pre[..., source]

    def columns(self, post: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of each weight: post (B, R, E), pre (B, 1, E)."""
        source, target = self.ends(post.device)
        return post[..., target], pre[:, None, source]

    def summed(self, f: Tensor) -> Tensor:
        """There is one position, (B, E)."""
        return f

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window as it is, (T, B, N)."""
        return spikes

    def per_synapse(self, mod: Tensor) -> Tensor:
        """A modulator per post neuron (B, N_post) as one per synapse (B, E)."""
        return mod[:, self.ends(mod.device)[1]] if mod.dim() == 2 else mod

    def row_maxima(self, e: Tensor) -> Tensor:
        """The largest |e| onto each post neuron, (B, N_post)."""
        target = self.ends(e.device)[1].expand_as(e)
        return e.new_zeros(len(e), self.n_post).scatter_reduce(1, target, e.abs(), "amax")

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post ⊗ pre: by the cheapest of three ways.

        Event by event, where few neurons of one side are active; as a full matrix, read at the edges, where that is
        small enough to be written down; else all edges at every step.
        """
        scaled_(out, beta)
        side = self._events(out, product) if out.is_cpu else None
        if side is not None:
            post, pre = (as_numbers(spikes, out.dtype) for spikes in (product.post, product.pre))
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
            rows = active[side] * (self.n_pre if side == "post" else self.n_post)
            entries = self.n_pre * self.n_post * matrices + rows / PER_ROW
            return side if PER_ENTRY * reached[side] < entries else None
        steps = product.post.shape[0] * product.post.shape[1]
        return side if PER_EDGE * reached[side] < steps * edges else None

    def _read_off(self, out: Tensor, product: Product) -> None:
        """The full matrix, sample by sample or summed, at the edges."""
        full, at = Dense(self.n_pre, self.n_post), self._at("places", self._places, out.device)
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
        numbers, n = spikes.contiguous().numpy().ravel(), spikes.shape[2]
        spike = np.flatnonzero(numbers)
        row, neuron = np.divmod(spike, n)  # of all steps and samples
        lists, far = (self.of_post, self.of_pre) if sparse == "post" else (self.of_pre, self.of_post)
        event, edge = lists.reached(neuron)
        row = row[event]
        values = numbers[spike][event] * other.contiguous().numpy().ravel()[row * other.shape[2] + far.neuron[edge]]
        where = edge if out.dim() == 1 else edge + row % spikes.shape[1] * out.shape[1]
        out.view(-1).index_add_(0, torch.from_numpy(where), torch.from_numpy(values))

    def __repr__(self) -> str:
        return f"Edges({self.shape[0]} of {self.n_post}×{self.n_pre})"


class Rewiring(NamedTuple):
    """What has become of some edges.

    Args:
        geometry: the edges that there are now.
        edges, axons: where each of them, and each of its pre neurons, was before; −1 is new.
    """

    geometry: Edges
    edges: Tensor
    axons: Tensor

    def placed(self, values: Tensor | None, new: float = 0.0) -> Tensor | None:
        """Values of the edges before (..., E) as those of the edges now; `new` for new ones."""
        if values is None:
            return None
        origin = self.edges.to(values.device)
        return values.index_select(-1, origin.clamp(min=0)).masked_fill(origin < 0, new)


def edge_list(connectivity: Tensor, n_pre: int, n_post: int) -> tuple[Tensor, Tensor]:
    """Pre and post neuron of each edge, (E,) both, of a list (2, E) or of a boolean mask (N_post, N_pre), row by row.

    Raises:
        ValueError: neither of the two, no edges, or indices outside the populations.
    """
    require_real("connectivity", connectivity)
    if connectivity.is_meta:
        raise ValueError("connectivity is on the meta device and holds no values; expected a tensor that does.")
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
    return _within(source, n_pre, target, n_post)


def _within(source: Tensor, n_pre: int, target: Tensor, n_post: int) -> tuple[Tensor, Tensor]:
    """Both lists on the CPU, as long integers that are neurons."""
    for name, count in (("n_pre", n_pre), ("n_post", n_post)):
        require_count(name, count)
    for name, side in (("source", source), ("target", target)):
        require_real(name, side)
        if side.is_floating_point() or side.dtype == torch.bool or side.is_meta:
            raise TypeError(f"{name} is {shown(side)}; expected whole numbers, the neurons of the edges.")
    source, target = (side.to("cpu", torch.long) for side in (source, target))
    if source.dim() != 1 or source.shape != target.shape or not len(source):
        raise ValueError(
            f"source has shape {tuple(source.shape)} and target {tuple(target.shape)}; expected both (E,) with E >= 1."
        )
    for name, index, size in (("source", source, n_pre), ("target", target, n_post)):
        if int(index.min()) < 0 or int(index.max()) >= size:
            found = f"{int(index.min())} to {int(index.max())}"
            raise ValueError(f"{name} runs from {found}; expected 0 to {size - 1}.")
    return source, target


class EdgeLists:
    """The edges of each neuron, one after the other.

    Args:
        neuron: of each edge, (E,). n: how many neurons there are.
    """

    def __init__(self, neuron: Tensor, n: int) -> None:
        self.edges = torch.argsort(neuron, stable=True)
        self.counts = torch.bincount(neuron, minlength=n)
        self.starts = torch.cumsum(self.counts, 0) - self.counts
        self.neuron = neuron.numpy()

    def reached(self, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For a list of spiking neurons: which of them, and which edge, for every edge that is reached."""
        counts = self.counts.numpy()[neurons]
        ends = np.cumsum(counts)
        event = np.repeat(np.arange(len(neurons)), counts)
        place = (self.starts.numpy()[neurons] - ends + counts)[event]
        place += np.arange(len(event))
        return event, self.edges.numpy()[place]


Lists = tuple[np.ndarray, np.ndarray]  # where the edges of each neuron begin (N + 1,); edges and their far ends (E, 2)


def _lists(own: EdgeLists, far: EdgeLists) -> Lists:
    """In as few bytes as will do."""
    order = own.edges.numpy()
    kind = np.uint32 if max(len(order), len(far.counts)) < 2**32 else np.uint64
    return np.append(own.starts.numpy(), len(order)), np.stack((order, far.neuron[order]), 1).astype(kind)
