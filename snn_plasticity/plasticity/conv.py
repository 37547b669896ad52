"""Convolutions: every weight sums over the positions that share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad  # type: ignore[attr-defined]

from .geometry import add_products_, correlation
from .kernels import Coincidence

_CONV_WEIGHT: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_weight,
    2: grad.conv2d_weight,
    3: grad.conv3d_weight,
}


@dataclass(frozen=True)
class Conv:
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

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """Sum over positions of post × the patch of pre it saw, (B, *shape): one grouped weight gradient."""
        if self.pad_first:
            mode = "constant" if self.pad_mode == "zeros" else self.pad_mode
            pre = F.pad(pre, self.pad_first, mode=mode)
        batch, folded = len(pre), (len(pre) * self.shape[0], *self.shape[1:])
        pre, post = pre.reshape(1, -1, *pre.shape[2:]), post.reshape(1, -1, *post.shape[2:])
        weight = _CONV_WEIGHT[len(self.stride)](
            pre, folded, post, self.stride, self.padding, self.dilation, groups=batch * self.groups
        )
        return weight.reshape(batch, *self.shape)

    def accumulate_(self, e: Tensor, coincidence: Coincidence, beta: float, scale: float) -> None:
        """In place: e ← beta·e + scale·f."""
        add_products_(e, self, coincidence, beta, scale)

    def blocks(self, e: Tensor, coincidence: Coincidence, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
        """All at once: kernels are small."""
        yield e, correlation(self, coincidence).to(e) * scale

    def _output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        pads = self.pad_first[::-1]
        total = [pads[2 * i] + pads[2 * i + 1] if pads else 2 * p for i, p in enumerate(self.padding)]
        terms = zip(size, total, self.dilation, self.shape[2:], self.stride, strict=True)
        return tuple((n + pad - d * (k - 1) - 1) // s + 1 for n, pad, d, k, s in terms)
