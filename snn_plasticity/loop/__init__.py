"""Affect, neuromodulators, gate and learner as one object, in which what is released is felt."""

from ..signals import EVENTS as EVENTS
from .affective import AffectiveLoop as AffectiveLoop
from .state import LoopState as LoopState

__all__ = [
    "AffectiveLoop",
    "EVENTS",
    "LoopState",
]
