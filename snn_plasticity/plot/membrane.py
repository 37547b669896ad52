"""Membrane potentials with their threshold, and the spikes where they crossed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_number
from .canvas import FAINT, as_array, time_axis
from .legends import legend
from .traces import traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def membrane(
    values: Any,
    ax: Axes | None = None,
    *,
    threshold: float | None = 1.0,
    spikes: Any = None,
    dt: float = 1.0,
    unit: str = "steps",
    start: float = 0.0,
    labels: Sequence[str] | None = None,
    ylabel: str = "membrane potential",
) -> Axes:
    """Draw membrane potentials over time, the threshold as a dashed line, and spikes as ticks above it.

    Args:
        values: (T,) or (T, K).
        ax: where to draw; None opens a figure.
        threshold: at which a neuron fires; None draws none.
        spikes: of the same shape, whatever is not zero is a spike; None draws none.
        dt, unit, start: length of a step and its unit, and the time of the first step.
        labels: one for each neuron, for a legend.
        ylabel: what the lines are, with its unit where it has one.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, dt <= 0, or labels that are not K.

    >>> from matplotlib.figure import Figure
    >>> ax = membrane([0.0, 0.6, 1.1, 0.1], Figure().subplots(), spikes=[0, 0, 1, 0])
    >>> len(ax.collections[0].get_segments())
    1
    """
    lines = as_array("values", values, ["(T,)", "(T, K)"])
    threshold = None if threshold is None else require_number("threshold", threshold)
    fired = None if spikes is None else as_array("spikes", spikes, ["(T,)", "(T, K)"]) != 0
    if fired is not None and fired.shape != lines.shape:
        raise ValueError(f"spikes has shape {fired.shape}; expected {lines.shape}, that of values.")
    ax = traces(lines, ax, dt=dt, unit=unit, start=start, labels=labels, ylabel=ylabel)
    colors = [line.get_color() for line in ax.lines[-lines.reshape(len(lines), -1).shape[1] :]]
    if threshold is not None:
        ax.axhline(threshold, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0, label="threshold")
    if fired is not None:
        top = max(float(lines.max()), -np.inf if threshold is None else threshold)
        tall = 0.08 * max(top - float(lines.min()), 1e-12)
        step, neuron = np.nonzero(fired.reshape(len(fired), -1))
        when = time_axis(len(lines), dt, start)[step]
        low = top + tall * (0.6 + 1.2 * neuron)
        ax.vlines(when, low, low + tall, colors=[colors[k] for k in neuron], linewidth=1.4)
    if labels is not None or threshold is not None:
        legend(ax)
    return ax
