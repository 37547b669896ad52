"""The hooks on a user's modules: they only look, and only where looking means something.

They are objects rather than closures: `nn.Module.__deepcopy__` and pickling copy hooks with their module, and a copy of
one of these is inert, so that a copied model trains nobody.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled, nn
from torch._C import _current_graph_task_id, _is_any_autocast_enabled, _is_tracing
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.utils.hooks import RemovableHandle

from ..untracked import untracked
from .compiled import untraced
from .index import ModelIndex
from .neurons import first_tensor

_PRECISE = (torch.float32, torch.float64)


class Ear(Protocol):
    """What decides whether calls count: a learner."""

    enabled: bool


class Watched(Protocol):
    """What is told of operations while it is watching."""

    watching: bool


class Listener(Protocol):
    """Whoever listens to hooks: with connections by edge, silent while muted or while its learner is."""

    muted: bool

    @property
    def learner(self) -> Callable[[], Ear | None]:
        """What decides whether calls count; None once it is gone."""
        ...

    @property
    def wiring(self) -> Watched:
        """What knows whether operations are seen at the moment."""
        ...

    @property
    def edges(self) -> Mapping[Any, Any]:
        """The connections, by synapse and neuron."""
        ...


class Hook:
    """A forward hook that tells `listener.<method>(key, args, kwargs, output)`, outside of autograd and autocast.

    Args:
        listener: the listener; it is not kept alive, and once it is gone the hook does nothing.
        method: the name of what is told.
        key: what the listener calls this module.
        module: the module it is registered on; calls of a replica are an error, and those of another module that it was
            put on (as quantisation does, without keywords) say nothing.
    """

    def __init__(self, listener: Listener, method: str, key: str, module: nn.Module) -> None:
        self.listener, self.method, self.key = weakref.ref(listener), method, key
        self.module = weakref.ref(module)

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """Tell the listener about one call."""
        listener = self.listener()
        if listener is None or output is None or listener.muted:
            return
        learner = listener.learner()
        if learner is None or not learner.enabled:
            return
        if listener.wiring.watching and torch._C._is_torch_function_enabled():
            with torch._C.DisableTorchFunction():  # what is done here is none of the model's operations
                self(module, args, kwargs, output)
            return
        spikes = output
        if type(output) is not Tensor:
            spikes = first_tensor(output)
            if isinstance(spikes, (FakeTensor, FunctionalTensor)):
                return
        if _is_tracing() or _current_graph_task_id() != -1 or spikes.is_meta:
            return  # no new activity: traced, exported, or computed again during a backward pass
        if module is not self.module():
            if not getattr(module, "_is_replica", False):
                return
            raise RuntimeError(
                f"{self.key}: the call came from a replica of the module, as nn.DataParallel makes them; expected the "
                "module that was attached to. Use DistributedDataParallel, or pause the learner meanwhile."
            )
        if is_functorch_wrapped_tensor(spikes):
            raise _transformed(self.key)
        if is_grad_enabled() or is_inference_mode_enabled() or _is_any_autocast_enabled():
            with untracked(spikes):
                getattr(listener, self.method)(self.key, args, kwargs, output)
        else:
            getattr(listener, self.method)(self.key, args, kwargs, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> Inert:
        return Inert()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Inert, ())


class PassHook(Hook):
    """A hook before or after a whole forward pass: `listener.<method>((args, values of kwargs))`."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, output: Any = None) -> None:
        """Tell the listener that a pass begins or has ended."""
        listener = self.listener()
        if listener is None or listener.muted or module is not self.module():
            return
        learner = listener.learner()
        if learner is not None and learner.enabled:
            getattr(listener, self.method)((args, kwargs.values()))


class Inert:
    """What is left of a hook on a copied or unpickled module."""

    def __call__(self, *call: object) -> None:
        """Nothing."""


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
    """Every hook of ours on a model that still has a listener."""
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    return [hook for hook in hooks if isinstance(hook, Hook) and hook.listener() is not None]


UNIT_BY_UNIT_LAYERS: frozenset[type[nn.Module]] = frozenset(
    (
        nn.Identity, nn.Flatten, nn.Unflatten,
        nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
        nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
        nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
        nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
        nn.ReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.RReLU, nn.PReLU,
        nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Softplus,
        nn.Softsign, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Threshold,
    )
)  # fmt: skip


def hooked(listener: Listener, index: ModelIndex) -> list[tuple[nn.Module, Hook, RemovableHandle]]:
    """Hooks for a listener on all synapses and neurons of a model, and on the layers above where they stand alone."""
    parts = [(synapse.name, synapse.module, "on_synapse") for synapse in index.synapses.values()]
    parts += [(neuron.name, neuron.module, "on_neuron") for neuron in index.neurons.values()]
    own = {module for _, module, _ in parts}
    for name, module in index.modules.items():
        if type(module) in UNIT_BY_UNIT_LAYERS and module not in own:
            parts.append((name, module, "on_layer"))
    hooks = [(module, Hook(listener, method, name, module)) for name, module, method in parts]
    return [(m, hook, m.register_forward_hook(hook, with_kwargs=True)) for m, hook in hooks]  # type: ignore[arg-type]
