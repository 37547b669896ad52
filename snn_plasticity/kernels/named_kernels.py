"""The kernels that a config can name."""

from __future__ import annotations

from typing import cast

from ..config import EligibilityConfig, PlasticityConfig
from .eprop import EProp
from .online import OnlineGradient
from .stdp import Kernel, PairSTDP, Rate, SymmetricSTDP
from .triplet import TripletSTDP


def words_of(config: PlasticityConfig) -> str:
    """What a kernel is called in print, its own `words` or its class, and how a loss comes down to it.

    >>> words_of(PlasticityConfig.eprop())
    'e-prop'
    """
    kernel, aim = kernel_of(config.eligibility), config.three_factor.feedback
    own = type(kernel)
    name = getattr(kernel, "words") if "words" in vars(own) else own.__name__  # noqa: B009 - no part of the protocol
    return name if aim is None else f"{name}, {aim if isinstance(aim, str) else type(aim).__name__} feedback"


def kernel_of(config: EligibilityConfig) -> Kernel:
    """The kernel that a config names, or the kernel object that it holds."""
    if not isinstance(config.kernel, str):
        return cast("Kernel", config.kernel)
    taus_and_amplitudes = (config.stdp_tau_plus, config.stdp_tau_minus, config.a_plus, config.a_minus)
    slow = (config.stdp_tau_x, config.stdp_tau_y, config.a3_plus, config.a3_minus)
    return {
        "rate": lambda: Rate(),
        "stdp_pair": lambda: PairSTDP(*taus_and_amplitudes, config.convention),
        "stdp_symmetric": lambda: SymmetricSTDP(*taus_and_amplitudes, config.convention),
        "eprop": lambda: EProp(config.stdp_tau_plus, config.convention),
        "online": lambda: OnlineGradient(config.stdp_tau_plus, config.convention),
        "sltt": lambda: OnlineGradient(response=()),
        "stdp_triplet": lambda: TripletSTDP(*taus_and_amplitudes, *slow, config.convention),
    }[config.kernel]()
