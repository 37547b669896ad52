"""Settings drawn at random, for the package and for the reference alike."""

from __future__ import annotations

import random
from typing import Any

import reference

import snn_plasticity as snn

from .story import mexican_hat

KERNELS = (*["rate"] * 3, *["stdp_pair"] * 4, "stdp_symmetric", "stdp_triplet", "stdp_triplet", "window")
CLAMPS = (*[(-5.0, 5.0)] * 4, None, None, (-1.0, 1.0), (-0.05, 3.0), (-2.0, 0.3), (0.0, 1.5), (-8.0, 0.0))
FIELDS: dict[str, tuple[Any, ...]] = {
    "eligibility_decay": ("euler", "exponential"),
    "spike_trace_decay": ("exponential", "euler"),
    "coincidence": ("causal", "both", "none"),
    "lag": (0, 1),
    "normalize_trace": (False, True),
    "pairing": ("all", "nearest"),
}


def convention(draw: random.Random) -> dict[str, Any]:
    """The default one, or any."""
    chosen = {"reduction": draw.choice(("mean", "sum"))}
    if draw.random() < 0.5:
        return chosen
    return chosen | {name: draw.choice(choices) for name, choices in FIELDS.items()}


def eligibility(draw: random.Random) -> dict[str, Any]:
    """Fields of `EligibilityConfig` that both sides have; no two constants are equal."""
    chosen: dict[str, Any] = {
        "kernel": draw.choice(KERNELS),
        "trace_type": draw.choice((*["accumulating"] * 5, "replacing", "replacing", "dutch", "dutch")),
        "dutch_scope": draw.choice(("all", "active")),
        "dutch_alpha": draw.choice((0.1, 0.3)),
        "tau_e": draw.choice((4.0, 20.0, 20.0, 200.0, 1000.0)),
        "clamp_range": draw.choice(CLAMPS),
        "carry": draw.random() < 0.3,
        "dt": draw.choice((*[1.0] * 5, 0.5, 2.0)),
    }
    # A tie between what is kept and what comes, or f = 0 by cancellation, would be a matter of rounding.
    if chosen["trace_type"] == "replacing":
        chosen["tau_e"] += 1.7
    if draw.random() < 0.7 or (chosen["trace_type"] == "dutch" and chosen["dutch_scope"] == "active"):
        chosen |= {"stdp_tau_plus": draw.choice((3.0, 7.0, 16.8)), "stdp_tau_minus": draw.choice((4.0, 11.0, 33.7))}
        chosen |= {"a_plus": draw.choice((0.8, 0.1, 0.01)), "a_minus": draw.choice((1.1, 0.12, 0.012, 0.0))}
        chosen |= {"stdp_tau_x": 9.0, "stdp_tau_y": 13.0, "a3_plus": 0.6, "a3_minus": 0.4}
    return chosen


def cancels(chosen: dict[str, Any], layer: reference.layers.Layer) -> bool:
    """Whether f may be zero because positions cancel, and a trace asks whether it is."""
    return chosen["trace_type"] == "dutch" and chosen["dutch_scope"] == "active" and len(layer.post) > 1


def both(chosen: dict[str, Any], said: dict[str, Any]) -> tuple[snn.EligibilityConfig, reference.Eligibility]:
    """The same settings for the package and for the reference."""
    ours, theirs = snn.Convention(**said), reference.Convention(**said)
    if chosen["kernel"] != "window":
        return snn.EligibilityConfig(**chosen, convention=ours), reference.Eligibility(**chosen, convention=theirs)
    kernel = snn.Window(mexican_hat, span=4.0, dt=chosen["dt"], convention=ours)
    return (
        snn.EligibilityConfig(**chosen | {"kernel": kernel}, convention=ours),
        reference.Eligibility(**chosen, convention=theirs, curve=mexican_hat, span=4.0),
    )


def spelt(chosen: dict[str, Any], said: dict[str, Any]) -> str:
    """The package's settings as they can be pasted."""
    given = ", ".join(f"{name}={value!r}" for name, value in chosen.items() if name != "kernel")
    kernel = f"Window(mexican_hat, span=4.0, dt={chosen['dt']}, convention=convention)"
    kernel = kernel if chosen["kernel"] == "window" else repr(chosen["kernel"])
    fields = ", ".join(f"{name}={value!r}" for name, value in said.items())
    config = f"config = EligibilityConfig(kernel={kernel}, {given}, convention=convention)"
    return f"convention = Convention({fields})\n{config}"


def update(draw: random.Random) -> dict[str, Any]:
    """Fields of `ThreeFactorConfig`."""
    bounds = draw.choice((None, None, (-1.0, 1.0), (0.0, 0.6)))
    return {
        "mode": draw.choice((*["online"] * 5, "hybrid", "auxiliary_loss")),
        "lr": draw.choice((0.001, 0.1, 0.5)),
        "weight_clamp": draw.choice(((-1.0, 1.0), (-1.0, 1.0), None, (-0.02, 0.05))),
        "weight_bounds": bounds,
        "soft_bounds": None if bounds is None else draw.choice((None, 1.0, 0.0, (0.5, 2.0))),
        "update_frequency": draw.choice((1, 1, 1, 2, 3)),
    }


def neuromod(draw: random.Random) -> dict[str, Any]:
    """Fields of `NeuromodConfig`."""
    chosen: dict[str, Any] = {
        "combination_fn": draw.choice(("weighted_sum", "weighted_sum", "gated_product")),
        "reward_baseline": draw.choice(("none", "none", "running", "context")),
        "reward_baseline_tau": draw.choice((2.0, 10.0, 100.0)),
        "n_contexts": draw.choice((2, 3)),
        "baseline_scope": draw.choice(("sample", "sample", "batch")),
    }
    chosen["da_source"] = draw.choice((*["reward"] * 5, "normalized_reward", "td_error", "normalized_td_error"))
    chosen["da_response"] = draw.choice(("tanh", "tanh", "tanh", "linear"))
    chosen["ne_source"] = draw.choice(("urgency", "surprise", "normalized_surprise"))
    chosen["usual_tau"] = draw.choice((200.0, 3.0))
    for prefix in ("da", "ach", "ne", "sht"):
        if draw.random() < 0.4:
            chosen[f"{prefix}_tau"] = draw.choice((1.5, 20.0, 200.0))
            chosen[f"{prefix}_scale"] = draw.choice((0.3, 2.0))
        if draw.random() < 0.15:
            chosen[f"{prefix}_baseline"] = draw.choice((0.1, 0.5))
    return chosen


def spelt_gate(update: dict[str, Any], neuromod: dict[str, Any]) -> list[str]:
    """Update and gate as they can be pasted."""
    one, two = (", ".join(f"{name}={value!r}" for name, value in given.items()) for given in (update, neuromod))
    return [f"update = ThreeFactorConfig({one})", f"gate = NeuromodConfig({two})"]
