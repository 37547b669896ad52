"""Checks at the door: what was read, what was expected, what to do.

Shapes and types are checked everywhere. Values (NaN, ranges) are read only where that costs no device
synchronisation: on CPU tensors, outside `torch.compile` and outside functorch transforms. Numbers and ranges leave as
plain Python values, whatever they came as: a NumPy scalar, an int, a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

Signal = float | Tensor
Kind = TypeVar("Kind")
PRECISE = (torch.float32, torch.float64)  # what is worked with as it comes
MAX_COUNT = 2**31 - 1  # of anything that is counted: more is a slip
_LARGEST = {dtype: torch.finfo(dtype).max for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}
is_compiling = torch.compiler.is_compiling
is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor  # type: ignore[attr-defined]


def shown(value: object) -> str:
    """A value in a sentence: a tensor or an array by its type and shape, anything else as it is, cut short."""
    if isinstance(value, Tensor):
        return f"a Tensor of shape {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}, {value.dtype}"
    try:
        text = repr(value)
    except Exception:  # an object that cannot even be shown
        text = f"a {type(value).__name__}"
    return text if len(text) <= 120 else f"{text[:110]}… ({type(value).__name__})"


def known_as(value: object) -> str:
    """What a value is: a plain one as it is and by its type, any other object by its type alone."""
    kind = type(value).__name__
    if value is None or isinstance(value, (Tensor, np.ndarray)):
        return shown(value)
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    plain = isinstance(value, (str, bytes, bool, int, float, list, tuple, dict, Real))
    return f"{shown(value)}, {article(kind)} {kind}" if plain else f"{article(kind)} {kind}"


def article(word: str) -> str:
    """What stands before a name: "a" or "an"."""
    return "an" if word[:1] in "AEIOUaeio" else "a"


def require_kind(name: str, value: object, kind: type[Kind] | tuple[type, ...], how: str) -> Kind:
    """The value; refused where it is of another kind. `how` says what to give instead."""
    if isinstance(value, kind):
        return value  # type: ignore[return-value]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    words = " or ".join(f"{article(k.__name__)} {k.__name__}" for k in kinds)
    raise TypeError(f"{name} is {known_as(value)}; expected {words}. {how}")


def require_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    infinite: bool = False,
) -> float:
    """A real number in `low` .. `high` as a float; NaN is refused, and infinity unless `infinite`."""
    number = _as_float(value)
    fits = number is not None and low <= number <= high and (infinite or math.isfinite(number))
    if number is None or not fits or (open_low and number == low):
        left = "(" if open_low or (low == -math.inf and not infinite) else "["
        right = ")" if high == math.inf and not infinite else "]"
        raise ValueError(f"{name} = {shown(value)}; expected a number in {left}{low:g}, {high:g}{right}.")
    return number


def require_count(name: str, value: object, low: int = 1, high: int = MAX_COUNT) -> int:
    """A whole number from `low` upwards as an int; booleans and fractions are refused."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} = {shown(value)}; expected a whole number, {low} or more (at most {high}).")
    return int(value)


def require_flag(name: str, value: object) -> bool:
    """True or False; anything that is merely true or false in a condition is refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} = {shown(value)}; expected True or False.")
    return bool(value)


def require_pair(name: str, value: object, *, around_zero: bool = False) -> tuple[float, float]:
    """Two numbers (low, high) with low < high, as a tuple; with `around_zero`, zero must lie within."""
    listed = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim == 1)
    sides = tuple(map(_as_float, value)) if listed else ()  # type: ignore[call-overload]
    if len(sides) != 2 or sides[0] is None or sides[1] is None or not sides[0] < sides[1]:
        raise ValueError(f"{name} = {shown(value)}; expected a pair (low, high) with low < high, or None.")
    if around_zero and not sides[0] <= 0.0 <= sides[1]:
        raise ValueError(
            f"{name} = {shown(value)} leaves out zero, so that something would change where nothing is asked for; "
            "expected low <= 0 <= high."
        )
    return sides[0], sides[1]


def require_callable(name: str, value: object, how: str) -> Callable[..., Any]:
    """The value; refused where it cannot be called. `how` says from what to what."""
    if not callable(value):
        raise TypeError(f"{name} = {shown(value)}; expected a function {how}.")
    return value


def require_path(name: str, value: object, *, new: bool = False) -> Path:
    """The path of a file that is there; with `new`, of one that can be written.

    Raises:
        TypeError: no path.
        FileNotFoundError: no such file, or no such folder.
    """
    if not isinstance(value, (str, Path)):
        raise TypeError(f"{name} is {shown(value)}, of type {type(value).__name__}; expected a path as str or Path.")
    path = Path(value)
    try:
        found = path.parent.is_dir() and not path.is_dir() if new else path.is_file()
    except (OSError, ValueError):  # too long, or with characters that no path may have
        found = False
    if not found:
        wanted = "a file in a folder that exists" if new else "the path of a file that exists"
        raise FileNotFoundError(f"{name} = {shown(str(value))}; expected {wanted}.")
    return path


def require_device(name: str, device: object) -> torch.device | None:
    """A device by name or as it is; None stays None."""
    if device is None:
        return None
    try:
        if not isinstance(device, (str, torch.device)):
            raise TypeError
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"{name} = {shown(device)}; expected a device such as 'cpu' or 'cuda:0', or None.") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name} = {str(found)!r}; this machine has {torch.cuda.device_count()} such device(s).")
    return found


def require_dtype(name: str, dtype: object) -> torch.dtype:
    """A real floating-point dtype."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{name} = {shown(dtype)}; expected a floating-point dtype such as torch.float32.")
    return dtype


