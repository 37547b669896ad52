"""Many small images on one scale: filters of a convolution, receptive fields of a layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_count, require_flag, require_kind, shown
from .canvas import INK, as_array, axes, signed_image, strongest_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def filters(
    values: Any,
    ax: Axes | None = None,
    *,
    limit: float | None = None,
    colorbar: bool = True,
    label: str = "weight",
) -> Axes:
    """Draw the filters of a convolution as small images, all on one scale: red excites, blue inhibits, white is zero.

    Args:
        values: (C_out, C_in, h, w), the weight of a Conv2d; a row for each output channel, a column for each input
            channel; with one input channel, rows of filters.
        ax: where to draw; None opens a figure.
        limit: the weight of the strongest colour, either sign; None is the largest magnitude.
        colorbar: whether to draw the scale beside it.
        label: what a colour means.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, or limit <= 0.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> ax = filters(torch.randn(4, 2, 3, 3), Figure().subplots())
    >>> ax.images[0].get_array().shape                # four by two images of three by three, with lines between them
    (15, 7)
    """
    weight = as_array("values", values, ["(C_out, C_in, h, w)"])
    strongest = strongest_of(weight, limit)
    require_flag("colorbar", colorbar)
    require_kind("label", label, str, "A text.")
    columns = weight.shape[1]
    if columns == 1:
        columns = math.ceil(math.sqrt(len(weight) * weight.shape[2] / weight.shape[3]))
    images = weight.reshape(-1, *weight.shape[2:])
    return _mosaic(ax, images, columns, strongest, label if colorbar else None)


def receptive_fields(
    values: Any,
    shape: tuple[int, int],
    ax: Axes | None = None,
    *,
    columns: int | None = None,
    limit: float | None = None,
    colorbar: bool = True,
    label: str = "weight",
) -> Axes:
    """Draw what each neuron looks for: a row of weights as an image of its inputs, all on one scale.

    Args:
        values: (N_post, N_pre), the weight of a Linear.
        shape: (h, w) of the input, h · w = N_pre.
        ax: where to draw; None opens a figure.
        columns: images in a row; None: about as many as rows.
        limit: the weight of the strongest colour, either sign; None is the largest magnitude.
        colorbar: whether to draw the scale beside it.
        label: what a colour means.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, or limit <= 0.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> ax = receptive_fields(torch.randn(10, 64), (8, 8), Figure().subplots(), columns=5)
    >>> [text.get_text() for text in ax.texts][:3]
    ['0', '1', '2']
    """
    weight = as_array("values", values, ["(N_post, N_pre)"])
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape = {shown(shape)}; expected (h, w) of the input, as (28, 28).")
    high, wide = (require_count(f"shape[{k}]", side) for k, side in enumerate(shape))
    if high * wide != weight.shape[1]:
        raise ValueError(f"shape = {(high, wide)} has {high * wide} places, and values has {weight.shape[1]} inputs.")
    columns = math.ceil(math.sqrt(len(weight))) if columns is None else require_count("columns", columns)
    strongest = strongest_of(weight, limit)
    require_flag("colorbar", colorbar)
    require_kind("label", label, str, "A text.")
    images = weight.reshape(-1, high, wide)
    return _mosaic(ax, images, columns, strongest, label if colorbar else None)


def _mosaic(ax: Axes | None, images: np.ndarray, columns: int, strongest: float, label: str | None) -> Axes:
    """Images (K, h, w) in rows on one scale, numbered where there are few."""
    count, high, wide = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (high + 1) - 1, columns * (wide + 1) - 1), np.nan)
    for k, image in enumerate(images):
        top, left = k // columns * (high + 1), k % columns * (wide + 1)
        canvas[top : top + high, left : left + wide] = image
    tall = canvas.shape[0] / canvas.shape[1]
    ax = axes(ax, (5.0, min(max(4.0 * tall + 0.3, 1.2), 9.0)))
    signed_image(ax, np.ma.masked_invalid(canvas), strongest, label)
    ax.set_facecolor("#E4E4E4")
    ax.set(xticks=(), yticks=())
    ax.spines[:].set_visible(False)
    if min(high, wide) >= 6 and count <= 64:
        for k in range(count):
            place = (k % columns * (wide + 1), k // columns * (high + 1))
            ax.text(*place, str(k), fontsize=7, color=INK, ha="left", va="top",
                    bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.6})  # fmt: skip
    return ax
