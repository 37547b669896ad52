"""The plane of affect: where valence and arousal go, with dominance as a second cue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import BLUE, FAINT, INK, as_array, axes, label_axes, row_colors
from .legends import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOOD = "#CFCFCF"


def affect(
    values: Any,
    ax: Axes | None = None,
    *,
    mood: Any = None,
    colors: Any = None,
) -> Axes:
    """Draw a path through the plane of affect: full dots where dominance is above zero, rings where it is not.

    Args:
        values: (T, 3) valence, arousal and dominance, each in [−1, 1]; or (T, 2) without dominance.
        ax: where to draw; None opens a figure.
        mood: (T, 2) or (T, 3), as a broad line behind it.
        colors: one for all steps, or one for each, as of regions.

    Raises:
        TypeError: no numbers or no colours, or `ax` is no axes.
        ValueError: another shape, NaN, values outside [−1, 1], or colours that are not T.

    >>> from matplotlib.figure import Figure
    >>> ax = affect([[0.1, 0.2, 0.3], [0.5, 0.6, -0.1]], Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['dominance > 0', 'dominance ≤ 0']
    """
    path, broad = _points("values", values), None if mood is None else _points("mood", mood)
    palette = row_colors(BLUE if colors is None else colors, {"steps": len(path)})
    ax = axes(ax, (5.0, 5.0))
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color=FAINT, linewidth=0.8)
    ax.plot([-1, 1, np.nan, 0, 0], [0, 0, np.nan, -1, 1], color=FAINT, linewidth=0.6)
    if broad is not None:
        ax.plot(*broad[:, :2].T, color=MOOD, linewidth=7, solid_capstyle="round", zorder=1, label="mood")
    ax.plot(*path[:, :2].T, color=INK, linewidth=0.7, alpha=0.45, zorder=2)
    strong = path[:, 2] > 0 if path.shape[1] == 3 else np.ones(len(path), dtype=bool)
    for which, full, name in ((strong, True, "dominance > 0"), (~strong, False, "dominance ≤ 0")):
        rim = palette[which].tolist()
        ax.scatter(*path[which, :2].T, s=22, facecolors=rim if full else "white", edgecolors=rim, zorder=3)
        if path.shape[1] == 3:
            ax.scatter([], [], s=22, facecolors=INK if full else "white", edgecolors=INK, label=name)
    for word, mark, way in (("start", "o", path[:, :2]), ("end", "s", path[::-1, :2])):
        ax.scatter(*way[0], s=70, marker=mark, facecolors="none", edgecolors=INK, zorder=4)
        _name_end(ax, word, way)
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    if path.shape[1] == 3 or broad is not None:
        legend(ax)
    return label_axes(ax, "valence", "arousal")


def _name_end(ax: Axes, word: str, way: np.ndarray) -> None:
    """A word at the first point, on the side on which the path does not go on."""
    along = way[min(len(way) - 1, max(1, len(way) // 20))] - way[0]
    length = float(np.hypot(*along))
    x, y = -along / length if length else (0.7, 0.7) if word == "start" else (-0.7, -0.7)
    ax.annotate(
        word, tuple(way[0]), xytext=(8 * x, 8 * y), textcoords="offset points", fontsize=8, color=INK, zorder=5,
        ha="left" if x > 0.3 else "right" if x < -0.3 else "center",
        va="bottom" if y > 0.3 else "top" if y < -0.3 else "center",
    )  # fmt: skip


def _points(name: str, values: Any) -> np.ndarray:
    path = as_array(name, values, ["(T, 3)", "(T, 2)"])
    if path.shape[1] not in (2, 3):
        raise ValueError(f"{name} has shape {path.shape}; expected (T, 3): valence, arousal, dominance, or (T, 2).")
    if np.abs(path).max() > 1 + 1e-6:
        raise ValueError(
            f"{name} holds {float(np.abs(path).max()):.3g}; expected valence, arousal and dominance in [-1, 1]."
        )
    return path
