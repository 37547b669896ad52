"""Synapses that remember what they did, and the gate that turns the memory into a change."""

from .bounds import HardBounds as HardBounds
from .bounds import KeptNorm as KeptNorm
from .bounds import KeptSums as KeptSums
from .bounds import SoftBounds as SoftBounds
from .bounds import free as free
from .eligibility import EligibilityTraceModule as EligibilityTraceModule
from .eligibility_vectors import EligibilityVectors as EligibilityVectors
from .inner_loop import inner_step as inner_step
from .rule import EligibilityRule as EligibilityRule
from .rule import EligibilityState as EligibilityState
from .three_factor import ThreeFactorUpdate as ThreeFactorUpdate
from .three_factor import modulate as modulate
from .traces import Accumulating as Accumulating
from .traces import Dutch as Dutch
from .traces import Replacing as Replacing

__all__ = [
    "Accumulating",
    "Dutch",
    "EligibilityRule",
    "EligibilityState",
    "EligibilityTraceModule",
    "EligibilityVectors",
    "HardBounds",
    "KeptNorm",
    "KeptSums",
    "Replacing",
    "SoftBounds",
    "ThreeFactorUpdate",
    "free",
    "inner_step",
    "modulate",
]
