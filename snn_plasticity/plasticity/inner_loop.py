"""An inner loop with eligibility: a step of gradient descent and a three-factor step, differentiable through both.

    w′ = bounds(w − lr·∇,  clamp(lr_p · reduce_B(mod · e)))

As the inner step of a MAML-like scheme, the outer loop can learn the initial weight, τ, A± and the gate.
Finn, Abbeel & Levine 2017; Miconi, Clune & Stanley 2018.
"""

from __future__ import annotations

from torch import Tensor

from .._checks import require_finite, require_kind, require_operands, require_real, shown
from .three_factor import ThreeFactorUpdate


def inner_step(
    weight: Tensor,
    gradient: Tensor | None,
    mod: float | Tensor,
    e: Tensor,
    update: ThreeFactorUpdate,
    *,
    lr: float | Tensor = 0.0,
) -> Tensor:
    """The adapted weight, a new tensor that keeps the graph.

    Args:
        weight: the weight before. gradient: of a task loss, shaped like it, or None for plasticity alone.
        mod: third factor, (), (B,) or (B, N_post). e: eligibility (B, *weight shape).
        update: learning rate, clamp, bounds and reduction of the plastic part.
        lr: learning rate of the gradient part.

    Raises:
        TypeError: no tensors, or no `ThreeFactorUpdate`.
        ValueError: shapes that do not fit, NaN.

    >>> import torch
    >>> inner_step(torch.zeros(1, 1), None, 1.0, torch.ones(2, 1, 1), ThreeFactorUpdate())
    tensor([[0.0010]])
    """
    require_kind("update", update, ThreeFactorUpdate, "As ThreeFactorUpdate(ThreeFactorConfig(lr=0.1)).")
    require_operands({"lr": lr})
    if isinstance(lr, Tensor) and (lr.dim() or lr.is_meta):
        raise ValueError(f"lr is {shown(lr)}; expected one number.")
    for name, tensor in (("weight", weight), ("e", e), ("gradient", weight if gradient is None else gradient)):
        require_real(name, tensor)
        require_finite(name, tensor)
        if tensor.device != weight.device or not tensor.is_floating_point():
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}; expected floating point on {weight.device}."
            )
    if e.shape[1:] != weight.shape or not e.dim():
        raise ValueError(f"e has shape {tuple(e.shape)}; expected (B, {', '.join(map(str, weight.shape))}).")
    if gradient is not None:
        if gradient.shape != weight.shape:
            raise ValueError(f"gradient has shape {tuple(gradient.shape)}; expected {tuple(weight.shape)}.")
        weight = require_finite("weight - lr * gradient", weight - lr * gradient)
    return update.bounds(weight, update.delta(mod, e).to(weight.dtype))
