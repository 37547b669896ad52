"""What simulators leave silent, said aloud.

The same spikes, the same rule and the same parameters give a different number in every simulator, because each
decides in silence: how traces decay, whether a pre and a post spike in one step are a pair, whether reward meets this
step's eligibility or the last one's, whether the trace is divided by its time constant, and how a batch is reduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from ._checks import require_choice, require_kind, shown

__all__ = ["Convention"]

Decay = Literal["euler", "exponential"]
Reduction = Literal["mean", "sum"]
_CHOICES: dict[str, tuple[object, ...]] = {
    "eligibility_decay": ("euler", "exponential"),
    "spike_trace_decay": ("exponential", "euler"),
    "coincidence": ("causal", "both", "none"),
    "lag": (0, 1),
    "normalize_trace": (False, True),
    "pairing": ("all", "nearest"),
    "reduction": ("mean", "sum"),
}


@dataclass(frozen=True)
class Convention:
    """The choices that make one rule give different numbers in different simulators.

    Args:
        eligibility_decay: "euler" (1 - dt/tau_e) or "exponential" (exp(-dt/tau_e)).
        spike_trace_decay: the same choice for the pre and post spike traces.
        coincidence: a pre and a post spike in the same step. "causal": the pre spike came first and the pair
            potentiates; "both": it potentiates and depresses; "none": it is no pair.
        lag: 0: a modulator at step t meets e(t); 1: it meets e(t-1).
        normalize_trace: divide the correlation by tau_e.
        pairing: "all" spike pairs, or each spike with its "nearest" earlier partner only.
        reduction: "mean" or "sum" over the batch.

    Raises:
        ValueError: a field holds none of its choices.

    >>> Convention.preset("inferno").normalize_trace
    True
    """

    eligibility_decay: Decay = "euler"
    spike_trace_decay: Decay = "exponential"
    coincidence: Literal["causal", "both", "none"] = "causal"
    lag: Literal[0, 1] = 0
    normalize_trace: bool = False
    pairing: Literal["all", "nearest"] = "all"
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        for field in fields(self):
            allowed, value = _CHOICES[field.name], getattr(self, field.name)
            plain = value.item() if isinstance(value, np.generic) else value
            if type(plain) not in (str, int, bool) or plain not in allowed or type(plain) is not type(allowed[0]):
                raise ValueError(
                    f"Convention.{field.name} = {shown(value)}; expected one of {', '.join(map(repr, allowed))}."
                )
            object.__setattr__(self, field.name, plain)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Convention:
        """The convention whose choices are given by name; missing ones take their defaults.

        Raises:
            TypeError: no mapping.
            ValueError: an unknown name, or none of its choices.

        >>> Convention.from_dict({"lag": 1}).lag
        1
        """
        if isinstance(values, Convention):
            return values
        values = require_kind("What Convention is built from", values, Mapping, "As in {'coincidence': 'both'}.")
        unknown = sorted(map(str, set(values) - set(_CHOICES)))
        if unknown:
            raise ValueError(f"Convention has no field {', '.join(unknown)}; it has {', '.join(_CHOICES)}.")
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def preset(cls, name: str) -> Convention:
        """The convention of a simulator or a paper, by name.

        Raises:
            ValueError: the name is unknown.
        """
        require_choice("Convention preset", name, PRESETS)
        return PRESETS[name]


_EXACT = Convention(eligibility_decay="exponential", coincidence="both")
_EULER = Convention(spike_trace_decay="euler", coincidence="both")

PRESETS: dict[str, Convention] = {
    "izhikevich2007": replace(_EULER, coincidence="causal", pairing="nearest"),
    "florian2007": replace(_EXACT, lag=1, normalize_trace=True),
    "nest": replace(_EXACT, coincidence="none"),
    "spikingjelly": replace(_EXACT, lag=1, normalize_trace=True, reduction="sum"),
    "bindsnet": replace(_EXACT, lag=1, normalize_trace=True, reduction="sum"),
    "inferno": replace(_EXACT, normalize_trace=True, reduction="sum"),
    "snntorch": replace(_EXACT, reduction="sum"),
    "norse": replace(_EULER, reduction="sum"),
}
