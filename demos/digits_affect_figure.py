"""The figure of the changing world: what the animals can do, what they feel, and what that changes in them."""

from __future__ import annotations

import torch
from digits_affect import Course, moments
from digits_comparison import AVERAGE, RECOVERED, WITH, WITHOUT, Lives, measures, spread
from digits_life import BATCH
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_plasticity.plot import learning_curve
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION

COLORS = {WITH: BLUE, WITHOUT: ORANGE, AVERAGE: GREEN}


def draw(lives: Lives, epochs: int, host: str) -> Figure:
    """Accuracy on top; affect, factor of the learning rate and temperature underneath."""
    figure = Figure(figsize=(9.0, 9.0), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(2.2, 1.2, 0.9, 0.9))
    change, last = (batches * BATCH / 1000 for batches in moments(epochs))
    accuracies(panels[0], lives, epochs, host)
    feelings(panels[1], lives[WITH])
    for panel, field, name in zip(
        panels[2:], ("lr_factor", "temperature"), ("learning rate", "temperature"), strict=True
    ):
        setting(panel, lives, field, f"{name}\n× rest")
    for panel in panels:
        panel.axvline(change, color=INK, linewidth=0.9, linestyle=":", zorder=0)
        panel.set_xlabel("")
    panels[-1].set(xlabel="digits seen (thousands)", xlim=(0, last))
    figure.align_ylabels(panels)
    return figure


def accuracies(panel: Axes, lives: Lives, epochs: int, host: str) -> None:
    """Held-out accuracy of every condition, and when it has recovered."""
    change = moments(epochs)[0] * BATCH / 1000
    curves = {name: torch.stack([life.accuracy for life in courses]) for name, courses in lives.items()}
    looked = lives[WITH][0].looked * BATCH / 1000
    learning_curve(curves, panel, x=looked, chance=0.1, ylabel="held-out accuracy")
    panel.set(ylim=(0, 1), title=f"After the dotted line every digit calls for another action ({host}, mean ± s.e.)")
    panel.lines[-1].set_color(FAINT)
    panel.axhline(RECOVERED, color=FAINT, linewidth=0.8, linestyle=(0, (1, 3)), zorder=0)
    for line, color in zip(panel.lines, COLORS.values(), strict=False):
        line.set_color(color)
    for band, color in zip(panel.collections, COLORS.values(), strict=False):
        band.set_color(color)
    for name, courses in lives.items():
        mean, error = spread(measures(courses, epochs)["digits to recover"] / 1000)
        panel.errorbar(change + mean, RECOVERED, xerr=error, color=COLORS[name], marker="o", markersize=6, capsize=3)
    panel.legend(frameon=False, loc="lower right", fontsize=9)


def feelings(panel: Axes, courses: list[Course]) -> None:
    """Valence, arousal and dominance of the animals with affect."""
    affect = torch.stack([life.affect for life in courses])
    names = ("valence", "arousal", "dominance")
    batches = torch.arange(1, affect.shape[1] + 1) * BATCH / 1000
    learning_curve(dict(zip(names, affect.unbind(-1), strict=True)), panel, x=batches, ylabel="affect")
    for line, band, color in zip(panel.lines, panel.collections, (PURPLE, VERMILION, SKY), strict=False):
        line.set(color=color, linestyle="-", linewidth=1.3)
        band.set_color(color)
    panel.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    panel.set(ylim=(-1.05, 1.05))
    panel.legend(frameon=False, loc="lower right", ncols=3, fontsize=9)


def setting(panel: Axes, lives: Lives, field: str, label: str) -> None:
    """What affect sets, beside the constants of the others."""
    curves = {name: torch.stack([getattr(life, field) for life in courses]) for name, courses in lives.items()}
    batches = torch.arange(1, curves[WITH].shape[1] + 1) * BATCH / 1000
    learning_curve(curves, panel, x=batches, ylabel=label)
    for line, band, color in zip(panel.lines, panel.collections, COLORS.values(), strict=False):
        line.set_color(color)
        band.set_color(color)
    panel.get_legend().remove()
