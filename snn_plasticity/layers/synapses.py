"""From a layer to its geometry: a closed form where there is one, else the layer's own vector-Jacobian product.

Closed forms are looked up by the exact type, since a subclass may compute something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .._checks import known_as, require_kind
from .conv import Conv
from .dense import Dense
from .geometry import Geometry, Product, SmallProducts, scaled_


class LayerVJP(SmallProducts):
    """Any layer with a weight: the Hebbian product as a vector-Jacobian product of its own forward map."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer, self.shape = layer, tuple(layer.weight.shape)  # type: ignore[union-attr]

    def check(self, pre: Tensor, post: Tensor) -> None:
        """Refuse a post that is not shaped like the layer's output."""
        with torch.no_grad():
            expected = tuple(self._layer(pre).shape)
        if tuple(post.shape) != expected:
            raise ValueError(
                f"post has shape {tuple(post.shape)} for pre {tuple(pre.shape)}; "
                f"expected {expected}, the output of {type(self._layer).__name__}."
            )

    def product(self, post: Tensor, pre: Tensor) -> Tensor:
        """∂⟨post, layer(pre)⟩/∂W per sample, (B, *shape)."""

        def one(post: Tensor, pre: Tensor) -> Tensor:
            def forward(weight: Tensor) -> Tensor:
                return torch.func.functional_call(self._layer, {"weight": weight}, (pre.unsqueeze(0),))

            weight = self._layer.weight.detach().to(pre.dtype)  # type: ignore[union-attr]
            return torch.func.vjp(forward, weight)[1](post.unsqueeze(0))[0]

        return torch.func.vmap(one)(post, pre)

    neuron_axis: ClassVar[int] = 2
    closed_form: ClassVar[bool] = False

    @property
    def n_post(self) -> int:
        """Rows of e."""
        return self.shape[0]

    def by_neuron(self, spikes: Tensor) -> Tensor:
        """A window with all but the first axis of a sample summed, (T, B, N)."""
        return spikes if spikes.dim() == 3 else spikes.flatten(3).sum(3)

    def contract_(self, out: Tensor, product: Product, beta: float) -> None:
        """In place, step by step: out ← beta·out + Σ_t post ⊗ pre."""
        scaled_(out, beta)
        for post, pre in zip(product.post, product.pre, strict=True):
            now = self.product(post, pre)
            out.add_(now.sum(0) if out.dim() == len(self.shape) else now)


_BY_TYPE: dict[type[nn.Module], Callable[..., Geometry]] = {
    nn.Linear: lambda layer: Dense(layer.in_features, layer.out_features),
    nn.Conv1d: Conv.of,
    nn.Conv2d: Conv.of,
    nn.Conv3d: Conv.of,
}


@runtime_checkable
class TellsGeometry(Protocol):
    """A layer that knows how its synapses are laid out, as `SparseLinear` does."""

    def geometry(self) -> Geometry:
        """The layout of its weight."""
        ...


def require_geometry(geometry: object) -> Geometry:
    """The geometry; what is no layout of synapses is refused.

    >>> require_geometry(Dense(4, 3)).shape
    (3, 4)
    """
    if not isinstance(getattr(geometry, "shape", None), tuple) or not hasattr(geometry, "contract_"):
        raise TypeError(f"geometry is {known_as(geometry)}; expected a layout such as Dense(n_pre, n_post), or None.")
    return geometry  # type: ignore[return-value]


def geometry_of(layer: nn.Module) -> Geometry:
    """The geometry of a layer's weight: closed form where there is one, else its own vector-Jacobian product.

    A layer with a method `geometry()` is asked itself (a `SparseLinear` says `Edges`, from axons to post neurons).

    Raises:
        TypeError: the layer has no weight of its own (none, not initialised, or recomputed from others).

    >>> geometry_of(nn.Linear(4, 3)).shape
    (3, 4)
    """
    require_kind("layer", layer, nn.Module, "As nn.Linear(4, 3).")
    if isinstance(layer, TellsGeometry):
        return layer.geometry()
    weight = layer._parameters.get("weight")
    if weight is None or is_lazy(weight):
        why = "is not initialised yet" if weight is not None else "is missing or recomputed from other tensors"
        raise TypeError(
            f"{type(layer).__name__} cannot be plastic: its parameter `weight` {why}. Expected a Linear, Conv1d, "
            "Conv2d, Conv3d or another layer that owns a weight. Run lazy layers once, and remove parametrizations, "
            "weight norm or pruning first, since a change of a recomputed weight would be lost."
        )
    return _BY_TYPE.get(type(layer), LayerVJP)(layer)
