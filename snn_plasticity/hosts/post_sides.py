"""What a neuron offers the post side of its synapses: spikes, their surrogate derivative, the membrane, or your own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from .._checks import known_as
from ..connection import Connection
from ..kernels.eprop import EProp
from ..kernels.online import OnlineGradient
from ..kernels.post_side import OF_STEPS
from ..kernels.stdp import Kernel
from ..plasticity.eligibility_vectors import EligibilityVectors
from .adapter import (
    NeuronCall,
    above_threshold,
    dense,
    hosts_of,
    membrane,
    one_step,
    pseudo_derivative,
    response,
    surrogate,
)
from .hooks import as_activity
from .index import Neuron
from .provenance import PairingError, SynapseCall
from .reading import Reading
from .replay import Linearised, OneStep, linearise


class PostSides:
    """One call of a neuron, as the post side of its synapses: each side is worked out once.

    Args:
        neuron: whose call it is.
        call: what went in and what came out.
    """

    def __init__(self, neuron: Neuron, call: NeuronCall) -> None:
        self.neuron, self.call = neuron, call
        self._known: dict[object, Tensor] = {}

    def __call__(self, connection: Connection) -> Tensor:
        """What the kernel of a connection reads, shaped like the spikes.

        Raises:
            PairingError: the neuron does not offer it.
            TypeError, ValueError: what a function of the user's gave is no tensor like the spikes.
        """
        side = connection.post_side
        if side not in self._known:
            self._known[side] = as_activity(self._read(side, connection.name))
        return self._known[side]

    def beside(
        self, connection: Connection, place: Callable[..., tuple[Tensor, Tensor]], *, alike: bool
    ) -> tuple[Tensor, Tensor]:
        """Pre and post of a connection, side by side.

        Args:
            connection: whose kernel says what is read.
            place: puts what is shaped like the spikes beside the pre side; where that comes through a pool, `copied`
                says that each place has what its window has, as a neuron's memory: p and J of a step.
            alike: whether it leaves all elements where they are.
        """
        values = self(connection)
        if connection.post_side not in OF_STEPS:
            return place(values)
        (d, _), at = values.shape[:2], int(self.neuron.kind.time_major)
        pre, first = place(values[0, 0])
        planes = [values.reshape(d, d, *first.shape)] if alike else []
        planes = planes or [place(values[i, j], copied=j > 0)[1] for i in range(d) for j in range(d)]
        rows = planes[0] if alike else torch.stack(planes).unflatten(0, (d, d))
        return pre, rows.movedim((0, 1), (1 + at, 2 + at))

    def _read(self, side: object, name: str) -> Tensor:
        if side == "spikes":
            return self.call.spikes
        if side in OF_STEPS:
            return self._steps(side == "membrane step", name)
        if callable(side):
            return self._own(side(self.call), name)
        if side == "surrogate" and self.neuron.kind.integrates:
            return _of_itself(self.call)
        read = _READS.get(str(side))
        found = None if read is None else read(self.neuron.proper, self.call)
        if found is None or found.shape != self.call.spikes.shape:
            kind = type(self.neuron.proper).__name__
            raise PairingError(
                f"{name}: its kernel reads the {_WORDS[str(side)]} of {self.neuron.name}, a {kind}, which its host "
                "does not tell. Give attach(..., post=) a function of the call, or choose a kernel that reads spikes."
            )
        return found

    def _steps(self, of_membrane: bool, name: str) -> Tensor:
        """[[q, p], [b, J]] of the call, or of each of its steps: (d + 1, d + 1) values, each shaped like the spikes.

        The first steps with a state are looked at for whether the neuron is elementwise.
        """
        neuron, call, rows = self.neuron, self.call, []
        calls, state = [call], call.state
        if neuron.kind.time_major:
            steps = zip(dense(call.current), dense(call.spikes), strict=True)
            calls = [NeuronCall(current, state, spikes) for current, spikes in steps]
        for now in calls:
            step = one_step(neuron.proper, now._replace(state=state))
            if step is None or (of_membrane and step.membrane is None):
                raise PairingError(f"{name}: {_no_step(neuron)}")
            found, state = linearised(name, neuron, step, spikes=not of_membrane)
            rows.append(found.rows(step.membrane if of_membrane else None))
        return torch.stack(rows, 2) if neuron.kind.time_major else rows[0]

    def _own(self, values: object, name: str) -> Tensor:
        if not isinstance(values, Tensor) or values.shape != self.call.spikes.shape:
            shape = tuple(values.shape) if isinstance(values, Tensor) else known_as(values)
            raise ValueError(
                f"{name}: post gave {shape}; expected a tensor like the spikes, {tuple(self.call.spikes.shape)}."
            )
        return values


_READS = {"surrogate": surrogate, "above_threshold": above_threshold, "membrane": membrane}
_WORDS = {
    "surrogate": "surrogate derivative",
    "above_threshold": "membrane above threshold",
    "membrane": "membrane",
    "gradient": "gradient of a loss",
}


def linearised(name: str, neuron: Neuron, step: OneStep, *, spikes: bool) -> tuple[Linearised, Any]:
    """The step of a neuron, run again, and what its host calls the state after it.

    Raises:
        PairingError: it is not elementwise, or its spikes have no derivative; naming the connection.
    """
    try:
        found = linearise(step, check=neuron.looks > 0, spikes=spikes)
    except ValueError as error:
        raise PairingError(f"{name}: {neuron.name}, a {type(neuron.proper).__name__}: {error}.") from None
    neuron.looks -= 1
    return found


def _of_itself(call: NeuronCall) -> Tensor:
    """ψ of a leaky integrator: what is read of it is the membrane, ∂v/∂v = 1."""
    return torch.ones_like(dense(call.spikes))


def look(connection: Connection, neuron: Neuron) -> Callable[[NeuronCall], Tensor | None] | None:
    """What shows the post side of a connection in a call of its neuron; None where it has to be worked out."""
    hosts, side = hosts_of(neuron.proper), str(connection.post_side)
    if side == "surrogate" and neuron.kind.integrates:
        return _of_itself
    if side not in _READS or not hosts:
        return None
    return partial(getattr(hosts[0], side) if len(hosts) == 1 else _READS[side], neuron.proper)


def kernel_for(neuron: Neuron, connection: Connection) -> Kernel:
    """e-prop, or the online gradient, with the memory of this very neuron.

    Where a reset cuts it, say, it is followed for each synapse.
    """
    answer, config = response(neuron.proper), connection.config.eligibility
    if config.kernel == "online":
        # where the answer begins a step later, the gradient within a step knows nothing of it
        late = answer is None or abs(sum(c for c, _ in answer)) < 1e-9 * max(abs(c) for c, _ in answer)
        if late:
            return cast("Kernel", EligibilityVectors(of="loss"))
        return OnlineGradient(convention=config.convention, response=answer)
    if answer is None:
        return cast("Kernel", EligibilityVectors(of="membrane" if neuron.kind.integrates else "spikes"))
    worked_out = callable(connection.post_side) or neuron.kind.integrates  # a function gives ψ itself
    psi = None if worked_out else pseudo_derivative(neuron.proper)
    return EProp(convention=config.convention, response=answer, pseudo_derivative=psi)


def settings_for(neuron: Neuron, connection: Connection) -> dict[str, Any]:
    """The e of a leaky readout's own weights, beside others that fade as it does, is f: in x̄ is what it holds."""
    settings = connection.config.eligibility
    if settings.kernel != "eprop" or not neuron.kind.integrates or math.isinf(settings.tau_e):
        return {}
    return {"tau_e": settings.dt, "convention": replace(settings.convention, eligibility_decay="euler")}  # 1 − dt/τ = 0


