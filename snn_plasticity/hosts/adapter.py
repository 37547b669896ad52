"""What has to be known of a library of neurons: one adapter for each host, and nobody else asks which host it is.

    class Mine(HostAdapter):
        def kind_of(self, module):
            return NeuronKind() if isinstance(module, MyNeuron) else None

    register_host(Mine())

Hooks, pairing, `attach`, widening and deepening a net, the count of its operations and a fresh start of hidden states
ask the adapters; the rest they read off tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .._checks import known_as, require_callable, require_flag, require_kind, require_number
from ..kernels.eprop import Response
from .replay import Before, OneStep, held_tensors, step_of_call


class NeuronCall(NamedTuple):
    """One call of a neuron.

    Args:
        current: what went in.
        state: the state that was passed along; None where there was none.
        spikes: what came out, (B, ...) or (T, B, ...).
        output: all that came out, spikes and states.
        before: what it began with, where that was noted.
    """

    current: Tensor
    state: Any
    spikes: Tensor
    output: Any = None
    before: Before = Before()


def never(call: NeuronCall) -> bool:
    """The host does not say when a sequence begins."""
    return False


@dataclass(frozen=True)
class OwnWeight:
    """A weight that a neuron holds itself, as recurrent cells do.

    Args:
        attribute: its name on the neuron.
        pre: what drives it, of a call and of whether that call is time-major.
        autapses: whether a neuron may connect to itself.
        recurrent: whether it connects the neurons among themselves.

    Raises:
        TypeError: a name that is no string, or no function.
    """

    attribute: str
    pre: Callable[[NeuronCall, bool], Tensor]
    autapses: bool = True
    recurrent: bool = False

    def __post_init__(self) -> None:
        require_kind("attribute", self.attribute, str, "As 'recurrent_weights'.")
        require_callable("pre", self.pre, "of a call and of whether it is time-major, to what drives the weight")
        for name in ("autapses", "recurrent"):
            require_flag(name, getattr(self, name))


@dataclass(frozen=True, repr=False)
class NeuronKind:
    """What a class of neurons means.

    Args:
        time_major: one call is a whole sequence (T, B, ...).
        starts: whether a call begins a new sequence.
        refusal: why its output cannot be the post side of a synapse, if so.
        takes_current: its input is the current that synapses deliver (not spikes for weights of its own).
        dt: its step length, where it has one.
        inner: submodules that are synapses onto itself.
        weights: weights it holds itself.
        inside: the submodule that is the neuron proper, where this one only repeats it over time.
        integrates: it never fires, and what is read of it is its membrane: a leaky integrator. Kernels that read
            derivatives learn from it, those that read spikes do not.

    Raises:
        TypeError, ValueError: a field of another kind, or no step length.
    """

    time_major: bool = False
    starts: Callable[[NeuronCall], bool] = never
    refusal: str | None = None
    takes_current: bool = True
    dt: float | None = None
    inner: tuple[str, ...] = ()
    weights: tuple[OwnWeight, ...] = ()
    inside: str | None = None
    integrates: bool = False

    def __post_init__(self) -> None:
        for name in ("time_major", "takes_current", "integrates"):
            require_flag(name, getattr(self, name))
        require_callable("starts", self.starts, "of a call, to whether it begins a sequence")
        for name in ("refusal", "inside"):
            if getattr(self, name) is not None:
                require_kind(name, getattr(self, name), str, "A string, or None.")
        if self.dt is not None:
            require_number("dt", self.dt, 0.0, open_low=True)
        for name, kind, how in (
            ("inner", str, "Names of submodules."),
            ("weights", OwnWeight, "A tuple of OwnWeight."),
        ):
            for each in require_kind(name, getattr(self, name), tuple, how):  # type: ignore[attr-defined]
                require_kind(f"A member of {name}", each, kind, how)

    def __repr__(self) -> str:
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"NeuronKind({', '.join(given)})"

    def over_time(self, inside: str) -> NeuronKind:
        """The same neuron, repeated over the leading axis by a module that holds it."""
        return replace(self, time_major=True, inside=require_kind("inside", inside, str, "As 'lifted_module'."))


def why_not_post_of(kind: NeuronKind) -> str | None:
    """Why no synapse from outside learns from the spikes of such a neuron; None if they do."""
    if kind.refusal or kind.takes_current:
        return kind.refusal
    return "it has input weights of its own, and what it is given drives those rather than its membrane"


def first_tensor(output: Any) -> Tensor:
    """The spikes in a neuron's output: both hosts return them first."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def dense(tensor: Tensor) -> Tensor:
    """Spikes without a graph; hosts may pass sparse ones."""
    return tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()


