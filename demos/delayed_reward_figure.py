"""The figure of the demo: two trials step by step, one paid and one not, and what comes of thousands of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from digits_film import Film, shoot
from digits_life import STORY, Life
from digits_reader import ACTIONS, BURST, LOOK, PIXELS
from digits_task import train_and_held_out
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from snn_plasticity.plot import learning_curve, modulators, raster, traces, weights
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, INK, VERMILION

YOUNG = 1  # epochs before the two trials are filmed
SYNAPSES = (BLUE, VERMILION, GREEN)  # tagged in the first trial, in the second, in none
CURVES = {
    "delayed_reward": "dopamine = reward − promise",
    "random_dopamine": "control: dopamine of other trials",
    "no_trace": "control: no eligibility outlives the gap",
    "no_dopamine": "control: no dopamine",
}


def draw(lives: dict[str, Life], host: str, delay: int, seed: int) -> Figure:
    """Two trials on the left, whole lives on the right."""
    story = lives[STORY]
    figure = Figure(figsize=(12.5, 6.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1), wspace=0.02)
    two_trials(left, shoot(story.weights[min(YOUNG, len(story.weights) - 1)], host, delay, seed), delay)
    upper, lower = right.subfigures(2, 1, height_ratios=(1.5, 1), hspace=0.03)
    lifetimes(upper.subplots(), lives, host)
    what_it_learned(lower, story)
    return figure


def two_trials(figure: SubFigure, films: tuple[Film, Film], delay: int) -> None:
    """Spikes, tags, dopamine, weights: one story, five panels above one another."""
    panels = figure.subplots(5, 1, sharex=True, height_ratios=(1.5, 1.0, 1.1, 0.7, 1.1))
    paid, unpaid = films
    spikes, fired, e, w = (torch.cat(both) for both in zip(*(film.series for film in films), strict=True))
    dopamine = torch.zeros(len(spikes))
    dopamine[[arrival(start, delay) for start in (0, len(paid.spikes))]] = torch.tensor([f.dopamine for f in films])
    posts = [paid.choice, unpaid.choice, paid.choice]
    pres = [paid.brightest, unpaid.brightest, int(spikes.sum(0).argmin())]
    colors = {paid.choice: BLUE, unpaid.choice: VERMILION}
    raster(spikes, panels[0], colors=FAINT, ylabel="input")
    raster(fired, panels[1], colors=[colors.get(k, INK) for k in range(ACTIONS)], ylabel="action\nneuron")
    traces(e[:, posts, pres], panels[2], colors=SYNAPSES, ylabel="eligibility e")
    modulators({"DA": dopamine}, panels[3], ylabel="dopamine")
    traces(1000 * (w - w[0])[:, posts, pres], panels[4], colors=SYNAPSES, ylabel="Δw (10⁻³)")
    annotate(panels, films, delay)
    name_synapses(panels[2], films, e[:, posts, pres])
    figure.align_ylabels(panels)


def arrival(start: int, delay: int) -> int:
    """When the dopamine of a trial comes."""
    return start + LOOK + BURST + delay


def annotate(panels: Sequence[Axes], films: Sequence[Film], delay: int) -> None:
    """Who sees what, says what, and is paid when."""
    panels[1].set(yticks=range(0, ACTIONS, 3), ylim=(-0.7, 11.5))
    panels[3].get_legend().remove()
    panels[3].set(ylim=(-1.1, 1.1), yticks=(-1, 0, 1))
    for start, film in zip((0, len(films[0].spikes)), films, strict=True):
        paid_at = arrival(start, delay)
        for panel in panels:
            panel.axvspan(start - 0.5, start + LOOK + BURST - 0.5, color="#EEF3F8", zorder=-2, linewidth=0)
            panel.axvline(paid_at, color=INK, linewidth=0.8, linestyle=":", zorder=-1)
        thumbnail(panels[0], film, start)
        outcome = f"reads “{film.choice}”: {'right, reward 1' if film.paid else 'wrong, reward 0'}"
        panels[0].text(start + 17, 77, outcome, fontsize=10, fontweight="bold", va="center", clip_on=False)
        if delay <= 80:  # else there is no room for words
            panels[1].text(start + LOOK / 2, 10.3, "compete", ha="center", va="center", fontsize=8)
            panels[1].text(start + LOOK + BURST / 2, 10.3, "burst", ha="center", va="center", fontsize=8)
        level = f"{film.dopamine:+.2f}".replace("-", "−")
        panels[3].text(paid_at + 2, 0.6 if film.dopamine > 0 else -0.6, level, va="center", color=VERMILION)
        if delay >= 30:
            panels[0].text(paid_at - delay / 2, 33, f"{delay} silent steps", ha="center", va="center", fontsize=10)
    for panel in panels:
        panel.label_outer()


def name_synapses(panel: Axes, films: Sequence[Film], e: torch.Tensor) -> None:
    """Beside each tag, whose it is."""
    top = float(e.max())
    panel.set_ylim(-0.06 * top, 1.25 * top)
    for k, (start, film) in enumerate(zip((0, len(films[0].spikes)), films, strict=True)):
        shown = start + LOOK + BURST
        where, whose = (shown + 1, float(e[shown - 1, k]) + 0.03 * top), f"bright pixel → “{film.choice}”"
        panel.text(*where, whose, color=SYNAPSES[k], fontsize=9)
    panel.text(LOOK + BURST + 1, 0.05 * top, f"dark pixel → “{films[0].choice}”", color=SYNAPSES[2], fontsize=9)


def thumbnail(panel: Axes, film: Film, start: int) -> None:
    """The digit, above the spikes that it makes."""
    inset = panel.inset_axes((start, 66, 14, 22), transform=panel.transData)
    inset.imshow(film.image.reshape(8, 8).numpy(), cmap="gray_r", interpolation="nearest")
    inset.set_axis_off()


def lifetimes(panel: Axes, lives: dict[str, Life], host: str) -> None:
    """Held-out accuracy over all that was seen, under every condition."""
    digits = len(train_and_held_out()[0]) * torch.arange(len(lives[STORY].accuracy)) / 1000
    curves = {label: lives[name].accuracy for name, label in CURVES.items()}
    learning_curve(curves, panel, x=digits, chance=0.1, xlabel="digits seen (thousands)", ylabel="held-out accuracy")
    panel.set(ylim=(0, 1), title=f"Learning from reward alone ({host})")
    panel.legend(frameon=False, loc="center right", fontsize=9)
    final = lives[STORY].accuracy[-1]
    panel.text(float(digits[-1]), final + 0.02, f"{final:.0%}", ha="right", color=BLUE, fontweight="bold")


def what_it_learned(figure: SubFigure, life: Life) -> None:
    """The synapses of each action neuron, as an image of what it looks for."""
    figure.suptitle("What each action neuron came to look for (weights: red +, blue −)", fontsize=10)
    panels, final = figure.subplots(2, 5).flat, life.weights[-1][:, :PIXELS]
    for action, panel in enumerate(panels):
        weights(final[action].reshape(8, 8), panel, limit=float(final.abs().max()), colorbar=False)
        panel.set(xlabel="", ylabel="", xticks=(), yticks=(), title=f"“{action}”", aspect="equal")
        panel.title.set_fontsize(9)
        panel.spines[:].set_visible(False)
