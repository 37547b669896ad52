"""The STDP window: what a pair of spikes does to a synapse, as configured and as measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._checks import known_as, require_flag, require_kind, require_number
from ..config import EligibilityConfig
from ..kernels import PairSTDP, SymmetricSTDP, TripletSTDP, Window, post_side_of
from ..kernels.named_kernels import kernel_of
from ..plasticity import EligibilityTraceModule
from .canvas import BLUE, FAINT, ORANGE, axes, label_axes
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_SPAN = 1000  # of a window on either side; its memory grows with the square
USUAL_STEPS = 50  # of a kernel that does not say how far it reaches


def measured_window(rule: Any, span: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What one pair of spikes leaves in the eligibility, for every Δt = t_post − t_pre, measured.

    Two neurons with one synapse for each Δt are driven through an `EligibilityTraceModule`; e is read at the step of
    the later spike. Kernels of one's own are measured like any other.

    Args:
        rule: an `EligibilityConfig`, the name of a kernel, or a kernel.
        span: largest |Δt|, in the unit of the configuration's dt; None: four time constants, or what a kernel says.

    Returns:
        Δt (K,) and e (K,).

    Raises:
        TypeError, ValueError: no such rule, one that reads no spikes of the post neuron, or a span out of range.

    >>> delta, e = measured_window("stdp_pair", span=2.0)
    >>> delta.tolist(), e.round(2).tolist()
    ([-2.0, -1.0, 0.0, 1.0, 2.0], [-0.9, -0.95, 1.0, 0.95, 0.9])
    """
    config = _config_of(rule)
    steps = _steps(config, span)
    lag = torch.arange(-steps, steps + 1)
    module = EligibilityTraceModule(1, 1, config)
    left = torch.zeros(len(lag), dtype=torch.float64)
    with torch.no_grad():
        for now in range(steps + 1):
            pre, post = ((-lag).clamp(min=0) == now).double(), (lag.clamp(min=0) == now).double()
            e = module.update(pre.unsqueeze(1), post.unsqueeze(1)).reshape(len(lag))
            left = torch.where(lag.abs() == now, e, left)
    return lag.numpy() * config.dt, left.numpy()


def stdp_window(
    rule: Any,
    ax: Axes | None = None,
    *,
    measured: bool = True,
    span: float | None = None,
    unit: str = "steps",
) -> Axes:
    """Draw the change that a pair of spikes makes over Δt = t_post − t_pre: a line as configured, dots as measured.

    The line is drawn of kernels that are given by a curve: pair, symmetric and triplet STDP (its pairs), and `Window`.

    Args:
        rule: an `EligibilityConfig`, the name of a kernel, or a kernel.
        ax: where to draw; None opens a figure.
        measured: whether to measure too (`measured_window`).
        span: largest |Δt|; None: four time constants, or as far as a kernel says.
        unit: of time.

    Raises:
        TypeError, ValueError: as in `measured_window`; nothing to draw.

    >>> from matplotlib.figure import Figure
    >>> ax = stdp_window("stdp_pair", Figure().subplots(), span=20.0)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['as configured', 'as measured']
    """
    config = _config_of(rule)
    measured, steps = require_flag("measured", measured), _steps(config, span)
    require_kind("unit", unit, str, "A text, as 'ms'.")
    curve = _curve(config)
    if curve is None and not measured:
        raise ValueError(f"The kernel {known_as(config.kernel)} has no curve to draw; expected measured=True.")
    dots = measured_window(config, span) if measured else None
    ax = axes(ax)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    ax.axvline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    if curve is not None:
        edge, tiny = steps * config.dt, 1e-6 * config.dt
        for k, side in enumerate((np.linspace(-edge, -tiny, 200), np.linspace(tiny, edge, 200))):
            drawn = [curve(float(delta)) for delta in side]
            ax.plot(side, drawn, color=BLUE, linewidth=1.8, label=None if k else "as configured")
    if dots is not None:
        every = max(1, steps // 40)
        kept = (np.arange(len(dots[0])) - steps) % every == 0
        ax.plot(dots[0][kept], dots[1][kept], "o", color=ORANGE, markersize=3.5, markeredgecolor="white",
                markeredgewidth=0.4, label="as measured")  # fmt: skip
    legend(ax)
    return label_axes(ax, f"Δt = t_post − t_pre ({unit})", "e left by the pair")


def _config_of(rule: Any) -> EligibilityConfig:
    config = rule if isinstance(rule, EligibilityConfig) else EligibilityConfig(kernel=rule)
    side = post_side_of(kernel_of(config))
    if side != "spikes":
        raise ValueError(
            f"The kernel {known_as(config.kernel)} reads {side!r} of the post neuron, not spikes, so that a pair of "
            "spikes has no meaning to it; expected a kernel of spikes."
        )
    if config.diagonal:
        raise ValueError("EligibilityConfig.diagonal is True; expected False: one synapse is measured.")
    return config


def _steps(config: EligibilityConfig, span: float | None) -> int:
    kernel = kernel_of(config)
    if span is None and isinstance(kernel, Window):
        span = kernel.span
    elif span is None:
        taus = [getattr(kernel, name, None) for name in ("tau_plus", "tau_minus")]
        known = [float(tau) for tau in taus if isinstance(tau, (int, float)) and math.isfinite(tau)]
        span = config.dt * min(LONGEST_SPAN, math.ceil(4 * max(known) / config.dt) if known else USUAL_STEPS)
    span = require_number("span", span, config.dt, LONGEST_SPAN * config.dt)
    return round(span / config.dt)


def _curve(config: EligibilityConfig) -> Callable[[float], float] | None:
    """W(Δt) of a kernel that has one in numbers."""
    kernel = kernel_of(config)
    scale = 1.0 / config.tau_e if config.convention.normalize_trace else 1.0
    if isinstance(kernel, Window):
        return lambda delta: scale * float(kernel.curve(delta)) if abs(delta) <= kernel.span else 0.0
    if not isinstance(kernel, (PairSTDP, SymmetricSTDP, TripletSTDP)):
        return None
    numbers = (kernel.a_plus, kernel.tau_plus, kernel.a_minus, kernel.tau_minus)
    if not all(isinstance(number, (int, float)) for number in numbers):  # one for each neuron
        return None
    a_plus, tau_plus, a_minus, tau_minus = map(float, numbers)
    sign = 1.0 if isinstance(kernel, SymmetricSTDP) else -1.0
    return lambda delta: (
        scale * (a_plus * math.exp(-delta / tau_plus) if delta > 0 else sign * a_minus * math.exp(delta / tau_minus))
    )
