"""Settings of the weight change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .validation import Serializable, require_number, require_range, require_word

MODES = ("online", "hybrid", "auxiliary_loss")


@dataclass(frozen=True)
class ThreeFactorConfig(Serializable):
    """How a gate and an eligibility become a weight change.

    Args:
        mode: "online" changes the weight, "hybrid" adds to its gradient, "auxiliary_loss" gives a scalar loss.
        lr: learning rate.
        weight_clamp: range of one update (not of the weight), or None.
        weight_bounds: hard bounds of the weight, None, or a function (weight, delta) -> new weight of your own.
        soft_bounds: exponent of the power law, one number or (potentiation, depression); needs `weight_bounds`.
        target_layers: "all_eligible" or the names of the layers that learn.
        update_frequency: that many steps are summed before the weight changes.

    Raises:
        ValueError: a field out of range, naming field, value and range.

    >>> ThreeFactorConfig(lr=0.01, weight_bounds=(0.0, 1.0), soft_bounds=1.0).mode
    'online'
    """

    mode: str = "online"
    lr: float = 0.001
    weight_clamp: tuple[float, float] | None = (-1.0, 1.0)
    weight_bounds: Any = None
    soft_bounds: float | tuple[float, float] | None = None
    target_layers: str | tuple[str, ...] = "all_eligible"
    update_frequency: int = 1

    def __post_init__(self) -> None:
        require_word(self, "mode", MODES)
        require_number(self, "lr", 0.0)
        require_range(self, "weight_clamp")
        if not callable(self.weight_bounds):
            require_range(self, "weight_bounds")
        require_number(self, "update_frequency", 1, integer=True)
        exponents = self.soft_bounds if isinstance(self.soft_bounds, tuple) else (self.soft_bounds,) * 2
        if self.soft_bounds is None:
            pass
        elif len(exponents) != 2 or not all(isinstance(m, (int, float)) and m >= 0 for m in exponents):
            raise ValueError(
                f"ThreeFactorConfig.soft_bounds = {self.soft_bounds!r}; expected None, an exponent >= 0, "
                "or a pair (potentiation, depression) of them."
            )
        elif not isinstance(self.weight_bounds, tuple):
            raise ValueError("ThreeFactorConfig.soft_bounds needs weight_bounds = (low, high) to be a distance from.")
        names = self.target_layers
        listed = isinstance(names, tuple) and names and all(isinstance(n, str) for n in names)
        if names != "all_eligible" and not listed:
            raise ValueError(
                f"ThreeFactorConfig.target_layers = {names!r}; expected 'all_eligible' or a tuple of layer names."
            )
