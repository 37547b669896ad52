"""One contraction over a window: what a fold asks of a geometry."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .trains import Trains


class Product(NamedTuple):
    """Σ_t post_t ⊗ pre_t over a window, (T, B, ...) both; one side may be mostly zeros.

    Args:
        post, pre: both factors; the side that is mostly zeros may be booleans.
        sparse: the side that is mostly zeros, "post", "pre" or None.
        trains: that side with its sparse matrices.
        first: the sample of `trains` that is the first one here.
    """

    post: Tensor
    pre: Tensor
    sparse: str | None = None
    trains: Trains | None = None
    first: int = 0

    @property
    def table(self) -> Tensor:
        """The side that is not mostly zeros."""
        return self.pre if self.sparse == "post" else self.post

    def of(self, samples: slice) -> Product:
        """The same for some samples."""
        part = self._replace(post=self.post[:, samples], pre=self.pre[:, samples])
        return part._replace(first=self.first + samples.start)
