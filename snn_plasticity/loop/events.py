"""Events: what the world tells the loop, by name; who hears what.

    reward, td_error, long_horizon_value                                            any real number
    surprise, uncertainty, entropy, aleatoric_uncertainty                           >= 0
    homeostatic_deviation, urgency, patience                                        >= 0
    novelty                                                                         in [0, 1]
    context                                                                         index of a stimulus or task

Each is a number, or a tensor, an array or a list of shape (), (B,) or (B, 1). The reward prediction error of affect is
td_error where it is told, else reward − b_c, the gate's own baseline; what is not told as surprise is the size of that
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import torch
from torch import Tensor

from ..affect import AffectiveState, InternalSignals, to_neuromodulators
from ..checks import Signal, as_signal, length_of, require_within
from ..neuromodulation import NeuromodulatoryGate

Heard = dict[str, Tensor]

EVENTS: dict[str, tuple[float | None, float | None]] = {
    "reward": (None, None),
    "td_error": (None, None),
    "surprise": (0.0, None),
    "uncertainty": (0.0, None),
    "entropy": (0.0, None),
    "aleatoric_uncertainty": (0.0, None),
    "novelty": (0.0, 1.0),
    "homeostatic_deviation": (0.0, None),
    "urgency": (0.0, None),
    "patience": (0.0, None),
    "long_horizon_value": (None, None),
    "context": (0.0, None),
}
NOT_FOR_THE_GATE = ("aleatoric_uncertainty", "homeostatic_deviation")


def layout(events: Mapping[str, Signal]) -> tuple[int | None, torch.device | None, torch.dtype]:
    """Batch size, device and precision that the tensors among the events ask for.

    Raises:
        TypeError: no mapping.
        ValueError: an unknown event, tensors on several devices.

    >>> layout({"reward": torch.ones(3, 1), "novelty": 0.5})
    (3, device(type='cpu'), torch.float32)
    """
    if not isinstance(events, Mapping):
        raise TypeError(f"events is a {type(events).__name__}; expected a mapping such as {{'reward': 1.0}}.")
    for name in events:
        if name not in EVENTS:
            close = get_close_matches(str(name), EVENTS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"no event is called {name!r}; the events are {', '.join(EVENTS)}.{hint}")
    tensors = {name: value for name, value in events.items() if isinstance(value, Tensor)}
    size = next((size for size in map(length_of, events.values()) if size is not None), None)
    device = next((value.device for value in tensors.values()), None)
    for name, value in tensors.items():
        if value.device != device:
            raise ValueError(f"{name} is on {value.device}, other events on {device}; expected all on one device.")
    double = any(value.dtype == torch.float64 for value in tensors.values())
    return size, device, torch.float64 if double else torch.float32


def read(events: Mapping[str, Signal], like: Tensor) -> Heard:
    """Every event that was told, checked, as (B,) like `like`.

    Raises:
        TypeError: a value that is no number.
        ValueError: a wrong shape, NaN or infinity, a value out of its range.

    >>> read({"novelty": 0.5}, torch.zeros(2))
    {'novelty': tensor([0.5000, 0.5000])}
    """
    heard = {}
    for name, value in events.items():
        heard[name] = as_signal(value, len(like), name=name, device=like.device, dtype=like.dtype)
        require_within(name, heard[name], *EVENTS[name])
    return heard


def prediction_error(heard: Heard, gate: NeuromodulatoryGate, expected: Tensor, like: Tensor) -> Tensor:
    """How much better than expected it went, (B,): td_error, or reward less what the gate expected of it."""
    if "td_error" in heard:
        return heard["td_error"]
    if "reward" not in heard:
        return torch.zeros_like(like)
    if gate.sources["DA"] != "reward":
        return heard["reward"]
    return gate.reward_baseline.error(heard["reward"], heard.get("context", torch.zeros_like(like)), expected)


def appraised(heard: Heard, error: Tensor, felt: Mapping[str, Tensor], *, shared: bool) -> InternalSignals:
    """What affect hears: of every sample, or the mean over the batch that is one animal."""
    zero = torch.zeros_like(error)
    own = {
        "reward_prediction_error": error,
        "epistemic_uncertainty": heard.get("uncertainty", heard.get("entropy", zero)),
        "prediction_error_magnitude": heard.get("surprise", error.abs()),
        "novelty_score": heard.get("novelty", zero),
        "homeostatic_deviation": heard.get("homeostatic_deviation", zero),
    }
    if "aleatoric_uncertainty" in heard:
        own["aleatoric_uncertainty"] = heard["aleatoric_uncertainty"]
    if shared:
        own, felt = ({name: value.mean(0, keepdim=True) for name, value in part.items()} for part in (own, felt))
    return InternalSignals(**own, modulators=felt)


def for_the_gate(
    heard: Heard, affect: AffectiveState, gate: NeuromodulatoryGate, size: int
) -> tuple[dict[str, Signal], dict[str, Signal]]:
    """What the gate hears: what the events say, and what affect releases, each (B,)."""
    signals: dict[str, Signal] = {name: value for name, value in heard.items() if name not in NOT_FOR_THE_GATE}
    released: dict[str, Signal] = {name: amount.expand(size) for name, amount in to_neuromodulators(affect).items()}
    source = gate.sources["DA"]
    if source in heard or (source == "reward" and gate.config.reward_baseline != "none"):
        del released["DA"]
    return signals, released
