"""The hooks on a user's modules: they only look, and only where looking means something.

They are objects rather than closures: `nn.Module.__deepcopy__` and pickling copy hooks with their module, and a copy of
one of these is inert, so that a copied model trains nobody. Where a step goes as the one before it went, the hook of a
synapse only notes its tensors, and that of a neuron hands them to the connection: every microsecond counts here. The
hook manager is told of whatever is new.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled, nn
from torch._C import _current_graph_task_id, _is_any_autocast_enabled, _is_tracing
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from .._checks import PRECISE
from .._untracked import AS_IT_IS, untraced, untracked
from ..connection import Connection
from ..kernels.post_side import OF_STEPS
from .adapter import NeuronCall, first_tensor
from .index import Neuron
from .pooling import pool_of_module
from .provenance import expired, free_weak_reference

MAX_LOOKS = 16  # calls that are looked at for a warning; only on the CPU, where looking is free


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
        self.notify(module, args, kwargs, output)

    def notify(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        """Tell the listener about one call, unless it is none of its own."""
        listener = self.listener()
        if listener is None or output is None or listener.muted:
            return
        learner = listener.learner()
        if learner is None or not learner.enabled:
            return
        if listener.wiring.watching and torch._C._is_torch_function_enabled():
            with torch._C.DisableTorchFunction():  # what is done here is none of the model's operations
                self._notify(listener, module, args, kwargs, output)
        else:
            self._notify(listener, module, args, kwargs, output)

    def _notify(self, listener: Listener, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
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

    def __deepcopy__(self, memo: dict[int, Any]) -> InertHook:
        return InertHook()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (InertHook, ())


class SynapseHook(Hook):
    """Notes what went into a synapse and what came out, where its outputs are read as they come; else tells it."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """One call of the synapse."""
        manager: Any = self.listener()
        if manager is not None and type(output) is Tensor and not (manager.muted or manager.wiring.watching):
            call, learner, read = manager.wiring.unlisted.get(self.key), manager.learner(), manager.connections.pre
            if (
                call is not None and call.learns and module is call.synapse.module and call.synapse.layer.training
                and learner is not None and learner.enabled and read.function is None
                and not (_is_tracing() or output.is_meta or is_functorch_wrapped_tensor(output))
                and _current_graph_task_id() == -1
                and expired(call.memory)  # nobody can ask for the call before this one
                and not (call.handed_on and call.held)
            ):  # fmt: skip
                given = args[0] if args and call.synapse.reads_input else call.synapse.input_of(args, kwargs)
                if (
                    type(given) is Tensor
                    and given.dtype in PRECISE
                    and given.layout is torch.strided is output.layout
                    and not (given.is_inference() or output.is_inference())
                ):
                    if read.looks > 0 and given.is_cpu:
                        read(self.key, given)
                    # what `SynapseCall.set` does, for a strided output: the call becomes the next one of its synapse
                    storage = output.untyped_storage()
                    free_weak_reference(call.memory)
                    call.memory, call.bytes, call.itemsize = (
                        storage._weak_ref(),
                        storage.nbytes(),
                        output.element_size(),
                    )
                    call.version, call.shape = output._version, output.shape
                    call.place = (output.stride(), int(output.storage_offset()))
                    call.pre = given.detach() if given.requires_grad else given
                    call.output, call.read, call.source_memory = weakref.ref(output), False, None
                    call.waiting += 1
                    manager.wiring.latest[self.key] = call
                    return
        self.notify(module, args, kwargs, output)


class DirectReading(NamedTuple):
    """What a neuron learned from the last time, where that was one synapse whose output it was given as it came.

    Args:
        synapse: its name.
        layer: the one that handed its output on, where there was one.
        connection: from it to the neuron.
        device: where they are.
        starts: whether a call begins a sequence; None where calls do not tell.
        reads: the neuron, where it is not its spikes that are observed.
        side: what is observed of a call then, where that takes one look.
    """

    synapse: str
    layer: str | None
    connection: Connection
    device: torch.device
    starts: Callable[[NeuronCall], bool] | None
    reads: Neuron | None = None
    side: Callable[[NeuronCall], Tensor | None] | None = None


class NeuronHook(Hook):
    """Observes a step of the one connection that a neuron learns from, where that is as it was; else tells of it."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """One call of the neuron."""
        manager: Any = self.listener()
        direct = None if manager is None or not args else manager.connections.direct.get(self.key)
        if manager is not None and direct is not None and not (manager.muted or manager.wiring.watching):
            call, learner = manager.wiring.latest.get(direct.synapse), manager.learner()
            noted = call if call is None or direct.layer is None else call.handed_on.get(direct.layer)
            made: Any = call if noted is call else getattr(noted, "call", noted)  # whose shape the spikes have
            current, spikes = args[0], output
            while type(spikes) is tuple:
                spikes = spikes[0]
            if (
                call is not None and call.pre is not None and noted is not None
                and noted.output() is current and noted.version == current._version  # the very tensor, as it was
                and noted.memory == current.untyped_storage()._cdata
                and type(spikes) is Tensor and spikes.layout is torch.strided
                and made.shape == spikes.shape and len(made.shape) > made.sample_dims
                and call.pre.dtype is spikes.dtype and direct.device == spikes.device
                and learner is not None and learner.enabled and module.training and module is self.module()
                and not (_is_tracing() or is_functorch_wrapped_tensor(spikes)) and _current_graph_task_id() == -1
                and not (direct.starts is not None and self._starts(manager, direct, current, spikes, args, kwargs))
            ):  # fmt: skip
                call.read, call.waiting = True, 0
                gradients = direct.reads is not None and direct.side is None
                if gradients and manager.connections.gradients.on_direct(direct, call, spikes):
                    return
                tracked = is_grad_enabled() or is_inference_mode_enabled() or _is_any_autocast_enabled()
                with untracked(spikes) if tracked else AS_IT_IS:
                    post, activity = spikes, direct.connection.activity
                    if direct.reads is not None:
                        state = args[1] if len(args) > 1 else kwargs.get("state")
                        post = manager.connections.post_side(direct, NeuronCall(current, state, spikes, output))
                    post = post.detach() if post.requires_grad else post
                    direct.connection.observe(call.pre, post if made is call else made.credited(post))
                    if activity.looked == activity.seen and post is not spikes and direct.reads is not None:
                        activity.fired(spikes)
                return
        self.notify(module, args, kwargs, output)

    def _starts(
        self, manager: Any, direct: DirectReading, current: Tensor, spikes: Tensor, args: tuple[Any, ...], kwargs: Any
    ) -> bool:
        """Whether this call begins a sequence; where it does not, that is noted."""
        assert direct.starts is not None
        state = args[1] if len(args) > 1 else kwargs.get("state")
        starts = direct.starts(NeuronCall(current, state, spikes))
        if not starts:
            manager.connections.started_at[direct.connection.name] = -1
        return starts


class LayerHook(Hook):
    """Notes what a layer that works unit by unit, or pools, has made of a synapse's output; else tells it."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """One call of the layer."""
        manager: Any = self.listener()
        if manager is not None and args and not (manager.muted or manager.wiring.watching):
            learner, given = manager.learner(), args[0]
            if (
                learner is not None and learner.enabled and module is self.module()
                and type(given) is Tensor is type(output)
                and not (_is_tracing() or output.is_meta or is_functorch_wrapped_tensor(output))
                and not is_functorch_wrapped_tensor(given) and _current_graph_task_id() == -1
                and manager.wiring.hand_on(self.key, given, output, pool_of_module(module))
            ):  # fmt: skip
                return
        self.notify(module, args, kwargs, output)


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


