"""How configs check themselves and travel: field, value and allowed range in every error; to and from JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import _checks as checks

Config = TypeVar("Config", bound="Serializable")
PRESET_NAMES = ("minimal", "dev", "production")


def require_number_field(
    owner: object,
    field: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    infinite: bool = False,
) -> None:
    """Refuse a field that is no number in `low` .. `high`; NumPy scalars and ints become floats."""
    value = getattr(owner, field)
    number = checks.require_number(_of(owner, field), value, low, high, open_low=open_low, infinite=infinite)
    object.__setattr__(owner, field, number)


def require_count_field(owner: object, field: str, low: int = 1) -> None:
    """Refuse a field that is no whole number from `low` upwards."""
    object.__setattr__(owner, field, checks.require_count(_of(owner, field), getattr(owner, field), low))


def require_flag_field(owner: object, field: str) -> None:
    """Refuse a field that is neither True nor False."""
    object.__setattr__(owner, field, checks.require_flag(_of(owner, field), getattr(owner, field)))


def require_range_field(owner: object, field: str, *, around_zero: bool = False) -> None:
    """Refuse a field that is neither None nor a pair (low, high) with low < high; a list becomes a tuple."""
    value = getattr(owner, field)
    if value is not None:
        pair = checks.require_pair(_of(owner, field), value, around_zero=around_zero)
        object.__setattr__(owner, field, pair)


def require_word_field(owner: object, field: str, allowed: tuple[str, ...], *, or_object: str = "") -> None:
    """Refuse a field that is a word outside `allowed`; other objects pass where `or_object` names them."""
    value = getattr(owner, field)
    if isinstance(value, str) and value in allowed:
        return
    if or_object and not isinstance(value, str) and value is not None:
        return
    words = ", ".join(map(repr, allowed)) + (f" or {or_object}" if or_object else "")
    raise ValueError(f"{_of(owner, field)} = {checks.shown(value)}; expected one of {words}.")


def require_part_field(owner: object, field: str, kind: type[Serializable]) -> None:
    """Refuse a field that holds no config of `kind`."""
    value = getattr(owner, field)
    if not isinstance(value, kind):
        raise ValueError(
            f"{_of(owner, field)} is {checks.known_as(value)}; "
            f"expected {checks.article(kind.__name__)} {kind.__name__}. {_remedy(value, kind, _of(owner, field))}"
        )


def require_config(value: object, kind: type[Config], *, name: str = "config") -> Config:
    """The settings; None is those by default.

    Raises:
        TypeError: something else, saying what it is and how it becomes the right one.
    """
    if value is None:
        return kind()
    if isinstance(value, kind):
        return value
    raise TypeError(
        f"{name} is {checks.known_as(value)}; expected {checks.article(kind.__name__)} {kind.__name__}. "
        f"{_remedy(value, kind, name)}"
    )


def _remedy(value: object, kind: type[Serializable], name: str) -> str:
    """How what was given becomes what was expected."""
    parts = {f: part for f, part in kind.parts().items() if isinstance(value, part)}
    if parts:
        return f"Wrap it: {kind.__name__}({next(iter(parts))}=...)."
    if isinstance(value, Serializable):
        inside = [f for f, part in value.parts().items() if part is kind]
        if inside:
            return f"Take its part: {name}.{inside[0]}."
    if isinstance(value, type) and issubclass(value, kind):
        return f"Call it: {kind.__name__}()."
    if isinstance(value, Mapping):
        return f"Build it: {kind.__name__}.from_dict(...)."
    if isinstance(value, str) and value in PRESET_NAMES and hasattr(kind, value):
        return f"Call the preset: {kind.__name__}.{value}()."
    if isinstance(value, (str, Path)):
        return f"From a file or JSON text: {kind.__name__}.from_json(...)."
    first = "" if kind.parts() else f"{fields(kind)[0].name}=..."  # type: ignore[arg-type]
    return f"For instance {kind.__name__}({first})."


def _of(owner: object, field: str) -> str:
    return f"{type(owner).__name__}.{field}"


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
        f"{_of(owner, field)} is {checks.shown(value)}, an object that JSON cannot hold; "
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
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """The config that `to_dict` described; missing fields take their defaults.

        Raises:
            TypeError: no mapping from names of fields to values.
            ValueError: an unknown field, or a value out of range.
        """
        how = f"As from {cls.__name__}(...).to_dict()."
        values = checks.require_kind(f"What {cls.__name__} is built from", values, Mapping, how)
        known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
        missing = [name for name in needed if name not in values]
        if missing:
            raise ValueError(f"{cls.__name__} needs {', '.join(missing)}; expected it among {', '.join(known)}.")
        unknown = sorted(map(str, set(values) - set(known)))
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(known)}.")
        return cls(**{name: cls._restore(name, value) for name, value in values.items()})

    @classmethod
    def parts(cls) -> dict[str, type[Serializable]]:
        """The fields that hold settings of their own."""
        made = {f.name: f.default_factory for f in fields(cls)}  # type: ignore[arg-type]
        return {n: kind for n, kind in made.items() if isinstance(kind, type) and issubclass(kind, Serializable)}

    @classmethod
    def _restore(cls, name: str, value: Any) -> Any:
        """The value of one field, from its plain form."""
        if isinstance(value, Mapping) and name in cls.parts():
            return cls.parts()[name].from_dict(value)
        if isinstance(value, list):
            return tuple(cls._restore("", entry) for entry in value)
        return float(value) if isinstance(value, str) and value in ("inf", "-inf") else value

    def to_json(self, path: str | Path | None = None) -> str:
        """The config as JSON text, written to `path` if one is given; infinity is written "inf".

        Raises:
            TypeError: a field holds an object rather than a name, or `path` is no path.
            FileNotFoundError: there is no such folder.
        """
        text = json.dumps(_strict(self.to_dict()), indent=2, allow_nan=False)
        if path is not None:
            checks.require_path("path", path, new=True).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls: type[Config], source: str | Path) -> Config:
        """The config from JSON text or from a file.

        Raises:
            TypeError: neither text nor path.
            FileNotFoundError: there is no such file.
            ValueError: no JSON, an unknown field, or a value out of range.
        """
        if not isinstance(source, str) or not source.lstrip().startswith(("{", "[")):
            source = checks.require_path("source", source).read_text(encoding="utf-8", errors="replace")
        try:
            values = json.loads(source, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError(f"The JSON is nested too deep; expected the fields of {cls.__name__}.") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"source is no JSON: {error}; expected what {cls.__name__}.to_json() wrote.") from None
        return cls.from_dict(values)


def _strict(value: Any) -> Any:
    """Plain values without infinities, for which JSON has no number."""
    if isinstance(value, dict):
        return {name: _strict(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_strict(entry) for entry in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _refuse_constant(word: str) -> float:
    """NaN, Infinity and -Infinity are Python's extension of JSON."""
    raise ValueError(f'The JSON holds {word}, which is no JSON; expected finite numbers, or "inf" for what never ends.')
