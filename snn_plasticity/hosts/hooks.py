"""The hooks on a user's modules: they only look, and only where looking means something.

They are objects rather than closures: `nn.Module.__deepcopy__` and pickling copy hooks with their module, and a copy of
one of these is inert, so that a copied model trains nobody. `Presence` knows, at every step, whether modules and hooks
are still where they were; and a learner that was dropped before its first step leaves a word behind.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled, nn
from torch._C import _current_graph_task_id, _is_any_autocast_enabled, _is_tracing
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.utils.hooks import RemovableHandle

from ..notices import notice
from ..silence import Silence
from ..untracked import untraced, untracked
from .adapter import first_tensor
from .index import ModelIndex, unwrap

PRECISE = (torch.float32, torch.float64)


class Switch(Protocol):
    """What decides whether calls count: a learner."""

    enabled: bool


class Watched(Protocol):
    """What is told of operations while it is watching."""

    watching: bool


class Listener(Protocol):
    """Whoever listens to hooks: with connections by edge, silent while muted or while its learner is."""

    muted: bool

    @property
    def learner(self) -> Callable[[], Switch | None]:
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
    if tensor.dtype not in PRECISE:
        tensor = tensor.to(torch.float32)
    return tensor.clone() if tensor.is_inference() else tensor


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is activity as it is, so that nothing has to be copied."""
    return tensor.layout is torch.strided and tensor.dtype in PRECISE and not tensor.is_inference()


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
