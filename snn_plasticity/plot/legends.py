"""A legend that covers no data: it looks for a free place whenever it is drawn, and else stands outside the axes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.cbook import STEP_LOOKUP_MAP
from matplotlib.collections import Collection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

SIDES = (1.0, 0.0, 0.5, 0.75, 0.25)  # where it may stand along an axis, as a share of the room; the best first
MARGIN = 4.0  # points between a legend and the data
MOST_HEADROOM = 0.5  # of the height of the axes


def legend(ax: Axes, **options: Any) -> Legend:
    """A legend of what has labels, in a place without data; where there is none, above the data, which make room.

    Args:
        ax: axes on which everything is drawn.
        options: as in `Axes.legend`.

    >>> from matplotlib.figure import Figure
    >>> ax = Figure().subplots()
    >>> _ = ax.plot([0.0, 1.0], label="rises")
    >>> legend(ax).get_texts()[0].get_text()
    'rises'
    """
    options = {"frameon": False, "fontsize": 9, "handlelength": 2.6, **options}
    ax.apply_aspect()  # as large as it will be drawn
    placed = ax.legend(loc="upper right", **options)
    keeper = LegendKeeper(placed)
    if not keeper.place():
        placed = _above(ax, options)
        keeper = LegendKeeper(placed)
    ax.add_artist(keeper)
    in_layout = ax.get_in_layout()
    if ax.get_aspect() != "auto":
        ax.reset_position()  # a layout begins from there; this alone would take the axes out of it
        ax.set_in_layout(in_layout)
    return placed


class LegendKeeper(Artist):
    """Draws nothing; moves a legend off the data before the legend is drawn, also after limits or sizes changed."""

    def __init__(self, kept: Legend) -> None:
        super().__init__()
        self.kept, self.of = kept, kept.axes  # a legend that is removed has no axes any more
        self.set_zorder(-100)
        self.set_clip_on(False)  # else a layout does not ask it

    def draw(self, renderer: Any) -> None:
        """Place the legend."""
        self.place()

    def get_tightbbox(self, renderer: Any = None) -> None:
        """It takes no room itself, but the legend may, and a layout asks for that next."""
        self.place()

    def place(self) -> bool:
        """Whether a free place was found; else the legend stands above the axes."""
        ax = self.of
        if ax.get_legend() is not self.kept:  # it was replaced or removed
            return True
        frame, box = ax.get_window_extent(), self.kept.get_window_extent()
        pad = MARGIN * _pixels_per_point(ax)
        room = np.array([frame.width - box.width, frame.height - box.height]) - 2 * pad
        obstacles = Obstacles(ax)
        for y, x in product(SIDES, SIDES) if (room >= 0).all() else ():
            corner = np.array([frame.x0, frame.y0]) + pad + room * (x, y)
            if obstacles.leave(Bbox([corner, corner + (box.width, box.height)]).padded(0.5 * pad)):
                self.kept.set_in_layout(True)
                self.kept.set_loc(tuple((corner - (frame.x0, frame.y0)) / (frame.width, frame.height)))
                return True
        titled = [title.get_window_extent().y1 for title in _titles(ax) if title.get_text()]
        over = (max([frame.y1, *titled]) + pad - frame.y0) / frame.height
        self.kept.set_loc((0.0, over))
        self.kept.set_in_layout(box.width <= frame.width)  # else axes would become narrower and narrower
        return False


def _above(ax: Axes, options: dict[str, Any]) -> Legend:
    """A legend in as few lines as there is width for, and room above the data for it."""
    entries = len(ax.get_legend_handles_labels()[0])
    frame = ax.get_window_extent()
    for columns in range(entries, 0, -1):
        placed = ax.legend(loc="upper right", **{"ncols": columns, "columnspacing": 1.2, **options})
        if placed.get_window_extent().width < 0.9 * frame.width:
            break
    share = 1.3 * placed.get_window_extent().height / frame.height + 0.04
    if share < MOST_HEADROOM:
        scale = ax.yaxis.get_transform()
        low, high = scale.transform(np.asarray(ax.get_ylim()))
        top = scale.inverted().transform(np.array([low + (high - low) / (1 - share)]))
        ax.set_ylim(top=float(top[0]), auto=None)  # type: ignore[arg-type]
    return placed


class Obstacles:
    """What is drawn on axes, in pixels: lines, areas and boxes."""

    def __init__(self, ax: Axes) -> None:
        self.outlines: list[tuple[Path, bool]] = []
        self.boxes: list[Bbox] = []
        for artist in ax.get_children():
            if artist.get_visible() and artist.get_zorder() >= 0:  # below zero: shading
                self._see(ax, artist)

    def leave(self, box: Bbox) -> bool:
        """Whether a box meets nothing."""
        if any(box.overlaps(other) for other in self.boxes):
            return False
        return not any(path.intersects_bbox(box, filled=filled) for path, filled in self.outlines)

    def _see(self, ax: Axes, artist: Artist) -> None:
        if isinstance(artist, Line2D):
            self.outlines.append((artist.get_transform().transform_path(_stepped(artist)), False))
        elif isinstance(artist, Collection):
            self.outlines.extend(_of_collection(artist))
        elif isinstance(artist, Patch) and artist not in (ax.patch, *ax.spines.values()):
            self.outlines.append((artist.get_transform().transform_path(artist.get_path()), artist.get_fill()))
        elif (
            artist in ax.images or _is_text(ax, artist) or artist in ax.artists and not isinstance(artist, LegendKeeper)
        ):
            self.boxes.append(artist.get_window_extent())


def _is_text(ax: Axes, artist: Artist) -> bool:
    return isinstance(artist, Text) and artist in ax.texts and bool(artist.get_text())


def _pixels_per_point(artist: Artist) -> float:
    return artist.get_figure(root=True).dpi / 72  # type: ignore[union-attr]


def _titles(ax: Axes) -> list[Text]:
    kinds = (ax.title, getattr(ax, "_left_title", None), getattr(ax, "_right_title", None))
    return [title for title in kinds if title is not None]


def _stepped(line: Line2D) -> Path:
    """The path of a line as it is drawn, with its steps."""
    path = line.get_path()
    vertices = np.asarray(path.vertices)
    if line.get_drawstyle() == "default" or not len(vertices):
        return path
    steps = STEP_LOOKUP_MAP[line.get_drawstyle()]
    return Path(np.column_stack(steps(*vertices.T)))


def _of_collection(drawn: Collection) -> Iterator[tuple[Path, bool]]:
    """Areas and lines as they are; markers as squares of their size."""
    offsets = np.asarray(drawn.get_offsets())
    if not offsets.any():
        filled = not hasattr(drawn, "get_segments")
        paths = [drawn.get_transform().transform_path(path) for path in drawn.get_paths()]
        yield from ((path, filled) for path in ([Path.make_compound_path(*paths)] if paths and not filled else paths))
        return
    where = drawn.get_offset_transform().transform(offsets)
    sizes = np.asarray(getattr(drawn, "get_sizes", lambda: [36.0])())
    half = 0.5 * float(np.sqrt(sizes.max(initial=1.0))) * _pixels_per_point(drawn)
    square = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    outline = (where[:, None] + square).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(where))
    yield Path(outline, codes), False
