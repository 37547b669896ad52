"""What every plot shares: where it draws, how values become numbers, and lines that everybody can tell apart.

Colours are those of Okabe & Ito (2008). Any two of them, and of them and the greys of text and thin lines, are 15 units
of CIELAB apart or more, also as seen with deuteranopia, protanopia and tritanopia; the first three of the cycle differ
by 11 or more in lightness, for print without colour. Beside its colour a line has dashes of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._checks import known_as, require_kind, require_number, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import FigureBase

BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = CYCLE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
INK, FAINT = "#222222", "#666666"  # text and ticks; what stays in the background: zero, chance, thin dots
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))  # a second cue beside the colour


def axes(ax: Axes | None, size: tuple[float, float] = (6.0, 3.0)) -> Axes:
    """The axes to draw on: the user's own, or those of a new figure (only then is pyplot asked).

    Raises:
        TypeError: `ax` is no matplotlib axes.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=size, layout="constrained")[1]
    if not hasattr(ax, "get_xlim") or isinstance(ax, type):
        raise TypeError(f"ax is a {type(ax).__name__}; expected matplotlib axes, as from plt.subplots(), or None.")
    return ax


def panels(
    where: Mapping[str, Axes] | FigureBase | None, layout: list[list[str]], size: tuple[float, float], **options: Any
) -> dict[str, Axes]:
    """Axes by name: the user's own, or those of a figure that is filled, or of a new one.

    Raises:
        TypeError: `where` is neither.
        ValueError: axes are missing.
    """
    wanted = list(dict.fromkeys(name for row in layout for name in row))
    if where is None:
        import matplotlib.pyplot as plt

        where = plt.figure(figsize=size, layout="constrained")
    if isinstance(where, Mapping):
        missing = [name for name in wanted if name not in where]
        if missing:
            raise ValueError(f"where has the axes {list(where)}; expected {', '.join(map(repr, missing))} too.")
        return {name: axes(where[name]) for name in wanted if where[name] is not None}
    if not hasattr(where, "subplot_mosaic") or isinstance(where, type):
        raise TypeError(f"where is {known_as(where)}; expected a figure, axes by name, or None.")
    return where.subplot_mosaic(layout, **options)  # type: ignore[return-value]


def as_array(name: str, values: Any, shapes: Sequence[str]) -> np.ndarray:
    """Values as an array of one of the expected shapes, written like "(T, N)".

    Raises:
        TypeError: no numbers.
        ValueError: another number of axes, nothing in it, NaN or infinity.

    >>> as_array("spikes", torch.ones(3, 2), ["(T, N)"]).shape
    (3, 2)
    """
    if isinstance(values, torch.Tensor):
        if values.is_meta:
            raise ValueError(f"{name} is on the meta device, which holds no values; expected a tensor that does.")
        values = values.detach().to_dense().cpu()
        values = (values if values.is_complex() else values.double()).numpy()
    if not isinstance(values, (np.ndarray, list, tuple, Real)):
        raise TypeError(f"{name} is {known_as(values)}; expected a tensor, an array or a list of real numbers.")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        raise ValueError(f"{name} = {shown(values)}; expected numbers in rows of one length.") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} holds {array.dtype} values; expected a tensor, an array or a list of real numbers.")
    if array.ndim not in {shape.count(",") + (not shape.endswith(",)")) for shape in shapes}:
        hint = " Choose one sample first, as in x[:, 0]." if array.ndim == 3 else ""
        raise ValueError(f"{name} has shape {array.shape}; expected {' or '.join(shapes)}.{hint}")
    if not array.size:
        raise ValueError(f"{name} has shape {array.shape} and is empty; expected at least one value.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; expected finite numbers. Find the step where they began.")
    return array.astype(float)


def time_axis(n_steps: int, dt: float, start: float) -> np.ndarray:
    """When each step was.

    Raises:
        ValueError: dt is not above zero.
    """
    dt, start = require_number("dt", dt, 0.0, open_low=True), require_number("start", start)
    return start + dt * np.arange(n_steps)


