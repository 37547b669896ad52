"""Edges that come and go while they learn: what the traces of the others do meanwhile, which is nothing.

An `Edges` that was replaced knows what replaced it (`Edges.after`), so that whoever still has the old one finds out at
its next step. Waiting spikes are worked in first; then e, pending updates and the state of the kernel move to where
their edges (and axons) are now. What is new begins at zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..layers.edges import Edges, Rewiring
from ..layers.geometry import Geometry
from ._engine.snapshots import of_units
from ._engine.state import Units

if TYPE_CHECKING:
    from .eligibility import EligibilityTraceModule


class EdgeFollower:
    """Finds out that the edges of a layer are others than before.

    Args:
        layer: with its edges as `edges`. known: those that it has.
    """

    def __init__(self, layer: nn.Module, known: Edges) -> None:
        self._layer, self._known = layer, known

    def news(self) -> Rewiring | None:
        """What has changed since the last time; None where nothing has."""
        if self._layer.edges is self._known:
            return None
        change = rewired(self._known)
        if change is None or change.geometry is not self._layer.edges:
            raise RuntimeError(
                f"The edges of this {type(self._layer).__name__} were replaced by others that do not say where they "
                "came from; expected add_edges, remove_edges or load_state_dict. Attach anew. Nothing was changed."
            )
        self._known = change.geometry
        return change


def follower_of(layer: nn.Module, geometry: Geometry) -> EdgeFollower | None:
    """Who finds out, for a layer whose edges may come and go; None for any other."""
    known = getattr(layer, "edges", None)
    return EdgeFollower(layer, geometry) if isinstance(geometry, Edges) and known is geometry else None


def rewired(edges: Edges) -> Rewiring | None:
    """All that has become of these edges, as one change."""
    total = edges.after
    while total is not None and total.geometry.after is not None:
        later = total.geometry.after
        total = Rewiring(later.geometry, _through(later.edges, total.edges), _through(later.axons, total.axons))
    return total


def rewire(traces: EligibilityTraceModule, change: Rewiring) -> None:
    """Traces go on with other edges: those that are still there bit for bit, new ones from zero eligibility.

    Args:
        traces: of the edges before.
        change: where each edge, and each axon, was before; −1 is new.
    """
    rule, before = replace(traces.rule, geometry=change.geometry), traces._running
    if before is not None:
        running = of_units(rule, traces.path, before, Units(pre=change.axons, edges=change.edges))
        running.partial, running.queued = change.placed(before.partial), before.queued
        traces._running = running
    traces.rule = rule


def _through(later: Tensor, earlier: Tensor) -> Tensor:
    """Where things were two changes ago."""
    return torch.where(later < 0, -1, earlier[later.clamp(min=0)])
