"""When the large net is recruited: a condition looks at the history of a run and says yes or no.

history ─► signals (losses, affect) ─► condition, and a minimum beside it, so that the large net does not go stale
"""

from .affect_signals import AffectSignals
from .chance import CountMatched, RandomActivation
from .condition import Always, Condition, Every, FromStep, LastSteps, Never, When, replay
from .history import History
from .minimum import AtLeast
from .motivation import Curiosity, LossDecrease, LossSpike, Plateau, Seeking, loss_signals

__all__ = [
    "AffectSignals",
    "Always",
    "AtLeast",
    "Condition",
    "CountMatched",
    "Curiosity",
    "Every",
    "FromStep",
    "History",
    "LastSteps",
    "LossDecrease",
    "LossSpike",
    "Never",
    "Plateau",
    "RandomActivation",
    "Seeking",
    "When",
    "loss_signals",
    "replay",
]
