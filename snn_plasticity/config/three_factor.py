"""Settings of the weight change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .. import _checks as checks
from .._checks import shown
from .validation import Serializable, require_count_field, require_number_field, require_range_field, require_word_field

Mode = Literal["online", "hybrid", "auxiliary_loss"]
MODES: tuple[Mode, ...] = get_args(Mode)
BOUND_WORDS = ("norm", "sums")
FEEDBACKS = ("symmetric", "random", "adaptive", "broadcast")


@dataclass(frozen=True)
class ThreeFactorConfig(Serializable):
    """How a gate and an eligibility become a weight change.

    Args:
        mode: "online" changes the weight, "hybrid" adds to its gradient, "auxiliary_loss" gives a scalar loss.
        lr: learning rate.
        weight_clamp: range of one update (not of the weight), with zero in it, or None.
        weight_bounds: hard bounds of the weight, None, "norm" (the weights of each post neuron keep their norm, so that
            inputs compete), "sums" (they keep their sum, and so do those of each input, so that neurons compete as
            well), or a function (weight, delta) -> new weight of your own.
        soft_bounds: exponent of the power law, one number or (potentiation, depression); needs `weight_bounds`.
        target_layers: "all_eligible" or the names of the layers that learn.
        update_frequency: that many steps are summed before the weight changes.
        feedback: how layers below the readout hear of a loss, where the kernel is "online" or "sltt": None is by the
            weights above them, as in backpropagation; "random", "adaptive" or "broadcast" (see `feedback_of`), or an
            object with `init` and `step`, each layer straight from the readout.
        firing_rate: (f*, c), with these kernels: neurons are brought to f* spikes per step, as by a loss of
            c/2 · Σ (f* − n/T)², averaged over samples, n spikes in the T steps since the last loss; or None.
        tau_readout: with `feedback`, the time constant of a leaky readout, in the unit of dt: its output still holds
            what a neuron did before, so that each loss meets that, too; None is a readout that remembers nothing.

    Raises:
        ValueError: a field out of range, naming field, value and range.

    >>> ThreeFactorConfig(lr=0.01, weight_bounds=(0.0, 1.0), soft_bounds=1.0).mode
    'online'
    """

    mode: Mode = "online"
    lr: float = 0.001
    weight_clamp: tuple[float, float] | None = (-1.0, 1.0)
    weight_bounds: Any = None
    soft_bounds: float | tuple[float, float] | None = None
    target_layers: str | tuple[str, ...] = "all_eligible"
    update_frequency: int = 1
    feedback: Any = None
    firing_rate: tuple[float, float] | None = None
    tau_readout: float | None = None

    def __post_init__(self) -> None:
        require_word_field(self, "mode", MODES)
        require_number_field(self, "lr", 0.0)
        require_range_field(self, "weight_clamp", around_zero=True)
        if isinstance(self.weight_bounds, str):
            require_word_field(self, "weight_bounds", BOUND_WORDS, or_object="a pair (low, high), None or a function")
        elif not callable(self.weight_bounds):
            require_range_field(self, "weight_bounds")
        require_count_field(self, "update_frequency")
        self._require_feedback()
        if self.soft_bounds is not None:
            self._require_exponents()
        names = tuple(self.target_layers) if isinstance(self.target_layers, list) else self.target_layers
        listed = isinstance(names, tuple) and names and all(isinstance(n, str) for n in names)
        if not listed and not (isinstance(names, str) and names == "all_eligible"):
            raise ValueError(
                f"ThreeFactorConfig.target_layers = {shown(names)}; expected 'all_eligible' or a tuple of layer names"
                + (f": ({names!r},)." if isinstance(names, str) else ".")
            )
        object.__setattr__(self, "target_layers", names)

    def _require_feedback(self) -> None:
        """Refuse what is no word, no feedback and not None; and rates that are none."""
        if self.firing_rate is not None:
            given = self.firing_rate
            if not isinstance(given, (tuple, list)) or len(given) != 2:
                raise ValueError(
                    f"ThreeFactorConfig.firing_rate = {shown(given)}; expected None, or a pair (rate, strength) as "
                    "(0.05, 1.0)."
                )
            pair = (checks.require_number(f"ThreeFactorConfig.firing_rate[{k}]", given[k], 0.0) for k in (0, 1))
            object.__setattr__(self, "firing_rate", tuple(pair))
        if self.tau_readout is not None:
            require_number_field(self, "tau_readout", 0.0, open_low=True)
            if self.feedback is None:
                raise ValueError(
                    f"ThreeFactorConfig.tau_readout = {shown(self.tau_readout)}, and no feedback comes from a readout; "
                    "expected feedback='symmetric' or another, or tau_readout=None."
                )
        if self.feedback is None:
            return
        require_word_field(self, "feedback", FEEDBACKS, or_object="a Feedback, as RandomFeedback(seed=1), or None")
        methods = (getattr(self.feedback, "init", None), getattr(self.feedback, "step", None))
        if not isinstance(self.feedback, str) and (isinstance(self.feedback, type) or not all(map(callable, methods))):
            raise ValueError(
                f"ThreeFactorConfig.feedback = {shown(self.feedback)}; expected {', '.join(map(repr, FEEDBACKS))}, "
                "a Feedback, as RandomFeedback(seed=1), or None."
            )

    def _require_exponents(self) -> None:
        """Refuse what is no exponent and no pair of them, and exponents without finite bounds."""
        given, listed = self.soft_bounds, isinstance(self.soft_bounds, (tuple, list))
        try:
            exponents = [checks.require_number("", m, 0.0) for m in (given if listed else (given,))]  # type: ignore[union-attr]
        except ValueError:
            exponents = []
        if len(exponents) != (2 if listed else 1):
            raise ValueError(
                f"ThreeFactorConfig.soft_bounds = {shown(given)}; expected None, an exponent >= 0, "
                "or a pair (potentiation, depression) of them."
            )
        object.__setattr__(self, "soft_bounds", tuple(exponents) if listed else exponents[0])
        if not isinstance(self.weight_bounds, tuple) or not all(map(math.isfinite, self.weight_bounds)):
            raise ValueError(
                f"ThreeFactorConfig.soft_bounds needs weight_bounds = (low, high) to be a distance from; "
                f"they are {shown(self.weight_bounds)}."
            )
