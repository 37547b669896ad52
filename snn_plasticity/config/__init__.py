"""Frozen settings of eligibility, neuromodulation and the three-factor update; each checks itself."""

from .eligibility import KERNELS as KERNELS
from .eligibility import TRACES as TRACES
from .eligibility import EligibilityConfig as EligibilityConfig
from .neuromod import NeuromodConfig as NeuromodConfig
from .plasticity import PlasticityConfig as PlasticityConfig
from .plasticity import PlasticityFullConfig as PlasticityFullConfig
from .three_factor import ThreeFactorConfig as ThreeFactorConfig

__all__ = [
    "EligibilityConfig",
    "KERNELS",
    "NeuromodConfig",
    "PlasticityConfig",
    "PlasticityFullConfig",
    "TRACES",
    "ThreeFactorConfig",
]
