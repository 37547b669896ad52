"""Signals: what the rest of a model tells modulators and affect, by name; read and checked once.

    name                                                    gate          loop          affect
    reward, td_error, long_horizon_value                    any number    any number
    novelty                                                 >= 0          [0, 1]
    uncertainty, entropy, urgency, surprise, patience       >= 0          >= 0
    context (index of a stimulus or task: 0, 1, ...)        >= 0          >= 0
    aleatoric_uncertainty, homeostatic_deviation                          >= 0          >= 0
    reward_prediction_error                                                             any number
    epistemic_uncertainty, prediction_error_magnitude                                   >= 0
    novelty_score                                                                       [0, 1]
    levels of modulators                                                                their own ranges

Each is a number, or a tensor, an array or a list of shape (), (B,) or (B, 1). What was read is a `SignalReading`:
whoever gets one does not look at its values again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from ._checks import (
    MAX_COUNT,
    Signal,
    as_signal,
    is_compiling,
    is_wrapped,
    known_as,
    length_of,
    require_count,
    require_device,
    require_dtype,
    require_finite,
    require_tensors,
    require_within,
)
from .neuromodulators import NEUROMODULATORS

__all__ = ["EVENTS", "SIGNALS", "EventSignals", "GateSignals", "SignalReading", "read_signals"]

Range = tuple[float | None, float | None]
SignalLayout = tuple[int | None, torch.device | None, torch.dtype]  # of some signals: batch size, device, precision
ANY: Range = (None, None)
NOT_NEGATIVE: Range = (0.0, None)
FRACTION: Range = (0.0, 1.0)
NO_RANGE = (1.0, 0.0)  # no number lies in it
ONE = torch.Size((1,))


class SignalReading(dict[str, Tensor]):
    """Signals by name as they were read: each (B,) and checked, on one device and in one precision.

    Args:
        values: (B,) by name.
        like: (B,) or any tensor of that batch, device and precision.
        numbers: the same by name, where the batch is one sample whose values could be read.
    """

    __slots__ = ("like", "numbers")

    def __init__(self, values: Mapping[str, Tensor], like: Tensor, numbers: dict[str, float] | None = None) -> None:
        super().__init__(values)
        self.like, self.numbers = like, numbers

    def to(self, dtype: torch.dtype) -> SignalReading:
        """The same in another precision."""
        return SignalReading({name: value.to(dtype) for name, value in self.items()}, self.like.to(dtype), self.numbers)


@dataclass(frozen=True)
class Vocabulary:
    """Names that somebody listens to, and the range of each.

    Args:
        noun: what they are called: "signal", "event".
        ranges: (low, high) by name; None has no end.
        example: a mapping of them, for sentences.
        one_device: whether tensors on several devices are refused; else they follow the first.
    """

    noun: str
    ranges: dict[str, Range]
    example: str
    one_device: bool = True

    @cached_property
    def limits(self) -> dict[str, tuple[float, float]]:
        """The range of each as numbers, within which there is nothing to look at more closely."""
        return {
            name: (-1e38 if low is None else low, 1e38 if high is None else high)
            for name, (low, high) in self.ranges.items()
        }

    def layout(self, values: Mapping[str, Signal]) -> SignalLayout:
        """Batch size, device and precision that the tensors among `values` ask for.

        The batch size is None where all are scalars, the device None where none is a tensor; the precision is fp32, or
        fp64 if any tensor is. Lists and arrays, as environments give them, have a size and nothing else.

        Raises:
            TypeError: no mapping.
            ValueError: an unknown name, tensors on several devices.

        >>> LOOP.layout({"reward": torch.ones(3, 1), "novelty": 0.5})
        (3, device(type='cpu'), torch.float32)
        """
        if not isinstance(values, Mapping):
            raise TypeError(
                f"{self.noun}s is a {type(values).__name__}; expected a mapping from names to values, as in "
                f"{self.example}."
            )
        size, device, dtype, first = None, None, torch.float32, ""
        for name, value in values.items():
            if name not in self.ranges:
                raise ValueError(self._unknown(name))
            if isinstance(value, Tensor):
                if device is None:
                    device, first = value.device, name
                elif self.one_device and value.device != device:
                    raise ValueError(
                        f"{name} is on {value.device}, {first} on {device}; expected all {self.noun}s on one device."
                    )
                dtype = torch.float64 if value.dtype == torch.float64 else dtype
                size = value.shape[0] if size is None and value.dim() else size
            elif size is None and not isinstance(value, float):
                size = length_of(value)
        return size, device, dtype

    def read(
        self, values: Mapping[str, Signal], batch_size: int, device: torch.device | None, dtype: torch.dtype
    ) -> SignalReading:
        """Everything that is given as checked (B,) tensors; what is missing stays missing.

        Args:
            values: by names that `layout` has seen.
            batch_size, device, dtype: of all.

        Raises:
            TypeError: a value that is no number and nothing of real numbers.
            ValueError: a wrong shape, NaN or infinity, a value out of its range.
        """
        reading, shape, numbers = {}, (batch_size,), {}
        for name, value in values.items():
            bounds, limits = self.ranges[name], self.limits[name]
            if type(value) is float and limits[0] <= value <= limits[1]:
                reading[name] = torch.full(shape, value, device=device, dtype=dtype)
                numbers[name] = value
            elif (
                isinstance(value, Tensor) and type(value) is Tensor and value.layout is torch.strided
                and value.shape == shape and value.dtype == dtype and value.device == device
            ):  # fmt: skip
                reading[name], number = value, _checked(name, value, bounds, limits)
                if number is not None:
                    numbers[name] = number
            else:
                reading[name] = as_signal(value, batch_size, name=name, device=device, dtype=dtype)
                if bounds[0] is not None:
                    require_within(name, reading[name], *bounds)
        like = next(iter(reading.values()), None)
        like = torch.empty(shape, device=device, dtype=dtype) if like is None else like
        alone = batch_size == 1 and len(numbers) == len(reading) and like.is_cpu and not is_compiling()
        return SignalReading(reading, like, numbers if alone else None)

    def numbers(self, values: Mapping[str, Signal], dtype: torch.dtype) -> dict[str, float] | None:
        """Signals of one sample as numbers, in one look; None where `read` has to look closer, or to refuse."""
        found = {}
        for name, value in values.items():
            if type(value) is Tensor and value.dtype is dtype and value.shape == ONE and value.layout is torch.strided:
                value = value.item() if value.is_cpu and not (is_compiling() or is_wrapped(value)) else None
            low, high = self.limits.get(name, NO_RANGE)
            if type(value) is not float or not low <= value <= high:
                return None
            found[name] = value
        return found

    def arrays(self, values: Mapping[str, Signal], size: int, dtype: torch.dtype) -> dict[str, np.ndarray] | None:
        """Signals as arrays (B,) of their own, checked as by `read`; None where `read` has to look closer."""
        if is_compiling():
            return None
        for name, value in values.items():
            low, high = self.limits.get(name, NO_RANGE)
            plain = (
                type(value) is Tensor and value.dtype is dtype and value.shape == (size,) and value.is_cpu
                and value.layout is torch.strided and not value.requires_grad and not is_wrapped(value)
            )  # fmt: skip
            if not (name in self.limits and (plain or (type(value) is float and low <= value <= high))):
                return None
        found: dict[str, np.ndarray] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                _checked(name, value, self.ranges[name], self.limits[name])
                found[name] = value.numpy().copy()
            else:
                found[name] = np.full(size, value, "d" if dtype == torch.float64 else "f")
        return found

    def _unknown(self, name: object) -> str:
        close = get_close_matches(str(name), self.ranges, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"no {self.noun} is called {name!r}; the {self.noun}s are {', '.join(self.ranges)}.{hint}"


def _checked(name: str, tensor: Tensor, bounds: Range, limits: tuple[float, float]) -> float | None:
    """The value where it is one, and nobody has to wait for it; NaN, infinity and what is out of range are refused."""
    plain = tensor.detach() if tensor.requires_grad else tensor
    if not plain.is_cpu or not plain.numel() or is_compiling() or is_wrapped(plain):
        return None
    number = plain.item() if plain.numel() == 1 else None
    if number is not None:
        least = most = number
    elif bounds == ANY:
        least = most = plain.sum().item()  # a finite sum has finite terms
    else:
        least, most = (end.item() for end in plain.aminmax())
    if limits[0] <= least and most <= limits[1]:
        return number
    require_finite(name, tensor)
    require_within(name, tensor, *bounds)
    return number


_OF_THE_WORLD: dict[str, Range] = {
    "reward": ANY,
    "td_error": ANY,
    "long_horizon_value": ANY,
    "novelty": NOT_NEGATIVE,
    "uncertainty": NOT_NEGATIVE,
    "entropy": NOT_NEGATIVE,
    "urgency": NOT_NEGATIVE,
    "surprise": NOT_NEGATIVE,
    "patience": NOT_NEGATIVE,
    "context": NOT_NEGATIVE,
}


class GateSignals(TypedDict, total=False):
    """What the gate hears, by keyword."""

    reward: Signal
    td_error: Signal
    long_horizon_value: Signal
    novelty: Signal
    uncertainty: Signal
    entropy: Signal
    urgency: Signal
    surprise: Signal
    patience: Signal
    context: Signal


class EventSignals(GateSignals, total=False):
    """What the loop hears, by keyword."""

    aleatoric_uncertainty: Signal
    homeostatic_deviation: Signal


LEVELS: dict[str, Range] = {kind.name: (kind.low, 1.0) for kind in NEUROMODULATORS}

GATE = Vocabulary("signal", _OF_THE_WORLD, '{"reward": 1.0, "novelty": 0.2}', one_device=False)
"""What the gate hears."""

LOOP = Vocabulary(
    "event",
    {
        **_OF_THE_WORLD,
        "novelty": FRACTION,
        "aleatoric_uncertainty": NOT_NEGATIVE,
        "homeostatic_deviation": NOT_NEGATIVE,
    },
    '{"reward": 1.0}',
)
"""What the loop hears: the gate's signals, and what affect alone makes something of."""

