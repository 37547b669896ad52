"""What a trainee saves besides its model, looked at whole before anything goes on from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._saved import (
    UNCHANGED,
    require_alike,
    require_numbers,
    require_parts,
    require_saved_tensors,
    require_settings,
    require_tensor,
)

if TYPE_CHECKING:
    from .trainee import Trainee


def settings_of(trainee: Trainee) -> dict[str, Any]:
    """What a saved net has to agree with: how it is stepped."""
    kinds = {name: type(getattr(trainee, name)).__name__ for name in ("optimizer", "scheduler")}
    return {**kinds, "per_step": trainee.per_step}


def read_trainee(trainee: Trainee, state: Mapping[str, Any]) -> Callable[[], None]:
    """Look at a saved state whole; what is returned goes on from it. Errors as `Trainee.read_state`."""
    what = "The saved net"
    require_parts(what, state, ("settings", "optimizer", "scheduler", "scaler", "loss"))
    require_settings(what, state["settings"], settings_of(trainee))
    require_optimizer(f"{what}: optimizer", trainee.optimizer, state["optimizer"])
    parts: list[tuple[Any, Any]] = [(trainee.optimizer, state["optimizer"])]
    loss = trainee.objective if isinstance(trainee.objective, nn.Module) else None
    for name, own in (("scheduler", trainee.scheduler), ("scaler", trainee.scaler), ("loss", loss)):
        if (own is None) is not (state[name] is None):
            there, here = ("no", "one") if state[name] is None else ("a", "none")
            raise ValueError(f"{what} has {there} {name}, this one has {here}; build it likewise first.")
        if own is loss and own is not None:
            require_saved_tensors(f"{what}: {name}", state[name], own.state_dict())
        elif own is not None:
            require_alike(f"{what}: {name}", state[name], own.state_dict())
            require_numbers(f"{what}: {name}", state[name])
        if own is not None:
            parts.append((own, state[name]))

    def commit() -> None:
        for own, saved in parts:
            own.load_state_dict(copy.deepcopy(saved))  # optimizers keep the tensors that they are given

    return commit


def require_optimizer(what: str, optimizer: torch.optim.Optimizer, saved: Any) -> None:
    """Refuse the state of an optimizer of another kind, or for other parameters, and NaN.

    Raises:
        TypeError, ValueError: naming what was read and what was expected.
    """
    own = optimizer.state_dict()
    require_parts(what, saved, ("state", "param_groups"))
    require_alike(f"{what}: param_groups", saved["param_groups"], own["param_groups"])
    for mine, other in zip(own["param_groups"], saved["param_groups"], strict=True):
        if list(other["params"]) != mine["params"]:
            raise ValueError(f"{what} is for the parameters {other['params']}; expected {mine['params']}. {UNCHANGED}")
    held = [p for group in optimizer.param_groups for p in group["params"]]
    state = saved["state"]
    if not isinstance(state, Mapping):
        raise TypeError(f"{what}: state is a {type(state).__name__}; expected one for each parameter. {UNCHANGED}")
    known = next(iter(own["state"].values()), None) or next(iter(state.values()), None)
    for number, part in state.items():
        if type(number) is not int or not 0 <= number < len(held):
            raise ValueError(f"{what} has a state for {number!r}; expected one of {len(held)} parameters. {UNCHANGED}")
        if not isinstance(optimizer, torch.optim.LBFGS):  # which keeps lists, and vectors of all parameters
            _require_moments(f"{what}: state of parameter {number}", part, known, held[number])
    require_numbers(what, saved)


def _require_moments(what: str, saved: Any, known: Any, parameter: Tensor) -> None:
    """What an optimizer remembers of one parameter: the same of each, as large as it is or a number."""
    require_parts(what, saved, known if isinstance(known, Mapping) else ())
    for name, value in saved.items():
        if not (value is None or isinstance(value, (bool, int, float, Tensor))):
            raise TypeError(f"{what}: {name} is {value!r}; expected a number or a tensor. {UNCHANGED}")
        if isinstance(value, Tensor) and name == "step":
            require_tensor(f"{what}: {name}", value, ())
        elif isinstance(value, Tensor) and value.numel() >= parameter.numel() > 1:
            require_tensor(f"{what}: {name}", value, tuple(parameter.shape))
