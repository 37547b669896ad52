"""Modulators: dopamine and the others over time, each in a colour and with dashes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._checks import require_kind
from ..neuromodulators import NEUROMODULATORS
from .canvas import CYCLE, DASHES, FAINT, as_array, axes, label_axes, time_axis
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOR = {kind.name: kind.color for kind in NEUROMODULATORS}
NAME = {kind.name: kind.word for kind in NEUROMODULATORS}
DASH = {kind.name: DASHES[k] for k, kind in enumerate(NEUROMODULATORS)}


def modulators(
    levels: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    dt: float = 1.0,
    unit: str = "steps",
    start: float = 0.0,
    ylabel: str = "modulator level",
) -> Axes:
    """Draw the levels of neuromodulators over time, around zero.

    Args:
        levels: (T,) for each name, as a gate returns them: "DA", "ACh", "NE", "5HT", or names of your own.
        ax: where to draw; None opens a figure.
        dt, unit: length of a step and its unit, for the time axis.
        start: time of the first step.
        ylabel: what the lines are.

    Raises:
        TypeError: `levels` is no mapping or holds no numbers, or `ax` is no axes.
        ValueError: nothing to draw, another shape, NaN, dt <= 0, or levels of different length.

    >>> from matplotlib.figure import Figure
    >>> ax = modulators({"DA": [0.0, 0.8, 0.4], "NE": [0.1, 0.1, 0.1]}, Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['dopamine', 'norepinephrine']
    """
    if not isinstance(levels, Mapping):
        raise TypeError(f"levels is a {type(levels).__name__}; expected a mapping of names to (T,), as {{'DA': da}}.")
    series = {name: as_array(f"levels[{name!r}]", level, ["(T,)"]) for name, level in levels.items()}
    lengths = {name: len(level) for name, level in series.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"levels have the lengths {lengths}; expected at least one, and all over the same steps.")
    when = time_axis(next(iter(lengths.values())), dt, start)
    require_kind("unit", unit, str, "A text, as 'ms'.")
    ax = axes(ax)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    for k, (name, level) in enumerate(series.items()):
        color, dashes = COLOR.get(name, CYCLE[k % len(CYCLE)]), DASH.get(name, DASHES[k % len(DASHES)])
        ax.plot(when, level, color=color, linestyle=dashes, label=NAME.get(name, name), linewidth=1.6,
                drawstyle="steps-mid")  # fmt: skip
    ax.set_xlim(start - 0.5 * dt, when[-1] + 0.5 * dt)
    legend(ax)
    return label_axes(ax, f"time ({unit})", ylabel)
