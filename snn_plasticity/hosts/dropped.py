"""A learner that was thrown away before its first step leaves a word behind, which the next call of the model says."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from .._silence import Silence
from ..notices import notice
from .hooks import InertHook

_CALLS = tuple(os.path.join("torch", "nn", "modules", name) for name in ("module.py", "container.py"))


def remove_all(handles: list[RemovableHandle]) -> None:
    """Take these hooks off."""
    while handles:
        handles.pop().remove()


class DroppedNotice:
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
        remove_all(self.handles)

    def __deepcopy__(self, memo: dict[int, Any]) -> InertHook:
        return InertHook()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (InertHook, ())


def remove_of_dropped(
    handles: list[RemovableHandle], silence: Silence, modules: Iterable[weakref.ref[nn.Module]]
) -> None:
    """Take the hooks of a learner that is gone off its model; where they were still on and it never stepped, say so."""
    unused = bool(handles) and not silence.steps
    remove_all(handles)
    if unused:
        DroppedNotice(module for ref in modules if (module := ref()) is not None)


def withdraw_notices(model: nn.Module) -> None:
    """Another learner is attached: what the last one left to say is past."""
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, DroppedNotice):
                hook.withdraw()


def _to_the_caller() -> int:
    """`stacklevel` of the line that called the model, counted from the hook: past the frames of torch.nn."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and (level < 3 or frame.f_code.co_filename.endswith(_CALLS)):
        frame, level = frame.f_back, level + 1
    return level
