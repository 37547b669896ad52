"""Plots of what a spiking network does and learns. Each draws on the axes it is given and returns them."""

from .explanation import explanation as explanation
from .learning import learning_curve as learning_curve
from .modulators import modulators as modulators
from .raster import raster as raster
from .traces import traces as traces
from .weights import weights as weights

__all__ = [
    "explanation",
    "learning_curve",
    "modulators",
    "raster",
    "traces",
    "weights",
]
