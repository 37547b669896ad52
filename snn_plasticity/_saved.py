"""Saved states: what is in them is looked at, whole, before anything goes on from it.

A state says its format and the settings it was made with, holds plain values and tensors alone, so that
`torch.load(weights_only=True)` reads it, and is refused with what was read and what was expected.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ._checks import is_readable

FORMAT = 1  # of all states; what is saved differently one day has another number
DEEP = 6  # levels of an object of the user's own that are looked into
UNCHANGED = "Nothing was changed."


def described(value: Any, depth: int = DEEP) -> Any:
    """Settings as plain values, to be saved and compared: objects by their kind and fields, functions by their name.

    >>> from snn_plasticity import Convention
    >>> described(Convention(lag=1))["lag"]
    1
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, (tuple, list)):
        return [described(one, depth) for one in value]
    kind = {"kind": f"{type(value).__module__}.{type(value).__qualname__}"}
    if isinstance(value, Mapping):
        return {str(name): described(one, depth) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return kind | {field.name: described(getattr(value, field.name), depth - 1) for field in fields(value)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    own = vars(value) if depth > 0 and hasattr(value, "__dict__") and not isinstance(value, torch.nn.Module) else {}
    return kind | {name: described(one, depth - 1) for name, one in own.items() if not name.startswith("_")}


def require_parts(what: str, saved: Any, names: Collection[str]) -> None:
    """Refuse a state that has not exactly these parts.

    Raises:
        TypeError: it is no mapping.
        ValueError: a part is missing, or one too many is there; naming both.
    """
    if not isinstance(saved, Mapping):
        raise TypeError(f"{what} is a {type(saved).__name__}; expected what state_dict() gave. {UNCHANGED}")
    missing, strange = [n for n in names if n not in saved], [str(n) for n in saved if n not in names]
    if missing or strange:
        found = [
            f"{word} {', '.join(those)}" for word, those in (("lacks", missing), ("has strange", strange)) if those
        ]
        raise ValueError(f"{what} {' and '.join(found)}; expected the parts {', '.join(names)}. {UNCHANGED}")


def require_format(what: str, saved: Any, names: Collection[str]) -> None:
    """As `require_parts`, of a state that begins with its format."""
    read = saved.get("format") if isinstance(saved, Mapping) else FORMAT
    if type(read) is not int or read != FORMAT:
        raise ValueError(
            f"{what} has the format {read!r}; expected {FORMAT}. Another version saved it, or it is no saved state. "
            f"{UNCHANGED}"
        )
    require_parts(what, saved, ("format", *names))


def require_settings(what: str, saved: Any, own: Any) -> None:
    """Refuse a state that was made with other settings, naming those that differ.

    Raises:
        ValueError: the first few differences, with both values.
    """
    differences = list(_differences("", saved, own))
    if differences:
        named = "; ".join(f"{path} was {a} and is {b}" for path, a, b in differences[:3])
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        how = "Build it as it was built then"
        if any(path == "eligibility.kernel" and b == "'eprop'" for path, _, b in differences):
            how = "What 'eprop' is for a neuron shows when it fires: attach(..., sample=...), or run the net once"
        raise ValueError(f"{what} was saved with other settings: {named}{more}. {how}, then load it. {UNCHANGED}")


def require_tensor(
    what: str, saved: Any, shape: Sequence[int | None] | None = None, *, like: Tensor | None = None
) -> Tensor:
    """The tensor; refused where it is none, shaped otherwise, of another kind, or holds NaN or infinity.

    Args:
        what: how it is called.
        saved: what is looked at.
        shape: expected; None takes any, and as an entry any length.
        like: a tensor of the same kind of numbers.

    Raises:
        TypeError: no tensor, or another kind of numbers.
        ValueError: another shape, NaN or infinity.
    """
    if not isinstance(saved, Tensor):
        raise TypeError(f"{what} is {saved!r}; expected a tensor. {UNCHANGED}")
    if saved.is_meta or saved.layout is not torch.strided:
        raise TypeError(f"{what} is on {saved.device}, {saved.layout}; expected a dense tensor. {UNCHANGED}")
    found = tuple(saved.shape)
    if shape is not None and not (
        len(found) == len(shape) and all(n is None or n == m for m, n in zip(found, shape, strict=True))
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{what} has shape {found}; expected ({wanted}). {UNCHANGED}")
    if like is not None and saved.dtype != like.dtype:
        raise TypeError(f"{what} has dtype {saved.dtype}; expected {like.dtype}. {UNCHANGED}")
    if saved.is_floating_point() and saved.numel() and is_readable(saved) and not bool(torch.isfinite(saved).all()):
        raise ValueError(f"{what} holds NaN or infinity; expected finite numbers. {UNCHANGED}")
    return saved


def require_saved_tensors(what: str, saved: Any, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of one's own, each of the same shape; else refused."""
    require_parts(what, saved, own)
    for name, tensor in own.items():
        require_tensor(f"{what}: {name}", saved[name], tuple(tensor.shape), like=tensor)
    return dict(saved)


def require_numbers(what: str, saved: Any) -> None:
    """Refuse tensors and numbers that are NaN, as deep as they lie."""
    for leaf in tree_leaves(saved):
        if isinstance(leaf, float):
            leaf = torch.tensor(leaf)
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and bool(leaf.isnan().any()):
            raise ValueError(f"{what} holds NaN; expected numbers. {UNCHANGED}")


def require_alike(what: str, saved: Any, own: Any) -> None:
    """Refuse what is not built like one's own: the same names, numbers for numbers, lists of the same length."""
    if isinstance(own, Mapping):
        require_parts(what, saved, own)
        for name, value in own.items():
            require_alike(f"{what}: {name}", saved[name], value)
    elif isinstance(own, (list, tuple)):
        if not isinstance(saved, (list, tuple)) or len(saved) != len(own):
            raise ValueError(f"{what} is {saved!r}; expected {len(own)} entries. {UNCHANGED}")
        for one, value in zip(saved, own, strict=True):
            require_alike(what, one, value)
    elif own is None or isinstance(own, bool):
        if saved is not None and not isinstance(saved, (bool, int, float, Tensor)):
            raise ValueError(f"{what} is {saved!r}; expected {own!r} or a switch. {UNCHANGED}")
    elif isinstance(own, (int, float, Tensor)):
        if isinstance(saved, bool) or not isinstance(saved, (int, float, Tensor)):
            raise ValueError(f"{what} is {saved!r}; expected a number like {own!r}. {UNCHANGED}")
    elif type(saved) is not type(own):
        raise ValueError(f"{what} is {saved!r}; expected a {type(own).__name__}. {UNCHANGED}")


def require_saved_count(what: str, saved: Any) -> int:
    """The whole number; refused where it is none, or negative."""
    if isinstance(saved, bool) or not isinstance(saved, int) or saved < 0:
        raise ValueError(f"{what} is {saved!r}; expected a whole number, 0 or more. {UNCHANGED}")
    return saved


def require_saved_flag(what: str, saved: Any) -> bool:
    """The bool; anything else is refused."""
    if not isinstance(saved, bool):
        raise TypeError(f"{what} is {saved!r}; expected True or False. {UNCHANGED}")
    return saved


def require_real_number(what: str, saved: Any) -> float:
    """The number; refused where it is none, NaN or infinite."""
    if isinstance(saved, bool) or not isinstance(saved, (int, float)) or not -1e308 < saved < 1e308:
        raise ValueError(f"{what} is {saved!r}; expected a finite number. {UNCHANGED}")
    return saved


def _differences(path: str, saved: Any, own: Any) -> Any:
    """Every place (path, saved, own) where two descriptions differ."""
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        for name in [*own, *(n for n in saved if n not in own)]:
            below = f"{path}.{name}" if path else str(name)
            if name not in saved or name not in own:
                yield below, *("unknown" if name not in side else _short(side[name]) for side in (saved, own))
            else:
                yield from _differences(below, saved[name], own[name])
    elif isinstance(saved, Tensor) and isinstance(own, Tensor):
        if saved.shape != own.shape or saved.dtype != own.dtype or not torch.equal(saved.cpu(), own.cpu()):
            yield path, _short(saved), _short(own)
    elif isinstance(saved, (list, tuple)) and isinstance(own, (list, tuple)) and len(saved) == len(own):
        if any(True for a, b in zip(saved, own, strict=True) for _ in _differences(path, a, b)):
            yield path, _short(saved), _short(own)
    elif type(saved) is not type(own) and not all(type(side) in (int, float) for side in (saved, own)) or saved != own:
        yield path, _short(saved), _short(own)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}" if value.numel() > 4 else repr(value.tolist())
    if isinstance(value, Mapping):
        return str(value.get("kind", "a group of settings"))
    return repr(value)
