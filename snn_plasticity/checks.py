"""Checks at the door: what was read, what was expected, what to do.

Shapes and types are checked everywhere. Values (NaN, ranges) are read only where that costs no device
synchronisation: on CPU tensors, outside `torch.compile` and outside functorch transforms.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

Signal = float | Tensor
_is_compiling = torch.compiler.is_compiling


def _readable(tensor: Tensor) -> bool:
    """Whether looking at the values neither synchronises a device nor breaks a trace."""
    if not tensor.is_cpu or _is_compiling():
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # type: ignore[attr-defined]


def require_real(name: str, tensor: Any) -> None:
    """Refuse what is no tensor of real numbers (bool and integer spikes are welcome)."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; expected a torch.Tensor. Wrap it: torch.as_tensor(...).")
    if tensor.is_complex():
        raise TypeError(f"{name} has dtype {tensor.dtype}; expected real numbers (0/1 spikes or rates).")


def require_finite(name: str, tensor: Tensor) -> Tensor:
    """The tensor; NaN and infinity are refused."""
    if not tensor.is_floating_point() or not _readable(tensor):
        return tensor
    plain = tensor.detach() if tensor.requires_grad else tensor
    if math.isfinite(plain.sum().item()):
        return tensor  # a finite sum has finite terms; one pass, where a look at each would take three
    bad = int((~torch.isfinite(plain)).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} value(s) that are NaN or infinite of {tensor.numel()}; expected finite numbers. "
            "Look for a division by zero or an exploding state before this call; nothing was changed."
        )
    return tensor


def require_within(name: str, tensor: Tensor, low: float | None = None, high: float | None = None) -> None:
    """Refuse values below `low` or above `high`."""
    if not _readable(tensor) or tensor.numel() == 0:
        return
    if low is not None and bool((tensor < low).any()):
        raise ValueError(
            f"{name} is {float(tensor.min()):g} at least once; expected {name} >= {low:g}. Nothing was changed."
        )
    if high is not None and bool((tensor > high).any()):
        raise ValueError(
            f"{name} is {float(tensor.max()):g} at least once; expected {name} <= {high:g}. Nothing was changed."
        )


def require_at_least(name: str, tensor: Tensor, low: float) -> None:
    """Refuse values below `low`."""
    require_within(name, tensor, low=low)


def require_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a word that is none of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} = {value!r}; expected one of {', '.join(map(repr, allowed))}.")


def require_batch_size(batch_size: object) -> None:
    """Refuse what is no number of samples."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size = {batch_size!r}; expected a whole number, 1 or more.")


def as_signal(
    value: Signal,
    batch_size: int,
    *,
    name: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Turn a float or a tensor of shape (), (B,) or (B, 1) into (B,), in fp32 (fp64 stays fp64).

    Raises:
        TypeError: no number and no real tensor.
        ValueError: another shape, NaN or infinity.

    >>> as_signal(0.5, 3, name="reward")
    tensor([0.5000, 0.5000, 0.5000])
    """
    if isinstance(value, (bool, int, float)):
        tensor = torch.full((), float(value), dtype=dtype, device=device)  # a kernel, no copy from the host
    else:
        require_real(name, value)
        wide = torch.float64 if value.dtype == torch.float64 or dtype == torch.float64 else torch.float32
        tensor = value.to(device=device, dtype=wide)
    require_finite(name, tensor)
    if tensor.dim() == 2 and tensor.shape[1] == 1:
        tensor = tensor.squeeze(1)
    if tensor.dim() == 0:
        return tensor.expand(batch_size)
    if tensor.shape != (batch_size,):
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; expected (), ({batch_size},) or ({batch_size}, 1) "
            f"for a batch of {batch_size}."
        )
    return tensor
