"""Modulators: four chemicals, each driven by one signal, each with a memory of its own.

    drive    DA  = tanh(s (reward − baseline))                   in [−1, 1], or linear: s (reward − baseline)
             ACh = tanh(s max(novelty, 0)),  NE, 5HT likewise    in [0, 1]
    level    ℓ(t) = clamp(d ℓ(t−1) + drive(t)),  d = exp(−dt/τ); τ = 0 forgets at once
    amount   m(t) = clamp(ℓ(t) + tonic baseline)
    gain     g = Σ w m, or w_DA DA · Π (1 + w m) over the others          (by name; `combine` has the rest)

    s   scale of the source        τ   time constant of the modulator, in the unit of dt

A linear dopamine has no range, neither has its level: only so is the mean change of a weight the covariance of reward
and Hebbian term, to the letter. What bounds an update is then `weight_clamp`.

Dopamine as a reward prediction error: Schultz, Dayan & Montague 1997. Acetylcholine and norepinephrine as
expected and unexpected uncertainty: Yu & Dayan 2005. Serotonin as the reach of foresight: Doya 2002. A level
that outlives its cause (τ = 200 ms for dopamine): Izhikevich 2007.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from .._checks import require_kind, require_number, require_operands, require_real, require_tensors
from ..config import NeuromodConfig
from ..config.validation import require_number_field, require_word_field
from ..decay import decay_factor
from ..neuromodulators import NAMES, NEUROMODULATORS, NORMALIZED


class Arithmetic(NamedTuple):
    """What the equations of the gate are made of besides + − · /, for tensors, for numbers or for arrays.

    On the CPU a step goes through the gate as numbers, or as arrays (B,): an operation on a tensor takes some 1.5 µs,
    however small, and one on an array half of that.
    """

    tanh: Callable[[Any], Any]
    lesser: Callable[[Any, Any], Any]
    at_least: Callable[[Any, Any], Any]  # low
    clamp: Callable[[Any, Any, Any], Any]  # low, high
    add: Callable[..., Any]  # x + alpha · y
    amplify: Callable[..., Any]  # x + value · y · z


def _clamp(x: float, low: float, high: float) -> float:
    return low if x < low else high if x > high else x


def _add(x: float, y: float, *, alpha: float) -> float:
    return x + alpha * y


def _amplify(x: float, y: float, z: float, *, value: float) -> float:
    return x + value * y * z


IN_TENSORS = Arithmetic(torch.tanh, torch.minimum, torch.clamp, torch.clamp, torch.add, torch.addcmul)


def _clamp_array(x: np.ndarray, low: Any, high: Any) -> np.ndarray:
    return np.minimum(np.maximum(x, low), high)


IN_NUMBERS = Arithmetic(math.tanh, min, max, _clamp, _add, _amplify)
IN_ARRAYS = Arithmetic(np.tanh, np.minimum, np.maximum, _clamp_array, _add, _amplify)
Value = TypeVar("Value", Tensor, float, np.ndarray)

LOW = {kind.name: kind.low for kind in NEUROMODULATORS}


def dopamine(reward: Tensor, baseline: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> Tensor:
    """Phasic dopamine: tanh(scale · (reward − baseline)), in [−1, 1].

    Args:
        reward: (B,) reward, or a TD error.
        baseline: (B,) or a number, the reward that was expected.
        scale: what the error is multiplied by.

    Returns:
        (B,). Schultz, Dayan & Montague 1997.

    >>> dopamine(torch.tensor([1.0, 0.0, -1.0]), baseline=0.5)
    tensor([ 0.4621, -0.4621, -0.9051])
    """
    require_real("reward", reward)
    require_operands({"reward": reward, "baseline": baseline, "scale": scale})
    return _signed(reward - baseline, scale)


def _signed(error: Tensor, scale: Tensor | float) -> Tensor:
    return torch.tanh(scale * error)


def _one_sided(drive: Tensor, scale: Tensor | float) -> Tensor:
    return torch.tanh(scale * drive.clamp(min=0.0))


def acetylcholine(novelty: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Phasic acetylcholine: tanh(scale · max(novelty, 0)), in [0, 1]. Yu & Dayan 2005.

    >>> acetylcholine(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    require_real("novelty", novelty)
    require_operands({"novelty": novelty, "scale": scale})
    return _one_sided(novelty, scale)


def norepinephrine(urgency: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Phasic norepinephrine: tanh(scale · max(urgency, 0)), in [0, 1]. Yu & Dayan 2005.

    >>> norepinephrine(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    require_real("urgency", urgency)
    require_operands({"urgency": urgency, "scale": scale})
    return _one_sided(urgency, scale)


def serotonin(patience: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Phasic serotonin: tanh(scale · max(patience, 0)), in [0, 1]. Doya 2002.

    >>> serotonin(torch.tensor([-1.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    require_real("patience", patience)
    require_operands({"patience": patience, "scale": scale})
    return _one_sided(patience, scale)


def accumulate(
    level: Tensor, drive: Tensor, tau: Tensor | float, dt: float = 1.0, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """One step of a level: clamp(exp(−dt/τ) · level + drive, low, high).

    Args:
        level: (B,) level after the last step.
        drive: (B,) phasic release of this step.
        tau: time constant in the unit of `dt`; 0 keeps nothing. A tensor keeps its gradient.
        dt: step length.
        low, high: range; −1 and 1 for dopamine, 0 and 1 for the others.

    Returns:
        (B,) level after this step. Izhikevich 2007.

    >>> accumulate(torch.tensor([0.5]), torch.tensor([0.1]), tau=200.0)
    tensor([0.5975])
    """
    require_tensors({"level": level, "drive": drive}, like="level")
    if isinstance(tau, Tensor):
        require_operands({"level": level, "tau": tau})
    else:
        tau = require_number("tau", tau, 0.0, infinite=True)
    dt = require_number("dt", dt, 0.0, open_low=True)
    high = require_number("high", high)
    return _accumulated(level, drive, tau, dt, require_number("low", low, high=high), high)


def _accumulated(level: Tensor, drive: Tensor, tau: Tensor | float, dt: float, low: float, high: float) -> Tensor:
    kept = decay_factor(tau, dt) if isinstance(tau, Tensor) or tau > 0 else 0.0
    return (kept * level + drive).clamp(low, high)


def summed(parts: Iterable[tuple[float, Value]], of: Arithmetic = IN_TENSORS) -> Value:
    """Σ w m of what was checked before; modulators that are zero may be left out."""
    (first, m), *others = parts
    total: Any = first * m
    for w, other in others:
        total = of.add(total, other, alpha=w)
    return total


def multiplied(parts: Iterable[tuple[float, Value]], of: Arithmetic = IN_TENSORS) -> Value:
    """The first, w m, times 1 + w m of the others; those that are zero may be left out, but not the first."""
    (first, m), *others = parts
    product: Any = first * m
    for w, other in others:
        product = of.amplify(product, product, other, value=w)
    return product


@dataclass(frozen=True)
class Modulator:
    """One modulator: which signal drives it, how strongly, for how long, above which tonic level.

    Args:
        name: "DA", "ACh", "NE" or "5HT".
        source: name of the signal that drives it.
        scale, tau, baseline: as in `NeuromodConfig`.
        dt: step length.
        normalized: whether the gate divides the signal by its usual size first.
        response: "tanh", or "linear", which has no range.

    >>> da = Modulator("DA", "reward", tau=200.0)
    >>> amount, level = da.step(torch.tensor([0.0]), torch.tensor([0.5]))
    >>> amount
    tensor([0.4975])
    """

    name: str
    source: str
    scale: float = 1.0
    tau: float = 0.0
    baseline: float = 0.0
    dt: float = 1.0
    normalized: bool = False
    response: Literal["tanh", "linear"] = "tanh"

    def __post_init__(self) -> None:
        require_word_field(self, "name", NAMES)
        require_kind("Modulator.source", self.source, str, "The name of a signal, as 'reward'.")
        for field in ("scale", "tau"):
            require_number_field(self, field, 0.0, infinite=field == "tau")
        require_number_field(self, "baseline", LOW[self.name], 1.0)
        require_number_field(self, "dt", 0.0, open_low=True)
        require_word_field(self, "response", ("tanh", "linear"))

    @cached_property
    def rests(self) -> bool:
        """Whether it is exactly zero in a step in which nothing drives it, whatever was before."""
        return self.tau == 0.0 and self.baseline == 0.0

    @cached_property
    def _kept(self) -> float:
        """What is left of a level after one step."""
        return decay_factor(self.tau, self.dt) if self.tau > 0.0 else 0.0

    @cached_property
    def _range(self) -> tuple[float, float]:
        return (-math.inf, math.inf) if self.response == "linear" else (LOW[self.name], 1.0)

    def step(self, signal: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """The amount (B,) that is there in this step, and the level (B,) to carry on."""
        alike = isinstance(signal, Tensor) and isinstance(level, Tensor) and signal.shape == level.shape
        if not alike or signal.device != level.device or not (signal.is_floating_point() and level.is_floating_point()):
            require_tensors({"signal": signal, "level": level}, like="signal", finite=False)
        if level.is_sparse:
            require_real("level", level)
        return self.stepped(signal, level)

    def stepped(self, signal: Value | None, level: Value, of: Arithmetic = IN_TENSORS) -> tuple[Value, Value]:
        """As `step`, of what was checked before; None: nothing drives it in this step."""
        low, high = self._range
        now: Any = level
        if signal is not None:
            drive: Any = signal if self.response == "linear" or low < 0.0 else of.at_least(signal, 0.0)
            drive = drive if self.scale == 1.0 else self.scale * drive
            drive = drive if self.response == "linear" else of.tanh(drive)
            now = drive if self.tau == 0.0 else of.add(drive, level, alpha=self._kept)
        else:
            now = self._kept * level
        if self.tau and self.response != "linear":
            now = of.clamp(now, low, high)
        return now if self.baseline == 0.0 else of.clamp(now + self.baseline, low, high), now


def modulators_of(config: NeuromodConfig) -> tuple[Modulator, ...]:
    """The modulators that `config` describes, in the order of the table: DA, ACh, NE, 5HT."""
    return tuple(
        Modulator(
            kind.name,
            source=kind.setting(config, "source").removeprefix(NORMALIZED),
            scale=kind.setting(config, "scale"),
            tau=kind.setting(config, "tau"),
            baseline=kind.setting(config, "baseline"),
            dt=config.dt,
            normalized=kind.setting(config, "source").startswith(NORMALIZED),
            response=getattr(config, f"{kind.prefix}_response", "tanh"),
        )
        for kind in NEUROMODULATORS
    )
