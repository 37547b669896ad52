"""Eligibility as an image: of all synapses at one moment, or of the strongest over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_count, require_flag, require_kind
from .canvas import as_array, axes, label_axes, signed_image, strongest_of, time_axis
from .weights import weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def eligibility(
    values: Any,
    ax: Axes | None = None,
    *,
    strongest: int = 50,
    limit: float | None = None,
    colorbar: bool = True,
    dt: float = 1.0,
    unit: str = "steps",
    start: float = 0.0,
) -> Axes:
    """Draw eligibility as colours: red would potentiate, blue would depress, white is zero.

    Args:
        values: (N_post, N_pre) at one moment; or (T, N_post, N_pre) over time: a row for each of the strongest
            synapses, in the order in which they are at their largest.
        ax: where to draw; None opens a figure. Lines of a few synapses over time are `traces`.
        strongest: how many synapses are shown over time.
        limit: the eligibility of the strongest colour, either sign; None is the largest magnitude.
        colorbar: whether to draw the scale beside it.
        dt, unit, start: length of a step and its unit, and the time of the first step.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, limit <= 0, or dt <= 0.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> ax = eligibility(torch.randn(30, 4, 5), Figure().subplots(), strongest=8)
    >>> ax.images[0].get_array().shape
    (8, 30)
    """
    e = as_array("values", values, ["(N_post, N_pre)", "(T, N_post, N_pre)"])
    strongest, when = require_count("strongest", strongest), time_axis(len(e), dt, start)
    top = strongest_of(e, limit)
    require_flag("colorbar", colorbar)
    require_kind("unit", unit, str, "A text, as 'ms'.")
    if e.ndim == 2:
        return weights(e, ax, limit=limit, colorbar=colorbar, label="eligibility e")
    rows = e.reshape(len(e), -1).T
    size = np.abs(rows)
    chosen = np.sort(np.argsort(-size.max(axis=1), kind="stable")[:strongest])
    chosen = chosen[np.argsort(size[chosen].argmax(axis=1), kind="stable")]
    ax = axes(ax)
    extent = (start - 0.5 * dt, float(when[-1]) + 0.5 * dt, len(chosen) - 0.5, -0.5)
    signed_image(ax, rows[chosen], top, "eligibility e" if colorbar else None, aspect="auto", extent=extent)
    ax.set_yticks(())
    share = (
        f"{len(chosen)} synapses" if len(chosen) == len(rows) else f"{len(chosen)} strongest of {len(rows):,} synapses"
    )
    return label_axes(ax, f"time ({unit})", share)
