"""The saved state of an optimizer, looked at before it goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..saved import UNCHANGED, require_alike, require_numbers, require_parts, require_tensor


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
