"""Convolutions: every weight sums over the positions that share it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad  # type: ignore[attr-defined]

from .geometry import Product, SmallProducts, scaled_

_CONV_WEIGHT: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_weight,
    2: grad.conv2d_weight,
    3: grad.conv3d_weight,
}


@dataclass(frozen=True)
class Conv(SmallProducts):
    """A convolution's kernel, W (C_out, C_in/groups, *k): each weight sums over the positions that share it."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    pad_first: tuple[int, ...] = ()
    pad_mode: str = "zeros"

    @classmethod
    def of(cls, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Conv:
        """The geometry of a layer, whatever its padding."""
        explicit = isinstance(layer.padding, str) or layer.padding_mode != "zeros"
        widths = tuple(layer._reversed_padding_repeated_twice) if explicit else ()
        padding = (0,) * len(layer.stride) if explicit else tuple(int(width) for width in layer.padding)
        return cls(
            tuple(layer.weight.shape), layer.stride, padding, layer.dilation, layer.groups, widths, layer.padding_mode
        )

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse pre and post that this convolution cannot map to each other."""
        c_in, dims = self.shape[1] * self.groups, len(self.stride)
        ranks = pre.dim() == post.dim() == dims + 2 and len(pre) == len(post)
        expected = self._output_size(pre.shape[2:]) if ranks else ()
        if not ranks or pre.shape[1] != c_in or post.shape[1:] != (self.shape[0], *expected):
            raise ValueError(
                f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; expected (B, {c_in}, ...) with {dims} "
                f"spatial dimension(s) and (B, {self.shape[0]}, {', '.join(map(str, expected)) or '...'}). "
                "Is there pooling between the convolution and its neurons?"
            )

    neuron_axis: ClassVar[int] = 2
    closed_form: ClassVar[bool] = True

    @property
    def n_post(self) -> int:
        """Rows of e."""
        return self.shape[0]

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window with positions summed, (T, B, C)."""
        return spikes.flatten(3).sum(3)

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place: out ← beta·out + Σ_t post ⊗ pre: steps are further samples to a weight gradient."""
        post, pre = product.post, product.pre
        if out.dim() == len(self.shape):
            post, pre = post.flatten(0, 1), pre.flatten(0, 1)
            scaled_(out, beta).add_(self._gradient(post, pre, self.shape, self.groups))
        else:
            batch = len(out)
            folded = (batch * self.shape[0], *self.shape[1:])
            gradient = self._gradient(post.flatten(1, 2), pre.flatten(1, 2), folded, batch * self.groups)
            scaled_(out, beta).add_(gradient.view(out.shape))

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """Sum over positions of post × the patch of pre it saw, (B, *shape): one grouped weight gradient."""
        batch, folded = len(pre), (len(pre) * self.shape[0], *self.shape[1:])
        pre, post = pre.flatten(0, 1).unsqueeze(0), post.flatten(0, 1).unsqueeze(0)
        return self._gradient(post, pre, folded, batch * self.groups).view(batch, *self.shape)

    def columns(self, post: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of each weight at each position: post (B, R, G, C_out/G, L, 1), pre (B, 1, G, 1, L, C_in/G · k)."""
        batch, dims, c_in = len(pre), len(self.stride), self.shape[1]
        widths = self.pad_first or tuple(width for width in reversed(self.padding) for _ in range(2))
        pre = F.pad(pre, widths, mode="constant" if self.pad_mode == "zeros" else self.pad_mode)
        for axis, (size, stride, apart) in enumerate(zip(self.shape[2:], self.stride, self.dilation, strict=True), 2):
            pre = pre.unfold(axis, apart * (size - 1) + 1, stride)[..., ::apart]
        patches = pre.flatten(2, 1 + dims).flatten(3).view(batch, self.groups, c_in, -1, math.prod(self.shape[2:]))
        patches = patches.transpose(2, 3).flatten(3)
        post = post.flatten(3).unflatten(2, (self.groups, -1))
        return post.unsqueeze(-1), patches[:, None, :, None]

    def uses(self, places: int) -> tuple[int, ...]:
        """Shape of what belongs to each weight at each of so many positions: (G, C_out/G, L, C_in/G · k)."""
        return self.groups, self.shape[0] // self.groups, places, math.prod(self.shape[1:])

    def apart_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place, each position for itself: out (B, *uses) ← beta·out + Σ_t post ⊗ patch; few steps at a time."""
        post, pre, batch = product.post, product.pre, len(out)
        scaled_(out, beta)
        for start in range(0, len(post), out.shape[2]):
            some = slice(start, start + out.shape[2])
            rows, patches = self.columns(post[some].flatten(0, 1).unsqueeze(1), pre[some].flatten(0, 1))
            rows = rows[:, 0, ..., 0].unflatten(0, (-1, batch)).permute(1, 2, 4, 3, 0)  # (B, G, L, C_out/G, T)
            patches = patches[:, 0, :, 0].unflatten(0, (-1, batch)).permute(1, 2, 3, 0, 4)
            out.add_((rows @ patches).transpose(2, 3))

    def summed(self, f: Tensor) -> Tensor:
        """What belongs to one weight at all positions (B, G, C_out/G, L, K): their sum, (B, *shape)."""
        return f.sum(3).view(len(f), *self.shape)

    def _gradient(self, post: Tensor, pre: Tensor, shape: tuple[int, ...], groups: int) -> Tensor:
        """Weight gradient of the convolution of `shape` and `groups`, summed over the first dimension."""
        if self.pad_first:
            mode = "constant" if self.pad_mode == "zeros" else self.pad_mode
            pre = F.pad(pre, self.pad_first, mode=mode)
        weight = _CONV_WEIGHT[len(self.stride)]
        return weight(pre, shape, post, self.stride, self.padding, self.dilation, groups=groups)

    def _output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        pads = self.pad_first[::-1]
        total = [pads[2 * i] + pads[2 * i + 1] if pads else 2 * p for i, p in enumerate(self.padding)]
        terms = zip(size, total, self.dilation, self.shape[2:], self.stride, strict=True)
        return tuple((n + pad - d * (k - 1) - 1) // s + 1 for n, pad, d, k, s in terms)
