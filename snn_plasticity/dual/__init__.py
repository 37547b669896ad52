"""Two nets, one inside the other: a small one that learns, and a large one that is recruited while motivated.

history ─► condition ─► base learns                        (most steps)
                   └──► up ─► large net learns ─► down     (motivated steps)
"""

from .batches import BatchGroup, Fields
from .callbacks import Callback
from .conditions import (
    AffectSignals,
    Always,
    AtLeast,
    Condition,
    CountMatched,
    Curiosity,
    Every,
    FromStep,
    History,
    LastSteps,
    LossDecrease,
    LossSpike,
    Never,
    Plateau,
    RandomActivation,
    Seeking,
    When,
    loss_signals,
    replay,
)
from .coupling import BaseToo, Coupling, Distill, Replace, Sandwich
from .dual_net import DualNet
from .fitting import EarlyStopping
from .growth import Growth, deepen, widen
from .ledger import Cost, Meter
from .nets import Diverged, TrainableNet
from .over_time import OverTime
from .pair import NetPair
from .plastic_trainee import PlasticTrainee
from .report import Comparison, DualReport
from .score import Score
from .trainee import Trainee
from .trainer import DualModelTrainer
from .weights_map import Slot, WeightsMap

__all__ = [
    "DualModelTrainer",
    "EarlyStopping",
    "Callback",
    "Trainee",
    "PlasticTrainee",
    "TrainableNet",
    "Fields",
    "BatchGroup",
    "OverTime",
    "Score",
    "Diverged",
    "WeightsMap",
    "Slot",
    "widen",
    "deepen",
    "Growth",
    "NetPair",
    "DualNet",
    "Condition",
    "When",
    "History",
    "replay",
    "LossDecrease",
    "LossSpike",
    "Plateau",
    "Curiosity",
    "Seeking",
    "AtLeast",
    "loss_signals",
    "AffectSignals",
    "Always",
    "Never",
    "Every",
    "FromStep",
    "LastSteps",
    "RandomActivation",
    "CountMatched",
    "Coupling",
    "Replace",
    "BaseToo",
    "Distill",
    "Sandwich",
    "DualReport",
    "Comparison",
    "Cost",
    "Meter",
]
