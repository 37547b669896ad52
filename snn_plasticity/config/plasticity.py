"""The settings together, with presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from .eligibility import EligibilityConfig
from .neuromod import NeuromodConfig
from .three_factor import ThreeFactorConfig
from .validation import Serializable, require_part


@dataclass(frozen=True)
class PlasticityConfig(Serializable):
    """The three settings together, with presets.

    >>> PlasticityConfig.from_json(PlasticityConfig.dev().to_json()) == PlasticityConfig.dev()
    True
    """

    eligibility: EligibilityConfig = field(default_factory=EligibilityConfig)
    neuromod: NeuromodConfig = field(default_factory=NeuromodConfig)
    three_factor: ThreeFactorConfig = field(default_factory=ThreeFactorConfig)

    def __post_init__(self) -> None:
        for name, kind in _PARTS.items():
            require_part(self, name, kind)

    @classmethod
    def minimal(cls) -> PlasticityConfig:
        """Rate correlation, phasic dopamine from reward: the smallest rule that has three factors."""
        return cls()

    @classmethod
    def dev(cls) -> PlasticityConfig:
        """Pair STDP with a memory of 200 steps; dopamine outlasts the reward a little.

        Chance coincidences depress by 5 % (`a_minus` is 1.05 times the kernel's `balance()`).
        """
        return cls(
            EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_minus=1.104),
            NeuromodConfig(da_tau=20.0),
            ThreeFactorConfig(lr=0.01),
        )

    @classmethod
    def production(cls) -> PlasticityConfig:
        """Pair STDP, dopamine as reward above its running average (so that it cannot drift), soft-bounded weights.

        Chance coincidences depress by 5 %, as in `dev`.
        """
        return cls(
            EligibilityConfig(kernel="stdp_pair", tau_e=200.0, a_minus=1.104),
            NeuromodConfig(
                combination_fn="gated_product",
                reward_baseline="running",
                baseline_scope="batch",
                da_tau=20.0,
                ne_tau=50.0,
            ),
            ThreeFactorConfig(lr=0.001, weight_clamp=(-0.1, 0.1), weight_bounds=(-1.0, 1.0), soft_bounds=1.0),
        )

    @classmethod
    def parts(cls) -> dict[str, type[Serializable]]:
        """Its three settings."""
        return _PARTS


_PARTS: dict[str, type[Serializable]] = {
    "eligibility": EligibilityConfig,
    "neuromod": NeuromodConfig,
    "three_factor": ThreeFactorConfig,
}

PlasticityFullConfig = PlasticityConfig
"""Another name of `PlasticityConfig`."""
