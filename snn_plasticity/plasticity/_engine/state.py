"""What has been worked in so far: eligibility and kernel state of one batch, after some steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from ..dense import Dense
from ..kernel_state import along, forgotten
from ..memory import require_memory
from ..rule import EligibilityRule
from ..traces import scale_of
from .compiled import CompiledSteps
from .edge_steps import EdgeSteps
from .window_terms import Windowed

TABLE_SIZE = 1 << 20  # entries of a table that is worked out at once
INSTEAD = {
    False: "Take a smaller batch, path='shared' where one modulator is for the whole batch, connectivity=(2, E) for "
    "synapses that are few, or diagonal=True.",
    True: "List the synapses that there are: connectivity=(2, E), or take a smaller layer.",
}


class Past:
    """Eligibility and kernel state of a batch, or of some of its samples.

    Args:
        rule: kernel, geometry and trace.
        like: zeros shaped like one step's pre and post.
        shared: whether e is summed over the batch.
        fast: whether compiled loops may be used.
    """

    def __init__(self, rule: EligibilityRule, like: tuple[Tensor, Tensor], shared: bool, *, fast: bool = False) -> None:
        self.rule, self.like, self.shared = rule, like, shared
        dense = fast and isinstance(rule.geometry, Dense)
        self.steps = CompiledSteps.of(rule.kernel, rule.trace, like, shared) if dense else None
        self.edge_steps = None if shared or not fast else EdgeSteps.of(rule.kernel, rule.trace, like, rule.geometry)
        self.kernel: Any = None  # None is a fresh start
        self._e: Tensor | None = None
        self.blank = False  # whether e is zero and its memory not yet written
        self.bound: Tensor | None = None  # of |e| in each row, (B, N_post); None is not known

    @property
    def e(self) -> Tensor | None:
        """(B, *shape), or (*shape) when shared; None is zero."""
        if self.steps is not None and self.steps.due:
            self.steps.flush()
        return self._e

    @e.setter
    def e(self, e: Tensor | None) -> None:
        self._e = e

    def __getstate__(self) -> dict[str, Any]:
        """Nothing is due in a copy."""
        return {**vars(self), "_e": self.e}

    @property
    def batch_size(self) -> int:
        """Samples."""
        return len(self.like[1])

    @property
    def scale(self) -> float:
        """Factor of f."""
        return scale_of(self.rule.trace)  # type: ignore[return-value]

    def allocated(self) -> Tensor:
        """e as it is, zeros where nothing was worked in yet."""
        e = self.laid_out()
        if self.blank:
            e.zero_()
            self.blank = False
        return e

    def laid_out(self) -> Tensor:
        """The memory of e, which is not to be read while it is `blank`: writing it twice would cost too much.

        Raises:
            MemoryError: it would take too much of what is free.
        """
        if self._e is None:
            self.require_room()
            shape = self.rule.geometry.shape
            if self.shared:
                self.e = self.like[1].new_zeros(shape)
            else:
                self.e, self.blank = self.like[1].new_empty(self.batch_size, *shape), True
        return self.e  # type: ignore[return-value]

    def require_room(self) -> None:
        """Refuse an e that would take too much of the memory that is free."""
        shape = self.rule.geometry.shape
        shape, like = shape if self.shared else (self.batch_size, *shape), self.like[1]
        require_memory("The eligibility", shape, like.dtype, like.device, INSTEAD[self.shared])

    def row_maxima(self) -> Tensor:
        """The largest |e| of each row, (B, N_post)."""
        if self._e is None or self.blank or self.shared:
            return self.like[1].new_zeros(self.batch_size, self.rule.geometry.n_post)
        return self.rule.geometry.row_maxima(self.e)

    def copied(self) -> Past:
        """The same past, to go on from without changing it; e is not copied."""
        other = Past(self.rule, self.like, self.shared)
        other.kernel, other.e, other.blank, other.bound = self.kernel, self.e, self.blank, self.bound
        return other

    def parts(self, steps: int) -> list[tuple[slice, Past]]:
        """Groups of samples whose tables of so many steps are not too large; e is the same memory."""
        batch, sizes = self.batch_size, [like.numel() // max(1, self.batch_size) for like in self.like]
        table = sizes[0 if self.rule.geometry.spikes_side == "post" else 1]
        room = (
            TABLE_SIZE if self.like[0].is_cpu else 256 * TABLE_SIZE
        )  # elsewhere a few large products are better than many
        count = max(1, room // max(1, steps * max(table, max(sizes) // 4)))
        if count >= batch or not self._divisible():
            return [(slice(0, batch), self)]
        return [(part, self._some(part)) for part in (slice(b, b + count) for b in range(0, batch, count))]

    def take(self, parts: list[tuple[slice, Past]]) -> None:
        """Go on where the parts are."""
        self.blank = False  # each part has written its own
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
        self.bound = None if self.bound is None else silenced(self.bound, mask, 0)

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

    def _some(self, samples: slice) -> Past:
        part = Past(self.rule, (self.like[0][samples], self.like[1][samples]), self.shared)
        part.kernel = tree_map_only(Tensor, lambda leaf: leaf[samples], self.kernel)
        part.e = self.e if self.e is None or self.shared else self.e[samples]
        part.blank = self.blank
        part.bound = None if self.bound is None else self.bound[samples]
        return part


def silenced(tensor: Tensor, mask: Tensor, axis: int) -> Tensor:
    """A tensor with zeros for the samples in the mask (B,), which lie along an axis."""
    return tensor.masked_fill(along(mask, tensor, axis), 0)
