"""The contract, checked on the installation that runs: `python -m snn_plasticity validate`."""

from .checklist import CHECKS as CHECKS
from .checklist import run as run
from .own import Clause as Clause
from .own import check as check
from .own import promises_of as promises_of
from .own import run_for as run_for
from .verdict import Check as Check
from .verdict import Verdict as Verdict

__all__ = [
    "CHECKS",
    "Check",
    "Clause",
    "Verdict",
    "check",
    "promises_of",
    "run",
    "run_for",
]