def may_follow(connection: Connection) -> bool:
    """Whether the step of its neuron will be run again, as far as is known."""
    kernel = connection.config.eligibility.kernel
    return connection.post_side in OF_STEPS or kernel in ("eprop", "online") or hasattr(kernel, "laid_out")


def _no_step(neuron: Neuron) -> str:
    """Why the step of a neuron cannot be followed."""
    return (
        f"its kernel follows the state of {neuron.name}, a {type(neuron.proper).__name__}, whose host does not tell of "
        "single steps, or not which state is the membrane. Give its HostAdapter a method one_step, or the kernel "
        "yourself: EligibilityConfig(kernel=EProp(response=...))."
    )


class WorkedOut:
    """ψ of a call as a post side: what a pool hands back to its winners has to be a factor, not what it is made of.

    Args:
        read: v − θ of a call.
        psi: from that to ψ.
    """

    def __init__(self, read: Callable[[NeuronCall], Tensor | None], psi: Callable[[Tensor], Tensor]) -> None:
        self.read, self.psi = read, psi

    def __call__(self, call: NeuronCall) -> Tensor:
        """ψ.

        Raises:
            PairingError: the host does not tell what it is made of.
        """
        above = self.read(call)
        if above is None:
            raise PairingError(
                "A kernel works ψ out from how far the membrane is above threshold, which the host of its neuron does "
                "not tell. Give attach(..., post=) a function of the call."
            )
        return self.psi(above)


def suit_pool(connection: Connection, neuron: Neuron, reading: Reading) -> None:
    """A connection that reaches its neuron through a pool, if it does, reads a factor of f, so that zero is nothing.

    Raises:
        PairingError: its kernel follows steps of neurons whose windows overlap, or has observed others without a pool.
    """
    if all(type(call) is SynapseCall for call in reading.calls):
        return
    if connection.post_side in OF_STEPS and not all(call.exclusive for call in reading.calls):
        raise PairingError(followed_pool(connection.name, neuron))
    kernel = connection.traces.rule.kernel
    if not isinstance(kernel, EProp) or kernel.pseudo_derivative is None:
        return
    if connection.traces.batch_size is not None:
        raise PairingError(
            f"{connection.name} reached {neuron.name} without a pool before; expected the same at each step."
        )
    read = connection.post_side if callable(connection.post_side) else partial(above_threshold, neuron.proper)
    connection.take_kernel(replace(kernel, pseudo_derivative=None))
    connection.post_side = WorkedOut(read, kernel.pseudo_derivative)


def followed_pool(synapse: str, neuron: Neuron) -> str:
    """Why the step of a neuron behind a pool is not followed."""
    return (
        f"{synapse}: its kernel follows the state of each unit of {neuron.name}, a {type(neuron.proper).__name__}, and "
        "behind a pool whose windows overlap a place of the layer belongs to several units. Expected windows side by "
        "side, or a kernel of spikes or of surrogate derivatives: EligibilityConfig(kernel=EProp(response=...))."
    )
