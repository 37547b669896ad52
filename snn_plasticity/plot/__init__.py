"""Plots of what a spiking network does and learns. Each draws on the axes it is given and returns them."""

from .affect_plane import affect as affect
from .diagnosis import diagnosis as diagnosis
from .eligibility import eligibility as eligibility
from .explanation import explanation as explanation
from .family import family as family
from .learning import learning_curve as learning_curve
from .membrane import membrane as membrane
from .modulators import modulators as modulators
from .raster import raster as raster
from .rates import rates as rates
from .small_images import filters as filters
from .small_images import receptive_fields as receptive_fields
from .traces import traces as traces
from .trial import trial as trial
from .weights import weight_change as weight_change
from .weights import weights as weights
from .window import measured_window as measured_window
from .window import stdp_window as stdp_window

__all__ = [
    "affect",
    "diagnosis",
    "eligibility",
    "explanation",
    "family",
    "filters",
    "learning_curve",
    "measured_window",
    "membrane",
    "modulators",
    "raster",
    "rates",
    "receptive_fields",
    "stdp_window",
    "traces",
    "trial",
    "weight_change",
    "weights",
]
