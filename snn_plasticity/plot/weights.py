"""Weights: a matrix as colours, zero in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_flag, require_kind, require_number
from .canvas import as_array, axes, label_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def weights(
    values: Any,
    ax: Axes | None = None,
    *,
    limit: float | None = None,
    colorbar: bool = True,
    label: str = "weight",
    xlabel: str = "pre neuron",
    ylabel: str = "post neuron",
) -> Axes:
    """Draw a weight matrix: red excites, blue inhibits, white is zero.

    Args:
        values: (N_post, N_pre).
        ax: where to draw; None opens a figure.
        limit: the weight of the strongest colour, either sign; None is the largest magnitude.
        colorbar: whether to draw the scale beside it.
        label: what a colour means.
        xlabel, ylabel: what columns and rows are.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, or limit <= 0.

    >>> from matplotlib.figure import Figure
    >>> ax = weights([[0.5, -2.0]], Figure().subplots())
    >>> ax.images[0].get_clim()
    (-2.0, 2.0)
    """
    matrix = as_array("values", values, ["(N_post, N_pre)"])
    limit = None if limit is None else require_number("limit", limit, 0.0, open_low=True)
    colorbar = require_flag("colorbar", colorbar)
    require_kind("label", label, str, "A text.")
    strongest = float(limit or np.abs(matrix).max() or 1.0)
    ax = axes(ax)
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-strongest, vmax=strongest, aspect="auto", interpolation="nearest")
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label=label)
    return label_axes(ax, xlabel, ylabel)
