"""What an optimizer makes of a change that waits for it in the gradient (mode "hybrid").

    plain SGD   moves by lr · Δw: what the modulator asks is what happens
    momentum    goes on moving when the modulator is 0 again
    adaptive    divides by the gradient's own size: a modulator of 0.01 moves a weight as far as one of 1

Which of them an optimizer is, is not read off its name: a small one of the same kind and settings is tried out.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from .notices import notice

SMALL_GRADIENT, LARGE_GRADIENT = 1e-3, 1e-1  # gradients of the trial
TRIAL_STEPS = 10  # of them: some begin as plain SGD, and divide later
_UNTRIED = ("params", "foreach", "fused", "capturable", "differentiable", "weight_decay", "initial_lr")
_REMEDY = (
    "Let the two learn side by side: mode='online', with loss.backward(), optimizer.step(), and learner.step(...) "
    "after it"
)


class OptimizerEffect(NamedTuple):
    """Whether an optimizer loses the size of a change, and whether it goes on when there is none."""

    adaptive: bool
    has_momentum: bool


PLAIN_SGD = OptimizerEffect(adaptive=False, has_momentum=False)


def hybrid_weights(learner: Any) -> dict[str, Tensor]:
    """The weights of a learner whose change is added to the gradient.

    What is no coincidence of spikes but a gradient, as that of e-prop, is what optimizers are made for: none of these.
    """
    modes = {c.name: c.config.three_factor.mode for c in learner.connections.values() if c.post_side == "spikes"}
    return {name: learner.connections[name].weight for name, mode in modes.items() if mode == "hybrid"}


class OptimizerWatch:
    """Looks at every optimizer that is about to step, as long as its owner lives; says once what it does to Δw.

    Args:
        owner: the learner.
        weights: tells, of the owner, the weights by name whose change is added to the gradient.
    """

    def __init__(self, owner: Any, weights: Callable[[Any], Mapping[str, Tensor]]) -> None:
        self._owner, self._weights = weakref.ref(owner), weights
        self._met: weakref.WeakKeyDictionary[Optimizer, tuple[int, ...]] = weakref.WeakKeyDictionary()
        self._told: set[OptimizerEffect] = set()
        self._handle = register_optimizer_step_pre_hook(self)
        weakref.finalize(owner, self._handle.remove).atexit = False

    def __call__(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An optimizer is about to step."""
        owner = self._owner()
        if owner is None or torch.compiler.is_compiling():
            return
        weights = self._weights(owner)
        known = (len(optimizer.param_groups), *map(id, weights.values()))
        if self._met.get(optimizer) == known:
            return
        self._met[optimizer] = known
        for group in optimizer.param_groups:
            held = {id(parameter) for parameter in group["params"]}
            names = [name for name, weight in weights.items() if id(weight) in held]
            if names:
                self._tell(optimizer, group, names, weights[names[0]])

    def remove(self) -> None:
        """Look no more."""
        self._handle.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None  # a copied learner starts a watch of its own

    def _tell(self, optimizer: Optimizer, group: Mapping[str, Any], names: list[str], weight: Tensor) -> None:
        kind = effect_of(optimizer, group, weight)
        if kind == PLAIN_SGD or kind in self._told:
            return
        self._told.add(kind)
        layers, parts = ", ".join(names), []
        if kind.adaptive:
            parts.append(
                "divides a gradient by its own size, so that the modulator's size is lost: 0.01 moves "
                f"{layers} as far as 1 does"
            )
        if kind.has_momentum:
            parts.append(f"keeps a momentum, so that {layers} goes on moving when the modulator is 0 again")
        other = "" if kind.adaptive else ", or give these weights an optimizer without momentum"
        said = " and ".join(parts)
        notice(
            f"mode='hybrid' adds Δw to the gradient; {type(optimizer).__name__} {said}. {_REMEDY}{other}.", stacklevel=4
        )


def effect_of(optimizer: Optimizer, group: Mapping[str, Any], weight: Tensor) -> OptimizerEffect:
    """What an optimizer makes of the weights of one of its groups.

    >>> optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    >>> effect_of(optimizer, optimizer.param_groups[0], torch.ones(2))
    OptimizerEffect(adaptive=True, has_momentum=True)
    """
    try:
        small, large = (
            _moves(optimizer, group, weight, [size] * TRIAL_STEPS + [0.0]) for size in (SMALL_GRADIENT, LARGE_GRADIENT)
        )
    except Exception:  # one that is built otherwise, or wants a closure: go by what it remembers
        state = optimizer.state.get(weight, {})
        adaptive = isinstance(optimizer, torch.optim.LBFGS) or any("sq" in str(key) for key in state)
        return OptimizerEffect(
            adaptive, has_momentum=any("momentum" in str(key) or str(key) == "exp_avg" for key in state)
        )
    differs = abs(sum(large) - sum(small) * LARGE_GRADIENT / SMALL_GRADIENT)
    return OptimizerEffect(differs > 0.05 * sum(large), has_momentum=large[-1] > 0.0)


def _moves(optimizer: Optimizer, group: Mapping[str, Any], weight: Tensor, gradients: list[float]) -> list[float]:
    """How far a weight of a new optimizer of the same kind moves at each of these gradients."""
    accepted = inspect.signature(type(optimizer)).parameters
    settings = {key: value for key, value in group.items() if key in accepted and key not in _UNTRIED}
    settings |= {decay: 0.0 for decay in ("weight_decay", "lambd") if decay in accepted}
    if "lr" in settings:
        settings["lr"] = float(settings["lr"]) or 1e-3
    trial = nn.Parameter(torch.zeros(2, 2, device=weight.device))
    twin, moves = type(optimizer)([trial], **settings), []
    for size in gradients:
        before = trial.detach().clone()
        trial.grad = torch.full_like(trial, size)
        twin.step()
        moves.append(float((trial.detach() - before).abs().max()))
    return moves
