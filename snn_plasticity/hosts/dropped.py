"""The word that is left behind where a learner was thrown away before its first step: nothing learns here.

A learner takes its hooks with it. One that nobody kept, as in `attach(model)` without a name for the result, would
leave a model that trains on and learns nothing; so a last hook says it at the next training pass, once, and is gone.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..notices import notice
from ..silence import Silence
from .hooks import Inert

_CALLS = tuple(os.path.join("torch", "nn", "modules", name) for name in ("module.py", "container.py"))


class Farewell:
    """A forward pre-hook that warns once, at a call in training mode; a copy of it says nothing."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.handles = [module.register_forward_pre_hook(self) for module in modules]

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Say it, if this pass was to be learned from."""
        if torch.compiler.is_compiling() or not module.training:
            return
        self.withdraw()
        notice(
            "The learner that was attached to this model was thrown away before its first step, and its hooks with it: "
            "nothing is learned. Keep it, as in learner = attach(model, ...), or call its remove() if it is not "
            "wanted.",
            stacklevel=_to_the_caller(),
        )

    def withdraw(self) -> None:
        """Leave without a word."""
        while self.handles:
            self.handles.pop().remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> Inert:
        return Inert()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Inert, ())


def farewell(handles: list[RemovableHandle], silence: Silence, modules: Iterable[weakref.ref[nn.Module]]) -> None:
    """Take the hooks of a learner that is gone off its model; where they were still on and it never stepped, say so."""
    unused = bool(handles) and not silence.steps
    while handles:
        handles.pop().remove()
    if unused:
        Farewell(module for ref in modules if (module := ref()) is not None)


def withdraw(model: nn.Module) -> None:
    """Another learner is attached: what the last one left to say is past."""
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, Farewell):
                hook.withdraw()


def _to_the_caller() -> int:
    """`stacklevel` of the line that called the model, counted from the hook: past the frames of torch.nn."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and (level < 3 or frame.f_code.co_filename.endswith(_CALLS)):
        frame, level = frame.f_back, level + 1
    return level
