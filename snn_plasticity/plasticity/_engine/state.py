"""What has been worked in so far: eligibility and kernel state of one batch, after some steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from ... import _compiled
from ...kernels.kernel_state import along, counts_units, forgotten, require_shape, unit_axes
from ...kernels.terms import Windowed
from ...layers.conv import Conv
from ...layers.dense import Dense
from ...layers.edges import Edges
from ...layers.geometry import Geometry
from ..memory import require_memory
from ..rule import EligibilityRule
from ..traces import scale_of
from .compiled import CompiledSteps, why_not
from .edge_steps import EdgeSteps
from .spikes import SpikeBlock
from .window_terms import WindowTerms

TABLE_ENTRIES, SMALL_TABLE = 1 << 20, 1 << 17  # of a table of a window, (T, B, N): as many as a step has products
INSTEAD = {
    False: "Take a smaller batch, path='shared' where one modulator is for the whole batch, connectivity=(2, E) for "
    "synapses that are few, or diagonal=True.",
    True: "List the synapses that there are: connectivity=(2, E), or take a smaller layer.",
}


def why_not_compiled(rule: EligibilityRule, like: tuple[Tensor, Tensor], path: str) -> str | None:
    """Why no compiled loop steps such traces, as the end of a sentence; None where one does."""
    if path in ("plain", "torch"):
        return f"path={path!r}"
    reason = _compiled.placed(like[0])
    if reason is not None or isinstance(rule.geometry, Edges):
        alone = reason or EdgeSteps.of(rule.kernel, rule.trace, like, rule.geometry)
        return reason if alone else "edges have loops for pair and symmetric STDP with numbers and a linear trace"
    if not isinstance(rule.geometry, Dense) or like[0].dim() != 2:
        return "loops are for full matrices and edges"
    return why_not(rule.trace, path == "shared")


def one_step(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Zeros like one step's pre and post of one sample, on the CPU."""
    sides = (geometry.n_pre, geometry.n_post) if isinstance(geometry, Dense | Edges) else (1, 1)
    pre, post = (torch.zeros(1, size, device="cpu") for size in sides)
    return pre, post


def require_compiled(rule: EligibilityRule, like: tuple[Tensor, Tensor]) -> None:
    """Refuse traces that no compiled loop steps.

    Raises:
        ValueError: naming the reason.
    """
    reason = why_not_compiled(rule, like, "compiled")
    if reason is not None:
        hint = 'pip install "snn_plasticity[fast]", or take' if "not installed" in reason else "take"
        raise ValueError(f"path = 'compiled' cannot be taken: {reason}; {hint} path='auto'.")


def compiled_or_not(rule: EligibilityRule, like: tuple[Tensor, Tensor], path: str) -> str:
    """Whether compiled loops step such traces, and if not, why."""
    reason = why_not_compiled(rule, like, path)
    return f"yes (numba {_compiled.version()})" if reason is None else f"no: {reason}"