class HostAdapter(Protocol):
    """What a host's modules mean. A class that inherits from this one needs `kind_of` only.

    Attributes:
        output_sizes, input_sizes: attributes by which modules of the host tell how many units they make, and read.
    """

    output_sizes: tuple[str, ...] = ()
    input_sizes: tuple[str, ...] = ()

    def kind_of(self, module: nn.Module) -> NeuronKind | None:
        """What a module is as a neuron; None if it is none."""
        ...

    def repeated(self, module: nn.Module) -> str | None:
        """The child that a module repeats over the leading axis, as Norse's `Lift`; None if it does no such thing."""
        return None

    def refusal_of_layer(self, module: nn.Module) -> str | None:
        """Why a layer of the host, derived from one of torch, is no synapse like that one; None if it is."""
        return None

    def surrogate(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """ψ = ∂z/∂I of a call, shaped like its spikes; None where the host cannot tell."""
        return None

    def above_threshold(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """v − θ of a call, from which `pseudo_derivative` makes ψ; None where the host cannot tell."""
        return None

    def pseudo_derivative(self, module: nn.Module) -> Callable[[Tensor], Tensor] | None:
        """From v − θ, of any number of steps, to ψ; None where the host cannot tell."""
        return None

    def membrane(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """The membrane of a call, shaped like its spikes, which came from it; None where the host cannot tell.

        Where a host tells it only after the step, a reset has been at it.
        """
        return None

    def response(self, module: nn.Module) -> Response | None:
        """How the membrane answers a unit of current, n steps later, Σ c·λⁿ as ((c, λ), …).

        None where that is not the same at all times, in all neurons: where a reset cuts it, say.
        """
        return None

    def held_state(self, module: nn.Module) -> dict[str, Any]:
        """The state that a module holds itself, by attribute, as it is now."""
        return held_tensors(module)

    def one_step(self, module: nn.Module, call: NeuronCall) -> OneStep | None:
        """The step of a call that was one, as a function of its current and its states; None where there is none."""
        return step_of_call(module, call.before, call.current, call.spikes, call.output)

    def forget_state(self, module: nn.Module) -> None:
        """Hidden state that a module holds itself becomes that of a fresh start."""

    def detach_state(self, module: nn.Module) -> None:
        """Hidden state that a module holds itself loses its graph, and keeps its values."""

    def widen_constants(self, module: nn.Module, small: int, large: int) -> None:
        """Constants of single neurons that are no tensors of the model are repeated for new ones: `large` of them."""

    def class_scores(self, loss: Callable[..., Any]) -> Callable[[Tensor], Tensor] | None:
        """From an output (T, B, outputs) to the scores (B, classes) that a loss compares; None where it is unknown."""
        return None

    def inserted(self, parent: nn.Sequential, at: int) -> None:
        """Behind the neuron before place `at` of a container, synapses and another neuron were put in."""


_hosts: list[HostAdapter] = []
_known: WeakKeyDictionary[nn.Module, tuple[HostAdapter, ...]] = WeakKeyDictionary()  # whose neuron a module is
_ASKED = (
    "kind_of", "repeated", "refusal_of_layer", "surrogate", "above_threshold", "pseudo_derivative", "membrane",
    "response", "held_state", "one_step", "forget_state", "detach_state", "widen_constants", "class_scores",
    "inserted",
)  # fmt: skip


def register_host(adapter: HostAdapter) -> Callable[[], None]:
    """Make the neurons of another library, or of your own, known to everything here. The latest is asked first.

    Args:
        adapter: see `HostAdapter`.

    Returns:
        A function that takes it out again.

    Raises:
        TypeError: the adapter lacks a method.

    >>> class Threshold(nn.Module):
    ...     def forward(self, current):
    ...         return (current > 1.0).float()
    >>> class Mine(HostAdapter):
    ...     def kind_of(self, module):
    ...         return NeuronKind() if isinstance(module, Threshold) else None
    >>> forget = register_host(Mine())
    >>> kind_of(Threshold())
    NeuronKind()
    >>> forget()
    >>> kind_of(Threshold()) is None
    True
    """
    lacking = [name for name in _ASKED if not callable(getattr(adapter, name, None))]
    if lacking or isinstance(adapter, type):
        raise TypeError(
            f"adapter is {known_as(adapter)}, which has no {', '.join(lacking) or 'state of its own'}; expected an "
            "instance of a class that inherits from HostAdapter."
        )
    for name in ("output_sizes", "input_sizes"):
        require_kind(name, getattr(adapter, name, None), tuple, "Names of attributes, as ('hidden_size',).")
    _hosts.insert(0, adapter)
    _known.clear()

    def remove() -> None:
        _hosts[:] = [host for host in _hosts if host is not adapter]
        _known.clear()

    return remove


def kind_of(module: nn.Module) -> NeuronKind | None:
    """What a module is as a neuron of any host."""
    for host in _hosts:
        kind = _kind_in(host, module)
        if kind is not None:
            return kind
        child = host.repeated(module)
        inner = _kind_in(host, getattr(module, child)) if child else None
        if inner is not None and not inner.time_major:
            return inner.over_time(child)  # type: ignore[arg-type]
    return None


def _kind_in(host: HostAdapter, module: nn.Module) -> NeuronKind | None:
    kind = host.kind_of(module)
    if kind is not None and not isinstance(kind, NeuronKind):
        raise TypeError(f"{type(host).__name__}.kind_of returned {known_as(kind)}; expected a NeuronKind, or None.")
    return kind


def repeated(module: nn.Module) -> str | None:
    """The child that a module repeats over time."""
    return _first(host.repeated(module) for host in _hosts)


def refusal_of_layer(module: nn.Module) -> str | None:
    """Why a layer of some host is no synapse."""
    return _first(host.refusal_of_layer(module) for host in _hosts)


def surrogate(module: nn.Module, call: NeuronCall) -> Tensor | None:
    """ψ of a call of a neuron; None where no host that knows it can tell."""
    return _told(module, lambda host: host.surrogate(module, call))


def above_threshold(module: nn.Module, call: NeuronCall) -> Tensor | None:
    """v − θ of a call of a neuron; None where no host that knows it can tell."""
    return _told(module, lambda host: host.above_threshold(module, call))


def pseudo_derivative(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """From v − θ to ψ, of a neuron; None where no host that knows it can tell."""
    return _told(module, lambda host: host.pseudo_derivative(module))


def membrane(module: nn.Module, call: NeuronCall) -> Tensor | None:
    """The membrane of a call of a neuron; None where no host that knows it can tell."""
    return _told(module, lambda host: host.membrane(module, call))


def response(module: nn.Module) -> Response | None:
    """How the membrane of a neuron answers a unit of current; None where that changes."""
    return _told(module, lambda host: host.response(module))


def _told(module: nn.Module, ask: Callable[[HostAdapter], Any]) -> Any:
    """What the first of the hosts that know a neuron can tell of it."""
    return next((answer for host in hosts_of(module) if (answer := ask(host)) is not None), None)


def hosts_of(module: nn.Module) -> tuple[HostAdapter, ...]:
    """The hosts that know a module as a neuron, the latest first; asked once, since this is wanted at every step."""
    if module not in _known:
        _known[module] = tuple(host for host in _hosts if _kind_in(host, module) is not None)
    return _known[module]


def host_of(module: nn.Module) -> HostAdapter | None:
    """The host whose neuron a module is."""
    return next(iter(hosts_of(module)), None)


def held_state(module: nn.Module) -> dict[str, Any]:
    """The state that a neuron of any host holds itself, as it is now."""
    host = host_of(module)
    return {} if host is None else host.held_state(module)


def one_step(module: nn.Module, call: NeuronCall) -> OneStep | None:
    """The step of a call of a neuron of any host; None where its host tells of none."""
    host = host_of(module)
    return None if host is None else host.one_step(module, call)


def forget_states(model: nn.Module) -> None:
    """Hidden state that neurons hold themselves becomes that of a fresh start."""
    for module in model.modules():
        for host in _hosts:
            host.forget_state(module)


def detach_state(module: nn.Module) -> None:
    """Hidden state that a neuron holds itself loses its graph."""
    for host in _hosts:
        host.detach_state(module)


def widen_constants(module: nn.Module, small: int, large: int) -> None:
    """Constants of single neurons are repeated for the new ones."""
    for host in _hosts:
        host.widen_constants(module, small, large)


def inserted(parent: nn.Sequential, at: int) -> None:
    """Synapses and a neuron were put into a container, behind the neuron before place `at`."""
    for host in _hosts:
        host.inserted(parent, at)


def class_scores(loss: Callable[..., Any]) -> Callable[[Tensor], Tensor] | None:
    """What a loss of a host reads from an output (T, B, outputs): a function to scores (B, classes)."""
    return next((read for host in _hosts if (read := host.class_scores(loss)) is not None), None)


def output_sizes() -> tuple[str, ...]:
    """Attributes by which modules tell how many units they make, beside those of torch."""
    return tuple(dict.fromkeys(name for host in reversed(_hosts) for name in host.output_sizes))


def input_sizes() -> tuple[str, ...]:
    """Attributes by which modules tell how many units they read, beside those of torch."""
    return tuple(dict.fromkeys(name for host in reversed(_hosts) for name in host.input_sizes))


def _first(answers: Iterable[Any]) -> Any:
    return next((answer for answer in answers if answer), None)
