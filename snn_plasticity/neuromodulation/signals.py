"""Signals: what the rest of a model tells the neuromodulators, by name.

    reward, td_error, long_horizon_value                              any real number
    novelty, uncertainty, entropy, urgency, surprise, patience        >= 0
    context                                                           index of a stimulus or task: 0, 1, ...

Each is a number, or a tensor, an array or a list of shape (), (B,) or (B, 1). A signal that is not given is not heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import torch
from torch import Tensor

from ..checks import (
    MOST,
    Signal,
    as_signal,
    length_of,
    require_at_least,
    require_batch_size,
    require_device,
    require_dtype,
)

REAL_SIGNALS: tuple[str, ...] = ("reward", "td_error", "long_horizon_value")
NON_NEGATIVE_SIGNALS: tuple[str, ...] = (
    "novelty",
    "uncertainty",
    "entropy",
    "urgency",
    "surprise",
    "patience",
    "context",
)
SIGNALS: tuple[str, ...] = REAL_SIGNALS + NON_NEGATIVE_SIGNALS


def _require_known(signals: Mapping[str, Signal]) -> None:
    """Refuse what is no mapping, and names nobody listens to."""
    if not isinstance(signals, Mapping):
        raise TypeError(
            f"signals is a {type(signals).__name__}; expected a mapping from names to values, "
            'as in {"reward": 1.0, "novelty": 0.2}.'
        )
    for name in signals:
        if name not in SIGNALS:
            close = get_close_matches(str(name), SIGNALS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"no signal is called {name!r}; the signals are {', '.join(SIGNALS)}.{hint}")


def signal_layout(signals: Mapping[str, Signal]) -> tuple[int | None, torch.device | None, torch.dtype]:
    """Batch size, device and precision that the tensors among `signals` ask for.

    The batch size is None where all are scalars, the device None where none is a tensor; the precision is fp32, or
    fp64 if any tensor is. Lists and arrays, as environments give them, have a size and nothing else.

    >>> signal_layout({"reward": torch.ones(3, 1), "novelty": 0.5})
    (3, device(type='cpu'), torch.float32)
    """
    _require_known(signals)
    tensors = [value for value in signals.values() if isinstance(value, Tensor)]
    batch_size = next((size for size in map(length_of, signals.values()) if size is not None), None)
    device = tensors[0].device if tensors else None
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    return batch_size, device, torch.float64 if double else torch.float32


def read_signals(
    signals: Mapping[str, Signal],
    batch_size: int | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Every known signal as a checked (B,) tensor; what is missing is zero.

    Args:
        signals: values by name, each a float or a tensor (), (B,) or (B, 1).
        batch_size: B; by default that of the signals, and 1 where all are scalars.
        device: by default that of the first tensor among the signals.
        dtype: float32 or float64; by default float64 only if a signal is.

    Raises:
        TypeError: no mapping, or a value that is no number.
        ValueError: an unknown name, a wrong shape, NaN or infinity, a negative value where none may be.

    >>> values = read_signals({"reward": 1.0, "novelty": torch.tensor([0.0, 0.5])})
    >>> values["reward"], values["novelty"], values["urgency"]
    (tensor([1., 1.]), tensor([0.0000, 0.5000]), tensor([0., 0.]))
    """
    found_size, found_device, found_dtype = signal_layout(signals)
    if device is not None and not isinstance(device, torch.device):
        device = require_device("device", device)
    if dtype is not None:
        require_dtype("dtype", dtype)
    if batch_size is not None and (type(batch_size) is not int or batch_size > MOST or batch_size < 0):
        batch_size = require_batch_size(batch_size)
    size = next((n for n in (batch_size, found_size) if n is not None), 1)
    device, dtype = device or found_device, dtype or found_dtype
    zero = torch.zeros(size, device=device, dtype=dtype)
    values: dict[str, Tensor] = dict.fromkeys(SIGNALS, zero)
    for name, value in signals.items():
        values[name] = as_signal(value, size, name=name, device=device, dtype=dtype)
        if name in NON_NEGATIVE_SIGNALS:
            require_at_least(name, values[name], 0.0)
    return values
