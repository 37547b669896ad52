"""Mood as momentum: how mood colours rewards, and when the loop runs away (Eldar & Niv 2015, Nat. Commun. 6:6149).

    perceived   r̃ = r · f^m                     f > 1: in a good mood everything tastes better
    value       v ← v + η_v (r̃ − v)             what the option seems to be worth
    mood        h ← h + η_h (r̃ − v − h)         the average of recent surprises,  m = tanh h

Two options of the same worth: one is met after a windfall, the other after a loss. With f > 1 the first is preferred,
with f < 1 the second: the sign of f − 1. And mood feeds on the surprises that it makes. Around the fixed point v = r,
h = 0 the eigenvalues of the loop leave the unit circle where

    r ln f = 1 − η_v + η_v/η_h

and beyond it mood swings for ever though the world stands still. The library's own colour of mood
(`color_by_mood`) has a loop gain below one by construction: at full bias it still dies out.

    python demos/mood_momentum.py

Criterion: every preference has the sign of f − 1 and is none at f = 1 (within three standard errors); the swings begin
within 2 % of the predicted r ln f; the library's mood is below 1 % in the end; else the exit code is 1.
"""

from __future__ import annotations

import math

import torch
from command_line import Finding, Number, close, settings
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from snn_plasticity.affect import AffectiveEstimator, InternalSignals, perceived_reward, update_mood
from snn_plasticity.config.affect import AffectiveConfig
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, INK, VERMILION, label_axes

RATE_VALUE, RATE_MOOD, WORTH, NOISE = 0.1, 0.1, 10.0, 2.0
LUCK, MEETINGS, AGENTS = 1.0, 25, 400
FACTORS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)
CRITICAL = math.exp((1.0 - RATE_VALUE + RATE_VALUE / RATE_MOOD) / WORTH)
STEPS, SWING, TOLERANCE = 6_000, 1e-3, 0.02


