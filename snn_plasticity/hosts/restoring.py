"""A model may run for a look, and is afterwards as it was; whoever learns from it hears nothing of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .hooked import hooks_of

_REGISTRIES = ("_parameters", "_modules", "_buffers")


@contextmanager
def unheard(model: nn.Module) -> Iterator[None]:
    """Within it, no learner that is attached to the model hears anything."""
    listeners = [listener for hook in hooks_of(model) if (listener := hook.listener()) is not None]
    for listener in listeners:
        listener.muted = True
    try:
        yield
    finally:
        for listener in listeners:
            listener.muted = False


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Within it a model may run; afterwards its buffers, states, attributes and the random numbers are as before."""
    modules = list(model.modules())
    attributes = [{name: _shallow(value) for name, value in vars(module).items()} for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    values = [(b, b.detach().clone()) for held in buffers for b in held.values() if b is not None]
    states = torch.random.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        torch.random.set_rng_state(states[0])
        if states[1]:
            torch.cuda.set_rng_state_all(states[1])
        with torch.no_grad():
            for buffer, value in values:
                _write_back(buffer, value)
        for module, held, kept in zip(modules, buffers, attributes, strict=True):
            module._buffers.clear()
            module._buffers.update(held)
            _put_back(module, kept)


def _shallow(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set) else value


def _write_back(buffer: Tensor, value: Tensor) -> None:
    with torch.inference_mode(buffer.is_inference()):
        if not torch.equal(buffer, value):
            buffer.detach().copy_(value)


def _put_back(module: nn.Module, kept: dict[str, Any]) -> None:
    now = vars(module)
    for name in set(now) - set(kept):
        del now[name]
    for name, value in kept.items():
        if name in _REGISTRIES or name.endswith("_hooks") or "_hooks_" in name:
            continue
        if type(value) in (list, dict, set) and type(now.get(name)) is type(value):
            _refill(now[name], value)
        else:
            now[name] = value


def _refill(container: Any, value: Any) -> None:
    """Containers keep their identity: somebody else may hold them too."""
    container.clear()
    if isinstance(container, list):
        container.extend(value)
    else:
        container.update(value)
