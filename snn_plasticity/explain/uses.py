"""The uses of one weight: which pre unit and which post unit it lies between.

    product(post, pre)[weight] = Σ_use share · post[use.post] · pre[use.pre]

A matrix uses each weight once, a convolution once at every position.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.conv import Conv
from ..layers.dense import Dense, Diagonal
from ..layers.edges import Edges
from ..layers.geometry import Geometry

Shape = tuple[int, ...]
_CONVOLVED = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
PRODUCT_ENTRIES = 1 << 24  # of Hebbian products that are worked out together


class Uses(NamedTuple):
    """Units of one sample, counted in a row, (P,) each; `share` is 1 where the layer is a plain sum."""

    post: Tensor
    pre: Tensor
    share: Tensor

    def __len__(self) -> int:  # type: ignore[override]
        return self.post.numel()


def uses_of(geometry: Geometry, index: Shape, pre: Shape, post: Shape) -> Uses:
    """The uses of the weight at `index`, between sides of the shapes `pre` and `post` (without the batch).

    >>> uses_of(Dense(4, 3), (2, 1), (4,), (3,))
    Uses(post=tensor([2]), pre=tensor([1]), share=tensor([1.], dtype=torch.float64))
    """
    if isinstance(geometry, Conv):
        return _of_conv(geometry, index, pre, post)
    if isinstance(geometry, Dense):
        rows = torch.arange(torch.Size(pre[:-1]).numel())
        return _plain(rows * geometry.n_post + index[0], rows * geometry.n_pre + index[1])
    if isinstance(geometry, Diagonal):
        return _plain(torch.tensor([index[0]]), torch.tensor([index[0]]))
    if isinstance(geometry, Edges):
        return _plain(geometry.target[index[0]].view(1).cpu(), geometry.source[index[0]].view(1).cpu())
    return _of_any(geometry, index, pre, post)


def row_of(geometry: Geometry, index: Shape) -> int:
    """The post neuron, or channel, that a modulator for each of them tells of this weight."""
    return int(geometry.target[index[0]]) if isinstance(geometry, Edges) else index[0]


def _plain(post: Tensor, pre: Tensor) -> Uses:
    return Uses(post.long(), pre.long(), torch.ones(len(post), dtype=torch.float64))


def _of_conv(geometry: Conv, index: Shape, pre: Shape, post: Shape) -> Uses:
    """What the convolution hands on of the number of each unit, where this weight is the only one."""
    numbers = torch.arange(1.0, torch.Size(pre).numel() + 1, dtype=torch.float64).view(1, *pre)
    if geometry.pad_first:
        mode = "constant" if geometry.pad_mode == "zeros" else geometry.pad_mode
        numbers = F.pad(numbers, geometry.pad_first, mode=mode)
    group = index[0] // (geometry.shape[0] // geometry.groups)
    channel = group * geometry.shape[1] + index[1]
    single = numbers.new_zeros(1, 1, *geometry.shape[2:])
    single[(0, 0, *index[2:])] = 1.0
    settings = (None, geometry.stride, geometry.padding, geometry.dilation)
    seen = _CONVOLVED[len(geometry.stride)](numbers[:, channel : channel + 1], single, *settings).flatten().long()
    places = torch.arange(len(seen))[seen > 0]
    return _plain(index[0] * torch.Size(post[1:]).numel() + places, seen[places] - 1)


def _of_any(geometry: Geometry, index: Shape, pre: Shape, post: Shape) -> Uses:
    """Read off the Hebbian product, whatever the layer: its derivative by each post unit, and then by each pre unit."""
    like = torch.zeros((), dtype=torch.float64)
    n_post, n_pre = torch.Size(post).numel(), torch.Size(pre).numel()
    with torch.enable_grad():
        told = like.new_zeros(1, *post).requires_grad_()
        drawn = torch.rand(1, *pre, dtype=like.dtype, generator=torch.Generator().manual_seed(0)) + 0.5
        by_post = torch.autograd.grad(geometry.product(told, drawn)[(0, *index)], told)[0].flatten()
    found = by_post.nonzero().flatten()
    each, parts = max(1, PRODUCT_ENTRIES // torch.Size(geometry.shape).numel()), []
    for units in found.split(each):
        single = torch.zeros(len(units), n_post, dtype=like.dtype)
        single[torch.arange(len(units)), units] = 1.0
        with torch.enable_grad():
            heard = like.new_zeros(len(units), *pre).requires_grad_()
            total = geometry.product(single.view(-1, *post), heard)[(slice(None), *index)].sum()
            shares = torch.autograd.grad(total, heard)[0].reshape(len(units), n_pre)
        at, unit = shares.nonzero().unbind(1)
        parts.append(Uses(units[at], unit, shares[at, unit]))
    if not parts:
        return _plain(found, found)
    return Uses(*(torch.cat(side) for side in zip(*parts, strict=True)))