def names(labels: Sequence[str] | None, expected: int, name: str = "labels") -> list[str | None]:
    """One label per line; none at all if there are none.

    Raises:
        ValueError: fewer or more labels than lines.
    """
    if labels is None:
        return [None] * expected
    if not isinstance(labels, (list, tuple)) and not isinstance(labels, str):
        raise TypeError(f"{name} is {known_as(labels)}; expected a list of {expected}, one for each.")
    if isinstance(labels, str) or len(labels) != expected:
        count = "one string" if isinstance(labels, str) else f"{len(labels)} entries"
        raise ValueError(f"{name} has {count} ({labels!r}); expected a list of {expected}, one for each.")
    if name == "colors":
        from matplotlib.colors import is_color_like

        wrong = [label for label in labels if not is_color_like(label)]
        if wrong:
            raise ValueError(f"colors holds {shown(wrong[0])}; expected colours such as '#222222' or 'red'.")
    for label in labels:
        require_kind(f"A member of {name}", label, (str, tuple), "A text, or a colour.")
    return list(labels)


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """Places in rising order, moved as little as one pass from either end can so that they are a gap apart.

    >>> spread(np.array([0.0, 10.0, 10.5]), 2.0).tolist()
    [0.0, 9.25, 11.25]
    """
    up, down = places.astype(float), places.astype(float)
    for k in range(1, len(places)):
        up[k] = max(up[k], up[k - 1] + gap)
        down[-k - 1] = min(down[-k - 1], down[-k] - gap)
    return (up + down) / 2


def row_colors(colors: Any, sizes: Mapping[str, int]) -> np.ndarray:
    """A colour (3,) for each row."""
    from matplotlib.colors import is_color_like, to_rgb

    rows, grouped = sum(sizes.values()), len(sizes) > 1
    if colors is None:
        colors = {name: CYCLE[k % len(CYCLE)] if grouped else INK for k, name in enumerate(sizes)}
    if isinstance(colors, Mapping):
        if set(colors) != set(sizes):
            raise ValueError(f"colors has the groups {list(colors)}; expected those of spikes, {list(sizes)}.")
        colors = [colors[name] for name, count in sizes.items() for _ in range(count)]
    if isinstance(colors, str):
        if not is_color_like(colors):
            raise ValueError(
                f"colors = {shown(colors)}; expected a colour as '#222222', or a list of one for each neuron."
            )
        colors = [colors] * rows
    if not isinstance(colors, (list, tuple)):
        raise TypeError(
            f"colors is {known_as(colors)}; expected a colour, a list of one for each neuron, or a mapping."
        )
    return np.array([to_rgb(color or INK) for color in names(colors, rows, "colors")]).reshape(rows, 3)


def strongest_of(values: np.ndarray, limit: float | None) -> float:
    """The value of the strongest colour: a limit, else the largest magnitude.

    Raises:
        ValueError: limit <= 0.
    """
    limit = None if limit is None else require_number("limit", limit, 0.0, open_low=True)
    return float(limit or np.abs(values).max() or 1.0)


def signed_image(ax: Axes, values: Any, strongest: float, label: str | None, **options: Any) -> None:
    """An image, red above zero and blue below, with a scale beside it where that has a label."""
    image = ax.imshow(values, cmap="RdBu_r", vmin=-strongest, vmax=strongest, interpolation="nearest", **options)
    if label is not None:
        ax.figure.colorbar(image, ax=ax, label=label)


def whole_ticks(axis: Axis) -> None:
    """No ticks between whole numbers, as of an axis that counts neurons or epochs."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def label_axes(ax: Axes, xlabel: str, ylabel: str) -> Axes:
    """Labelled axes without a box."""
    for name, text in (("xlabel", xlabel), ("ylabel", ylabel)):
        require_kind(name, text, str, "A text.")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
