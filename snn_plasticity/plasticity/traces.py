"""Eligibility traces: how long, and in what manner, a synapse remembers a coincidence f.

    ē = d·e,   d = 1 − dt/τ_e  or  exp(−dt/τ_e)

    accumulating   e ← ē + f
    replacing      e ← f where |f| ≥ |ē|, else ē        (max(ē, f) where neither is negative)
    dutch          e ← (1 − α)·ē + f                    (scope "active": only where f ≠ 0, else ē)

    then e is clamped. With `normalize_trace`, f is divided by τ_e first.

On a convolution the trace lives on the shared weight, so that replacing and Dutch traces act per weight.
Sutton & Barto 2018, ch. 12; Izhikevich 2007.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .._checks import require_tensors
from ..config import EligibilityConfig
from ..config.validation import require_number_field, require_range_field, require_word_field
from ..conventions import Convention
from ..decay import decay_factor
from ..kernels.operands import require_parameters
from ..kernels.parameters import Number
from ..kernels.stdp import Coincidence
from ..layers.geometry import Geometry, correlation


class Trace(Protocol):
    """A trace: what is kept of e in a step (`retained`), and how e and f are joined (`join`)."""

    tau_e: Number
    clamp_range: tuple[float, float] | None
    convention: Convention

    @property
    def linear(self) -> bool:
        """Whether e ← retained·e + f says it all (apart from the clamp)."""
        ...

    def retained(self, dt: float) -> Number:
        """Factor of e before it is joined with f."""
        ...

    def join(self, kept: Tensor, f: Tensor) -> Tensor:
        """What was kept and what came."""
        ...


def _require_trace(trace: object) -> None:
    """Refuse a time constant, a clamp or a convention that is none."""
    require_parameters(trace, ("tau_e",))
    require_range_field(trace, "clamp_range", around_zero=True)


def _require_joined(kept: Tensor, f: Tensor) -> None:
    """Refuse what are not two tensors of one shape."""
    if isinstance(kept, Tensor) and isinstance(f, Tensor) and kept.shape == f.shape and kept.device == f.device:
        plain = kept.is_floating_point() and f.is_floating_point()
        if plain and kept.layout is torch.strided and f.layout is torch.strided:
            return
    require_tensors({"kept": kept, "f": f}, like="kept", finite=False)
    if not (kept.is_floating_point() and f.is_floating_point()):
        raise TypeError(f"kept is {kept.dtype} and f {f.dtype}; expected floating point.")


@dataclass(frozen=True)
class Accumulating:
    """e ← d·e + f."""

    tau_e: Number = 20.0
    clamp_range: tuple[float, float] | None = (-5.0, 5.0)
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        _require_trace(self)

    linear: ClassVar[bool] = True

    def retained(self, dt: float) -> Number:
        """The decay d."""
        return decay_factor(self.tau_e, dt, self.convention.eligibility_decay)

    def join(self, kept: Tensor, f: Tensor) -> Tensor:
        """Their sum."""
        _require_joined(kept, f)
        return kept + f


@dataclass(frozen=True)
class Replacing:
    """e ← the larger in magnitude of d·e and f; at equal magnitude the new one."""

    tau_e: Number = 20.0
    clamp_range: tuple[float, float] | None = (-5.0, 5.0)
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        _require_trace(self)

    linear: ClassVar[bool] = False

    def retained(self, dt: float) -> Number:
        """The decay d."""
        return decay_factor(self.tau_e, dt, self.convention.eligibility_decay)

    def join(self, kept: Tensor, f: Tensor) -> Tensor:
        """The larger in magnitude."""
        _require_joined(kept, f)
        return torch.where(f.abs() >= kept.abs(), f, kept)


@dataclass(frozen=True)
class Dutch:
    """e ← (1 − α)·d·e + f, in all synapses or only in those with f ≠ 0."""

    tau_e: Number = 20.0
    alpha: Number = 0.1
    scope: str = "all"
    clamp_range: tuple[float, float] | None = (-5.0, 5.0)
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        _require_trace(self)
        require_parameters(self, (), ("alpha",))
        if not isinstance(self.alpha, Tensor):
            require_number_field(self, "alpha", 0.0, 1.0)
        require_word_field(self, "scope", ("all", "active"))

    @property
    def linear(self) -> bool:
        """With scope "all" the trace is a linear filter."""
        return self.scope == "all"

    def retained(self, dt: float) -> Number:
        """(1 − α)·d, or d where only active synapses give up α."""
        decay = decay_factor(self.tau_e, dt, self.convention.eligibility_decay)
        return (1.0 - self.alpha) * decay if self.linear else decay

    def join(self, kept: Tensor, f: Tensor) -> Tensor:
        """Their sum; what an active synapse kept shrinks by α first."""
        _require_joined(kept, f)
        return kept + f if self.linear else torch.where(f != 0, (1.0 - self.alpha) * kept, kept) + f


def trace_of(config: EligibilityConfig) -> Trace:
    """The trace that a config names."""
    common = {"tau_e": config.tau_e, "clamp_range": config.clamp_range, "convention": config.convention}
    return {
        "accumulating": lambda: Accumulating(**common),
        "replacing": lambda: Replacing(**common),
        "dutch": lambda: Dutch(alpha=config.dutch_alpha, scope=config.dutch_scope, **common),
    }[config.trace_type]()


def scale_of(trace: Trace) -> Number:
    """Factor of f: 1/τ_e with `normalize_trace`, else one."""
    return 1.0 / trace.tau_e if trace.convention.normalize_trace else 1.0


def step(trace: Trace, e: Tensor, f: Tensor, dt: float = 1.0) -> Tensor:
    """One step of a trace, pure and differentiable: e and f (B, *weight shape).

    >>> step(Accumulating(tau_e=20.0), torch.ones(1), torch.zeros(1))
    tensor([0.9500])
    """
    if trace.convention.normalize_trace:
        f = f / trace.tau_e
    e = trace.join(trace.retained(dt) * e, f)
    return e if trace.clamp_range is None else e.clamp(*trace.clamp_range)


def step_(trace: Trace, geometry: Geometry, e: Tensor, coincidence: Coincidence, dt: float = 1.0) -> None:
    """The same step in place; nothing as large as e is allocated for a dense matrix."""
    retained = trace.retained(dt)
    scale = scale_of(trace)
    if coincidence.full is not None:
        f = correlation(geometry, coincidence).to(e)
        kept = e.mul_(retained)
        kept.add_(f, alpha=scale) if trace.linear else e.copy_(trace.join(kept, f * scale))  # type: ignore[arg-type]
    elif not coincidence.ltp and not coincidence.ltd:
        e.mul_(retained)
    elif trace.linear:
        geometry.accumulate_(e, coincidence, retained, scale)  # type: ignore[arg-type]
    else:
        for part, f in geometry.blocks(e, coincidence, scale):  # type: ignore[arg-type]
            part.copy_(trace.join(part.mul_(retained), f))
    if trace.clamp_range is not None:
        e.clamp_(*trace.clamp_range)
