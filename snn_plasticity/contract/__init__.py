"""The contract, checked on the installation that runs: `python -m snn_plasticity validate`."""

from .checklist import CHECKS as CHECKS
from .checklist import run as run
from .verdict import Check as Check
from .verdict import Verdict as Verdict

__all__ = [
    "CHECKS",
    "Check",
    "Verdict",
    "run",
]
