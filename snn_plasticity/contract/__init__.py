"""The contract, checked on the installation that runs: `python -m snn_plasticity validate`."""

from .checklist import CHECKS as CHECKS
from .checklist import Check as Check
from .checklist import Verdict as Verdict
from .checklist import run as run
