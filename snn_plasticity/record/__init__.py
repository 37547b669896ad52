"""Record: what a learner's neurons did, what it was told, and what its weights did, kept while it learns.

`learner.record()` begins one. Nothing is changed by it: a recorded run is the same to the last bit.
"""

from .layer import Anchor as Anchor
from .layer import LayerEvent as LayerEvent
from .layer import LearnerStep as LearnerStep
from .record import Record as Record
from .record import Series as Series
from .rows import SideSpikes as SideSpikes

__all__ = ["Anchor", "LayerEvent", "LearnerStep", "Record", "Series", "SideSpikes"]
