"""The figure of `your_net.py`: how accuracy grows under every manner, and where each net ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_plasticity.plot import learning_curve
from snn_plasticity.plot.canvas import CYCLE, FAINT, label_axes

TOLD = {
    "all_layers": "all layers, reward at once",
    "delayed": "all layers, reward 50 silent steps late",
    "readout_only": "readout only, plain three factors",
    "shuffled_reward": "control: reward of other trials",
    "no_trace": "control: no eligibility left",
}
SHORT = ("all layers", "late", "readout\nonly", "reward\nof others", "no\ntrace")


def draw(curves: Mapping[str, Sequence[Sequence[float]]], host: str) -> Figure:
    """(manner: curves of all seeds) -> the figure."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.7, 1))
    growth(left, curves)
    ends(right, curves)
    seeds = len(next(iter(curves.values())))
    names = {"snntorch": "snnTorch's tutorial-5 net", "norse": "its Norse twin"}
    figure.suptitle(f"Digits from right or wrong alone: {names[host]}, unmodified ({seeds} seeds)")
    return figure


def growth(panel: Axes, curves: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Mean over seeds, with a band of one standard error."""
    learning_curve({TOLD[name]: each for name, each in curves.items()}, panel, chance=0.1, xlabel="epochs")
    panel.set(ylabel="accuracy on held-out digits", ylim=(0, 1))
    panel.legend(frameon=False, loc="center right", fontsize=8, bbox_to_anchor=(1.0, 0.4))


def ends(panel: Axes, curves: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """The last accuracy of every net; the mean, with its standard error, beside them."""
    for place, (each, color) in enumerate(zip(curves.values(), CYCLE, strict=False)):
        last = torch.tensor([curve[-1] for curve in each])
        panel.scatter(place + 0.0 * last, last, s=12, color=color, alpha=0.4, linewidths=0)
        error = float(last.std() / len(last) ** 0.5) if len(last) > 1 else 0.0
        panel.errorbar(place + 0.2, float(last.mean()), error, color=color, marker="_", capsize=3)
        panel.text(place, float(last.mean()) - 0.08, f"{float(last.mean()):.3f}", ha="center", fontsize=8, color=color)
    panel.axhline(0.1, color=FAINT, linewidth=0.8, zorder=0)
    panel.set_xlim(-0.6, len(curves) - 0.4)
    panel.set_xticks(range(len(curves)), SHORT[: len(curves)], fontsize=8)
    label_axes(panel, "", "")
