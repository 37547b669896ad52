"""Fields and defaults of the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Convention:
    """What simulators leave silent."""

    eligibility_decay: str = "euler"
    spike_trace_decay: str = "exponential"
    coincidence: str = "causal"
    lag: int = 0
    normalize_trace: bool = False
    pairing: str = "all"
    reduction: str = "mean"


@dataclass(frozen=True)
class Eligibility:
    """Kernel and trace; `curve` and `span` are those of a window."""

    trace_type: str = "accumulating"
    tau_e: float = 20.0
    kernel: str = "rate"
    stdp_tau_plus: float = 20.0
    stdp_tau_minus: float = 20.0
    a_plus: float = 1.0
    a_minus: float = 1.0
    dutch_alpha: float = 0.1
    clamp_range: tuple[float, float] | None = (-5.0, 5.0)
    dt: float = 1.0
    carry: bool = False
    convention: Convention = field(default_factory=Convention)
    dutch_scope: str = "all"
    stdp_tau_x: float = 101.0
    stdp_tau_y: float = 114.0
    a3_plus: float = 1.0
    a3_minus: float = 0.0
    curve: Callable[[float], float] | None = None
    span: float = 0.0


@dataclass(frozen=True)
class Neuromod:
    """Sources, scales, memories and combination of the modulators."""

    da_source: str = "reward"
    ach_source: str = "novelty"
    ne_source: str = "urgency"
    sht_source: str = "patience"
    combination_fn: str = "weighted_sum"
    da_weight: float = 1.0
    ach_weight: float = 0.5
    ne_weight: float = 0.25
    sht_weight: float = 0.25
    da_scale: float = 1.0
    ach_scale: float = 1.0
    ne_scale: float = 1.0
    sht_scale: float = 1.0
    da_tau: float = 0.0
    ach_tau: float = 0.0
    ne_tau: float = 0.0
    sht_tau: float = 0.0
    da_baseline: float = 0.0
    ach_baseline: float = 0.0
    ne_baseline: float = 0.0
    sht_baseline: float = 0.0
    reward_baseline: str = "none"
    reward_baseline_tau: float = 100.0
    n_contexts: int = 1
    baseline_scope: str = "sample"
    dt: float = 1.0
    da_response: str = "tanh"
    usual_tau: float = 200.0


@dataclass(frozen=True)
class ThreeFactor:
    """How gate and eligibility become a change of the weight."""

    mode: str = "online"
    lr: float = 0.001
    weight_clamp: tuple[float, float] | None = (-1.0, 1.0)
    weight_bounds: tuple[float, float] | None = None
    soft_bounds: float | tuple[float, float] | None = None
    update_frequency: int = 1
