"""Affect, neuromodulators, gate and learner as one object, in which what is released is felt."""

from .affective import AffectiveLoop as AffectiveLoop
from .events import EVENTS as EVENTS
from .state import LoopState as LoopState
