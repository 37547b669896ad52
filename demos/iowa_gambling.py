"""Gut feelings beat greed: somatic markers in the Iowa gambling task (Bechara, Damasio, Damasio & Anderson 1994).

    deck      A, B: +100 a card, but 1250 is lost in every ten        C, D: +50 a card, and 250 lost in every ten
    greed     g ← g + 0.2 (gain/100 − g)                              what the deck pays, losses not seen
    feeling   somatic marker of the deck, learnt from what the card felt like: losses loom larger than gains
    choice    P ∝ exp 1.5 (g + weight · feeling)                      both in hundreds; markers as they are by default

Healthy people turn to the good decks within a hundred cards; patients with damage to the ventromedial prefrontal
cortex, whose feelings no longer reach their decisions, do not. So do agents with and without markers. A third group,
whose markers learn from a squashed outcome (tanh), cannot tell a disaster from small change, and fails too.

    python demos/iowa_gambling.py --agents 1000

Criterion, for the mean of the agents: with markers, good minus bad choices in the last block of twenty are above +5,
and rise over the first four blocks; without, the last block is below zero; else the exit code is 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from command_line import Finding, Number, close, settings
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from snn_plasticity.affect import SomaticMarkers
from snn_plasticity.config.affect import AffectiveConfig
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, VERMILION, label_axes

DECKS, TRIALS, BLOCK = "ABCD", 100, 20
GAIN = (100.0, 100.0, 50.0, 50.0)
LOSSES = (  # card of the deck, from 1 to 40: what it costs; after the fortieth the deck begins anew
    {3: 150, 5: 300, 7: 200, 9: 250, 10: 350, 12: 350, 14: 250, 15: 200, 17: 300, 18: 150, 22: 300, 24: 350, 26: 200,
     27: 250, 28: 150, 31: 350, 32: 200, 33: 250, 37: 150, 38: 300},
    {9: 1250, 14: 1250, 21: 1250, 32: 1250},
    {3: 50, 5: 50, 7: 50, 9: 50, 10: 50, 12: 25, 13: 75, 17: 25, 18: 75, 20: 50, 24: 50, 25: 25, 26: 50, 29: 75, 30: 50,
     34: 25, 35: 25, 37: 75, 39: 50, 40: 75},
    {10: 250, 20: 250, 29: 250, 35: 250},
)  # fmt: skip
GREED_RATE, DETERMINATION, WEIGHT = 0.2, 1.5, AffectiveConfig().somatic_marker_weight
GROUPS = {
    "with markers": (WEIGHT, False),
    "markers of a squashed outcome": (WEIGHT, True),
    "without markers": (0.0, False),
}
COLORS = {"with markers": BLUE, "markers of a squashed outcome": ORANGE, "without markers": VERMILION}
LAST_BLOCK = 5.0  # good minus bad choices of twenty


class Game(NamedTuple):
    """What one group did: decks chosen (T, agents), and what every deck felt like after each card (T, agents, 4)."""

    choices: Tensor
    feelings: Tensor


def schedule() -> Tensor:
    """Losses of every deck and card, (4, 40)."""
    return torch.tensor([[float(deck.get(card, 0)) for card in range(1, 41)] for deck in LOSSES])


def felt(net: Tensor) -> Tensor:
    """What an amount of money feels like, in units of 100: losses loom 2.25 times larger (Tversky & Kahneman 1992)."""
    size = (net.abs() / 100.0) ** 0.88
    return torch.where(net < 0, -2.25 * size, size)


def play(agents: int, weight: float, squash: bool, seed: int, bar: tqdm | None = None) -> Game:
    """A hundred cards for every agent at once."""
    generator = torch.Generator().manual_seed(seed)
    markers = SomaticMarkers(AffectiveConfig(somatic_marker_weight=weight))
    losses, gains, decks = schedule(), torch.tensor(GAIN), torch.eye(4).expand(agents, 4, 4)
    state, greed, drawn = markers.init(agents, n_features=4), torch.zeros(agents, 4), torch.zeros(agents, 4).long()
    rows, choices, feelings = torch.arange(agents), [], []
    for _ in range(TRIALS):
        drive = DETERMINATION * markers.adjust(greed, decks, state)
        choice = torch.multinomial(torch.softmax(drive, -1), 1, generator=generator).squeeze(1)
        gain, loss = gains[choice], losses[choice, drawn[rows, choice] % 40]
        drawn[rows, choice] += 1
        greed[rows, choice] += GREED_RATE * (gain / 100.0 - greed[rows, choice])
        outcome = felt(gain - loss)
        state = markers.learn(decks[rows, choice], torch.tanh(outcome) if squash else outcome, state)
        choices.append(choice)
        feelings.append(markers.predict(decks, state))
        if bar is not None:
            bar.update(agents)
    return Game(torch.stack(choices), torch.stack(feelings))


def net_scores(game: Game) -> Tensor:
    """Good minus bad choices, (blocks, agents)."""
    good = (game.choices >= 2).float() * 2.0 - 1.0
    return good.reshape(-1, BLOCK, good.shape[1]).sum(1)


def judge(scores: dict[str, Tensor]) -> dict[str, Finding]:
    """Every group against its criterion; good minus bad choices in each block."""
    found = {}
    for name, score in scores.items():
        mean = score.mean(1)
        expected, kept = "last < 0", bool(mean[-1] < 0.0)
        if name == "with markers":
            expected = f"last > {LAST_BLOCK:+g}, 1 to 4 rise"
            kept = bool(mean[-1] > LAST_BLOCK) and bool((mean[:4].diff() > 0).all())
        found[name] = Finding(" ".join(f"{block:+5.1f}" for block in mean.tolist()), expected, kept)
    return found


def draw(games: dict[str, Game], scores: dict[str, Tensor]) -> Figure:
    """Scores of the groups, what the markers come to say, and which decks are taken."""
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    draw_scores(left, scores)
    lines(middle, games["with markers"].feelings.mean(1), "felt value of the deck (100 $)", "What the markers say")
    taken = torch.nn.functional.one_hot(games["with markers"].choices, 4).float().mean(1)
    smooth = torch.nn.functional.avg_pool1d(taken.T[:, None], 9, 1, 4, count_include_pad=False)[:, 0].T
    lines(right, smooth, "share of choices", "What agents with markers choose")
    right.set_ylim(0, None)
    return figure


def draw_scores(panel: Axes, scores: dict[str, Tensor]) -> None:
    """Good minus bad per block: mean and standard error of every group."""
    blocks = range(1, TRIALS // BLOCK + 1)
    panel.axhline(0.0, color=FAINT, linewidth=0.8)
    for name, score in scores.items():
        error = score.std(1) / score.shape[1] ** 0.5
        panel.errorbar(blocks, score.mean(1), yerr=error, color=COLORS[name], marker="o", capsize=3, label=name)
    panel.axhline(LAST_BLOCK, xmin=0.84, color=INK, linestyle=":", linewidth=1.2)
    panel.text(5.18, LAST_BLOCK - 0.3, "criterion", ha="right", va="top", fontsize=9)
    panel.set(xticks=list(blocks), title="Healthy, and as if the feeling were cut off")
    panel.legend(frameon=False, loc="upper left", fontsize=9)
    panel.set_ylim(top=18)
    label_axes(panel, "block of twenty cards", "good − bad choices (C + D − A − B)")


def lines(panel: Axes, values: Tensor, ylabel: str, title: str) -> None:
    """One line per deck, named at its end."""
    panel.axhline(0.0, color=FAINT, linewidth=0.8)
    styles = ((VERMILION, "-"), (PURPLE, "-"), (BLUE, "--"), (GREEN, "--"))
    for k, (color, style) in enumerate(styles):
        kind = "bad" if k < 2 else "good"
        panel.plot(range(1, TRIALS + 1), values[:, k], color=color, linestyle=style, label=f"{DECKS[k]} ({kind})")
    panel.legend(frameon=False, fontsize=9, ncols=2)
    panel.set_title(title)
    label_axes(panel, "card", ylabel)


def main(argv: list[str] | None = None) -> int:
    args = settings(
        __doc__, argv, figure="iowa_gambling", work=lambda args: args.agents + 300,
        agents=Number("in every group", 200, 2), seed=Number("of the choices"),
    )  # fmt: skip
    with tqdm(total=len(GROUPS) * TRIALS * args.agents, unit="card", disable=None) as bar:
        games = {name: play(args.agents, weight, squash, args.seed, bar) for name, (weight, squash) in GROUPS.items()}
    scores = {name: net_scores(game) for name, game in games.items()}
    blocks = {name: [round(mean, 2) for mean in score.mean(1).tolist()] for name, score in scores.items()}
    said = "Good minus bad choices in each of five blocks of twenty cards, means of the agents."
    return close(args, judge(scores), {"good − bad": blocks}, lambda: draw(games, scores), notes=said)


if __name__ == "__main__":
    raise SystemExit(main())
