"""Three-factor learning for the spiking networks you already have: Δw = lr · gate · e.

    spikes ─► kernel ─► coincidence ─► Hebbian product ─► eligibility ─┐
                                                                       ├─► Δw ─► bounds ─► weight
    signals ─► DA  ACh  NE  5-HT ─► gate ──────────────────────────────┘

`attach` plugs it into a model; everything below works on its own too.
"""

from .actor import Actor as Actor
from .affect import AffectiveEstimator as AffectiveEstimator
from .affect import AffectiveModulator as AffectiveModulator
from .affect import AffectiveState as AffectiveState
from .affect import InternalSignals as InternalSignals
from .affect import SomaticMarkers as SomaticMarkers
from .affect import ValenceArousalSpace as ValenceArousalSpace
from .config import EligibilityConfig as EligibilityConfig
from .config import NeuromodConfig as NeuromodConfig
from .config import PlasticityConfig as PlasticityConfig
from .config import PlasticityFullConfig as PlasticityFullConfig
from .config import ThreeFactorConfig as ThreeFactorConfig
from .config.affect import AffectiveConfig as AffectiveConfig
from .config.affect import AffectiveFullConfig as AffectiveFullConfig
from .config.affect import AppraisalConfig as AppraisalConfig
from .config.affect import ModulationConfig as ModulationConfig
from .connection import Connection as Connection
from .conventions import Convention as Convention
from .diagnose import Diagnosis as Diagnosis
from .diagnose import LayerDiagnosis as LayerDiagnosis
from .diagnostics import LayerTrace as LayerTrace
from .diagnostics import PlasticityTrace as PlasticityTrace
from .feedback import AdaptiveFeedback as AdaptiveFeedback
from .feedback import BroadcastFeedback as BroadcastFeedback
from .feedback import FeedbackState as FeedbackState
from .feedback import RandomFeedback as RandomFeedback
from .feedback import SymmetricFeedback as SymmetricFeedback
from .feedback import feedback_of as feedback_of
from .hosts import PairingError as PairingError
from .hosts import attach as attach
from .hosts import scale_to_rate as scale_to_rate
from .kernels import Coincidence as Coincidence
from .kernels import EProp as EProp
from .kernels import Pair as Pair
from .kernels import PairSTDP as PairSTDP
from .kernels import Rate as Rate
from .kernels import SymmetricSTDP as SymmetricSTDP
from .kernels import TripletSTDP as TripletSTDP
from .kernels import Window as Window
from .layers import SparseLinear as SparseLinear
from .learner import PlasticityLearner as PlasticityLearner
from .loop import AffectiveLoop as AffectiveLoop
from .loop import LoopState as LoopState
from .neuromodulation import NeuromodState as NeuromodState
from .neuromodulation import NeuromodulatoryGate as NeuromodulatoryGate
from .neuromodulation import RewardBaseline as RewardBaseline
from .neuromodulation import TDCritic as TDCritic
from .neuromodulation import TDCriticConfig as TDCriticConfig
from .neuromodulation import gate_attention as gate_attention
from .neuromodulation import gate_confidence as gate_confidence
from .notices import PlasticityWarning as PlasticityWarning
from .plasticity import EligibilityRule as EligibilityRule
from .plasticity import EligibilityTraceModule as EligibilityTraceModule
from .plasticity import ThreeFactorUpdate as ThreeFactorUpdate
from .plasticity import modulate as modulate

__version__ = "0.2.0"

__all__ = [
    "__version__",
    "Actor",
    "AdaptiveFeedback",
    "AffectiveConfig",
    "AffectiveEstimator",
    "AffectiveFullConfig",
    "AffectiveLoop",
    "AffectiveModulator",
    "AffectiveState",
    "AppraisalConfig",
    "BroadcastFeedback",
    "Coincidence",
    "Connection",
    "Convention",
    "Diagnosis",
    "EProp",
    "EligibilityConfig",
    "EligibilityRule",
    "EligibilityTraceModule",
    "FeedbackState",
    "InternalSignals",
    "LayerDiagnosis",
    "LayerTrace",
    "LoopState",
    "ModulationConfig",
    "NeuromodConfig",
    "NeuromodState",
    "NeuromodulatoryGate",
    "Pair",
    "PairSTDP",
    "PairingError",
    "PlasticityConfig",
    "PlasticityFullConfig",
    "PlasticityLearner",
    "PlasticityTrace",
    "PlasticityWarning",
    "RandomFeedback",
    "Rate",
    "RewardBaseline",
    "SomaticMarkers",
    "SparseLinear",
    "SymmetricFeedback",
    "SymmetricSTDP",
    "TDCritic",
    "TDCriticConfig",
    "ThreeFactorConfig",
    "ThreeFactorUpdate",
    "TripletSTDP",
    "ValenceArousalSpace",
    "Window",
    "attach",
    "feedback_of",
    "gate_attention",
    "gate_confidence",
    "modulate",
    "scale_to_rate",
]
