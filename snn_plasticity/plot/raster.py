"""Raster: one tick for each spike, one row for each neuron; of many neurons, the same amount of ink for each spike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._checks import require_kind
from .canvas import FAINT, as_array, axes, label_axes, row_colors, spread, time_axis, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THINNEST = 2.0  # pixels of a row that still has ticks
MOST_TICKS = 20_000  # more are painted: a tick is an object of its own


def raster(
    spikes: Any,
    ax: Axes | None = None,
    *,
    dt: float = 1.0,
    unit: str = "steps",
    start: float = 0.0,
    colors: str | Sequence[str] | Mapping[str, str] | None = None,
    ylabel: str = "neuron",
) -> Axes:
    """Draw every spike: neuron over time.

    Ticks, while a row is two pixels high or more; else an image, in which every spike has the same amount of ink
    wherever it falls, and darkness is the number of spikes. The image is made anew for every size and resolution.

    Args:
        spikes: (T, N), whatever is not zero is a spike; or groups of neurons with their names, as
            {"input": (T, N_1), "output": (T, N_2)}, drawn above one another from the first to the last.
        ax: where to draw; None opens a figure.
        dt, unit: length of a step and its unit, for the time axis.
        start: time of the first step.
        colors: one for all, or one for each neuron, or {group: color}; None: dark, and a colour for each group.
        ylabel: what a row is.

    Raises:
        TypeError: no numbers, or `ax` is no axes.
        ValueError: another shape, NaN, dt <= 0, groups over other steps, or a number of colours that is not N.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> ax = raster(torch.eye(4), Figure().subplots(), unit="ms")
    >>> len(ax.collections[0].get_segments()), ax.get_xlabel()
    (4, 'time (ms)')
    """
    groups = _groups(spikes)
    steps, sizes = len(next(iter(groups.values()))), {name: one.shape[1] for name, one in groups.items()}
    when, rows = time_axis(steps, dt, start), sum(sizes.values())
    palette = row_colors(colors, sizes)
    for name, text in (("unit", unit), ("ylabel", ylabel)):
        require_kind(name, text, str, "A text, as 'ms'.")
    step, neuron = _spikes_of(list(groups.values()))
    ax = axes(ax)
    ax.set_xlim(start - 0.5 * dt, when[-1] + 0.5 * dt)
    ax.set_ylim(-0.7, rows - 0.3)
    _draw(ax, when[step], neuron, palette)
    whole_ticks(ax.yaxis)
    if isinstance(spikes, Mapping):
        _name_groups(ax, sizes)
    return label_axes(ax, f"time ({unit})", ylabel)


def _draw(ax: Axes, when: np.ndarray, neuron: np.ndarray, palette: np.ndarray) -> None:
    if len(when) <= MOST_TICKS and ax.get_window_extent().height >= THINNEST * len(palette):
        ticks = ax.vlines(when, neuron - 0.4, neuron + 0.4, colors=palette[neuron].tolist(), linewidth=1.1)
        ticks.set_snap(False)  # rounded to pixels, some ticks would be higher than others
        return
    from .spike_image import SpikeImage

    ax.add_artist(SpikeImage(ax, when, neuron, palette))


def _groups(spikes: Any) -> dict[str, Any]:
    """Name: (T, N) of zeros and ones."""
    if not isinstance(spikes, Mapping):
        return {"spikes": as_spikes("spikes", spikes)}
    if not spikes:
        raise ValueError("spikes is an empty mapping; expected at least one group, as {'input': spikes}.")
    for name in spikes:
        require_kind("A name of a group of spikes", name, str, "A text.")
    found = {name: as_spikes(f"spikes[{name!r}]", one) for name, one in spikes.items()}
    steps = {name: len(one) for name, one in found.items()}
    if len(set(steps.values())) != 1:
        raise ValueError(f"spikes have the steps {steps}; expected all groups over the same steps.")
    return found


def as_spikes(name: str, values: Any) -> np.ndarray:
    """Spikes (T, N) as booleans; a large tensor of them is looked at without being copied into numbers.

    Raises:
        TypeError, ValueError: as in `as_array`.
    """
    if isinstance(values, torch.Tensor) and values.dtype == torch.bool and values.layout is torch.strided:
        values = values.detach().cpu().numpy() if not values.is_meta else values
    if isinstance(values, np.ndarray) and values.dtype == bool and values.ndim == 2 and values.size:
        return values
    return as_array(name, values, ["(T, N)"]) != 0


def _spikes_of(groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Step and row of every spike."""
    below, steps, rows = 0, [], []
    for fired in groups:
        step, neuron = np.divmod(np.flatnonzero(fired), fired.shape[1])
        steps.append(step)
        rows.append(neuron + below)
        below += fired.shape[1]
    return np.concatenate(steps), np.concatenate(rows)


def _name_groups(ax: Axes, sizes: Mapping[str, int]) -> None:
    """Names at the middle of their rows, and a line between groups."""
    edges = np.concatenate([[0], np.cumsum(list(sizes.values()))])
    for edge in edges[1:-1]:
        ax.axhline(edge - 0.5, color=FAINT, linewidth=0.6)
    middle = spread((edges[:-1] + edges[1:] - 1) / 2, 0.06 * edges[-1])
    ax.set_yticks(middle, [f"{name} ({count:,})" for name, count in sizes.items()])
    ax.tick_params(axis="y", length=0)
