"""A spiking neuron as plasticity sees it: where its input, its spikes and its own synapses are.

What differs between host classes is data (`NeuronKind`); how a call is read is the same for all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import require_callable, require_flag, require_kind, require_number


class NeuronCall(NamedTuple):
    """One call of a neuron: what went in, the state that was passed along, and the spikes that came out."""

    current: Tensor
    state: Any
    spikes: Tensor


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

    def __post_init__(self) -> None:
        for name in ("time_major", "takes_current"):
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
        told = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"NeuronKind({', '.join(told)})"

    def over_time(self, inside: str) -> NeuronKind:
        """The same neuron, repeated over the leading axis by a module that holds it."""
        return replace(self, time_major=True, inside=inside)


class Neuron:
    """One neuron of a model."""

    def __init__(self, name: str, module: nn.Module, kind: NeuronKind) -> None:
        self.name, self.module, self.kind = name, module, kind
        self.argument = next(iter(inspect.signature(module.forward).parameters), "input")
        self.why_not_post = deafness_of(kind)  # why no synapse from outside learns from its spikes; None if they do

    @property
    def proper(self) -> nn.Module:
        """The module that holds its weights."""
        return getattr(self.module, self.kind.inside) if self.kind.inside else self.module

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> NeuronCall:
        """A call of it, whether the state came by position, by keyword, or in a tuple with the input."""
        current, state = self.input_of(args, kwargs), kwargs.get("state")
        if len(args) > 1:
            state = args[1]
        if isinstance(current, tuple):
            current, state = current
        return NeuronCall(current, state, first_tensor(output))

    def input_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the call was given first."""
        return args[0] if args else kwargs[self.argument]


def deafness_of(kind: NeuronKind) -> str | None:
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
