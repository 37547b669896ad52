"""Histories: random stories, played on the package and on the reference, and compared at every turn."""

from __future__ import annotations

from .hosts import NorseHistory, SnnTorchHistory
from .learner import LearnerHistory
from .story import Player
from .traces import TraceHistory

FAMILIES: dict[str, type[Player]] = {
    "traces": TraceHistory, "learner": LearnerHistory, "snntorch": SnnTorchHistory, "norse": NorseHistory,
}  # fmt: skip
TITLES = {
    "traces": "eligibility traces", "learner": "learner, told of spikes",
    "snntorch": "`attach`, snnTorch nets", "norse": "`attach`, Norse nets",
}  # fmt: skip
SHARES = (*["traces"] * 8, *["learner"] * 6, *["snntorch"] * 3, *["norse"] * 3)


def family_of(seed: int) -> str:
    """Which family a history of a mixed run belongs to."""
    return SHARES[seed % len(SHARES)]
