"""Spikes as ink: each puts the same amount on the paper wherever it falls between the pixels.

    ink of a pixel = Σ_spikes (share of the spike's box in that pixel),   darkness = min(1, ink / full)

A tick that is thinner than a pixel is rounded to one pixel or to none, which makes bands that are not in the data. Here
the box of a spike (a stroke wide, a row or a stroke high) is spread over the pixels that it touches, at the resolution
of whatever is drawn on. Where many fall on one pixel, `full` is the ink of the darkest hundredth of the pixels, so that
darkness stays proportional to the number of spikes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

STROKE = 1.1  # points, as wide as a tick
ROW = 0.8  # of the height of a row
DARKEST = 0.01  # share of inked pixels that may be full


class SpikeImage(Artist):
    """Spikes (K,) at `when` in rows `neuron`, with a colour (3,) for each of the N rows."""

    def __init__(self, ax: Axes, when: np.ndarray, neuron: np.ndarray, colors: np.ndarray) -> None:
        super().__init__()
        self.when, self.neuron, self.colors = when, neuron, colors
        self.axes = ax  # type: ignore[assignment]
        self._painted: tuple[tuple[Any, ...], np.ndarray | None] = ((), None)  # where and how large, and the image

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        """It fills its axes."""
        return self.axes.get_window_extent(renderer)  # type: ignore[union-attr]

    def draw(self, renderer: Any) -> None:
        """At the resolution of the renderer."""
        if not self.get_visible() or not len(self.when):
            return
        zoom = renderer.get_image_magnification()
        frame = self.get_window_extent(renderer)
        corner = np.floor(frame.min)
        shape = np.ceil(zoom * (frame.max - corner)).astype(int)
        image = self._image(corner, zoom, shape, zoom * renderer.points_to_pixels(STROKE))
        gc = renderer.new_gc()
        gc.set_clip_rectangle(self.axes.bbox)  # type: ignore[union-attr]
        renderer.draw_image(gc, *corner, image)
        gc.restore()

    def _image(self, corner: np.ndarray, zoom: float, shape: np.ndarray, stroke: float) -> np.ndarray:
        """The image; made anew where axes, limits or resolution are others than they were."""
        transform = self.axes.transData.transform  # type: ignore[union-attr]
        first, last = self.when[[0, -1]]
        corners = transform([[first, 0.0], [last, ROW], [(first + last) / 2, len(self.colors)]])
        key = (*corner, zoom, *shape, stroke, *corners.ravel())
        if self._painted[0] != key:
            box = (stroke, max(stroke, zoom * abs(corners[1, 1] - corners[0, 1])))
            places = zoom * (transform(np.column_stack([self.when, self.neuron])) - corner)
            self._painted = key, paint(places, self.neuron, self.colors, shape, box)
        return self._painted[1]  # type: ignore[return-value]


def paint(
    places: np.ndarray, neuron: np.ndarray, colors: np.ndarray, shape: np.ndarray, box: tuple[float, float]
) -> np.ndarray:
    """An image (height, width, 4) in bytes, from the bottom up, of boxes around places (K, 2), all in pixels.

    >>> paint(np.array([[1.5, 0.75]]), np.array([0]), np.zeros((1, 3)), np.array([3, 2]), (1.0, 1.0))[..., 3].tolist()
    [[0, 191, 0], [0, 64, 0]]
    """
    width, height = shape
    ink = np.zeros((height + 2, width + 2))  # a rim takes what sticks out
    tint = np.zeros((3, *ink.shape))
    one_color = (colors == colors[0]).all()
    places = places + 0.5  # of the rim, and of the middle of a pixel
    cell = np.floor(places).astype(np.int64)
    inside = ((cell >= 0) & (cell <= shape)).all(axis=1)
    cell, share, neuron = cell[inside], (places - np.floor(places))[inside], neuron[inside]
    for right in (0, 1):
        for up in (0, 1):
            index = (cell[:, 1] + up) * (width + 2) + cell[:, 0] + right
            weight = np.abs(1 - right - share[:, 0]) * np.abs(1 - up - share[:, 1])
            ink += np.bincount(index, weight, ink.size).reshape(ink.shape)
            for channel in () if one_color else range(3):
                one = np.bincount(index, weight * colors[neuron, channel], ink.size)
                tint[channel] += one.reshape(ink.shape)
    ink, *tint = (_widened(plane, box)[1:-1, 1:-1] for plane in (ink, *tint))
    full = max(1.0, float(np.quantile(ink[ink > 0], 1 - DARKEST))) if ink.any() else 1.0
    image = np.empty((height, width, 4))
    for channel in range(3):
        image[..., channel] = colors[0, channel] if one_color else tint[channel] / np.maximum(ink, 1e-12)
    image[..., 3] = np.minimum(ink / full, 1.0)
    return np.rint(255 * image).clip(0, 255).astype(np.uint8)


def _widened(plane: np.ndarray, box: tuple[float, float]) -> np.ndarray:
    """Every pixel as wide and as high as a box; a box that is thinner than a pixel is one pixel thick."""
    for axis, size in zip((1, 0), box, strict=True):
        beyond = max(size - 1.0, 0.0) / 2
        whole, part = int(beyond), beyond - int(beyond)
        if beyond:
            total = plane.copy()
            for shift in range(1, whole + 2):
                share = 1.0 if shift <= whole else part
                for near, far in ((slice(shift, None), slice(None, -shift)), (slice(None, -shift), slice(shift, None))):
                    to, of = ((slice(None), near), (slice(None), far)) if axis else ((near,), (far,))
                    total[to] += share * plane[of]
            plane = total
    return plane
