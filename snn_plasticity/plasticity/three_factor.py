"""The three-factor update: a gate turns eligibility into a weight change.

    Δw = clamp(lr · reduce_B(mod · e))                 reduce: mean or sum over the batch

    online           w ← bounds(w, Δw)                 outside autograd
    hybrid           w.grad ← w.grad − Δw              an optimizer mixes it with backprop
    auxiliary_loss   L = −⟨Δw, w⟩                      ∂L/∂w = −Δw

In the last two Δw is as much of it as the bounds let through, bounds(w, Δw) − w.
`mod` is one number, one per sample (B,), or one per sample and post neuron (B, N_post).
Frémaux & Gerstner 2016; Gerstner, Lehmann, Liakoni, Corneil & Brea 2018.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import as_real, known_as, require_choice, require_finite, require_number, require_real, shown
from .._untracked import without_gradients
from ..config import ThreeFactorConfig
from ..config.validation import require_config
from ..conventions import Reduction
from ._engine.compiled import bounded, ends_of
from .bounds import PLAIN_BOUNDS, bounds_of, free, unchecked

REDUCTIONS = ("mean", "sum")


def modulator_like(
    mod: float | Tensor, like: Tensor, shape: tuple[int, ...], places: tuple[int, ...] | None = None
) -> Tensor:
    """The modulator of an eligibility of `shape` (B, N_post, ...): (), (B,) or (B, N_post), as `like` is; or `places`.

    Raises:
        ValueError: any other shape, naming both; (B,) is never read as (N_post,).
    """
    if type(mod) is float and abs(mod) < 1e38:
        return torch.full((), mod, dtype=like.dtype, device=like.device)
    if not isinstance(mod, Tensor):
        mod = as_real("modulator", mod, like.device, like.dtype)
    require_real("modulator", mod)
    if mod.is_meta and not like.is_meta:
        raise ValueError("The modulator is on the meta device, which holds no values; expected a tensor that has some.")
    batch, n_post = shape[:2]
    if mod.shape == (batch, 1) and n_post != 1:
        mod = mod.squeeze(1)
    if mod.dim() == 0 or mod.shape in ((batch,), (batch, n_post), places):
        return mod.to(like.device, like.dtype)
    each = "" if places is None else f", or {places} for one per place"
    raise ValueError(
        f"The modulator has shape {tuple(mod.shape)} and the eligibility {tuple(shape)}; expected (), ({batch},) for "
        f"one number per sample, or ({batch}, {n_post}) for one per sample and post neuron{each}."
    )


def modulate(mod: float | Tensor, e: Tensor, reduction: Reduction = "mean") -> Tensor:
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
    require_choice("reduction", reduction, REDUCTIONS)
    require_real("e", e)
    if e.dim() < 2 or not e.is_floating_point():
        raise ValueError(f"e is {shown(e)}; expected floating point (B, N_post, ...).")
    total = contracted(modulator_like(mod, e, tuple(e.shape)), e)
    return total / len(e) if reduction == "mean" and len(e) else total


def contracted(mod: Tensor, e: Tensor) -> Tensor:
    """Σ_b mod_b · e_b of a modulator (), (B,) or (B, N_post) in the precision of e, which nobody looks at again."""
    alone = e.shape[0] == 1
    if mod.dim() == 0:
        return mod * (e[0] if alone else e.sum(0))
    if mod.dim() == 1:
        return mod * e[0] if alone else (mod @ e.flatten(1)).view(e.shape[1:])
    return torch.einsum("bo,bo...->o...", mod, e)


class Landing(NamedTuple):
    """A change that is worked out and cannot be refused any more: `value` is added to a weight, or takes its place."""

    weight: Tensor
    value: Tensor
    into: str  # "sum", "weight", "grad" or "loss"

    def land(self) -> None:
        """Change what is to be changed; a loss changes nothing."""
        with without_gradients():
            if self.into == "sum":
                self.weight.add_(self.value)
            elif self.into == "weight":
                self.weight.copy_(self.value)
            elif self.into == "grad":
                self.weight.grad = self.value

    def moves(self) -> bool:
        """Whether the weight will be another one; this reads the device."""
        if self.into == "sum":
            return not torch.equal(self.weight + self.value, self.weight)
        return self.into != "weight" or not torch.equal(self.value.to(self.weight.dtype), self.weight)


class ThreeFactorUpdate:
    """Turns modulator and eligibility into a change of a weight, in the manner of `config.mode`.

    Args:
        config: mode, learning rate, clamp, bounds and frequency.
        reduction: "mean" or "sum" over the batch.

    >>> rule = ThreeFactorUpdate(ThreeFactorConfig(lr=0.1))
    >>> rule.delta(0.5, torch.ones(2, 1, 1))
    tensor([[0.0500]])
    """

    def __init__(self, config: ThreeFactorConfig | None = None, reduction: Reduction = "mean") -> None:
        self.config = require_config(config, ThreeFactorConfig)
        require_choice("reduction", reduction, REDUCTIONS)
        self.reduction: Reduction = reduction
        self.bounds = bounds_of(self.config)
        self.online = self.config.mode == "online"
        self.adds = self.bounds is free and self.online  # whether a weight becomes w + Δw
        self._within = unchecked(self.bounds)

    @cached_property
    def ends(self) -> tuple[float, ...] | None:
        """As `ends_of`, where a loop lands at every step; None where there is more to it."""
        at_once = self.online and self.config.update_frequency == 1
        return ends_of(self.config.weight_clamp, self.bounds) if at_once else None

    def delta(self, mod: float | Tensor, e: Tensor, *, lr: float | Tensor | None = None) -> Tensor:
        """Δw of one application, shaped like the weight; pure and differentiable.

        Raises:
            ValueError: a modulator whose shape fits neither batch nor post neurons.
        """
        if lr is not None and not isinstance(lr, Tensor):
            lr = require_number("lr", lr)
        elif lr is not None and (lr.dim() or lr.is_complex()):
            raise ValueError(f"lr is {shown(lr)}; expected one number.")
        change = modulate(mod, e, self.reduction)
        return self.clamp((self.config.lr if lr is None else lr) * change)

    def clamp(self, delta: Tensor) -> Tensor:
        """A change within `weight_clamp`."""
        _require_float("delta", delta)
        return delta if self.config.weight_clamp is None else delta.clamp(*self.config.weight_clamp)

    def clamp_(self, delta: Tensor) -> Tensor:
        """In place: a change within `weight_clamp`."""
        _require_float("delta", delta)
        return delta if self.config.weight_clamp is None else delta.clamp_(*self.config.weight_clamp)

    def landing(self, weight: Tensor, delta: Tensor, fixed: Tensor | None = None) -> Landing:
        """What a change comes to in the manner of `config.mode`; nothing is changed yet.

        Args:
            weight, delta: of one shape.
            fixed: boolean, shaped like the weight; where it is true the weight stays, whatever change and bounds say.

        Raises:
            ValueError: a change that is NaN or infinite, or does not fit the weight.
            TypeError: bounds that return no tensor.
        """
        if fixed is not None:
            _require_fixed(weight, delta, fixed)
        if self.config.mode == "auxiliary_loss":
            return self._auxiliary(weight, delta, fixed)
        with without_gradients():
            return (self._online if self.config.mode == "online" else self._hybrid)(weight, delta, fixed)

    def apply_(self, weight: Tensor, delta: Tensor) -> None:
        """Online: change the weight in place, within its bounds, computed in at least fp32; errors as in `landing`."""
        with without_gradients():
            self._online(weight, delta).land()

    def add_grad_(self, weight: Tensor, delta: Tensor) -> None:
        """Hybrid: add −Δw to the gradient, for an optimizer to use; errors as in `landing`."""
        with without_gradients():
            self._hybrid(weight, delta).land()

    def loss(self, weight: Tensor, delta: Tensor) -> Tensor:
        """Auxiliary loss: a scalar whose gradient with respect to the weight is −Δw; errors as in `landing`."""
        return self._auxiliary(weight, delta).value

    def _online(self, weight: Tensor, delta: Tensor, fixed: Tensor | None = None) -> Landing:
        require_change(weight, delta)
        delta = delta if fixed is None else delta.masked_fill(fixed, 0.0)
        if weight.is_inference() and not torch.is_inference_mode_enabled():
            raise ValueError(
                "The weight was made in inference mode and cannot change outside of it; build the model outside of "
                "torch.inference_mode(). Nothing was changed."
            )
        if self.bounds is free:
            return Landing(weight, delta, "sum")
        wide = torch.promote_types(weight.dtype, torch.float32)
        return Landing(weight, self._bounded(weight.to(wide), delta.to(wide), fixed), "weight")

    def _hybrid(self, weight: Tensor, delta: Tensor, fixed: Tensor | None = None) -> Landing:
        change = self._allowed(weight, delta, fixed)
        return Landing(weight, -change if weight.grad is None else weight.grad - change, "grad")

    def _auxiliary(self, weight: Tensor, delta: Tensor, fixed: Tensor | None = None) -> Landing:
        return Landing(weight, -(self._allowed(weight, delta, fixed).detach() * weight).sum(), "loss")

    @torch.no_grad()
    def _allowed(self, weight: Tensor, delta: Tensor, fixed: Tensor | None) -> Tensor:
        """The part of a change that the bounds let through."""
        require_change(weight, delta)
        delta = (delta if fixed is None else delta.masked_fill(fixed, 0.0)).to(weight.dtype)
        return delta if self.bounds is free else self._bounded(weight, delta, fixed) - weight

    def bounded(self, weight: Tensor, delta: Tensor) -> Tensor:
        """The new weight, within bounds that are known here, of a change that was checked."""
        after = bounded(weight, delta.detach(), self.bounds)  # type: ignore[arg-type]  # None where no loop can
        return self._within(weight, delta) if after is None else after

    def _bounded(self, weight: Tensor, delta: Tensor, fixed: Tensor | None) -> Tensor:
        """The new weight. Bounds of the user's own work on copies, and are heard only where something is to change."""
        if type(self.bounds) in PLAIN_BOUNDS:
            return self.bounded(weight, delta)
        new = _require_like("The new weight from weight_bounds", self.bounds(weight.clone(), delta.clone()), weight)
        new = new if fixed is None else torch.where(fixed, weight, new)
        new = torch.where((delta != 0).any(), new, weight)  # a row that is normalised may move where its own Δw is zero
        return require_finite("The new weight from weight_bounds", new)


