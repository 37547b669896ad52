"""Modulation: what affect does to learning, attention, exploration, memory and risk.

    learning rate   1 + α · arousal
    attention       1 + β · |valence|
    exploration     1 + γ · (1 − dominance)
    memory          1 + δ · arousal · |valence|
    risk            1 − ε · valence

each clamped to [floor, ceiling], floor > 0: a factor can weaken what it multiplies, never silence or reverse it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .._checks import as_real, require_finite, require_real, require_tensors
from ..config.affect import ModulationConfig
from ..config.validation import require_config

if TYPE_CHECKING:
    from .state import AffectiveState


class ModulationVector(NamedTuple):
    """Factors, each (B,) and above zero, that other parts multiply their own quantities by."""

    learning_rate_scale: Tensor
    attention_gain: Tensor
    exploration_temp: Tensor
    memory_priority: Tensor
    risk_scale: Tensor


class AffectiveModulator:
    """Multiplies other parts' quantities by what affect makes of them.

    A float, or a tensor (), becomes one value per sample, (B,); a tensor (B, ...) keeps its shape and dtype. What is
    returned is always a tensor, so that no step waits for the device: for an optimizer that wants a number, take
    `float(modulator.modulate_learning_rate(lr, state).mean())`.

    Args:
        config: gains, floors, ceilings.

    >>> import torch
    >>> from snn_plasticity.affect import AffectiveEstimator
    >>> state = AffectiveEstimator().reset(2)._replace(arousal=torch.tensor([0.0, 1.0]))
    >>> AffectiveModulator().modulate_learning_rate(0.1, state)
    tensor([0.1000, 0.1500])
    """

    def __init__(self, config: ModulationConfig | None = None) -> None:
        self.config = require_config(config, ModulationConfig)

    def factors(self, valence: Tensor, arousal: Tensor, dominance: Tensor) -> ModulationVector:
        """All factors of an affect, each (B,).

        Raises:
            TypeError: no tensors of real numbers.
            ValueError: other shapes or devices than that of the valence, NaN.
        """
        require_tensors({"valence": valence, "arousal": arousal, "dominance": dominance}, like="valence")
        return self._factors_of(valence, arousal, dominance)

    def _factors_of(self, valence: Tensor, arousal: Tensor, dominance: Tensor) -> ModulationVector:
        """As `factors`, of an affect that was checked already."""
        c, strength = self.config, valence.abs()
        return ModulationVector(
            (1.0 + c.lr_alpha * arousal).clamp(c.lr_floor, c.lr_ceiling),
            (1.0 + c.attention_beta * strength).clamp(c.attention_floor, c.attention_ceiling),
            (1.0 + c.exploration_gamma * (1.0 - dominance)).clamp(c.exploration_floor, c.exploration_ceiling),
            (1.0 + c.memory_delta * arousal * strength).clamp(c.memory_floor, c.memory_ceiling),
            (1.0 - c.risk_epsilon * valence).clamp(c.risk_floor, c.risk_ceiling),
        )

    def modulate_learning_rate(self, base_lr: float | Tensor, state: AffectiveState) -> Tensor:
        """A learning rate, raised by arousal whatever the valence: lr · (1 + α · arousal).

        Args:
            base_lr: a number, (), or (B, ...).
            state: of the estimator.

        Raises:
            TypeError: no number.
            ValueError: a shape that does not begin with B, NaN.
        """
        return _multiply("base_lr", base_lr, self._of(state).learning_rate_scale)

    def modulate_attention(self, attention_logits: Tensor, state: AffectiveState) -> Tensor:
        """Attention logits (B, ...), sharpened by strong feelings of either sign; masks of −inf stay masks.

        Raises:
            TypeError: no tensor of floating-point scores.
            ValueError: a shape that does not begin with B, NaN.

        >>> import torch
        >>> from snn_plasticity.affect import AffectiveEstimator
        >>> state = AffectiveEstimator().reset(1)._replace(valence=torch.tensor([-1.0]))
        >>> AffectiveModulator().modulate_attention(torch.tensor([[1.0, 2.0]]), state)
        tensor([[1.3000, 2.6000]])
        """
        require_real("attention_logits", attention_logits)
        if not attention_logits.is_floating_point():
            raise TypeError(f"attention_logits has dtype {attention_logits.dtype}; expected floating-point scores.")
        return _multiply("attention_logits", attention_logits, self._of(state).attention_gain)

    def modulate_exploration(self, temperature: float | Tensor, state: AffectiveState) -> Tensor:
        """An exploration temperature, raised where control is low: T · (1 + γ · (1 − dominance)).

        Args:
            temperature: a number, (), or (B, ...).
            state: of the estimator.

        Raises:
            TypeError, ValueError: as `modulate_learning_rate`.
        """
        return _multiply("temperature", temperature, self._of(state).exploration_temp)

    def modulate_memory_priority(self, priority: float | Tensor, state: AffectiveState) -> Tensor:
        """A priority of consolidation, raised by arousing events of either sign: p · (1 + δ · arousal · |valence|).

        Args:
            priority: a number, (), or (B, ...).
            state: of the estimator.

        Raises:
            TypeError, ValueError: as `modulate_learning_rate`.
        """
        return _multiply("priority", priority, self._of(state).memory_priority)

    def modulate_risk(self, risk_sensitivity: float | Tensor, state: AffectiveState) -> Tensor:
        """A sensitivity to risk, raised where things are bad: s · (1 − ε · valence).

        Args:
            risk_sensitivity: a number, (), or (B, ...).
            state: of the estimator.

        Raises:
            TypeError, ValueError: as `modulate_learning_rate`.
        """
        return _multiply("risk_sensitivity", risk_sensitivity, self._of(state).risk_scale)

    def _of(self, state: AffectiveState) -> ModulationVector:
        from .state import require_affect_state  # the state holds a ModulationVector

        require_affect_state(state, None, None)
        return self._factors_of(state.valence, state.arousal, state.dominance)


def _multiply(name: str, base: float | Tensor, factor: Tensor) -> Tensor:
    """A quantity times one factor per sample."""
    if not isinstance(base, Tensor):
        base = as_real(name, base, factor.device, factor.dtype)
    require_real(name, base)
    if base.device != factor.device:
        raise ValueError(f"{name} is on {base.device}, the state on {factor.device}; expected one device.")
    require_finite(name, base.nan_to_num(nan=float("nan"), posinf=0.0, neginf=0.0))  # infinities may be masks
    if base.dim() == 0:
        return base.to(factor.dtype) * factor
    if base.shape[0] != len(factor):
        raise ValueError(
            f"{name} has shape {tuple(base.shape)}; expected a number or ({len(factor)}, ...), one row per sample of "
            "the state."
        )
    product = base * factor.reshape(-1, *[1] * (base.dim() - 1))
    return product.to(base.dtype) if base.is_floating_point() else product
