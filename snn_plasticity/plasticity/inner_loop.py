"""An inner loop with eligibility: a step of gradient descent and a three-factor step, differentiable through both.

    w′ = bounds(w − lr·∇,  clamp(lr_p · reduce_B(mod · e)))

As the inner step of a MAML-like scheme, the outer loop can learn the initial weight, τ, A± and the gate.
Finn, Abbeel & Levine 2017; Miconi, Clune & Stanley 2018.
"""

from __future__ import annotations

from torch import Tensor

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
        ValueError: shapes that do not fit.

    >>> import torch
    >>> inner_step(torch.zeros(1, 1), None, 1.0, torch.ones(2, 1, 1), ThreeFactorUpdate())
    tensor([[0.0010]])
    """
    if e.shape[1:] != weight.shape:
        raise ValueError(f"e has shape {tuple(e.shape)}; expected (B, {', '.join(map(str, weight.shape))}).")
    if gradient is not None:
        if gradient.shape != weight.shape:
            raise ValueError(f"gradient has shape {tuple(gradient.shape)}; expected {tuple(weight.shape)}.")
        weight = weight - lr * gradient
    return update.bounds(weight, update.delta(mod, e).to(weight.dtype))
