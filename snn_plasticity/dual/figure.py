"""The figures of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..plot import family
from ..plot.canvas import CYCLE, DASHES, FAINT, GREEN, SKY, label_axes
from ..plot.legends import legend
from .report import LABELS, Comparison, DualReport, cost_after, judged_by, value_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {
    "base": (CYCLE[0], DASHES[0]),  # as `family` draws them
    "motivated": (CYCLE[1], DASHES[1]),
    "base alone": (CYCLE[0], ":"),
    "large alone": (CYCLE[1], "-."),
}


def run_figure(run: DualReport) -> Figure:
    """One run: its losses with the motivated steps marked, and its validations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses(left, run)
    measure = judged_by([run])
    for name in ("base", "motivated"):
        if run.curve and getattr(run.curve[0], name) is not None:
            scores = [value_of(point.score(name), measure) for point in run.curve]
            right.plot([point.step for point in run.curve], scores, color=STYLES[name][0], linestyle=STYLES[name][1],
                       label=name)  # fmt: skip
    if run.curve:
        legend(right)
    label_axes(right, "step", measure)
    return figure


def comparison_figure(comparison: Comparison) -> Figure:
    """Losses, learning curves, ledger, and accuracy against compute."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    panels = figure.subplots(2, 2)
    losses(panels[0, 0], comparison.dual[0])
    panels[0, 0].set_title("one run, batch by batch", loc="left", fontsize=10)
    curves(panels[0, 1], comparison, "step")
    panels[0, 1].set_xlim(0, max(run.history.step for run in comparison.dual))
    panels[0, 1].set_title("at equal steps", loc="left", fontsize=10)
    compute_bars(panels[1, 0], comparison)
    curves(panels[1, 1], comparison, "macs")
    end = float(np.mean([run.curve[-1].macs for run in comparison.dual])) / 1e9
    panels[1, 1].set_xlim(0, 1.1 * end or 1.0)
    panels[1, 1].axvline(end, color=FAINT, linewidth=0.8, zorder=0)
    panels[1, 1].annotate(" spent by the dual runs", (end, 0.02), xycoords=("data", "axes fraction"), rotation=90,
                          ha="right", fontsize=8, color=FAINT)  # fmt: skip
    panels[1, 1].set_title("at equal compute", loc="left", fontsize=10)
    low, high = panels[0, 1].get_ylim()
    for ax in (panels[0, 1], panels[1, 1]):
        ax.set_ylim(max(low, high - 0.5), high)
    return figure


def losses(ax: Axes, run: DualReport) -> None:
    """The loss of every batch by the net that took the step, smoothed, and the motivated steps as ticks below."""
    if run.history.losses:
        family(run.history.losses, run.history.motivated, ax)
    label_axes(ax, f"step ({run.share:.0%} motivated, marked below)", "loss of the batch")


def curves(ax: Axes, comparison: Comparison, axis: str) -> None:
    """Scores of all four nets against steps or compute, mean and band of one standard error."""
    scale = 1e9 if axis == "macs" else 1.0
    lines = (
        ("base", comparison.dual, "base"),
        ("motivated", comparison.dual, "motivated"),
        ("base alone", comparison.base_alone, "base"),
        ("large alone", comparison.large_alone, "base"),
    )
    for label, runs, net in lines:
        number = min(len(run.curve) for run in runs)
        x = np.mean([[getattr(p, axis) for p in run.curve[:number]] for run in runs], axis=0) / scale
        y = np.array([[value_of(p.score(net), comparison.measure) for p in run.curve[:number]] for run in runs])
        color, dashes = STYLES[label]
        ax.plot(x, y.mean(0), color=color, linestyle=dashes, linewidth=1.8, label=label)
        if len(runs) > 1:
            error = y.std(0, ddof=1) / np.sqrt(len(runs))
            ax.fill_between(x, y.mean(0) - error, y.mean(0) + error, color=color, alpha=0.15, linewidth=0)
    legend(ax)
    label_axes(ax, "10⁹ multiply-accumulates" if axis == "macs" else "step", f"held-out {comparison.measure}")


def compute_bars(ax: Axes, comparison: Comparison) -> None:
    """Compute as a share of the large net's, in both currencies."""
    names = ["base alone", "dual", "large alone"]
    runs: dict[str, Sequence[DualReport]] = dict(
        zip(names, (comparison.base_alone, comparison.dual, comparison.large_alone), strict=True)
    )
    for k, ((unit, label), color) in enumerate(zip(LABELS.items(), (GREEN, SKY), strict=True)):
        steps = [run.history.step for run in comparison.dual]
        mean = {n: np.mean([cost_after(r, unit, s) for r, s in zip(runs[n], steps, strict=True)]) for n in names}
        shares = [mean[n] / (mean["large alone"] or 1.0) for n in names]
        bars = ax.bar(np.arange(3) + 0.38 * (k - 0.5), shares, 0.36, color=color, label=label)
        ax.bar_label(bars, [f"{mean[n] / 1e9:.2g}" for n in names], fontsize=8, padding=2)
    ax.set_xticks(range(3), names)
    ax.set_title("what it cost, at equal steps (numbers: 10⁹)", loc="left", fontsize=10)
    legend(ax)
    label_axes(ax, "", "share of the large net's")
