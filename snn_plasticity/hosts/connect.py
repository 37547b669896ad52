"""From a weight that is to learn to a `Connection`: its settings, its step length, its name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..config import PlasticityConfig
from ..connection import Connection, low_precision
from .survey import Survey


class Builder:
    """Makes the connections of one learner.

    Args:
        found: the parts of the model.
        config, layers: the settings, and those of single layers.
        dt: None for that of the settings, "auto" for that of the neuron, or a number.
        strict: whether a change of batch size is an error.
        path: how the traces are worked out.
    """

    def __init__(
        self,
        found: Survey,
        config: PlasticityConfig,
        layers: Mapping[str, PlasticityConfig],
        *,
        dt: float | str | None,
        strict: bool,
        path: str,
    ) -> None:
        if isinstance(dt, str) and dt != "auto":
            raise ValueError(f"dt = {dt!r}; expected None, 'auto' or a step length.")
        self.found, self.config, self.layers = found, config, layers
        self.dt, self.strict, self.path = dt, strict, path
        self._named: set[str] = set()

    def __call__(self, synapse: str, neuron: str | None) -> Connection:
        """The connection from a synapse to a neuron, where that is known. The first of a synapse bears its name."""
        part = self.found.synapses.get(synapse) or self.found.own[synapse]
        name = f"{synapse}->{neuron}" if synapse in self._named else synapse
        self._named.add(synapse)
        config = self._with_dt(self.layers.get(synapse, self.config), synapse, neuron)
        geometry, mask = part.geometry(), part.mask
        return Connection(
            name, part.layer, part.attribute, config, geometry=geometry, mask=mask, strict=self.strict, path=self.path
        )

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
        own = self.found.own.get(synapse)
        if own is not None:
            return own.neuron.kind.dt
        if neuron is not None:
            return self.found.neurons[neuron].kind.dt
        known = {n.kind.dt for n in self.found.neurons.values() if not n.deafness}
        if len(known) > 1:
            raise ValueError(
                f"dt='auto', but the neurons have different step lengths ({', '.join(map(str, known))}) and it is "
                f"not yet known which of them {synapse} feeds. Give attach sample= or pairs=, or a number as dt."
            )
        return next(iter(known), None)
