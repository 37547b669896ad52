"""The figure of the demo: two trials step by step, one paid and one not, and what comes of thousands of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from digits_film import PAUSE, Film, shoot
from digits_life import STORY, Life
from digits_reader import ACTIONS, BURST, LOOK, PIXELS
from digits_task import train_and_held_out
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from snn_plasticity.plot import learning_curve, trial, weights
from snn_plasticity.plot.canvas import BLUE, FAINT, INK, ORANGE, VERMILION
from snn_plasticity.record import Record

YOUNG = 1  # epochs before the two trials are filmed
ROWS = {
    "input": "input",
    "synapses": "action",
    "eligibility": "eligibility e",
    "modulators": "dopamine",
    "changes": "Δw",
}
CURVES = {
    "delayed_reward": "dopamine = reward − promise",
    "random_dopamine": "control: dopamine of other trials",
    "no_trace": "control: no eligibility outlives the gap",
    "no_dopamine": "control: no dopamine",
}


def draw(lives: dict[str, Life], host: str, delay: int, seed: int) -> Figure:
    """Two trials on the left, whole lives on the right."""
    story = lives[STORY]
    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1), wspace=0.02)
    two_trials(left, *shoot(story.weights[min(YOUNG, len(story.weights) - 1)], host, delay, seed), delay)
    upper, lower = right.subfigures(2, 1, height_ratios=(1.5, 1), hspace=0.03)
    lifetimes(upper.subplots(), lives, host)
    what_it_learned(lower, story)
    return figure


def two_trials(figure: SubFigure, record: Record, films: tuple[Film, Film], delay: int) -> None:
    """Spikes, tags, dopamine, weights: one story, five panels above one another."""
    panels = dict(zip(ROWS, figure.subplots(5, 1, sharex=True, height_ratios=(1.5, 1.0, 1.1, 0.7, 1.1)), strict=True))
    first, second = (film.choice for film in films)
    own, start, paid_after = {first: BLUE, second: ORANGE}, films[0].start, LOOK + BURST + delay
    trial(
        record, panels, since=start, until=start + 2 * (paid_after + PAUSE), start=0.0, synapses=named(record, films),
        colors={"input": FAINT, "synapses": [own.get(action, INK) for action in range(ACTIONS)]},
    )  # fmt: skip
    for (name, word), panel in zip(ROWS.items(), panels.values(), strict=True):
        panel.set_ylabel(word)
        panel.yaxis.set_label_coords(-0.075, 0.5)
        if panel.get_legend():
            panel.get_legend().remove()
        if name == "eligibility":
            panel.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderpad=0.1)
    annotate(panels, films, delay)


def named(record: Record, films: tuple[Film, Film]) -> dict[tuple[int, int], str]:
    """A synapse that is tagged in the first trial, one in the second, and one in none, by their neurons."""
    spikes = record.spikes("synapses").pre[:, 0, :PIXELS]
    found, begin = {}, films[0].start
    for film in films:
        burst = spikes[film.start + LOOK : film.start + LOOK + BURST]
        found[film.choice, int(burst.sum(0).argmax())] = f"bright pixel → “{film.choice}”"
    dark = int(spikes[begin : 2 * films[1].start - begin].sum(0).argmin())
    return {**found, (films[0].choice, dark): f"dark pixel → “{films[0].choice}”"}


def annotate(panels: Mapping[str, Axes], films: tuple[Film, Film], delay: int) -> None:
    """Who sees what, says what, and is paid when."""
    panels["synapses"].set(yticks=range(0, ACTIONS, 3), ylim=(-0.7, 11.5))
    panels["modulators"].set(ylim=(-1.1, 1.1), yticks=(-1, 0, 1))
    for film in films:
        start = film.start - films[0].start
        paid_at = start + LOOK + BURST + delay
        for panel in panels.values():
            panel.axvspan(start - 0.5, start + LOOK + BURST - 0.5, color="#EEF3F8", zorder=-2, linewidth=0)
        thumbnail(panels["input"], film, start)
        outcome = f"reads “{film.choice}”: {'right, reward 1' if film.paid else 'wrong, reward 0'}"
        panels["input"].text(start + 17, 77, outcome, fontsize=10, fontweight="bold", va="center", clip_on=False)
        if delay <= 80:  # else there is no room for words
            panels["synapses"].text(start + LOOK / 2, 10.3, "compete", ha="center", va="center", fontsize=8)
            panels["synapses"].text(start + LOOK + BURST / 2, 10.3, "burst", ha="center", va="center", fontsize=8)
        level = f"{film.dopamine:+.2f}".replace("-", "−")
        panels["modulators"].text(paid_at + 2, 0.6 if film.dopamine > 0 else -0.6, level, va="center", color=VERMILION)
        if delay >= 30:
            panels["input"].text(
                paid_at - delay / 2, 33, f"{delay} silent steps", ha="center", va="center", fontsize=10
            )


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
