"""The settings that users are shown, by name: every preset of `PlasticityConfig`, found and not listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from snn_plasticity import EligibilityConfig, NeuromodConfig, PlasticityConfig, ThreeFactorConfig
from snn_plasticity.kernels import post_side_of
from snn_plasticity.kernels.named_kernels import kernel_of

PAIR = "pair STDP, no clamp"


def presets() -> dict[str, PlasticityConfig]:
    """Every preset that learns from reward, as they are written: class methods that need no argument."""
    made: dict[str, PlasticityConfig] = {}
    for name, member in vars(PlasticityConfig).items():
        if (
            isinstance(member, classmethod)
            and not name.startswith("_")
            and _needs_nothing(getattr(PlasticityConfig, name))
        ):
            config = getattr(PlasticityConfig, name)()
            if isinstance(config, PlasticityConfig) and post_side_of(kernel_of(config.eligibility)) != "gradient":
                made[f"{name}()"] = config
    return made


def pair(clamp: tuple[float, float] | None = None, *, carry: bool = False) -> PlasticityConfig:
    """Pair STDP with amplitudes at which a clamp of ±5 seldom binds."""
    rule = EligibilityConfig(
        kernel="stdp_pair", tau_e=200.0, a_plus=0.01, a_minus=0.0105, clamp_range=clamp, carry=carry
    )
    return PlasticityConfig(rule, NeuromodConfig(), ThreeFactorConfig(lr=1e-4))


def _needs_nothing(method: Callable[..., object]) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return all(parameter.default is not inspect.Parameter.empty for parameter in parameters)
