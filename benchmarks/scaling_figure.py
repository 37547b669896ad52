"""The figure of `scaling.py`: four sweeps, time per step on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FIGURE = Path(__file__).parent / "figures" / "scaling.png"
PANELS = {
    "N": ("n", "pre and post neurons N"),
    "density": ("density", "spikes per neuron and step"),
    "T": ("steps", "steps T of a window"),
    "B": ("batch", "samples B"),
}
LINES = {
    "plain": ("plain path", "#7a7a7a", "s-"),
    "eligibility": ("e of a window", "#0072b2", "o-"),
    "change": ("Δw of a window", "#d55e00", "^-"),
    "limit": ("limit of this machine (Δw)", "black", ":"),
}


def draw(measured: Sequence, path: Path = FIGURE) -> None:
    """Save the figure.

    Args:
        measured: points with their seconds per step, as `scaling.Measured`.
        path: where the picture goes.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axis, (varied, (attribute, label)) in zip(axes.flat, PANELS.items(), strict=True):
        _panel(axis, [one for one in measured if one.point.varied == varied], attribute, label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(LINES), frameon=False, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axis, measured: Sequence, attribute: str, label: str) -> None:
    where = [getattr(one.point, attribute) for one in measured]
    for name, (title, colour, style) in LINES.items():
        axis.plot(where, [getattr(one, name) * 1e6 for one in measured], style, color=colour, label=title, markersize=5)
    axis.set(xscale="log", yscale="log", xlabel=label, ylabel="CPU time per step (µs)")
    axis.set_title(_fixed(measured[0].point, attribute), fontsize=10, color="0.35")
    axis.grid(True, which="major", color="0.9")
    axis.spines[["top", "right"]].set_visible(False)


def _fixed(point, varied: str) -> str:
    """What is held still in a panel."""
    words = {"n": f"N = {point.n}", "density": f"{point.density:.0%} active", "steps": f"T = {point.steps}"}
    words["batch"] = f"B = {point.batch}"
    return ", ".join(text for name, text in words.items() if name != varied)
