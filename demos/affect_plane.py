"""A day in the plane of affect: signals that a model knows about itself become feelings that have names.

    signals ─► appraisal ─► valence, arousal, dominance ─► region and word        mood follows, slowly

A day is told as scenes: a crowded commute that nobody controls, a problem that can be understood, a machine that will
not obey though one knows it well. Nothing but prediction errors, uncertainty, novelty and discomfort goes in, with a
little noise. What a scene feels like depends on what came before: silence after a storm is calm, mastery after doubt is
control.

    python demos/affect_plane.py

Criterion: every scene spends most of its steps in the region that it should (printed beside it), all six regions occur,
and mood is never as far from neutral as affect was at most; else the exit code is 1.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from command_line import Finding, Number, close, settings
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from snn_plasticity.affect import REGIONS, AffectiveEstimator, InternalSignals, ValenceArousalSpace
from snn_plasticity.config.affect import AffectiveConfig
from snn_plasticity.plot.canvas import BLUE, DASHES, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, label_axes

WAKE, PER_HOUR = 6.5, 12  # one step is five minutes
NOISE = 0.04
NAMES = ("reward prediction error", "epistemic uncertainty", "prediction error", "novelty", "discomfort", "chance")
COLOR = {
    "happy/excited": ORANGE,
    "calm/content": GREEN,
    "anxious/fearful": VERMILION,
    "sad/fatigued": BLUE,
    "frustrated": PURPLE,
    "curious": SKY,
    "neutral": FAINT,
}
LABEL_AT = {  # in the plane, for dominance above and below zero
    "happy/excited": (0.80, 0.66, "V + A + D +"),
    "calm/content": (0.75, -0.66, "V + A − D +"),
    "anxious/fearful": (-0.90, 0.74, "V − A + D −"),
    "frustrated": (-0.92, 0.36, "V − A + D +"),
    "sad/fatigued": (-0.74, -0.66, "V − A − D −"),
    "curious": (0.19, 0.80, "V 0 A + D +"),
}


class Scene(NamedTuple):
    """So many steps of the same signals: rpe, epistemic, error, novelty, discomfort, chance."""

    title: str
    region: str
    steps: int
    signals: tuple[float, ...]


DAY = (
    Scene("a quiet breakfast", "neutral", 8, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    Scene("the commute: crowds, delays", "anxious/fearful", 14, (-0.6, 0.0, 1.6, 0.2, 0.6, 1.4)),
    Scene("arrived, tea", "calm/content", 10, (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)),
    Scene("a new problem", "curious", 18, (0.0, 1.6, 0.3, 0.6, 0.0, 0.0)),
    Scene("it works, and well", "happy/excited", 10, (1.6, 0.2, 2.8, 0.8, 0.0, 0.0)),
    Scene("a long lunch", "calm/content", 14, (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)),
    Scene("learning the machine", "curious", 20, (0.0, 1.6, 0.2, 0.4, 0.0, 0.0)),
    Scene("known by now, and it jams", "frustrated", 12, (-1.1, 0.2, 2.8, 0.4, 0.3, 0.0)),
    Scene("home; a friend is leaving", "sad/fatigued", 20, (-0.9, 0.0, 0.0, 0.0, 0.8, 1.0)),
    Scene("rest", "calm/content", 54, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
)


class Life(NamedTuple):
    """What went in (T, 6), what was felt (T, 3), the mood behind it (T, 3), and the regions (T names)."""

    signals: Tensor
    affect: Tensor
    mood: Tensor
    regions: list[str]


def signals_of(seed: int) -> Tensor:
    """The day as signals (T, 6), each scene with a little noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    plain = torch.tensor([scene.signals for scene in DAY for _ in range(scene.steps)])
    noisy = plain + NOISE * torch.randn(plain.shape, generator=generator) * (plain != 0)
    noisy[:, 1:] = noisy[:, 1:].clamp(min=0.0)
    noisy[:, 3] = noisy[:, 3].clamp(max=1.0)
    return noisy


def live(seed: int) -> Life:
    """The day, felt step by step."""
    estimator = AffectiveEstimator(AffectiveConfig(tau_mood=40.0, tau_baseline=25.0))
    signals, state, states = signals_of(seed), None, []
    for row in signals:
        state = estimator.estimate(InternalSignals(*row), state)
        states.append(state)
    affect, mood = torch.cat([s.point for s in states]), torch.cat([s.mood for s in states])
    return Life(signals, affect, mood, ValenceArousalSpace().region(affect))


def bounds() -> list[tuple[Scene, int, int]]:
    """Every scene with its first step and the one after its last."""
    ends = np.cumsum([scene.steps for scene in DAY]).tolist()
    return [(scene, end - scene.steps, end) for scene, end in zip(DAY, ends, strict=True)]


def judge(life: Life) -> dict[str, Finding]:
    """Measured, expected and verdict of every scene, and of the mood."""
    verdict = {}
    for scene, start, end in bounds():
        (found, steps), *_ = Counter(life.regions[start:end]).most_common(1)
        verdict[scene.title] = Finding(f"{found}, {steps} of {scene.steps}", scene.region, found == scene.region)
    missing = sorted(set(REGIONS) - set(life.regions))
    verdict["regions of the day"] = Finding(f"{len(REGIONS) - len(missing)} of 6", "6 of 6", not missing)
    affect, mood = (float(path.norm(dim=-1).max()) for path in (life.affect, life.mood))
    verdict["farthest mood"] = Finding(f"{mood:.2f}", f"< {affect:.2f} of affect", mood < affect)
    return verdict


def draw(life: Life) -> Figure:
    """The plane on the left; signals, affect and scenes over the day on the right."""
    figure = Figure(figsize=(14.5, 7.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.12, 1), wspace=0.02)
    plane(left.subplots(), life)
    hours(right, life)
    return figure


