"""Weights: a matrix as colours, zero in the middle; and before and after, with their distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_count, require_flag, require_kind
from .canvas import BLUE, ORANGE, as_array, axes, label_axes, panels, signed_image, strongest_of, whole_ticks
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase


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
    strongest = strongest_of(matrix, limit)
    colorbar = require_flag("colorbar", colorbar)
    require_kind("label", label, str, "A text.")
    ax = axes(ax)
    signed_image(ax, matrix, strongest, label if colorbar else None, aspect="auto")
    whole_ticks(ax.xaxis)
    whole_ticks(ax.yaxis)
    return label_axes(ax, xlabel, ylabel)


def weight_change(
    before: Any,
    after: Any,
    where: Mapping[str, Axes] | FigureBase | None = None,
    *,
    limit: float | None = None,
    bins: int = 60,
    label: str = "weight",
) -> dict[str, Axes]:
    """Draw weights before and after on one scale, how they changed, and the distributions of both.

    Args:
        before, after: (N_post, N_pre); weights of convolutions, (C_out, C_in, h, w), as (C_out, C_in · h · w).
        where: axes by name ("before", "after", "change", "distribution"), a figure to fill, or None for a new one.
        limit: the weight of the strongest colour, either sign; None is the largest magnitude of both.
        bins: of the distributions, the same for both.
        label: what a colour means.

    Returns:
        The axes by name.

    Raises:
        TypeError: no numbers, or no axes.
        ValueError: another shape, two shapes, NaN, or limit <= 0.

    >>> from matplotlib.figure import Figure
    >>> drawn = weight_change([[0.5, -1.0]], [[0.5, 2.0]], Figure())
    >>> drawn["change"].images[0].get_array().tolist()
    [[0.0, 3.0]]
    """
    first, last = (
        as_array(name, values, ["(N_post, N_pre)", "(C_out, C_in, h, w)"])
        for name, values in (("before", before), ("after", after))
    )
    if first.shape != last.shape:
        raise ValueError(f"before has shape {first.shape} and after {last.shape}; expected the same.")
    first, last = first.reshape(len(first), -1), last.reshape(len(last), -1)
    strongest = strongest_of(np.array([first, last]), limit)
    bins = require_count("bins", bins, high=10_000)
    require_kind("label", label, str, "A text.")
    drawn = panels(where, [["before", "after"], ["change", "distribution"]], (8.5, 5.5))
    for name, matrix in (("before", first), ("after", last)):
        weights(matrix, drawn[name], limit=strongest, label=label).set_title(name, loc="left", fontsize=10)
    weights(last - first, drawn["change"], label=f"change of {label}").set_title("change", loc="left", fontsize=10)
    _distributions(drawn["distribution"], {"before": first, "after": last}, bins, label)
    return drawn


def _distributions(ax: Axes, values: Mapping[str, np.ndarray], bins: int, label: str) -> None:
    edges = np.histogram_bin_edges(np.concatenate([one.ravel() for one in values.values()]), bins)
    styles = ({"color": BLUE, "alpha": 0.35}, {"color": ORANGE, "histtype": "step", "linewidth": 1.6})
    for (name, one), style in zip(values.items(), styles, strict=True):
        ax.hist(one.ravel(), edges, label=f"{name}: {one.mean():.3g} ± {one.std():.2g}", **style)  # type: ignore[arg-type]
    ax.set_title("distribution", loc="left", fontsize=10)
    legend(ax)
    label_axes(ax, label, "synapses")
