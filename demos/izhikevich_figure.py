"""The figure of the demo: a second of the network, the life of one synapse among all others, and where they ended."""

from __future__ import annotations

import torch
from izhikevich_life import QUANTILES, Record
from izhikevich_network import EXCITATORY, STRONGEST
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_plasticity.plot import raster
from snn_plasticity.plot.canvas import BLUE, FAINT, INK, ORANGE, VERMILION, label_axes


def draw(record: Record) -> Figure:
    """Three panels."""
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15), wspace=0.03)
    a_second(left.subplots(), record)
    upper, lower = right.subplots(2, 1, height_ratios=(1.5, 1))
    a_life(upper, record)
    the_end(lower, record)
    return figure


def a_second(panel: Axes, record: Record) -> None:
    """Every spike of a second, and the two neurons that are watched."""
    neurons, film = record.film.shape[1], record.film
    groups, colors = {"excitatory": film[:, :EXCITATORY], "inhibitory": film[:, EXCITATORY:]}, (BLUE, VERMILION)
    raster(groups, panel, unit="ms", colors=dict(zip(groups, colors, strict=True)))
    for color, name, k in ((INK, "n1", record.pair[0]), (ORANGE, "n2", record.pair[1])):
        when = record.film[:, k].nonzero().squeeze(1)
        panel.scatter(when, torch.full_like(when, k), s=60, color=color, edgecolors="white", zorder=3, label=name)
    panel.set(ylim=(-20, neurons + 10))
    if record.coincidence >= 0:
        panel.axvline(record.coincidence, color=INK, linestyle=":", linewidth=1)
        panel.set_title("n2 fires just after n1: a reward is due", loc="left", fontsize=11)
    panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, handletextpad=0.1, fontsize=10)


def a_life(panel: Axes, record: Record) -> None:
    """The watched synapse, rewarded and in the control, and how strong the others are meanwhile."""
    seconds = 1 + torch.arange(len(record.watched))
    for low, high, alpha in ((0, 4, 0.18), (1, 3, 0.35)):
        label = f"all others: {QUANTILES[low]:.0%} to {QUANTILES[high]:.0%}"
        panel.fill_between(
            seconds, record.others[:, low], record.others[:, high], color=FAINT, alpha=alpha, linewidth=0, label=label
        )
    panel.plot(seconds, record.others[:, 2], color=FAINT, label="their median")
    panel.plot(seconds, record.watched[:, 1], color=ORANGE, label="n1 → n2 in the control: dopamine spread evenly")
    panel.plot(
        seconds, record.watched[:, 0], color=BLUE, linewidth=2, label="n1 → n2, dopamine 1 to 3 s after it worked"
    )
    rewards = [when / 1000 for when in record.rewards]
    panel.plot(rewards, [-0.2] * len(rewards), linestyle="", marker="|", color=VERMILION, label="reward")
    panel.set(ylim=(-0.35, STRONGEST + 1.3), xlim=(0, len(seconds)), yticks=range(5))
    panel.set_title("The synapse whose coincidences are paid, and all others", fontsize=11)
    panel.legend(frameon=False, fontsize=8.5, loc="upper left", ncols=2)
    label_axes(panel, "simulated time (s)", "weight (mV)")


def the_end(panel: Axes, record: Record) -> None:
    """Weights of both networks at the end."""
    for b, (color, name) in enumerate(((BLUE, "rewarded"), (ORANGE, "control"))):
        panel.hist(record.weights[b].numpy(), bins=80, range=(0, STRONGEST), histtype="step", color=color, label=name)
        panel.axvline(float(record.watched[-1, b]), color=color, linestyle="--", linewidth=1.5)
    panel.set(yscale="log", xlim=(-0.05, STRONGEST + 0.05))
    panel.set_title("The 80,000 excitatory weights at the end (dashed: n1 → n2)", fontsize=11)
    panel.legend(frameon=False, fontsize=9, loc="upper center")
    label_axes(panel, "weight (mV)", "synapses")
