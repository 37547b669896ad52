"""Every convention there is: all choices that simulators leave silent, combined."""

from __future__ import annotations

import itertools

from snn_plasticity import Convention

CHOICES = {
    "eligibility_decay": ("euler", "exponential"),
    "spike_trace_decay": ("euler", "exponential"),
    "coincidence": ("causal", "both", "none"),
    "normalize_trace": (False, True),
    "pairing": ("all", "nearest"),
    "lag": (0, 1),
}
CONVENTIONS = [Convention(**dict(zip(CHOICES, values, strict=True))) for values in itertools.product(*CHOICES.values())]  # type: ignore[arg-type]
