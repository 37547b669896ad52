"""What a step did, in numbers: weight changes, eligibility, modulators; for logs and plots.

Everything stays a tensor on its device until `to_dict` asks for numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

__all__ = ["LayerTrace", "PlasticityTrace"]


class LayerTrace(NamedTuple):
    """One plastic weight at one step; scalar tensors."""

    change_norm: Tensor  # ‖Δw‖
    change_max: Tensor  # max |Δw|
    weight_mean: Tensor
    eligibility_mean: Tensor  # mean |e|
    eligibility_max: Tensor  # max |e|
    eligibility_active: Tensor  # share of e that is not zero


class PlasticityTrace(NamedTuple):
    """One step of a learner: modulators (B,) by name, global plasticity, and every weight that it looked at."""

    modulators: dict[str, Tensor]
    global_plasticity: Tensor
    layers: dict[str, LayerTrace]
    loss: Tensor | None = None

    def to_dict(self) -> dict[str, float]:
        """Flat numbers, batch means: what a logger wants. This reads the device."""
        numbers = {f"modulators/{name}": _mean(level) for name, level in self.modulators.items()}
        numbers["global_plasticity"] = _mean(self.global_plasticity)
        if self.loss is not None:
            numbers["loss"] = float(self.loss)
        for name, layer in self.layers.items():
            numbers |= {f"{name}/{field}": float(value) for field, value in layer._asdict().items()}
        return numbers


def layer_trace(weight: Tensor, eligibility: Tensor, change: Tensor | None) -> LayerTrace:
    """Statistics of one weight; `change` is None where it was not its turn to change."""
    weight, zero = weight.detach().float(), eligibility.new_zeros(())
    magnitude = eligibility.abs() if len(eligibility) else zero  # of an empty batch
    return LayerTrace(
        change_norm=zero if change is None else change.float().norm(),
        change_max=zero if change is None else change.float().abs().max(),
        weight_mean=weight.mean(),
        eligibility_mean=magnitude.mean(),
        eligibility_max=magnitude.max(),
        eligibility_active=(magnitude > 0).float().mean(),
    )


def plasticity_trace(
    modulators: Mapping[str, Tensor], plasticity: Tensor, layers: dict[str, LayerTrace], loss: Tensor | None
) -> PlasticityTrace:
    """The trace of one step, detached from every graph."""
    levels = {name: level.detach() for name, level in modulators.items()}
    return PlasticityTrace(levels, plasticity.detach(), layers, loss)


def _mean(levels: Tensor) -> float:
    """Of the batch; zero where it is empty."""
    return float(levels.mean()) if levels.numel() else 0.0