def _as_float(value: object) -> float | None:
    """A real number as a float; None for anything else (booleans, strings, tensors) and for what no float can hold."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def is_readable(tensor: Tensor) -> bool:
    """Whether looking at the values neither synchronises a device nor breaks a trace."""
    if not tensor.is_cpu or is_compiling():
        return False
    return not is_wrapped(tensor)


def require_real(name: str, tensor: object) -> None:
    """Refuse what is no dense tensor of real numbers (bool and integer spikes are welcome)."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is {known_as(tensor)}; expected a torch.Tensor. Wrap it: torch.as_tensor(...).")
    if tensor.is_complex():
        raise TypeError(f"{name} has dtype {tensor.dtype}; expected real numbers (0/1 spikes or rates).")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {tensor.layout}; expected a dense tensor: {name}.to_dense().")


def has_finite_sum(tensor: Tensor) -> bool:
    """Whether the sum of a tensor is finite, so that all of it is: one pass, where a look at each takes three."""
    plain = tensor.detach() if tensor.requires_grad else tensor
    return math.isfinite(plain.item() if plain.numel() == 1 else plain.sum().item())


def require_finite(name: str, tensor: Tensor) -> Tensor:
    """The tensor; NaN and infinity are refused."""
    if not tensor.is_floating_point() or not is_readable(tensor) or has_finite_sum(tensor):
        return tensor
    bad = int((~torch.isfinite(tensor.detach())).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} value(s) that are NaN or infinite of {tensor.numel()}; expected finite numbers. "
            "Look for a division by zero or an exploding state before this call; nothing was changed."
        )
    return tensor


def require_within(name: str, tensor: Tensor, low: float | None = None, high: float | None = None) -> None:
    """Refuse values below `low` or above `high`."""
    if not is_readable(tensor) or tensor.numel() == 0:
        return
    require_real(name, tensor)
    plain = tensor.detach() if tensor.requires_grad else tensor
    if low is not None and (least := plain.amin().item()) < low:
        raise ValueError(f"{name} is {least:g} at least once; expected {name} >= {low:g}. Nothing was changed.")
    if high is not None and (most := plain.amax().item()) > high:
        raise ValueError(f"{name} is {most:g} at least once; expected {name} <= {high:g}. Nothing was changed.")


def require_choice(name: str, value: object, allowed: Collection[str], or_else: str = "") -> None:
    """Refuse a word that is none of `allowed`; `or_else` says what else would have been welcome."""
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(map(repr, allowed)) + (f" or {or_else}" if or_else else "")
        raise ValueError(f"{name} = {shown(value)}; expected one of {words}.")


def require_tensors(tensors: Mapping[str, object], like: str, *, finite: bool = True) -> None:
    """Refuse what is no dense tensor of real numbers shaped and placed as the one called `like`.

    Raises:
        TypeError: no tensor, or complex or sparse.
        ValueError: another shape or device, NaN or infinity.

    >>> require_tensors({"kept": torch.zeros(2), "f": torch.zeros(3)}, like="kept")
    Traceback (most recent call last):
    ValueError: f has shape (3,), kept (2,); expected the same.
    """
    for name, tensor in tensors.items():
        require_real(name, tensor)
    first: Any = tensors[like]
    for name, tensor in cast("Mapping[str, Tensor]", tensors).items():
        if tensor.shape != first.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, {like} {tuple(first.shape)}; expected the same.")
        if tensor.device != first.device:
            raise ValueError(f"{name} is on {tensor.device}, {like} on {first.device}; expected one device.")
        if tensor.dtype == torch.bool:
            raise TypeError(f"{name} holds booleans; expected numbers: {name}.float().")
        if finite:
            require_finite(name, tensor)