def require_change(weight: Tensor, delta: object) -> None:
    """Refuse a change that does not fit its weight, or is NaN or infinite, and what is no weight.

    >>> require_change(torch.zeros(2), torch.tensor([0.5, float("inf")]))
    Traceback (most recent call last):
    ValueError: Δw holds 1 value(s) that are NaN or infinite of 2; expected finite numbers. ...
    """
    _require_float("weight", weight)
    require_finite("Δw", _require_like("Δw", delta, weight))


def _require_fixed(weight: Tensor, delta: object, fixed: object) -> None:
    """Refuse what does not say of each weight whether it stays, or a change that does not fit."""
    require_change(weight, delta)
    _require_float("Δw", delta)
    fits = isinstance(fixed, Tensor) and fixed.dtype == torch.bool and fixed.layout is torch.strided
    if not fits or _require_like("fixed", fixed, weight) is not fixed:
        raise TypeError(f"fixed is {known_as(fixed)}; expected booleans {tuple(weight.shape)}, as the weight has.")


def _require_float(name: str, tensor: object) -> None:
    """Refuse what is no dense tensor of floating point."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout is not torch.strided:
        raise TypeError(f"{name} is {known_as(tensor)}; expected a dense tensor of floating point.")


def _require_like(what: str, value: object, weight: Tensor) -> Tensor:
    """The value; one that is no tensor, or not shaped and placed like the weight, is refused."""
    shape = tuple(weight.shape)
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} is a {type(value).__name__}; expected a tensor {shape}. Nothing was changed.")
    if value.shape != weight.shape:
        raise ValueError(
            f"{what} has shape {tuple(value.shape)}; expected {shape}, as the weight has. Nothing was changed."
        )
    if value.device != weight.device:
        raise ValueError(
            f"{what} is on {value.device} and the weight on {weight.device}; expected one device. Where the model "
            "moved, run it once, or call reset(), so that its traces follow. Nothing was changed."
        )
    return value
