"""Learning curve: how well, over how long, for the rule and for its controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .._checks import require_choice, require_kind, require_number
from .canvas import CYCLE, DASHES, FAINT, as_array, axes, label_axes, whole_ticks
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Band = Literal["standard error", "standard deviation", "range"]


def learning_curve(
    curves: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    x: Any = None,
    chance: float | None = None,
    band: Band = "standard error",
    xlabel: str = "epoch",
    ylabel: str = "accuracy",
) -> Axes:
    """Draw curves of learning: a line each, or the mean over runs with a band, whose kind the legend names.

    Args:
        curves: (K,) or (runs, K) for each name.
        ax: where to draw; None opens a figure.
        x: (K,) where along training the values were taken; None counts them from 0.
        chance: level of guessing, as a thin line.
        band: what lies around the mean of several runs: one "standard error" of it, one "standard deviation" of the
            runs, or their "range".
        xlabel, ylabel: what was varied and what was measured.

    Raises:
        TypeError: `curves` is no mapping or holds no numbers, or `ax` is no axes.
        ValueError: nothing to draw, another shape, NaN, another number of points than `x`, or another band.

    >>> from matplotlib.figure import Figure
    >>> ax = learning_curve({"reward": [0.1, 0.8], "no reward": [0.1, 0.1]}, Figure().subplots(), chance=0.1)
    >>> [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    ['reward', 'no reward', 'chance']
    """
    if not isinstance(curves, Mapping) or not curves:
        raise TypeError(f"curves is {curves!r}; expected a mapping of names to (K,) or (runs, K), and at least one.")
    series = {
        name: np.atleast_2d(as_array(f"curves[{name!r}]", c, ["(K,)", "(runs, K)"])) for name, c in curves.items()
    }
    points = {name: runs.shape[1] for name, runs in series.items()}
    where = np.arange(next(iter(points.values()))) if x is None else as_array("x", x, ["(K,)"])
    if set(points.values()) != {len(where)}:
        raise ValueError(f"curves have the numbers of points {points}; expected {len(where)} each, as many as x.")
    chance = None if chance is None else require_number("chance", chance)
    require_choice("band", band, get_args(Band))
    for name in curves:
        require_kind("A name of a curve", name, str, "A text.")
    for name, text in (("xlabel", xlabel), ("ylabel", ylabel)):
        require_kind(name, text, str, "A text.")
    ax = axes(ax)
    for k, (name, runs) in enumerate(series.items()):
        _curve(ax, where, runs, name, k, band)
    if (where == np.round(where)).all():  # as epochs are
        whole_ticks(ax.xaxis)
    if chance is not None:
        ax.axhline(chance, color=FAINT, linewidth=0.8, label="chance", zorder=0)
    _name(ax, {len(runs) for runs in series.values()} - {1}, band)
    return label_axes(ax, xlabel, ylabel)


def _curve(ax: Axes, where: np.ndarray, runs: np.ndarray, name: str, k: int, band: Band) -> None:
    color, mean = CYCLE[k % len(CYCLE)], runs.mean(axis=0)
    ax.plot(where, mean, color=color, linestyle=DASHES[k % len(DASHES)], label=name, linewidth=1.8)
    if len(runs) > 1:
        spread = runs.std(axis=0, ddof=1)
        error = spread / np.sqrt(len(runs))
        low, high = {
            "standard error": (mean - error, mean + error),
            "standard deviation": (mean - spread, mean + spread),
            "range": (runs.min(axis=0), runs.max(axis=0)),
        }[band]
        ax.fill_between(where, low, high, color=color, alpha=0.2, linewidth=0)


def _name(ax: Axes, repeated: set[int], band: Band) -> None:
    """A legend, which says what the bands are where there are some."""
    runs = (
        f"{min(repeated, default=0)} to {max(repeated, default=0)}"
        if len(repeated) > 1
        else f"{max(repeated, default=0)}"
    )
    shown = f"mean, {band} of {runs} runs" if band == "range" else f"mean ± {band}, {runs} runs"
    legend(ax, **({"title": shown, "title_fontsize": 8, "alignment": "left"} if repeated else {}))