def plane(panel: Axes, life: Life) -> None:
    """Valence and arousal as a path; full dots where dominance is above zero, rings where it is below."""
    turn = np.linspace(0, 2 * np.pi, 200)
    panel.plot(np.cos(turn), np.sin(turn), color=FAINT, linewidth=0.8)
    panel.axhline(0.0, color=FAINT, linewidth=0.6)
    panel.axvline(0.0, color=FAINT, linewidth=0.6)
    mood, affect = life.mood[:, :2].numpy(), life.affect.numpy()
    panel.plot(*mood.T, color="#CFCFCF", linewidth=7, solid_capstyle="round", zorder=1, label="mood, τ = 40 steps")
    steps = np.stack([affect[:-1, :2], affect[1:, :2]], axis=1)
    panel.add_collection(LineCollection(list(steps), colors=INK, linewidths=0.7, alpha=0.45, zorder=2))
    colors = np.array([COLOR[name] for name in life.regions])
    for strong, face in ((affect[:, 2] > 0, True), (affect[:, 2] <= 0, False)):
        rim = colors[strong]
        panel.scatter(*affect[strong, :2].T, s=26, facecolors=rim if face else "white", edgecolors=rim, zorder=3)
    panel.scatter([], [], s=26, color=INK, label="dominance > 0: in control")
    panel.scatter([], [], s=26, facecolors="white", edgecolors=INK, label="dominance ≤ 0")
    for name, (x, y, signs) in LABEL_AT.items():
        panel.text(x, y, name, color=COLOR[name], ha="center", va="bottom", fontsize=12, fontweight="bold")
        panel.text(x, y - 0.01, signs, color=INK, ha="center", va="top", fontsize=8)
    for number, (_, start, end) in enumerate(bounds(), start=1):
        number_scene(panel, number, affect[start:end])
    panel.legend(frameon=False, loc="lower center", fontsize=9, ncols=3, bbox_to_anchor=(0.5, -0.16))
    panel.set(xlim=(-1.15, 1.15), ylim=(-1.08, 1.08), aspect="equal", title="A day in the plane of affect")
    label_axes(panel, "valence", "arousal")


def number_scene(panel: Axes, number: int, path: np.ndarray) -> None:
    """The number of a scene, beside its strongest moment."""
    x, y = path[np.argmax(np.hypot(path[:, 0], path[:, 1])), :2]
    length = max(float(np.hypot(x, y)), 1e-6)
    shift = (0.09 * x / length, 0.09 * y / length) if length > 0.05 else (0.05, -0.06)
    badge = {"boxstyle": "circle,pad=0.22", "facecolor": INK, "edgecolor": "none"}
    panel.text(
        x + shift[0],
        y + shift[1],
        str(number),
        color="white",
        fontsize=8,
        ha="center",
        va="center",
        bbox=badge,
        zorder=5,
    )


def hours(figure: SubFigure, life: Life) -> None:
    """What went in, what was felt, and the scenes with their regions."""
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.25, 1.15))
    when = WAKE + np.arange(len(life.regions)) / PER_HOUR
    for k, (name, color) in enumerate(zip(NAMES, (VERMILION, SKY, INK, GREEN, PURPLE, ORANGE), strict=True)):
        upper.plot(when, life.signals[:, k], color=color, linestyle=DASHES[k], linewidth=1.3, label=name)
    upper.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
    upper.set(ylim=(-1.5, 5.2), title="What goes in, and what is felt")
    label_axes(upper, "", "signals")
    middle.axhline(0.0, color=FAINT, linewidth=0.8)
    for k, (name, color) in enumerate((("valence", VERMILION), ("arousal", BLUE), ("dominance", PURPLE))):
        middle.plot(when, life.affect[:, k], color=color, linestyle=DASHES[k], linewidth=1.5, label=name)
        middle.plot(when, life.mood[:, k], color=color, linewidth=4, alpha=0.25, zorder=0)
    middle.plot([], [], color=FAINT, linewidth=4, alpha=0.5, label="mood")
    middle.legend(frameon=False, fontsize=8, ncols=4, loc="upper right")
    middle.set(ylim=(-1.05, 1.3), yticks=(-1, 0, 1))
    label_axes(middle, "", "affect")
    scenes(lower, when)
    for panel in (upper, middle):
        for _, start, _ in bounds():
            panel.axvline(when[start], color=FAINT, linewidth=0.5, linestyle=":", zorder=-1)


def scenes(panel: Axes, when: np.ndarray) -> None:
    """One bar per scene, in the colour of the region that it should be in."""
    for number, (scene, start, end) in enumerate(bounds(), start=1):
        panel.barh(-number, scene.steps / PER_HOUR, left=when[start], color=COLOR[scene.region], height=0.8)
        text, late = f"{number}  {scene.title}", number > len(DAY) - 3
        x, side = (when[start] - 0.15, "right") if late else (when[end - 1] + 0.25, "left")
        panel.text(x, -number, text, ha=side, va="center", fontsize=9)
    panel.set(yticks=(), ylim=(-len(DAY) - 0.7, -0.3), xlim=(when[0], when[-1]))
    panel.spines["left"].set_visible(False)
    label_axes(panel, "hour of the day", "")


def main(argv: list[str] | None = None) -> int:
    args = settings(__doc__, argv, figure="affect_plane", seed=Number("of the noise"))
    life = live(args.seed)
    affect, mood = (round(float(path.norm(dim=-1).max()), 4) for path in (life.affect, life.mood))
    numbers = {"farthest affect": affect, "farthest mood": mood, "steps": dict(Counter(life.regions))}
    return close(args, judge(life), numbers, lambda: draw(life))


if __name__ == "__main__":
    raise SystemExit(main())
