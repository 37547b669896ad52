"""Raster: one tick for each spike, one row for each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_kind
from .canvas import INK, as_array, axes, label_axes, names, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def raster(
    spikes: Any,
    ax: Axes | None = None,
    *,
    dt: float = 1.0,
    unit: str = "steps",
    start: float = 0.0,
    colors: str | Sequence[str] = INK,
    ylabel: str = "neuron",
) -> Axes:
    """Draw every spike as a tick: neuron over time.

    Args:
        spikes: (T, N); whatever is not zero is a spike.
        ax: where to draw; None opens a figure.
        dt, unit: length of a step and its unit, for the time axis.
        start: time of the first step.
        colors: one for all, or one for each neuron.
        ylabel: what a row is.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, dt <= 0, or a number of colours that is not N.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> ax = raster(torch.eye(4), Figure().subplots(), unit="ms")
    >>> len(ax.collections[0].get_segments()), ax.get_xlabel()
    (4, 'time (ms)')
    """
    from matplotlib.colors import is_color_like

    fired = as_array("spikes", spikes, ["(T, N)"]) != 0
    when = time_axis(len(fired), dt, start)
    if colors is None:
        raise TypeError("colors is None; expected a colour as '#222222', or a list of one for each neuron.")
    if isinstance(colors, str) and not is_color_like(colors):
        raise ValueError(f"colors = {colors!r}; expected a colour as '#222222', or a list of one for each neuron.")
    palette = [colors] * fired.shape[1] if isinstance(colors, str) else names(colors, fired.shape[1], "colors")
    palette = np.array(palette, dtype=object)
    require_kind("unit", unit, str, "A text, as 'ms'.")
    ax = axes(ax)
    step, neuron = np.nonzero(fired)
    ax.vlines(when[step], neuron - 0.4, neuron + 0.4, colors=palette[neuron].tolist(), linewidth=1.1)
    ax.set_xlim(start - 0.5 * dt, when[-1] + 0.5 * dt)
    ax.set_ylim(-0.7, fired.shape[1] - 0.3)
    return label_axes(ax, f"time ({unit})", ylabel)
