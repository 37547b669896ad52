"""Seeing every operation of PyTorch while somebody watches: a mode that tells a ledger, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torch.overrides import _get_current_function_mode_stack as _stack

from .layout import version_of
from .ledger import Ledger, tensors_in
from .operation_kinds import FROM_OUTSIDE
from .operations import Operation
from .provenance import Part


class Operations(TorchFunctionMode):
    """Tells a ledger about the operations on what it follows; it changes none of them.

    Args:
        ledger: looks images up and takes new ones.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    @torch.compiler.disable
    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """The operation itself, and what it does to places."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__" or not self.ledger.images:
            return func(*args, **kwargs)
        parts = [self.ledger.part(tensor) for tensor in tensors_in((args, kwargs.values()))]
        if all(part.image is None for part in parts):
            result = func(*args, **kwargs)
            if all(map(self.ledger.knows, parts)) and not (self.ledger.escaped and name in FROM_OUTSIDE):
                self.ledger.know((result,))
            return result
        versions = [version_of(part.tensor) for part in parts]
        result = func(*args, **kwargs)
        written = [part for part, before in zip(parts, versions, strict=True) if _written(part, before, name)]
        with torch.no_grad():
            self.ledger.follow(Operation(name, func, args, kwargs, parts, written), result)
        return result

    def on(self) -> None:
        """See what is done from now on. It goes below whatever else is there, so that this may leave as it came."""
        others = _stack()
        if others:
            _restack([self, *(mode for mode in others if mode is not self)])
        else:
            _push_mode(self)

    def off(self) -> None:
        """See nothing."""
        others = _stack()
        if others == [self]:
            _pop_mode()
        elif self in others:
            _restack([mode for mode in others if mode is not self])


def _restack(modes: Sequence[TorchFunctionMode]) -> None:
    for _ in _stack():
        _pop_mode()
    for mode in modes:
        _push_mode(mode)


def _written(part: Part, before: int, name: str) -> bool:
    if before < 0:  # no count is kept: the name tells
        return name.endswith("_") and (not name.startswith("__")) or name in ("__setitem__", "__iadd__", "__imul__")
    return version_of(part.tensor) != before
