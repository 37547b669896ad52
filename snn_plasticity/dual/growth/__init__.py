"""Larger nets in which the base lies: a run is followed, axes grow, and both nets are run side by side.

dry run ─► wiring (families of units) ─► larger net ─► its wiring ─► map ─► side by side
"""

from .deepen import deepen
from .widen import Growth, widen

__all__ = ["Growth", "deepen", "widen"]