class TraceState:
    """Eligibility and kernel state of a batch, or of some of its samples.

    Args:
        rule: kernel, geometry and trace.
        like: zeros shaped like one step's pre and post.
        shared: whether e is summed over the batch.
        fast: whether compiled loops may be used.
    """

    def __init__(self, rule: EligibilityRule, like: tuple[Tensor, Tensor], shared: bool, *, fast: bool = False) -> None:
        self.rule, self.like, self.shared, self.batch_size = rule, like, shared, len(like[1])
        single = fast and not getattr(rule.kernel, "per_synapse", False)
        self.fast, dense = fast, single and isinstance(rule.geometry, Dense)
        self.steps = CompiledSteps.of(rule.kernel, rule.trace, like, shared) if dense else None
        self.edge_steps = None if shared or not single else EdgeSteps.of(rule.kernel, rule.trace, like, rule.geometry)
        self.kernel: Any = None  # None is a fresh start
        self._e: Tensor | None = None
        self.by_place = False  # whether each place of a map hears for itself
        self.places: Tensor | None = None  # e of each place of a map, (B, *columns); None: not told apart
        self.bound: Tensor | None = None  # of |e| in each row, (B, N_post); None is not known
        self.reach: float | None = None  # of |e| in all of it, summed over the batch; None is not known

    @property
    def e(self) -> Tensor | None:
        """(B, *shape), or (*shape) when shared; None is zero."""
        if self.steps is not None and self.steps.due:
            self.steps.flush()
        return self._e

    @e.setter
    def e(self, e: Tensor | None) -> None:
        self._e, self.reach = e, None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing is due in a copy."""
        return {**vars(self), "_e": self.e}

    @property
    def each(self) -> int:
        """How many places share a weight."""
        axes = getattr(self.rule.kernel, "post_axes", 0)
        return math.prod(self.like[1].shape[2 + axes :]) if self.rule.geometry.neuron_axis == 2 else 1

    @property
    def begins(self) -> bool:
        """Whether nothing is remembered yet; a kernel without a memory, as of rates, does not tell."""
        return self._e is None or (self.kernel is None and not self._e.any())

    @property
    def may_keep_places(self) -> bool:
        """Whether e can be kept for each place of a map: where it is not summed yet, and steps add up."""
        trace, kernel = self.rule.trace, self.rule.kernel
        known = isinstance(kernel, Windowed) or getattr(kernel, "per_synapse", False)
        return (
            (self.places is not None or self.begins)
            and known
            and trace.linear
            and trace.clamp_range is None
            and isinstance(self.rule.geometry, Conv)
        )

    @property
    def scale(self) -> float:
        """Factor of f."""
        return scale_of(self.rule.trace)  # type: ignore[return-value]

    def allocated(self) -> Tensor:
        """e as it is, zeros where nothing was worked in yet."""
        if self._e is None:
            self._e = self.empty().zero_()
        return self.e  # type: ignore[return-value]

    def empty(self) -> Tensor:
        """Memory for an e, to be written whole: filling it with zeros first would take as long as a short window.

        Raises:
            MemoryError: it would take too much of what is free.
        """
        shape, like = self.rule.geometry.shape, self.like[1]
        shape = shape if self.shared else (self.batch_size, *shape)
        require_memory("The eligibility", shape, like.dtype, like.device, INSTEAD[self.shared])
        return like.new_empty(shape)

    def row_maxima(self) -> Tensor:
        """The largest |e| of each row, (B, N_post)."""
        e = self.e
        if e is None or self.shared:
            return self.like[1].new_zeros(self.batch_size, self.rule.geometry.n_post)
        return self.rule.geometry.row_maxima(e)

    def window(self, block: SpikeBlock, samples: slice = slice(None)) -> WindowTerms:
        """What the kernel says of a window of spikes."""
        steps = block.pre[:, samples], block.post[:, samples]
        dtype = self.like[1].dtype
        return WindowTerms(self.rule.kernel, *steps, self.kernel, block.dt, dtype, block.restarts, self.fast)

    def copied(self) -> TraceState:
        """The same state, to go on from without changing it; e is not copied."""
        other = self._fresh(self.like)
        other.kernel, other._e, other.bound = self.kernel, self.e, self.bound
        return other

    def split(self, steps: int) -> list[tuple[slice, TraceState]]:
        """Groups of samples whose tables of so many steps are not too large, so that memory stays near that of e."""
        batch = self.batch_size
        pre, post = self.like[0].numel() // max(1, batch), self.like[1].numel() // max(1, batch)
        table = pre if self.rule.geometry.spikes_side == "post" else post  # the spikes themselves take less
        entries = max(table, max(pre, post) // 4)
        geometry = self.rule.geometry
        products = self.like[1].numel() // max(1, geometry.n_post) * math.prod(geometry.shape)
        room = min(TABLE_ENTRIES, max(SMALL_TABLE, products))
        room = room if self.like[0].is_cpu else 256 * TABLE_ENTRIES  # elsewhere, few large products are better
        count = max(1, room // max(1, steps * entries))
        if count >= batch or not self._divisible():
            return [(slice(0, batch), self)]
        count = math.ceil(batch / math.ceil(batch / count))  # in groups of about the same size
        return [(part, self._some(part)) for part in (slice(b, b + count) for b in range(0, batch, count))]

    def join(self, parts: list[tuple[slice, TraceState]]) -> None:
        """Go on where all groups are; e is their memory."""
        if len(parts) == 1:
            return
        held = [tree_flatten(part.kernel) for _, part in parts]
        leaves = zip(*(leaves for leaves, _ in held), strict=True)
        joined = [torch.cat(leaf) if isinstance(leaf[0], Tensor) else leaf[0] for leaf in leaves]
        self.kernel = tree_unflatten(joined, held[0][1])
        bounds = [part.bound for _, part in parts]
        self.bound = None if any(bound is None for bound in bounds) else torch.cat(bounds)  # type: ignore[arg-type]

    def forget(self, mask: Tensor) -> None:
        """The samples in `mask` (B,) bool start anew; the others stay bit for bit.

        Raises:
            ValueError: it is not known which part of the kernel's state belongs to a sample; nothing was changed.
        """
        if self.kernel is not None:
            axes = self.rule.batch_axes(self.like)
            self.kernel = forgotten(self.rule.kernel, self.like, axes, self.kernel, mask)
        self.silence(mask)

    def silence(self, mask: Tensor) -> None:
        """The eligibility of the samples in `mask` (B,) bool becomes zero; the kernel's state stays."""
        self.e = None if self.e is None else silenced(self.e, mask, 0)
        self.places = None if self.places is None else silenced(self.places, mask, 0)
        self.bound = None if self.bound is None else silenced(self.bound, mask, 0)

    def take_units(self, source: TraceState, units: Units) -> None:
        """Go on where another state is, whose neurons (and edges) lie elsewhere; what is new there stays as it is here.

        Raises:
            ValueError: a kernel whose state does not tell what belongs to a neuron.
        """
        here = self.rule.kernel
        if source.kernel is not None and getattr(here, "per_synapse", False):
            self.kernel = units.moved_vectors(source.kernel)
        elif source.kernel is not None:
            self.kernel = self._kernel_of(source, units)
        if source.e is not None:
            self.e = units.moved_e(source.e, self.e, (self.batch_size, *self.rule.geometry.shape))
        self.bound = None

    def _kernel_of(self, source: TraceState, units: Units) -> Any:
        """The kernel's state of the source, unit by unit, and what belongs to all, but for how many they are."""
        here, like = self.rule.kernel, self.like
        if units.pre is units.post is None:
            return tree_map_only(Tensor, Tensor.clone, source.kernel)
        require_shape(here, source.like, source.kernel, "neuron")
        axis = unit_axis(self.rule.geometry.shape, like[0])
        axes = [unit_axes(here, like, side, axis) for side in (0, 1)]
        leaves, spec = tree_flatten(source.kernel)
        own = tree_flatten(here.init(*like) if self.kernel is None else self.kernel)[0]
        parts = zip(leaves, own, *axes, counts_units(here, like, source.like), strict=True)
        moved = []
        for old, mine, pre, post, counts in parts:
            leaf = units.moved(old, mine, pre, post)
            if pre is post is None:  # it belongs to all
                leaf = torch.where(counts, mine, leaf) if isinstance(counts, Tensor) else mine if counts else leaf
            moved.append(leaf)
        return tree_unflatten(moved, spec)

    def _divisible(self) -> bool:
        """Whether some samples can be worked on without the others: the kernel's state lies sample by sample."""
        if not isinstance(self.rule.kernel, Windowed):
            return False
        try:
            axes = self.rule.batch_axes(self.like)
        except ValueError:
            return False
        leaves = tree_flatten(self.rule.kernel.init(*self.like) if self.kernel is None else self.kernel)[0]
        pairs = zip(leaves, axes, strict=False)
        return len(leaves) == len(axes) and all(axis == 0 for leaf, axis in pairs if isinstance(leaf, Tensor))

    def _fresh(self, like: tuple[Tensor, Tensor]) -> TraceState:
        """Nothing worked in yet, for windows only: no loops of single steps are made."""
        other = TraceState(self.rule, like, self.shared)
        other.fast = self.fast
        return other

    def _some(self, samples: slice) -> TraceState:
        part = self._fresh((self.like[0][samples], self.like[1][samples]))
        part.kernel = tree_map_only(Tensor, lambda leaf: leaf[samples], self.kernel)
        part.e = self.e if self.e is None or self.shared else self.e[samples]
        part.bound = None if self.bound is None else self.bound[samples]
        return part