AFFECT = Vocabulary(
    "signal",
    {
        "reward_prediction_error": ANY,
        "epistemic_uncertainty": NOT_NEGATIVE,
        "prediction_error_magnitude": NOT_NEGATIVE,
        "novelty_score": FRACTION,
        "homeostatic_deviation": NOT_NEGATIVE,
        "aleatoric_uncertainty": NOT_NEGATIVE,
        **LEVELS,
    },
    "InternalSignals(reward_prediction_error=0.5)",
)
"""What affect hears of the inside of a model."""

RELEASED = Vocabulary("modulator", dict.fromkeys(LEVELS, ANY), '{"DA": 0.2}')
"""What is released from within, by modulator."""

SIGNALS: tuple[str, ...] = tuple(GATE.ranges)
EVENTS: dict[str, Range] = LOOP.ranges


def levels_of(what: str, levels: Mapping[str, Tensor]) -> list[Tensor]:
    """The level of each modulator, in the order of the table, each (B,).

    Raises:
        TypeError: no mapping, or no tensors.
        ValueError: one is missing, or of another shape.
    """
    if not isinstance(levels, Mapping):
        raise TypeError(f"{what} is {known_as(levels)}; expected a mapping such as {{'DA': da, ...}}.")
    missing = [name for name in LEVELS if name not in levels]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}; expected {', '.join(LEVELS)}, each (B,).")
    found = [levels[name] for name in LEVELS]
    for m in found:
        if not isinstance(m, Tensor) or m.shape != found[0].shape or m.device != found[0].device or m.is_sparse:
            require_tensors(dict(zip(LEVELS, found, strict=True)), like="DA")
    return found


def read_signals(
    signals: Mapping[str, Signal],
    batch_size: int | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Every signal of the gate as a checked (B,) tensor; what is missing is zero.

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
    found_size, found_device, found_dtype = GATE.layout(signals)
    place = require_device("device", device) or found_device
    precision = found_dtype if dtype is None else require_dtype("dtype", dtype)
    if batch_size is not None and (type(batch_size) is not int or batch_size > MAX_COUNT or batch_size < 0):
        batch_size = require_count("batch_size", batch_size)
    size = next((n for n in (batch_size, found_size) if n is not None), 1)
    zero = torch.zeros(size, device=place, dtype=precision)
    return {**dict.fromkeys(SIGNALS, zero), **GATE.read(signals, size, place, precision)}
