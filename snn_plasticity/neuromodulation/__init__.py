"""Signals become dopamine, acetylcholine, norepinephrine and serotonin, and these gate plasticity."""

from ..signals import SIGNALS as SIGNALS
from ..signals import read_signals as read_signals
from .attention import gate_attention as gate_attention
from .baselines import RewardBaseline as RewardBaseline
from .combine import ModulatorMLP as ModulatorMLP
from .combine import gated_product as gated_product
from .combine import weighted_sum as weighted_sum
from .confidence import gate_confidence as gate_confidence
from .critic import CriticState as CriticState
from .critic import TDCritic as TDCritic
from .critic import TDCriticConfig as TDCriticConfig
from .gate import NeuromodulatoryGate as NeuromodulatoryGate
from .modulators import Modulator as Modulator
from .modulators import accumulate as accumulate
from .modulators import acetylcholine as acetylcholine
from .modulators import dopamine as dopamine
from .modulators import norepinephrine as norepinephrine
from .modulators import serotonin as serotonin
from .state import NeuromodState as NeuromodState
from .state import for_batch as for_batch
from .state import reset_samples as reset_samples

__all__ = [
    "CriticState",
    "Modulator",
    "ModulatorMLP",
    "NeuromodState",
    "NeuromodulatoryGate",
    "RewardBaseline",
    "SIGNALS",
    "TDCritic",
    "TDCriticConfig",
    "accumulate",
    "acetylcholine",
    "dopamine",
    "for_batch",
    "gate_attention",
    "gate_confidence",
    "gated_product",
    "norepinephrine",
    "read_signals",
    "reset_samples",
    "serotonin",
    "weighted_sum",
]
