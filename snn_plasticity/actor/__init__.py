"""A plastic readout that chooses, and hands what came of its choice to every neuron."""

from .actor import Actor as Actor
from .actor import Choice as Choice

__all__ = [
    "Actor",
    "Choice",
]
