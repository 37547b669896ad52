"""Rates: how much each layer fires, and how many of its neurons never do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._checks import require_kind, require_number
from .canvas import BLUE, FAINT, INK, VERMILION, as_array, axes, label_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DOTS = 300  # neurons of a layer that are drawn one by one; of more, as many spread over them


def rates(
    spikes: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    dt: float = 1.0,
    unit: str = "step",
) -> Axes:
    """Draw how much each layer fires: a dot for each neuron, a bar at their mean, and the share that never fired.

    Args:
        spikes: {layer: (T, N) or (T, B, N)}; whatever is not zero is a spike.
        ax: where to draw; None opens a figure.
        dt, unit: length of a step and its unit: rates are spikes per unit.

    Raises:
        TypeError: no mapping, no numbers, or `ax` is no axes.
        ValueError: nothing to draw, another shape, NaN, or dt <= 0.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> ax = rates({"hidden": torch.tensor([[1, 0], [1, 0]]), "output": torch.ones(2, 1)}, Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['50% silent', '0% silent']
    """
    if not isinstance(spikes, Mapping):
        raise TypeError(f"spikes is a {type(spikes).__name__}; expected a mapping of layers to (T, N) or (T, B, N).")
    if not spikes:
        raise ValueError("spikes is an empty mapping; expected at least one layer, as {'hidden': spikes}.")
    dt = require_number("dt", dt, 0.0, open_low=True)
    require_kind("unit", unit, str, "A text, as 's'.")
    for name in spikes:
        require_kind("A name of a layer", name, str, "A text.")
    found = {name: _rates_of(name, one) / dt for name, one in spikes.items()}
    ax = axes(ax)
    for row, rate in enumerate(found.values()):
        _layer(ax, row, rate)
    ax.set_yticks(range(len(found)), [f"{name} ({len(rate):,})" for name, rate in found.items()])
    ax.set_ylim(len(found) - 0.5, -0.6)
    ax.tick_params(axis="y", length=0)
    most = max(float(rate.max()) for rate in found.values())
    ax.set_xlim(-0.02 * (most or 1.0), 1.04 * (most or 1.0))
    return label_axes(ax, f"spikes per {unit}", "")


def _rates_of(name: str, values: Any) -> np.ndarray:
    """Spikes per step of each neuron."""
    if isinstance(values, torch.Tensor) and values.dtype == torch.bool and not values.is_meta:
        values = values.cpu().numpy()
    if not (isinstance(values, np.ndarray) and values.dtype == bool and values.ndim in (2, 3) and values.size):
        values = as_array(f"spikes[{name!r}]", values, ["(T, N)", "(T, B, N)"]) != 0
    return values.mean(axis=tuple(range(values.ndim - 1)))


def _layer(ax: Axes, row: int, rate: np.ndarray) -> None:
    order = np.sort(rate)
    shown = order[np.linspace(0, len(order) - 1, min(len(order), MOST_DOTS)).astype(int)]
    aside = 0.26 * np.sin(2.4 * np.arange(len(shown)))  # apart, and the same at every call
    silent = shown == 0
    ax.scatter(shown[~silent], row + aside[~silent], s=8, color=BLUE, alpha=0.55, linewidths=0)
    ax.scatter(shown[silent], row + aside[silent], s=12, color=VERMILION, alpha=0.8, marker="x", linewidths=0.8)
    ax.vlines(rate.mean(), row - 0.36, row + 0.36, color=INK, linewidth=2.0)
    share = f"{(rate == 0).mean():.0%} silent"
    ax.text(1.0, row - 0.42, share, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=8,
            color=VERMILION if (rate == 0).any() else FAINT)  # fmt: skip