def silenced(tensor: Tensor, mask: Tensor, axis: int) -> Tensor:
    """A tensor with zeros for the samples in the mask (B,), which lie along an axis."""
    return tensor.masked_fill(along(mask, tensor, axis), 0)


def unit_axis(shape: Sequence[int], spikes: Tensor) -> int:
    """Which axis of one step's spikes counts the neurons of a weight of this shape: the last, or that of channels."""
    return spikes.dim() - 1 if len(shape) <= 2 else spikes.dim() - len(shape) + 1


class Units(NamedTuple):
    """Where each neuron (and edge) of one layer lies in another: indices, −1 for what is new; None where all stay.

    Args:
        pre, post: of each neuron, (N_pre,) and (N_post,).
        edges: of each edge, (E,), where e is a list of edges.
    """

    pre: Tensor | None = None
    post: Tensor | None = None
    edges: Tensor | None = None

    def moved(self, old: Any, own: Any, pre_axis: int | None, post_axis: int | None) -> Any:
        """What lies along axes of neurons, here; what is new as in `own`, or zero where that is None."""
        if not isinstance(old, Tensor):
            return old
        places = [(axis, origin) for axis, origin in ((pre_axis, self.pre), (post_axis, self.post)) if axis is not None]
        return _moved(old, own, [(axis, origin) for axis, origin in places if origin is not None])

    def moved_e(self, old: Tensor, own: Tensor | None, shape: Sequence[int]) -> Tensor:
        """An eligibility (B, *shape) of other neurons, here."""
        if self.edges is not None:
            return _moved(old, own, [(old.dim() - 1, self.edges)])
        return self.moved(old, own, 2 if len(shape) > 2 else None, 1)

    def moved_vectors(self, old: Tensor) -> Tensor:
        """What a kernel kept of each synapse, (B, d, E) or (B, d, N_post, S, N_pre), here; new ones begin at zero.

        Raises:
            ValueError: of convolutions, whose patches are not told apart by channel.
        """
        if self.edges is not None:
            return _moved(old, None, [(2, self.edges)])
        if old.dim() != 5:
            raise ValueError(
                "What the kernel keeps of each weight of a convolution does not go on in one with other channels; "
                "expected a kernel of neuron-sized traces, or reset() first. Nothing was changed."
            )
        return self.moved(old, None, 4, 2)

    def moved_spikes(self, spikes: Sequence[Tensor], axes: Sequence[int], later: int = 0) -> tuple[Tensor, Tensor]:
        """Pre and post spikes of other neurons, which lie `later` axes behind these, here; new ones were silent."""
        pre, post = (axis + later for axis in axes)
        return self.moved(spikes[0], None, pre, None), self.moved(spikes[1], None, None, post)


def _moved(old: Tensor, own: Tensor | None, places: list[tuple[int, Tensor]]) -> Tensor:
    there, moved = torch.ones((), dtype=torch.bool, device=old.device), old
    for axis, origin in places:
        origin = origin.to(old.device)
        moved = moved.index_select(axis, origin.clamp(min=0))
        there = there & (origin >= 0).view(*[1] * axis, -1, *[1] * (old.dim() - axis - 1))
    if moved is old:
        return old.clone()
    return torch.where(there, moved, torch.zeros((), dtype=old.dtype, device=old.device) if own is None else own)