class BeginHook(PassHook):
    """Before a whole forward pass: what an interrupted one has noted waits for nobody, and keeps no input alive."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, output: Any = None) -> None:
        """A pass begins."""
        manager: Any = self.listener()
        if manager is None or manager.muted or module is not self.module():
            return
        learner, wiring = manager.learner(), manager.wiring
        if learner is None or not learner.enabled:
            return
        if not (wiring.watching or wiring.superseded):
            for name, call in wiring.latest.items():
                if name not in wiring.unlisted:
                    break
                call.waiting = 0
                if expired(call.memory) and not (call.handed_on and call.held):
                    call.pre = None
            else:
                wiring.latest.clear()
                return
        manager.on_pass_begin((args, kwargs.values()))


class StateHook(Hook):
    """Before a neuron works: tells what it begins with."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, output: Any = None) -> None:
        """A call of the neuron begins."""
        manager = awake(self.listener(), module, self.module())
        direct = None if manager is None else manager.connections.direct.get(self.key)
        if manager is None or (direct is not None and direct.connection.post_side not in OF_STEPS):
            return  # or nothing of this neuron is run again
        manager.connections.begin(self.key, module, args, kwargs)


class InertHook:
    """What is left of a hook on a copied or unpickled module."""

    def __call__(self, *call: object) -> None:
        """Nothing."""


def awake(manager: Any, module: nn.Module, own: nn.Module | None) -> Any:
    """The manager, where calls of this module count."""
    if manager is None or manager.muted or module is not own or not module.training:
        return None
    learner = manager.learner()
    return manager if learner is not None and learner.enabled else None


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


class Presynaptic:
    """The reading of a synapse's input: "raw" as it is, "binary" every non-zero as one spike, or any function.

    Args:
        choice: "raw", "binary", or a function of the input that keeps its shape.

    Raises:
        ValueError: another word.

    >>> import torch
    >>> Presynaptic("binary")("fc", torch.tensor([0.0, 3.0, -1.0]))
    tensor([0., 1., 1.])
    """

    def __init__(self, choice: str | Callable[[Tensor], Tensor]) -> None:
        if not callable(choice) and choice not in ("raw", "binary"):
            raise ValueError(f"pre = {choice!r}; expected 'raw', 'binary', or a function of a synapse's input.")
        self.function = _binary if choice == "binary" else choice if callable(choice) else None
        self.looks = MAX_LOOKS

    def __call__(self, name: str, activity: Tensor) -> Tensor:
        """The presynaptic activity in an input."""
        if self.function is not None:
            return self.function(activity)
        if self.looks > 0 and activity.device.type == "cpu":
            self.looks -= 1
            self._look(name, activity)
        return activity

    def _look(self, name: str, activity: Tensor) -> None:
        if not ((activity == 0) | (activity == 1) | activity.isnan()).all():  # NaN is refused elsewhere
            self.looks = 0
            warnings.warn(
                f"The input of {name} holds other values than 0 and 1, and each counts as that much presynaptic "
                "activity. If they are spikes of another height or sign, attach with pre='binary'; if they are meant, "
                "with pre=lambda x: x.",
                stacklevel=2,
            )


def _binary(activity: Tensor) -> Tensor:
    return (activity != 0).to(activity.dtype)
