"""A hundred spiking neurons learn to draw a curve of one second, by e-prop with three kinds of feedback.

The curve is a sum of four sines, the input the same frozen noise each second. Task and draws are those of NEST's
example of e-prop: with the same seed and random feedback the first five losses are NEST's to nine digits.

    symmetric    the error reaches hidden neurons by the readout's own weights
    random       by weights that were drawn once
    adaptive     by weights that were drawn, and take every step that the readout's take

    python demos/pattern_generation.py --seeds 3

Criterion: the loss ½·Σ(y − y*)², about 100 to begin with, is after 300 seconds at most 35 with symmetric and adaptive
feedback and at most 50 with random feedback (mean of the last ten losses, and of all seeds); else the exit code is 1.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, figure 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from command_line import Finding, Number, close, settings
from eprop_nets import Course, Rule, simulate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pattern_task import DESCENT, NEURONS, Task, nest_task
from torch import Tensor
from tqdm import tqdm

from snn_plasticity import FeedbackState, ThreeFactorUpdate, feedback_of
from snn_plasticity.plot import raster
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, INK, VERMILION, label_axes

COLORS = {"symmetric": BLUE, "random": VERMILION, "adaptive": GREEN}
ENOUGH = {"symmetric": 35.0, "random": 50.0, "adaptive": 35.0}
SECONDS, LAST = 300, 10


class Story(NamedTuple):
    """What became of one net: its losses, the first second and the last."""

    losses: Tensor
    first: Course
    last: Course

    @property
    def end(self) -> float:
        """Where the loss ended."""
        return float(self.losses[-LAST:].mean())


def learn(task: Task, word: str, seconds: int, bar: tqdm) -> Story:
    """A net that sees the same second again and again."""
    feedback, rule, update = feedback_of(word), Rule(NEURONS), ThreeFactorUpdate(DESCENT)
    state = FeedbackState(task.feedback, task.weights.out.clone())
    losses, courses = [], []
    for _ in range(seconds):
        course = simulate(task.weights, task.inputs, NEURONS)
        error = task.target - course.readout
        learning, state = feedback.step(error.flatten(0, 1), state, task.weights.out)
        losses.append(0.5 * error.square().sum())
        courses = [*courses[:1], course]
        changes = rule.changes(course, error, learning.unflatten(0, error.shape[:2]))
        for weight, change in zip(task.weights, changes, strict=True):
            update.apply_(weight, update.delta(1.0, change.unsqueeze(0)))
        bar.update()
        bar.set_postfix_str(f"{word}, loss {float(losses[-1]):.1f}")
    return Story(torch.stack(losses), courses[0], courses[-1])


def judge(stories: Mapping[str, list[Story]]) -> dict[str, Finding]:
    """Where the losses ended, beside where they should."""
    findings = {}
    for word, told in stories.items():
        ends = torch.tensor([story.end for story in told])
        error = float(ends.std() / len(ends) ** 0.5) if len(ends) > 1 else 0.0
        measured = f"{float(ends.mean()):.1f} ± {error:.1f}"
        findings[word] = Finding(measured, f"<= {ENOUGH[word]:.0f}", float(ends.mean()) <= ENOUGH[word])
    return findings


def draw(stories: Mapping[str, list[Story]], target: Tensor) -> Figure:
    """The losses of all nets, what the first of them draws, and its spikes."""
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.35), wspace=0.03)
    draw_losses(left.subplots(), stories)
    panels = right.subplots(4, 1, sharex=True, height_ratios=(1, 1, 1, 1.4))
    for panel, (word, told) in zip(panels, stories.items(), strict=False):
        panel.plot(target.flatten(), color=INK, linewidth=1, linestyle="--", label="target")
        panel.plot(told[0].first.readout.flatten(), color=FAINT, linewidth=1, label="first second")
        panel.plot(told[0].last.readout.flatten(), color=COLORS[word], linewidth=1.6, label="last second")
        panel.set_ylabel(word)
    panels[0].legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 0.95))
    raster(next(iter(stories.values()))[0].last.spikes[:, 0, :40], panels[-1], unit="ms")
    label_axes(panels[-1], "time (ms)", "neuron")
    return figure


def draw_losses(panel: Axes, stories: Mapping[str, list[Story]]) -> None:
    """Every loss, and the mean of each kind of feedback."""
    for word, told in stories.items():
        losses = torch.stack([story.losses for story in told])
        panel.plot(losses.T, color=COLORS[word], linewidth=0.6, alpha=0.4)
        panel.plot(losses.mean(0), color=COLORS[word], linewidth=2, label=f"{word} feedback")
        panel.plot(len(losses.T), ENOUGH[word], color=COLORS[word], marker="_", markersize=12, markeredgewidth=2.5)
    panel.set(yscale="log", title="Learning to draw a curve by e-prop (dashes: at most)")
    panel.set_yticks((10, 20, 30, 50, 100), labels=("10", "20", "30", "50", "100"))
    panel.minorticks_off()
    panel.legend(frameon=False)
    label_axes(panel, "seconds seen", "loss  ½ Σ (y − y*)²")


def main(argv: list[str] | None = None) -> int:
    args = settings(
        __doc__, argv, figure="pattern_generation", work=lambda args: args.seeds * args.seconds,
        seed=Number("of the first net and its task", 1), seeds=Number("how many nets and tasks", 1, 1),
        seconds=Number("of practice", SECONDS, LAST),
    )  # fmt: skip
    seeds = range(args.seed, args.seed + args.seeds)
    with tqdm(total=args.seconds * args.seeds * len(COLORS), unit="s", disable=None) as bar:
        stories = {word: [learn(nest_task(seed), word, args.seconds, bar) for seed in seeds] for word in COLORS}
    losses = {word: [round(story.end, 3) for story in told] for word, told in stories.items()}
    numbers = {
        "losses": losses,
        "first_losses_random": [float(loss) for loss in stories["random"][0].losses[:5]],
    }
    return close(args, judge(stories), numbers, lambda: draw(stories, nest_task(args.seed).target))


if __name__ == "__main__":
    raise SystemExit(main())
