"""A diagnosis as a picture: which layer is dead, silent or saturated, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import require_kind
from ..diagnose import LARGE_SHARE, Diagnosis, LayerDiagnosis
from .canvas import FAINT, INK, VERMILION, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = {  # what a column shows, and what to look at there: field of a layer, title, (low, high) that are fine
    "pre_rate": ("input\nactive", 0.0, 1.0),
    "post_rate": ("neurons\nactive", 0.0, LARGE_SHARE),
    "eligibility_zero": ("e is\nzero", -1.0, 0.999),
    "eligibility_at_clamp": ("e at its\nclamp", -1.0, LARGE_SHARE),
    "change_cut": ("Δw cut by\nthe clamp", -1.0, LARGE_SHARE),
    "weight_at_bounds": ("w at its\nbounds", -1.0, LARGE_SHARE),
}
FINE, WRONG, UNTOLD = "#EAF3F8", "#F7D9C4", "#F4F4F4"


def diagnosis(told: Diagnosis, ax: Axes | None = None) -> Axes:
    """Draw what `learner.diagnose()` says of each layer: a row of shares, and a word; what stands out is marked “!”.

    Args:
        told: as `learner.diagnose()` returns it.
        ax: where to draw; None opens a figure.

    Raises:
        TypeError: no diagnosis, or `ax` is no axes.
        ValueError: it has no layers.

    >>> from torch import nn
    >>> from matplotlib.figure import Figure
    >>> from snn_plasticity import Connection, PlasticityLearner
    >>> learner = PlasticityLearner([Connection("fc1", nn.Linear(3, 2))])
    >>> ax = diagnosis(learner.diagnose(), Figure().subplots())
    >>> ax.texts[-1].get_text()
    'not observed'
    """
    require_kind("told", told, Diagnosis, "As learner.diagnose() returns it.")
    if not told.layers:
        raise ValueError("The diagnosis has no layers; expected a learner with at least one connection.")
    layers = list(told.layers.values())
    ax = axes(ax, (7.5, 1.1 + 0.45 * len(layers)))
    for row, layer in enumerate(layers):
        for column, (field, (_, low, high)) in enumerate(SHARES.items()):
            _cell(ax, column, row, getattr(layer, field), low, high)
        word = verdict(layer)
        learns = word == "learns"
        ax.text(len(SHARES) - 0.35, row, f"{'✓ ' if learns else '! '}{word}" if layer.steps_observed else word,
                va="center", fontsize=9, color=INK if learns else VERMILION, fontweight="bold")  # fmt: skip
    ax.set_xticks(range(len(SHARES)), [title for title, _, _ in SHARES.values()], fontsize=8)
    ax.set_yticks(range(len(layers)), [layer.name for layer in layers])
    ax.set(xlim=(-0.5, len(SHARES) + 1.1), ylim=(len(layers) - 0.5, -0.5))
    ax.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    steps = f"{told.steps} step{'' if told.steps == 1 else 's'} of learning"
    found = f"{len(told.findings) or 'no'} finding{'' if len(told.findings) == 1 else 's'}"
    ax.set_xlabel(f"{steps}; {found}{': print it to read them' if told.findings else ''}", fontsize=8, color=FAINT)
    return ax


def verdict(layer: LayerDiagnosis) -> str:
    """A layer in a word or two.

    >>> verdict(LayerDiagnosis("fc", (2, 3), "online", 8, 0, True, pre_rate=0.1, post_rate=0.0))
    'dead: never fires'
    """
    full = (layer.eligibility_at_clamp, layer.change_cut, layer.weight_at_bounds)
    words = (
        (not layer.steps_observed, "not observed"),
        (layer.pre_rate == 0, "silent input"),
        (layer.post_rate == 0, "dead: never fires"),
        (any(share is not None and share >= LARGE_SHARE for share in full), "saturated"),
        (layer.post_rate is not None and layer.post_rate >= LARGE_SHARE, "fires all the time"),
        (layer.eligibility_zero == 1, "no eligibility"),
        (layer.change_mean == 0, "changes nothing"),
        (layer.status != "learns", "does not learn"),
    )
    return next((word for holds, word in words if holds), "learns")


def _cell(ax: Axes, column: int, row: int, share: float | None, low: float, high: float) -> None:
    """A share as a number on a ground that says whether it is fine, and as a bar."""
    from matplotlib.patches import Rectangle

    fine = share is not None and low < share <= high
    ground = UNTOLD if share is None else FINE if fine else WRONG
    ax.add_patch(Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, facecolor=ground, linewidth=0, zorder=1))
    if share is not None:
        ax.add_patch(Rectangle((column - 0.46, row + 0.36), 0.92 * float(np.clip(share, 0, 1)), 0.08,
                               facecolor=FAINT if fine else VERMILION, linewidth=0, zorder=2))  # fmt: skip
    text = "–" if share is None else f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"
    ax.text(column, row, text if ground != WRONG else f"{text} !", ha="center", va="center", fontsize=9,
            color=FAINT if share is None else INK, fontweight="normal" if ground != WRONG else "bold")  # fmt: skip
