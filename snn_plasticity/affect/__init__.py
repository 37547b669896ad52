"""What a model knows about itself becomes valence, arousal, dominance and mood, and these modulate the rest of it."""

from .appraisal import AppraisalModule as AppraisalModule
from .appraisal import AppraisalResult as AppraisalResult
from .appraisal import Evidence as Evidence
from .estimator import AffectiveEstimator as AffectiveEstimator
from .mapping import from_neuromodulators as from_neuromodulators
from .mapping import to_neuromodulators as to_neuromodulators
from .markers import MarkerState as MarkerState
from .markers import SomaticMarkers as SomaticMarkers
from .modulation import AffectiveModulator as AffectiveModulator
from .modulation import ModulationVector as ModulationVector
from .mood import color_by_mood as color_by_mood
from .mood import perceived_reward as perceived_reward
from .mood import update_mood as update_mood
from .signals import InternalReading as InternalReading
from .signals import InternalSignals as InternalSignals
from .space import EMOTIONS as EMOTIONS
from .space import REGIONS as REGIONS
from .space import WORDS as WORDS
from .space import ValenceArousalSpace as ValenceArousalSpace
from .state import AffectiveState as AffectiveState
from .state import reset_samples as reset_samples

__all__ = [
    "AffectiveEstimator",
    "AffectiveModulator",
    "AffectiveState",
    "AppraisalModule",
    "AppraisalResult",
    "EMOTIONS",
    "Evidence",
    "InternalReading",
    "InternalSignals",
    "MarkerState",
    "ModulationVector",
    "REGIONS",
    "SomaticMarkers",
    "ValenceArousalSpace",
    "WORDS",
    "color_by_mood",
    "from_neuromodulators",
    "perceived_reward",
    "reset_samples",
    "to_neuromodulators",
    "update_mood",
]
