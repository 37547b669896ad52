"""A promise, and what came of measuring it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Verdict(NamedTuple):
    """What a check measured, and whether that is what was promised."""

    kept: bool
    measured: str


class Check(NamedTuple):
    """A promise and the function that measures it on a device."""

    promise: str
    measure: Callable[[str], Verdict]
