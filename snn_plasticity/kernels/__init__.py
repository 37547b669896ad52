"""What two spikes mean to the synapse between them: a kernel names a few products of neuron-sized vectors."""

from .eprop import EProp as EProp
from .eprop import alif_step as alif_step
from .stdp import Coincidence as Coincidence
from .stdp import Kernel as Kernel
from .stdp import Pair as Pair
from .stdp import PairSTDP as PairSTDP
from .stdp import Rate as Rate
from .stdp import SymmetricSTDP as SymmetricSTDP
from .triplet import TripletSTDP as TripletSTDP
from .window import Window as Window

__all__ = [
    "Coincidence",
    "EProp",
    "Kernel",
    "Pair",
    "PairSTDP",
    "Rate",
    "SymmetricSTDP",
    "TripletSTDP",
    "Window",
    "alif_step",
]
