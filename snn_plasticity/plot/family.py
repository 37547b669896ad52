"""A family of nets that are trained as one: which of them took each step, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_count
from .canvas import CYCLE, DASHES, as_array, axes, label_axes, names
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = (".", "x", "+", "1", "2", "3")


def family(
    losses: Any,
    member: Any,
    ax: Axes | None = None,
    *,
    labels: Sequence[str] = ("base", "motivated"),
    width: int = 15,
    ylabel: str = "loss of the batch",
) -> Axes:
    """Draw the loss of every step in the colour of the net that took it, its running median, and who took which step.

    Args:
        losses: (S,), as `report.history.losses` of a dual run.
        member: (S,) which net took each step: 0 or 1 (`report.history.motivated`), or more.
        ax: where to draw; None opens a figure.
        labels: the names of the nets, in the order of their numbers.
        width: steps of a net over which the median is taken.
        ylabel: what was measured.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, a net without a name, or members that are not S.

    >>> from matplotlib.figure import Figure
    >>> ax = family([3.0, 2.0, 2.5, 1.0], [0, 0, 1, 0], Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['base', 'motivated (25% of steps)']
    """
    values, who = as_array("losses", losses, ["(S,)"]), as_array("member", member, ["(S,)"])
    if len(who) != len(values):
        raise ValueError(f"member has {len(who)} entries; expected {len(values)}, one for each loss.")
    if (who != np.floor(who)).any() or who.min() < 0:
        raise ValueError(f"member holds {who.min():g} to {who.max():g}; expected the numbers of nets: 0, 1, ...")
    told = names(labels, max(len(labels) if isinstance(labels, (list, tuple)) else 0, int(who.max()) + 1))
    width = require_count("width", width)
    ax = axes(ax)
    steps = np.arange(len(values))
    for k, name in enumerate(told):
        mine = who == k
        if not mine.any():
            continue
        color, share = CYCLE[k % len(CYCLE)], f" ({mine.mean():.0%} of steps)" if k else ""
        ax.plot(steps[mine], values[mine], MARKS[k % len(MARKS)], color=color, markersize=2.5, alpha=0.3)
        ax.plot(steps[mine], running_median(values[mine], width), color=color, linewidth=1.7,
                linestyle=DASHES[k % len(DASHES)], label=f"{name}{share}")  # fmt: skip
        if k:
            ax.plot(steps[mine], np.full(mine.sum(), -0.015 - 0.03 * k), "|", color=color, markersize=5, alpha=0.6,
                    transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip
    ax.tick_params(axis="x", pad=5 + 4 * int(who.max()))
    legend(ax)
    return label_axes(ax, "step (ticks below: not the first net)" if who.any() else "step", ylabel)


def running_median(values: np.ndarray, width: int) -> np.ndarray:
    """The median of each value and of those around it.

    >>> running_median(np.array([1.0, 9.0, 2.0, 3.0]), 3).tolist()
    [5.0, 2.0, 3.0, 2.5]
    """
    half = width // 2
    return np.array([np.median(values[max(0, k - half) : k + half + 1]) for k in range(len(values))])
