"""An estimate of energy, from operations alone.

    dense           4.6 pJ · MACs                    a 32-bit float product and sum
    event-driven     .9 pJ · synaptic operations     a 32-bit float sum for each spike and synapse

at 45 nm and 0.9 V (product 3.7 pJ, sum .9 pJ). Memory, which costs more than either, neurons and idle hardware are no
part of it: good for a ratio of two nets, and no joules of a machine.

Horowitz 2014, *Computing's energy problem (and what we can do about it)*, ISSCC.
"""

from __future__ import annotations

from typing import NamedTuple

from .meter import Cost, prefixed

MAC_JOULES = 4.6e-12
SUM_JOULES = 0.9e-12


class Energy(NamedTuple):
    """Joules, where every product is computed, and where spikes alone are delivered."""

    dense: float
    events: float

    @classmethod
    def of(cls, cost: Cost) -> Energy:
        """Of what was counted; of synaptic operations, forward passes alone are."""
        return cls(MAC_JOULES * cost.macs, SUM_JOULES * cost.synops)

    def __str__(self) -> str:
        return f"{prefixed(self.dense)}J dense, {prefixed(self.events)}J event-driven"
