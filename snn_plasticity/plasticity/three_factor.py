"""The three-factor update: a gate turns eligibility into a weight change.

    Δw = clamp(lr · reduce_B(mod · e))                 reduce: mean or sum over the batch

    online           w ← bounds(w, Δw)                 outside autograd
    hybrid           w.grad ← w.grad − Δw              any optimizer mixes it with backprop
    auxiliary_loss   L = −⟨Δw, w⟩                      ∂L/∂w = −Δw

`mod` is one number, one per sample (B,), or one per sample and post neuron (B, N_post).
Frémaux & Gerstner 2016; Gerstner, Lehmann, Liakoni, Corneil & Brea 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ThreeFactorConfig
from .bounds import bounds_of, free


def modulator_like(mod: float | Tensor, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The modulator of an eligibility of `shape` (B, N_post, ...): (), (B,) or (B, N_post), as `like` is.

    Raises:
        ValueError: any other shape, naming both; (B,) is never read as (N_post,).
    """
    if not isinstance(mod, Tensor):
        return torch.full((), float(mod), dtype=like.dtype, device=like.device)
    if mod.is_complex():
        raise TypeError(f"The modulator has dtype {mod.dtype}; expected real numbers.")
    batch, n_post = shape[:2]
    if mod.shape == (batch, 1) and n_post != 1:
        mod = mod.squeeze(1)
    if mod.dim() == 0 or mod.shape == (batch,) or mod.shape == (batch, n_post):
        return mod.to(like.device, like.dtype)
    raise ValueError(
        f"The modulator has shape {tuple(mod.shape)} and the eligibility {tuple(shape)}; expected (), ({batch},) for "
        f"one number per sample, or ({batch}, {n_post}) for one per sample and post neuron."
    )


def modulate(mod: float | Tensor, e: Tensor, reduction: str = "mean") -> Tensor:
    """reduce_B(mod · e): the third factor meets the first two, shaped like the weight.

    Pure and differentiable in both; nothing as large as e is allocated.

    Args:
        mod: (), (B,), (B, 1) or (B, N_post).
        e: (B, N_post, ...).
        reduction: "mean" or "sum" over the batch.

    Raises:
        ValueError: a modulator of another shape.

    >>> modulate(torch.tensor([1.0, 0.0]), torch.ones(2, 1, 3))
    tensor([[0.5000, 0.5000, 0.5000]])
    """
    mod = modulator_like(mod, e, tuple(e.shape))
    if mod.dim() == 0:
        total = mod * (e[0] if len(e) == 1 else e.sum(0))
    elif mod.dim() == 1:
        total = mod * e[0] if len(e) == 1 else (mod @ e.flatten(1)).view(e.shape[1:])
    else:
        total = torch.einsum("bo,bo...->o...", mod, e)
    return total / len(e) if reduction == "mean" else total


class ThreeFactorUpdate:
    """Turns modulator and eligibility into a change of a weight, in the manner of `config.mode`.

    Args:
        config: mode, learning rate, clamp, bounds and frequency.
        reduction: "mean" or "sum" over the batch.

    >>> rule = ThreeFactorUpdate(ThreeFactorConfig(lr=0.1))
    >>> rule.delta(0.5, torch.ones(2, 1, 1))
    tensor([[0.0500]])
    """

    def __init__(self, config: ThreeFactorConfig | None = None, reduction: str = "mean") -> None:
        self.config = config or ThreeFactorConfig()
        self.reduction = reduction
        self.bounds = bounds_of(self.config)

    def delta(self, mod: float | Tensor, e: Tensor, *, lr: float | Tensor | None = None) -> Tensor:
        """Δw of one application, shaped like the weight; pure and differentiable.

        Raises:
            ValueError: a modulator whose shape fits neither batch nor post neurons.
        """
        return self.clamp((self.config.lr if lr is None else lr) * modulate(mod, e, self.reduction))

    def clamp(self, delta: Tensor) -> Tensor:
        """A change within `weight_clamp`."""
        return delta if self.config.weight_clamp is None else delta.clamp(*self.config.weight_clamp)

    def clamp_(self, delta: Tensor) -> Tensor:
        """In place: a change within `weight_clamp`."""
        return delta if self.config.weight_clamp is None else delta.clamp_(*self.config.weight_clamp)

    @torch.no_grad()
    def apply_(self, weight: Tensor, delta: Tensor) -> None:
        """Online: change the weight in place, within its bounds, computed in at least fp32."""
        if self.bounds is free:
            weight.add_(delta)
        else:
            wide = torch.promote_types(weight.dtype, torch.float32)
            weight.copy_(self.bounds(weight.to(wide), delta.to(wide)))

    @torch.no_grad()
    def add_grad_(self, weight: Tensor, delta: Tensor) -> None:
        """Hybrid: add −Δw to the gradient, for an optimizer to use."""
        change = self._allowed(weight, delta)
        weight.grad = -change if weight.grad is None else weight.grad - change

    def loss(self, weight: Tensor, delta: Tensor) -> Tensor:
        """Auxiliary loss: a scalar whose gradient with respect to the weight is −Δw."""
        return -(self._allowed(weight, delta).detach() * weight).sum()

    @torch.no_grad()
    def _allowed(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The part of a change that the bounds let through."""
        delta = delta.to(weight.dtype)
        return delta if self.bounds is free else self.bounds(weight, delta) - weight
