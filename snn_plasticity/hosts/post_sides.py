"""What a neuron offers the post side of its synapses: spikes, their surrogate derivative, the membrane, or your own."""

from __future__ import annotations

from torch import Tensor

from .._checks import known_as
from ..connection import Connection
from ..kernels.eprop import EProp
from ..kernels.stdp import Kernel
from .adapter import NeuronCall, above_threshold, membrane, pseudo_derivative, response, surrogate
from .hooks import as_activity
from .index import Neuron
from .provenance import PairingError


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

    def _read(self, side: object, name: str) -> Tensor:
        if side == "spikes":
            return self.call.spikes
        if callable(side):
            return self._own(side(self.call), name)
        read = _READS.get(str(side))
        found = None if read is None else read(self.neuron.proper, self.call)
        if found is None or found.shape != self.call.spikes.shape:
            kind = type(self.neuron.proper).__name__
            raise PairingError(
                f"{name}: its kernel reads the {_WORDS[str(side)]} of {self.neuron.name}, a {kind}, which its host "
                "does not tell. Give attach(..., post=) a function of the call, or choose a kernel that reads spikes."
            )
        return found

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


def kernel_for(neuron: Neuron, connection: Connection) -> Kernel:
    """e-prop with the memory of this very neuron.

    Raises:
        PairingError: its membrane does not answer alike at all times.
    """
    answer = response(neuron.proper)
    if answer is None:
        raise PairingError(
            f"{connection.name}: kernel 'eprop' needs to know how the membrane of {neuron.name}, a "
            f"{type(neuron.proper).__name__}, answers a unit of current, and a reset to zero, decays of single neurons "
            "or a decay that learns change that. Give the kernel yourself: EligibilityConfig(kernel=EProp(tau_m=...))."
        )
    psi, convention = pseudo_derivative(neuron.proper), connection.config.eligibility.convention
    return EProp(convention=convention, response=answer, pseudo_derivative=psi)