def require_operands(operands: Mapping[str, object]) -> None:
    """Refuse operands of one formula that are neither finite numbers nor tensors () or of the first tensor's shape.

    Raises:
        TypeError: neither number nor dense real tensor.
        ValueError: NaN or infinity, another shape or device.

    >>> require_operands({"reward": torch.zeros(2), "baseline": 0.5, "scale": "much"})
    Traceback (most recent call last):
    TypeError: scale is 'much', a str; expected a number or a torch.Tensor.
    """
    tensors = {name: value for name, value in operands.items() if isinstance(value, Tensor)}
    for name, value in operands.items():
        if name not in tensors:
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"{name} is {known_as(value)}; expected a number or a torch.Tensor.")
            require_number(name, value)
    wide = {name: tensor for name, tensor in tensors.items() if tensor.dim()}
    for name, tensor in tensors.items():
        first = next(iter(wide), name) if tensor.dim() else name
        require_tensors({first: tensors[first], name: tensor}, like=first)


def as_real(
    name: str, value: object, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A number, a list, an array or a tensor as a real tensor of any shape, in fp32 (a tensor of fp64 stays fp64).

    Arrays and lists, as environments give them, carry no precision of their own: they come in `dtype`, as numbers do.

    Raises:
        TypeError: none of these, complex, or a tensor without values.
        ValueError: a number that is NaN, infinite or beyond any float.

    >>> as_real("reward", [1, 0])
    tensor([1., 0.])
    """
    if isinstance(value, Tensor):
        require_real(name, value)
        if value.is_meta and (device is None or torch.device(device).type != "meta"):
            raise ValueError(f"{name} is on the meta device, which holds no values; expected a tensor that has some.")
        wide = torch.float64 if value.dtype == torch.float64 or dtype == torch.float64 else torch.float32
        return value.to(device=device, dtype=wide)
    if isinstance(value, (bool, int, float, np.bool_, Real)):
        number = float(value) if isinstance(value, (bool, float, np.bool_)) else _as_float(value)
        if number is None or not abs(number) <= _LARGEST[dtype]:
            raise ValueError(
                f"{name} = {shown(value)}; expected a finite number that {dtype} can hold; NaN and infinity are none."
            )
        return torch.full((), number, dtype=dtype, device=device)  # a kernel, no copy from the host
    return torch.as_tensor(array_of(name, value), device=device, dtype=dtype)


def array_of(name: str, value: object) -> np.ndarray:
    """A list, a tuple or an array of real numbers as an array that owns its values.

    Raises:
        TypeError: anything else, strings and objects within included.
        ValueError: rows of different lengths.
    """
    if isinstance(value, (list, tuple, np.ndarray)):
        try:
            array = np.array(value)
        except (ValueError, TypeError, RuntimeError):
            raise ValueError(f"{name} = {shown(value)}; expected numbers in rows of one length.") from None
        if array.dtype.kind in "biuf":
            return array
    raise TypeError(
        f"{name} is {known_as(value)}; expected a number, a list or an array of real numbers, or a torch.Tensor."
    )


def length_of(value: object) -> int | None:
    """How many samples a signal speaks of; None where it is one number for all, or nothing that has a length."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.shape[0] if value.ndim else None
    return len(value) if isinstance(value, (list, tuple)) else None


def as_modulator(value: object) -> float | Tensor:
    """A third factor: a number as a float, a list or an array as a tensor, a tensor as it is; NaN is refused.

    Raises:
        TypeError: no number, and nothing of real numbers.
        ValueError: NaN or infinity.
    """
    if isinstance(value, Tensor):
        require_real("modulator", value)
        return require_finite("modulator", value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    read = as_real("modulator", value, dtype=torch.float64)
    return require_finite("modulator", read) if read.dim() else read.item()


def require_mask(mask: Any, batch_size: int | None = None) -> None:
    """Refuse what is no boolean (B,) with values; `batch_size` None: of any length."""
    boolean = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.dim() == 1
    boolean = boolean and mask.layout is torch.strided and not mask.is_meta
    if not boolean or (batch_size is not None and len(mask) != batch_size):
        read = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)
        shape = "(B,)" if batch_size is None else f"({batch_size},)"
        raise ValueError(f"mask is {read}; expected a boolean tensor of shape {shape}, one per sample.")


def as_signal(
    value: Signal,
    batch_size: int,
    *,
    name: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Turn a number, a list, an array or a tensor of shape (), (B,) or (B, 1) into (B,), in fp32 (fp64 stays fp64).

    Raises:
        TypeError: no number and nothing of real numbers.
        ValueError: another shape, NaN or infinity.

    >>> as_signal(0.5, 3, name="reward")
    tensor([0.5000, 0.5000, 0.5000])
    """
    if type(value) is Tensor and value.dtype == dtype and value.shape == (batch_size,) and value.device == device:
        require_real(name, value)
        return require_finite(name, value)  # as it has to be
    tensor = as_real(name, value, device, dtype)
    if not isinstance(value, float):
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
