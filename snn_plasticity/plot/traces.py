"""Traces: anything that goes on in time, as lines: eligibility, membrane potential, a spike trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._checks import require_kind
from .canvas import CYCLE, DASHES, as_array, axes, label_axes, names, time_axis
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def traces(
    values: Any,
    ax: Axes | None = None,
    *,
    dt: float = 1.0,
    unit: str = "steps",
    start: float = 0.0,
    labels: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    ylabel: str = "eligibility",
) -> Axes:
    """Draw K quantities over time, each with a colour and with dashes of its own.

    Args:
        values: (T,) or (T, K).
        ax: where to draw; None opens a figure.
        dt, unit: length of a step and its unit, for the time axis.
        start: time of the first step.
        labels: one for each line, for a legend.
        colors: one for each line.
        ylabel: what the lines are, with its unit where it has one.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, dt <= 0, or labels or colours that are not K.

    >>> from matplotlib.figure import Figure
    >>> ax = traces([1.0, 0.5, 0.25], Figure().subplots(), dt=2.0)
    >>> ax.lines[0].get_xdata().tolist()
    [0.0, 2.0, 4.0]
    """
    lines = as_array("values", values, ["(T,)", "(T, K)"])
    lines = lines.reshape(len(lines), -1)
    when = time_axis(len(lines), dt, start)
    label, color = names(labels, lines.shape[1]), names(colors, lines.shape[1], "colors")
    require_kind("unit", unit, str, "A text, as 'ms'.")
    ax = axes(ax)
    for k, line in enumerate(lines.T):
        style = {"color": color[k] or CYCLE[k % len(CYCLE)], "linestyle": DASHES[k % len(DASHES)]}
        ax.plot(when, line, label=label[k], linewidth=1.6, **style)
    ax.set_xlim(start - 0.5 * dt, when[-1] + 0.5 * dt)
    if labels is not None:
        legend(ax)
    return label_axes(ax, f"time ({unit})", ylabel)
