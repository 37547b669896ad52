"""What a learner is made of: a connection for each synapse that learns, with its settings, mask and kernel."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .._loss_changes import reads_gradient
from .._weights import low_precision
from ..config import PlasticityConfig
from ..config.eligibility import TracePath
from ..connection import Connection
from ..kernels.post_side import PostSide
from .gradients import require_gradient
from .index import ModelIndex, Neuron
from .post_sides import kernel_for, settings_for

NO_NEURON_YET = "no neuron found so far"


class ConnectionBuilder:
    """Makes the connections of one learner.

    Args:
        index: the parts of the model.
        config, layers: the settings, and those of single layers.
        masks: ones for the weights that learn, where not all of a synapse do.
        dt: None for that of the settings, "auto" for that of the neuron, or a number.
        strict: whether a change of batch size is an error.
        path: how the traces are worked out.
        post: what is supplied as the post side; None for what each kernel reads.
    """

    def __init__(
        self,
        index: ModelIndex,
        config: PlasticityConfig,
        layers: Mapping[str, PlasticityConfig],
        masks: Mapping[str, Tensor],
        *,
        dt: float | str | None,
        strict: bool,
        path: TracePath,
        post: PostSide | None = None,
    ) -> None:
        if isinstance(dt, str) and dt != "auto":
            raise ValueError(f"dt = {dt!r}; expected None, 'auto' or a step length.")
        self.index, self.config, self.layers, self.masks = index, config, layers, masks
        self.dt, self.strict = dt, strict
        self.path: TracePath = path
        self.post = post
        self._named: set[str] = set()

    def __call__(self, synapse: str, neuron: str | None) -> Connection:
        """The connection from a synapse to a neuron, where that is known. The first of a synapse bears its name."""
        part = self.index.synapses.get(synapse) or self.index.own[synapse]
        name = f"{synapse}->{neuron}" if synapse in self._named else synapse
        self._named.add(synapse)
        config = self._with_dt(self.layers.get(synapse, self.config), synapse, neuron)
        geometry, mask = part.geometry(), self.masks.get(synapse, part.mask)
        connection = Connection(
            name, part.layer, part.attribute, config, geometry=geometry, mask=mask, strict=self.strict, path=self.path,
            post=self.post,
        )  # fmt: skip
        if neuron is not None:
            self.suit(connection, neuron)
        return connection

    def suit(self, connection: Connection, neuron: str) -> None:
        """Where the settings leave it to the neuron, the kernel becomes one that knows its memory."""
        part = self.index.neurons[neuron]
        connection.activity.fires = not part.kind.integrates
        if connection.config.eligibility.kernel in ("eprop", "online"):
            connection.take_kernel(kernel_for(part, connection), **settings_for(part, connection))
        if reads_gradient(connection):
            require_gradient(part, connection)

    def warn_of_low_precision(self, connections: Sequence[Connection]) -> None:
        """Once, for all weights that round small changes away."""
        low = [connection.name for connection in connections if low_precision(connection.weight)]
        if low:
            warnings.warn(
                f"{', '.join(low)}: weights in half precision round small changes away (0.5 + 0.0001 is 0.5); "
                "traces are kept in float32, and plastic weights should be too.",
                stacklevel=4,
            )

    def _with_dt(self, config: PlasticityConfig, synapse: str, neuron: str | None) -> PlasticityConfig:
        if self.dt is None:
            return config
        dt = self._dt_of(synapse, neuron) if isinstance(self.dt, str) else float(self.dt)
        return config if dt is None else replace(config, eligibility=replace(config.eligibility, dt=dt))

    def _dt_of(self, synapse: str, neuron: str | None) -> float | None:
        own = self.index.own.get(synapse)
        if own is not None:
            return own.neuron.kind.dt
        if neuron is not None:
            return self.index.neurons[neuron].kind.dt
        known = {n.kind.dt for n in self.index.neurons.values() if not n.why_not_post(synapse)}
        if len(known) > 1:
            raise ValueError(
                f"dt='auto', but the neurons have different step lengths ({', '.join(map(str, known))}) and it is "
                f"not yet known which of them {synapse} feeds. Give attach sample= or pairs=, or a number as dt."
            )
        return next(iter(known), None)


def masks_of(index: ModelIndex, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{synapse: ones for the weights that learn}, also of the synapses that share a masked weight.

    Raises:
        ValueError: an unknown name, or a mask of another shape than its weight.
    """
    require_known("masks", masks, index.names)
    parts = {name: index.synapses.get(name) or index.own[name] for name in index.names}
    weights = {name: getattr(part.layer, part.attribute, None) for name, part in parts.items()}
    found: dict[str, Tensor] = {}
    for name, mask in masks.items():
        weight = weights[name]
        if weight is None or mask.shape != weight.shape:
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(f"masks[{name!r}] has shape {tuple(mask.shape)}; expected {shape}, as the weight has.")
        mask = mask.detach().to(weight.device, torch.float32)
        for other in (other for other, shared in weights.items() if shared is weight):
            found[other] = found.get(other, 1.0) * mask
    for name, mask in found.items():
        own = parts[name].mask
        found[name] = mask if own is None else mask * own
    return found


def require_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuse names that nothing here has."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"{what}: there is no {', '.join(map(repr, unknown))} here; expected one of {', '.join(known)}."
        )


def readout(synapse: str, neuron: Neuron) -> str:
    """Why a synapse that the user named cannot learn from this neuron."""
    return (
        f"{synapse} feeds {neuron.name} ({type(neuron.module).__name__}), and {neuron.why_not_post(synapse)}. "
        f"Expected a spiking neuron: leave {synapse} out of target_layers, layers and pairs."
    )