def live(f: Tensor, rewards: Tensor, value: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
    """Values at the end, and moods (T, ...) on the way, of agents who meet rewards (T, ...) one after the other."""
    moods = []
    for reward in rewards:
        surprise = perceived_reward(reward, torch.tanh(recent), f) - value
        value, recent = value + RATE_VALUE * surprise, update_mood(recent, surprise, 1.0 / RATE_MOOD)
        moods.append(torch.tanh(recent))
    return value, torch.stack(moods)


def preferences(seed: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error, for every f, of what the option met in luck is worth more than the other."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.tensor(FACTORS, dtype=torch.float64).unsqueeze(1).expand(-1, AGENTS)
    worth = []
    for luck in (LUCK, -LUCK):
        noise = torch.randn(MEETINGS, len(FACTORS), AGENTS, generator=generator, dtype=torch.float64)
        fair, lucky = torch.full_like(f, WORTH), torch.full_like(f, luck)
        worth.append(live(f, WORTH + NOISE * noise, fair, lucky)[0])
    gap = worth[0] - worth[1]
    return gap.mean(1), gap.std(1) / AGENTS**0.5


def swings(f: Tensor, bar: tqdm | None = None) -> Tensor:
    """How far mood swings in the end, in a world that stands still, after a nudge."""
    worth = torch.full_like(f, WORTH)
    value, recent = worth, torch.full_like(f, 0.05)
    for _ in range(10):
        rest = STEPS // 10
        value, moods = live(f, worth.expand(rest, *f.shape), value, recent)
        recent = torch.atanh(moods[-1])
        if bar is not None:
            bar.update(rest)
    return moods.max(0).values - moods.min(0).values


def onset(bar: tqdm | None = None) -> float:
    """The smallest f that swings, found on a fine grid around the prediction."""
    f = torch.exp(torch.linspace(0.9, 1.1, 401, dtype=torch.float64) * math.log(CRITICAL))
    return float(f[swings(f, bar) > SWING].min())


def own_mood(steps: int) -> Tensor:
    """The library's mood, at full bias, after the same kind of nudge."""
    estimator = AffectiveEstimator(AffectiveConfig(mood_congruence_bias=1.0, tau_mood=1.0 / RATE_MOOD))
    state, path = estimator.reset(1), []
    state = state._replace(mood=torch.tensor([[math.tanh(1.0), 0.0, 0.0]]))
    for _ in range(steps):
        state = estimator.estimate(InternalSignals(), state)
        path.append(state.mood[0, 0])
    return torch.stack(path)


def judge(gap: Tensor, error: Tensor, found: float, mood: Tensor) -> dict[str, Finding]:
    """Measured, expected and verdict of every claim."""
    sign = torch.tensor([math.copysign(1.0, f - 1.0) if f != 1.0 else 0.0 for f in FACTORS])
    biased, fair = sign != 0, sign == 0
    right, none = gap[biased] * sign[biased] > 0, gap[fair].abs() < 3 * error[fair]
    ratio = math.log(found) / math.log(CRITICAL)
    return {
        "preference has the sign of f − 1": Finding(f"{int(right.sum())} of {len(right)}", "all", bool(right.all())),
        "preference at f = 1": Finding(f"{float(gap[fair]):+.3f}", "0 ± 3 s.e.", bool(none.all())),
        "swings begin at r ln f": Finding(
            f"{WORTH * math.log(found):.3f}", f"{WORTH * math.log(CRITICAL):.3f} ± 2 %", abs(ratio - 1.0) < TOLERANCE,
        ),
        "the library's mood in the end": Finding(f"{float(mood[-1]):.4f}", "< 0.01", float(mood[-1].abs()) < 0.01),
    }  # fmt: skip


def draw(gap: Tensor, error: Tensor, mood: Tensor, bar: tqdm | None = None) -> Figure:
    """Preferences, moods over time, and where the swings begin."""
    figure = Figure(figsize=(13.5, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.axhline(0.0, color=FAINT, linewidth=0.8)
    left.axvline(1.0, color=FAINT, linewidth=0.8)
    left.errorbar(FACTORS, gap, yerr=error, color=BLUE, marker="o", capsize=3)
    left.set_title("Met in a good mood: preferred if f > 1")
    label_axes(left, "f: how mood multiplies rewards", "value met in luck − value met after a loss")
    draw_moods(middle, mood)
    f = torch.exp(torch.linspace(0.0, 1.8, 91, dtype=torch.float64) * math.log(CRITICAL))
    right.plot(WORTH * torch.log(f), swings(f, bar), color=VERMILION, marker=".", markersize=4)
    right.axvline(WORTH * math.log(CRITICAL), color=INK, linestyle=":", linewidth=1.2)
    right.text(
        WORTH * math.log(CRITICAL) - 0.05,
        1.9,
        "predicted:\n$1 - \\eta_v + \\eta_v/\\eta_h$",
        ha="right",
        va="top",
        fontsize=9,
    )
    right.set(title="Where the loop starts to oscillate", ylim=(-0.05, 2.1))
    label_axes(right, "r ln f", "swing of mood (largest − smallest)")
    return figure


def draw_moods(panel: Axes, mood: Tensor) -> None:
    """Mood after a nudge: below the critical factor, above it, and the library's own."""
    steps = len(mood)
    panel.axhline(0.0, color=FAINT, linewidth=0.8)
    for share, color, style in ((0.8, BLUE, "-"), (1.3, VERMILION, "-")):
        f = torch.tensor([CRITICAL**share], dtype=torch.float64)
        still = torch.full((steps, 1), WORTH, dtype=torch.float64)
        _, moods = live(f, still, still[0], torch.ones_like(f))
        panel.plot(
            moods[:, 0], color=color, linestyle=style, label=f"f = {float(f):.2f}, r ln f = {WORTH * math.log(f):.1f}"
        )
    panel.plot(mood, color=GREEN, linewidth=2, label="the library's colour of mood, bias 1")
    panel.legend(frameon=False, fontsize=9, loc="upper right")
    panel.set(title="Mood after one windfall, while the world stands still", ylim=(-1.1, 1.9), yticks=(-1, 0, 1))
    label_axes(panel, "step", "mood m")


def main(argv: list[str] | None = None) -> int:
    args = settings(__doc__, argv, figure="mood_momentum", seed=Number("of the rewards"))
    gap, error = preferences(args.seed)
    mood = own_mood(250)
    with tqdm(total=STEPS * 2, unit="step", disable=None) as bar:
        found = onset(bar)
        figure = draw(gap, error, mood, bar)
    preferred = {str(f): round(float(worth), 4) for f, worth in zip(FACTORS, gap, strict=True)}
    numbers = {"preference": preferred, "onset": WORTH * math.log(found), "predicted": WORTH * math.log(CRITICAL)}
    return close(args, judge(gap, error, found, mood), numbers, lambda: figure)


if __name__ == "__main__":
    raise SystemExit(main())
