"""Whether the modules and hooks of a learner are still where they were; and the word that a dropped one leaves."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..notices import notice
from ..silence import Silence
from .hooks import Hook, Inert
from .index import unwrap


class Link(NamedTuple):
    """One step of the way from the model to a module."""

    parent: nn.Module
    key: str
    child: nn.Module


class Presence:
    """The modules of one learner, where they were when it was attached.

    Args:
        model: the model without wrappers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._ways: dict[nn.Module, list[Link]] = {}
        self._hooks: dict[nn.Module, tuple[Hook, int]] = {}
        self._settled: list[tuple[dict[Any, Any], Any, object]] = []  # dictionaries, and what was found in them

    def hooked(self, module: nn.Module, hook: Hook, handle: RemovableHandle) -> None:
        """Remember a hook."""
        self._hooks[module] = (hook, handle.id)

    def settle(self, modules: Iterable[nn.Module]) -> None:
        """These were all there: what has to be the same for them to be there still."""
        self._settled = []
        for module in modules:
            hook, number = self._hooks[module]
            self._settled += [(parent._modules, key, child) for parent, key, child in self._ways[module]]
            self._settled.append((module._forward_hooks, number, hook))

    def as_settled(self) -> bool:
        """Whether all of them are still there, as one quick look tells."""
        for held, key, value in self._settled:
            if held.get(key) is not value:
                return False
        return bool(self._settled)

    def around(self, name: str, module: nn.Module) -> list[nn.Module]:
        """The modules that this one is in, and itself."""
        return [*(link.parent for link in self._way(name, module) or ()), module]

    def lost(self, name: str, module: nn.Module) -> str | None:
        """Why nothing of this module is heard any more; None if it is where it was."""
        way = self._ways.get(module)
        if way is None or any(parent._modules.get(key) is not child for parent, key, child in way):
            way = self._way(name, module)
            if way is None:
                return f"{name} is no longer in the model ({self._instead(name)})"
            self._ways[module] = way
        hook, number = self._hooks.get(module, (None, 0))
        if not isinstance(hook, Hook):
            return (
                f"this learner is a copy whose hooks are not on {name} (copy.deepcopy((model, learner)) puts them on)"
            )
        if module._forward_hooks.get(number) is not hook:
            return f"the hook on {name} was taken off, so that nothing of it is heard"
        return None

    def _way(self, name: str, module: nn.Module) -> list[Link] | None:
        """From the model to the module, as it is named, or by whatever way there is now."""
        way = list(_links(self.model, name))
        if (way[-1].child if way else self.model) is module:
            return way
        now = next((path for path, inner in self.model.named_modules() if inner is module), None)
        return None if now is None else list(_links(self.model, now))

    def _instead(self, name: str) -> str:
        way = [link for link in _links(self.model, name) if unwrap(link.parent) is link.parent]
        if len(way) < len(name.split(".")):
            return "nothing is in its place"
        return f"in its place is another {type(unwrap(way[-1].child)).__name__}"


def _links(model: nn.Module, path: str) -> Iterator[Link]:
    """The way along a path, through wrappers that a path does not mention; as far as it goes."""
    here = model
    for key in path.split(".") if path else ():
        child = here._modules.get(key)
        if child is None:
            return
        yield Link(here, key, child)
        inner = unwrap(child)
        while child is not inner:
            key = "module" if "module" in child._modules and "_orig_mod" not in child._modules else "_orig_mod"
            within = child._modules[key]
            assert within is not None
            yield Link(child, key, within)
            child = within
        here = inner


_CALLS = tuple(os.path.join("torch", "nn", "modules", name) for name in ("module.py", "container.py"))


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
        while self.handles:
            self.handles.pop().remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> Inert:
        return Inert()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Inert, ())


def remove_of_dropped(
    handles: list[RemovableHandle], silence: Silence, modules: Iterable[weakref.ref[nn.Module]]
) -> None:
    """Take the hooks of a learner that is gone off its model; where they were still on and it never stepped, say so."""
    unused = bool(handles) and not silence.steps
    while handles:
        handles.pop().remove()
    if unused:
        DroppedNotice(module for ref in modules if (module := ref()) is not None)


def withdraw(model: nn.Module) -> None:
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
