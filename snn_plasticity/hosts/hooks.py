"""The hook on a user's module: it only looks, and only where looking means something.

It is an object rather than a closure: `nn.Module.__deepcopy__` and pickling copy hooks with their module, and a copy of
this one is inert, so that a copied model trains nobody.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._C import _current_graph_task_id, _is_tracing
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from ..untracked import untracked
from .neuron import first_tensor

_PRECISE = (torch.float32, torch.float64)


class Owner(Protocol):
    """Whoever listens to hooks: with connections by edge, and silent while muted."""

    edges: dict[Any, Any]
    muted: bool

    @property
    def listening(self) -> bool:
        """Whether calls count at the moment."""
        ...

    @property
    def watching(self) -> bool:
        """Whether operations are seen at the moment."""
        ...


class Hook:
    """A forward hook that tells `owner.<method>(key, args, kwargs, output)`, outside of autograd and autocast.

    Args:
        owner: the listener; it is not kept alive, and once it is gone the hook does nothing.
        method: the name of what is told.
        key: what the owner calls this module.
        module: the module it is registered on; calls of a replica are an error, and those of another module that it was
            put on (as quantisation does, without keywords) say nothing.
    """

    def __init__(self, owner: Owner, method: str, key: str, module: nn.Module) -> None:
        self.owner, self.method, self.key = weakref.ref(owner), method, key
        self.module = weakref.ref(module)

    @torch.compiler.disable
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """Tell the owner about one call."""
        owner = self.owner()
        if owner is None or not owner.listening or output is None:
            return
        if owner.watching:
            with torch._C.DisableTorchFunction():  # what is done here is none of the model's operations
                self._tell(owner, module, args, kwargs, output)
        else:
            self._tell(owner, module, args, kwargs, output)

    def _tell(self, owner: Owner, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        spikes = output if type(output) is Tensor else first_tensor(output)
        if _is_rehearsal(spikes):
            return
        if module is not self.module():
            if not getattr(module, "_is_replica", False):
                return
            raise RuntimeError(
                f"{self.key}: the call came from a replica of the module, as nn.DataParallel makes them; expected the "
                "module that was attached to. Use DistributedDataParallel, or pause the learner meanwhile."
            )
        if is_functorch_wrapped_tensor(spikes):
            raise _transformed(self.key)
        with untracked(spikes):
            getattr(owner, self.method)(self.key, args, kwargs, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> Inert:
        return Inert()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Inert, ())


class PassHook(Hook):
    """A hook on the model itself: `owner.<method>()` before or after a whole forward pass."""

    @torch.compiler.disable
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, output: Any = None) -> None:
        """Tell the owner that a pass begins or has ended."""
        owner = self.owner()
        if owner is not None and owner.listening and module is self.module():
            getattr(owner, self.method)((args, kwargs.values()))


class Inert:
    """What is left of a hook on a copied or unpickled module."""

    def __call__(self, *call: object) -> None:
        """Nothing."""


def _is_rehearsal(spikes: Tensor) -> bool:
    """Whether a call computes no new activity: tracing, exporting, or recomputing during a backward pass."""
    if _is_tracing() or _current_graph_task_id() != -1:
        return True
    return spikes.is_meta or (type(spikes) is not Tensor and isinstance(spikes, (FakeTensor, FunctionalTensor)))


def _transformed(key: str) -> RuntimeError:
    return RuntimeError(
        f"{key}: the call came from inside a torch.func transform (vmap, grad, jvp, ...), whose tensors do not "
        "outlive it. Pause the learner there (`with learner.paused():`), or give the module a real batch dimension."
    )


def as_activity(tensor: Tensor) -> Tensor:
    """Spikes as plain numbers: without graph, dense, float32 or float64.

    >>> as_activity(torch.ones(2, dtype=torch.bfloat16, requires_grad=True))
    tensor([1., 1.])
    """
    tensor = tensor.detach()
    if is_plain(tensor):
        return tensor
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype not in _PRECISE:
        tensor = tensor.to(torch.float32)
    return tensor.clone() if tensor.is_inference() else tensor


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is activity as it is, so that nothing has to be copied."""
    return tensor.layout is torch.strided and tensor.dtype in _PRECISE and not tensor.is_inference()


def hooks_of(model: nn.Module) -> list[Hook]:
    """Every hook of ours on a model that still has an owner."""
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    return [hook for hook in hooks if isinstance(hook, Hook) and hook.owner() is not None]
