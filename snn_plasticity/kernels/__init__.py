"""What two spikes mean to the synapse between them: a kernel names a few products of neuron-sized vectors."""

from .eprop import EProp as EProp
from .eprop import alif_step as alif_step
from .learning_signals import adaptive_post as adaptive_post
from .learning_signals import firing_rate_signal as firing_rate_signal
from .learning_signals import future_signal as future_signal
from .online import OnlineGradient as OnlineGradient
from .post_side import POST_SIDES as POST_SIDES
from .post_side import post_side_of as post_side_of
from .pseudo_derivatives import arctan as arctan
from .pseudo_derivatives import exponential as exponential
from .pseudo_derivatives import fast_sigmoid as fast_sigmoid
from .pseudo_derivatives import piecewise_linear as piecewise_linear
from .stdp import Coincidence as Coincidence
from .stdp import Kernel as Kernel
from .stdp import Pair as Pair
from .stdp import PairSTDP as PairSTDP
from .stdp import Rate as Rate
from .stdp import SymmetricSTDP as SymmetricSTDP
from .triplet import TripletSTDP as TripletSTDP
from .window import Window as Window

__all__ = [
    "POST_SIDES",
    "Coincidence",
    "EProp",
    "Kernel",
    "OnlineGradient",
    "Pair",
    "PairSTDP",
    "Rate",
    "SymmetricSTDP",
    "TripletSTDP",
    "Window",
    "adaptive_post",
    "alif_step",
    "arctan",
    "exponential",
    "fast_sigmoid",
    "firing_rate_signal",
    "future_signal",
    "piecewise_linear",
    "post_side_of",
]
