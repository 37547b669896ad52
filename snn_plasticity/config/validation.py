"""How configs check themselves and travel: field, value and allowed range in every error; to and from JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

Config = TypeVar("Config", bound="Serializable")


def require_number(
    owner: object,
    field: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    integer: bool = False,
) -> None:
    """Refuse a field that is no number, or one outside `low` .. `high`."""
    value = getattr(owner, field)
    kind = int if integer else (int, float)
    inside = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
    if not inside or (open_low and value == low):
        sign = "(" if open_low else "["
        noun = "whole number" if integer else "number"
        raise ValueError(f"{type(owner).__name__}.{field} = {value!r}; expected a {noun} in {sign}{low:g}, {high:g}].")


def require_range(owner: object, field: str) -> None:
    """Refuse a field that is neither None nor a pair (low, high) with low < high."""
    value = getattr(owner, field)
    if value is None:
        return
    pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
    if not pair or not value[0] < value[1]:
        raise ValueError(
            f"{type(owner).__name__}.{field} = {value!r}; expected None or a pair (low, high) with low < high."
        )


def require_word(owner: object, field: str, allowed: tuple[str, ...], *, or_object: str = "") -> None:
    """Refuse a field that is a word outside `allowed`; other objects pass where `or_object` names them."""
    value = getattr(owner, field)
    if value in allowed or (or_object and not isinstance(value, str) and value is not None):
        return
    words = ", ".join(map(repr, allowed)) + (f" or {or_object}" if or_object else "")
    raise ValueError(f"{type(owner).__name__}.{field} = {value!r}; expected one of {words}.")


def _plain(owner: object, field: str, value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, Serializable):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type) and field == "convention":
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(owner, field, v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{type(owner).__name__}.{field} is {value!r}, an object that JSON cannot hold; "
        "only named choices can be saved. Save the object's own parameters and set the field after loading."
    )


class Serializable:
    """A frozen dataclass that goes to and from `dict` and JSON."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values.

        Raises:
            TypeError: a field holds an object (a kernel, a callable) rather than a name.
        """
        return {f.name: _plain(self, f.name, getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
        """The config that `to_dict` described; missing fields take their defaults.

        Raises:
            ValueError: an unknown field, or a value out of range.
        """
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(known)}.")
        return cls(**{name: cls._restore(name, value) for name, value in values.items()})

    @classmethod
    def _restore(cls, name: str, value: Any) -> Any:
        """The value of one field, from its plain form."""
        return tuple(value) if isinstance(value, list) else value

    def to_json(self, path: str | Path | None = None) -> str:
        """The config as JSON text, written to `path` if one is given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls: type[Config], source: str | Path) -> Config:
        """The config from JSON text or from a file."""
        if not isinstance(source, str) or not source.lstrip().startswith("{"):
            source = Path(source).read_text(encoding="utf-8")
        return cls.from_dict(json.loads(source))
