"""Two nets, one inside the other: a small one that always learns, and a large one that is recruited while motivated.

history ─► condition ─► base learns                        (most steps)
                   └──► up ─► large net learns ─► down     (motivated steps)
"""

from .conditions import Always as Always
from .conditions import Condition as Condition
from .conditions import CountMatched as CountMatched
from .conditions import Every as Every
from .conditions import FromStep as FromStep
from .conditions import History as History
from .conditions import Never as Never
from .conditions import RandomActivation as RandomActivation
from .conditions import When as When
from .conditions import replay as replay
from .coupling import BaseToo as BaseToo
from .coupling import Distill as Distill
from .coupling import Replace as Replace
from .coupling import Sandwich as Sandwich
from .deepen import deepen as deepen
from .fitting import EarlyStopping as EarlyStopping
from .meter import Cost as Cost
from .meter import Meter as Meter
from .motivation import Curiosity as Curiosity
from .motivation import LossDecrease as LossDecrease
from .motivation import LossSpike as LossSpike
from .motivation import Plateau as Plateau
from .motivation import Seeking as Seeking
from .motivation import loss_signals as loss_signals
from .nets import OverTime as OverTime
from .nets import Score as Score
from .pair import NetPair as NetPair
from .report import Comparison as Comparison
from .report import DualReport as DualReport
from .trainee import Diverged as Diverged
from .trainee import PlasticTrainee as PlasticTrainee
from .trainee import Trainee as Trainee
from .trainer import DualModelTrainer as DualModelTrainer
from .weights_map import Slot as Slot
from .weights_map import WeightsMap as WeightsMap
from .widen import Growth as Growth
from .widen import widen as widen
