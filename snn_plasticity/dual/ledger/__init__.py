"""What a run costs: operations are counted where torch runs them, and known from then on for each kind of step.

operations ─► counting ─► meter ─► net_cost ─► books ─► bookkeeper
"""

from .meter import Cost, Meter

__all__ = ["Cost", "Meter"]
