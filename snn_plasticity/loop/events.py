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

import torch
from torch import Tensor

from ..affect import AffectiveState
from ..affect.mapping import release
from ..affect.signals import InternalReading, reading_of
from ..neuromodulation import NeuromodulatoryGate
from ..signals import GATE, SignalReading


def prediction_error(given: Mapping[str, Tensor], gate: NeuromodulatoryGate, expected: Tensor, like: Tensor) -> Tensor:
    """How much better than expected it went, (B,): td_error, or reward less what the gate expected of it."""
    if "td_error" in given:
        return given["td_error"]
    if "reward" not in given:
        return torch.zeros_like(like)
    if gate.sources["DA"] != "reward" or gate.config.reward_baseline == "none":
        return given["reward"]
    context, baseline = given.get("context"), gate.reward_baseline
    if expected.shape != baseline.state_shape(len(like)):  # of another gate: refused in a sentence
        return baseline.error(given["reward"], 0.0 if context is None else context, expected)
    return baseline.difference(given["reward"], context, expected)


def to_internal_signals(
    given: Mapping[str, Tensor], error: Tensor, felt: Mapping[str, Tensor], *, shared: bool
) -> InternalReading:
    """What affect makes of the events: of every sample, or the mean over the batch that is one animal."""
    zero = torch.zeros_like(error)
    own = {
        "reward_prediction_error": error,
        "epistemic_uncertainty": given.get("uncertainty", given.get("entropy", zero)),
        "prediction_error_magnitude": given.get("surprise", error.abs()),
        "novelty_score": given.get("novelty", zero),
        "homeostatic_deviation": given.get("homeostatic_deviation", zero),
        "aleatoric_uncertainty": given.get("aleatoric_uncertainty", zero),
        **felt,
    }
    if shared:
        own, zero = {name: value.mean(0, keepdim=True) for name, value in own.items()}, zero[:1]
    return reading_of(own, zero, aleatoric_known="aleatoric_uncertainty" in given)


def to_gate_signals(
    given: SignalReading, affect: AffectiveState, gate: NeuromodulatoryGate
) -> tuple[SignalReading, SignalReading]:
    """What drives the gate: what the events say, and what affect releases, each (B,)."""
    of_gate = {name: value for name, value in given.items() if name in GATE.ranges}
    signals = SignalReading(of_gate, given.like, given.numbers)
    released = {name: amount.expand(len(given.like)) for name, amount in release(affect).items()}
    source = gate.sources["DA"]
    if source in given or (source == "reward" and gate.config.reward_baseline != "none"):
        del released["DA"]
    return signals, SignalReading(released, given.like)
