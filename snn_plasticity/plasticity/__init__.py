"""Synapses that remember what they did, and the gate that turns the memory into a change."""

from .bounds import HardBounds as HardBounds
from .bounds import SoftBounds as SoftBounds
from .bounds import free as free
from .dense import Dense as Dense
from .edges import Edges as Edges
from .eligibility import EligibilityTraceModule as EligibilityTraceModule
from .eprop import EProp as EProp
from .eprop import alif_step as alif_step
from .geometry import Geometry as Geometry
from .inner_loop import inner_step as inner_step
from .kernels import Coincidence as Coincidence
from .kernels import Kernel as Kernel
from .kernels import Pair as Pair
from .kernels import PairSTDP as PairSTDP
from .kernels import Rate as Rate
from .kernels import SymmetricSTDP as SymmetricSTDP
from .rule import EligibilityRule as EligibilityRule
from .rule import EligibilityState as EligibilityState
from .synapses import geometry_of as geometry_of
from .three_factor import ThreeFactorUpdate as ThreeFactorUpdate
from .three_factor import modulate as modulate
from .traces import Accumulating as Accumulating
from .traces import Dutch as Dutch
from .traces import Replacing as Replacing
from .triplet import TripletSTDP as TripletSTDP
from .window import Window as Window

__all__ = [
    "Accumulating",
    "Coincidence",
    "Dense",
    "Dutch",
    "EProp",
    "Edges",
    "EligibilityRule",
    "EligibilityState",
    "EligibilityTraceModule",
    "Geometry",
    "HardBounds",
    "Kernel",
    "Pair",
    "PairSTDP",
    "Rate",
    "Replacing",
    "SoftBounds",
    "SymmetricSTDP",
    "ThreeFactorUpdate",
    "TripletSTDP",
    "Window",
    "alif_step",
    "free",
    "geometry_of",
    "inner_step",
    "modulate",
]
