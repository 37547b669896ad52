"""What a kernel keeps from step to step, whatever it is made of: which axis of each tensor counts samples or neurons.

Nobody says so; it is learned by asking `init` twice, for batches (or populations) of two sizes, and seeing what grows.
A tensor in which nothing grows belongs to the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

Like = tuple[Tensor, Tensor]  # one step's pre and post, for their shapes
OURS = "snn_plasticity."
PLAIN = (Tensor, bool, int, float, str, type(None))


def careful_step(kernel: Any, pre: Tensor, post: Tensor, state: Any, dt: float) -> tuple[Any, Any]:
    """A step of a kernel. One of another's making gets copies, since it may change in place what it is given.

    Returns:
        What `kernel.step` does.
    """
    if not type(kernel).__module__.startswith(OURS):
        pre, post, state = tree_map_only(Tensor, Tensor.clone, (pre, post, state))
    return kernel.step(pre, post, state, dt)


def batch_axes(kernel: Any, like: Like) -> list[int | None]:
    """The axis of samples in each leaf of the state that `kernel.init` makes; None where the batch shares the leaf.

    Raises:
        ValueError: a leaf in which several axes grow with the batch, or that is no tensor, number or text.

    >>> from snn_plasticity import PairSTDP
    >>> batch_axes(PairSTDP(), (torch.zeros(4, 2), torch.zeros(4, 3)))
    [0, 0]
    """
    two, three = (tuple(side.new_zeros(count, *side.shape[1:]) for side in like) for count in (2, 3))
    return _growing(kernel, two, three, "batch")


def unit_axes(kernel: Any, like: Like, side: int, axis: int) -> list[int | None]:
    """As `batch_axes`, of the units that lie along `axis` of pre (side 0) or post (side 1).

    >>> from snn_plasticity import PairSTDP
    >>> unit_axes(PairSTDP(), (torch.zeros(4, 2), torch.zeros(4, 3)), side=1, axis=1)
    [None, 1]
    """
    wider = list(like[side].shape)
    wider[axis] += 1
    more = list(like)
    more[side] = like[side].new_zeros(wider)
    name, count = ("pre", "post")[side], like[side].shape[axis]
    axes = _growing(kernel, like, (more[0], more[1]), f"number of {name} neurons")
    for leaf, along_units in zip(tree_flatten(kernel.init(*like))[0], axes, strict=True):
        if along_units is not None and leaf.shape[along_units] != count:
            raise ValueError(
                f"{type(kernel).__name__}.init makes a tensor {_shape(leaf)} whose axis {along_units} grows with the "
                f"{count} {name} neurons and is not as long; expected an axis of their own."
            )
    return axes


def counts_units(kernel: Any, like: Like, other: Like) -> list[bool | Tensor]:
    """Which leaves of the state begin with a number that tells how many neurons there are: another one for others.

    Returns:
        For a tensor a tensor () where it lies, so that nobody waits for the device.

    >>> class Mean:
    ...     def init(self, pre, post):
    ...         return pre.shape[-1], torch.zeros(())
    >>> counts_units(Mean(), (torch.zeros(4, 2), torch.zeros(4, 3)), (torch.zeros(4, 5), torch.zeros(4, 3)))
    [True, tensor(False)]
    """
    here, again, there = (tree_flatten(kernel.init(*sides))[0] for sides in (like, like, other))
    return [_counts(*leaves) for leaves in zip(here, again, there, strict=True)]


def _counts(leaf: Any, again: Any, other: Any) -> bool | Tensor:
    """Whether it differs for others, and not from call to call, as a random number does."""
    if _shape(leaf) != _shape(other):
        return False
    if isinstance(leaf, Tensor):
        return (leaf == again).all() & (leaf != other).any()
    return leaf == again and leaf != other


def _growing(kernel: Any, before: tuple[Tensor, ...], after: tuple[Tensor, ...], what: str) -> list[int | None]:
    name = type(kernel).__name__
    (small, spec), (large, other) = (tree_flatten(kernel.init(*like)) for like in (before, after))
    if spec != other:
        raise ValueError(
            f"{name}.init makes another structure for another {what} ({spec} and {other}); expected the same tensors, "
            "larger. Keep samples and neurons in axes of tensors."
        )
    axes: list[int | None] = []
    for one, more in zip(small, large, strict=True):
        if not isinstance(one, PLAIN):
            raise ValueError(
                f"{name}.init keeps a {type(one).__name__}; expected tensors, numbers or text, alone or in tuples, "
                "lists and dicts, so that they can be saved and reset sample by sample."
            )
        grown = [k for k, (a, b) in enumerate(zip(_shape(one), _shape(more), strict=False)) if a != b]
        if len(grown) > 1 or len(_shape(one)) != len(_shape(more)):
            raise ValueError(
                f"{name}.init makes a tensor {_shape(one)} that becomes {_shape(more)} with the {what}; expected one "
                "axis to grow with it, or none."
            )
        axes.append(grown[0] if grown else None)
    return axes


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(leaf.shape) if isinstance(leaf, Tensor) else ()


def forgotten(kernel: Any, like: Like, axes: list[int | None], state: Any, mask: Tensor) -> Any:
    """A state in which the samples in `mask` (B,) start anew; what the batch shares stays as it is.

    Raises:
        ValueError: as `require_shape`.
    """
    require_shape(kernel, like, state)
    held, spec = tree_flatten(state)
    triples = zip(held, tree_flatten(kernel.init(*like))[0], axes, strict=True)
    leaves = [old if axis is None else torch.where(along(mask, old, axis), new, old) for old, new, axis in triples]
    return tree_unflatten(leaves, spec)


def require_shape(kernel: Any, like: Like, state: Any, part: str = "sample") -> None:
    """Refuse a state that is no longer shaped as `init` made it.

    Raises:
        ValueError: naming both shapes.
    """
    began, now = ([_shape(leaf) for leaf in tree_flatten(tree)[0]] for tree in (kernel.init(*like), state))
    if began != now:
        raise ValueError(
            f"{type(kernel).__name__} began with a state of shapes {began} and has one of {now} now, so that the part "
            f"of a single {part} is not known. Let `init` give every tensor the shape that it will have, or reset the "
            "whole batch."
        )


def along(mask: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """A mask (B,) as it lies along an axis of a tensor."""
    return mask.view(*[1] * axis, -1, *[1] * (tensor.dim() - axis - 1))
