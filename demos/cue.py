"""A spiking net remembers which side had more cues, through 200 silent steps: by e-prop, if it adapts.

    cues ─► recurrent net, 80 neurons ─► leaky readout, softmax ─► cross-entropy in the 15 steps of recall
              learning signal: the error of these steps, fed back to each neuron (symmetric, random or adaptive)

The membranes forget within 20 steps. A neuron that adapts has a second memory, its threshold (300 steps): where it
fired before, spikes are missing later, and its eligibility trace bridges the silence as well.

    python demos/cue.py [--host own|norse] [--seeds 3]

With `--host norse` an ordinary net of Norse learns through `attach` (`cue_norse.py`): 60 neurons, 120 batches of 16
trials, two to three minutes a net.

Criterion, on trials that were never seen, mean of all seeds: adapting neurons (ALIF) answer at least 95 % rightly with
each feedback (90 % the smaller net of Norse), and neurons that do not adapt (LIF), with the feedback that knows most,
less, by at least 20 points; else the exit code is 1.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, figure 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from command_line import Finding, Number, Word, close, settings
from cue_norse import BATCHES, NorseLearner
from cue_task import CUE, CUES, GAP, GROUP, RECALL, STEPS, CueLearner, trials
from eprop_nets import Course, Neurons, Rule, Weights, simulate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm import tqdm

from snn_plasticity import ThreeFactorConfig, ThreeFactorUpdate, feedback_of
from snn_plasticity.feedback import Feedback
from snn_plasticity.plot import raster
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, VERMILION, label_axes

N, BATCH, TRIALS, LR, UNSEEN = 80, 64, 400, 0.01, 512
TAU_M, TAU_A, ADAPTATION = 20.0, 300.0, 1.7
COLORS = {"symmetric": BLUE, "random": VERMILION, "adaptive": GREEN}
BETA = ADAPTATION * (1 - math.exp(-1 / TAU_A)) / (1 - math.exp(-1 / TAU_M))
KINDS = {"ALIF": Neurons(TAU_M, beta=BETA, tau_a=TAU_A, refractory=2), "LIF": Neurons(TAU_M, refractory=2)}
NETS = (*(("ALIF", word) for word in COLORS), ("LIF", "symmetric"))
GAP_BETWEEN = 0.2


class Story(NamedTuple):
    """What became of one net: right answers in each batch and on unseen trials, and one of these (its side)."""

    right: Tensor
    unseen: float
    course: Course
    side: int


class Learner(CueLearner):
    """A net and its e-prop, from pure parts; arguments as in `CueLearner`."""

    def __init__(self, kind: str, feedback: Feedback, seed: int, batches: int) -> None:
        super().__init__(kind, feedback, seed, batches)
        self.neurons = KINDS[kind]
        into, recurrent, out = (torch.randn(*shape, generator=self.rng) for shape in ((N, 4 * GROUP), (N, N), (2, N)))
        recurrent = (recurrent / N**0.5).fill_diagonal_(0.0)
        self.weights = Weights(into / (4 * GROUP) ** 0.5, recurrent, out / N**0.5)
        self.rule, self.state = Rule(self.neurons, rate=0.02, strength=3.0), feedback.init(self.weights.out)
        self.update = ThreeFactorUpdate(ThreeFactorConfig(mode="hybrid", lr=1.0, weight_clamp=None))
        self.change_with(torch.optim.Adam(self.weights, lr=LR))

    def course(self, inputs: Tensor) -> Course:
        """What becomes of trials (T, B, 40), without learning."""
        return simulate(self.weights, inputs, self.neurons)

    def learn(self) -> float:
        """One batch of trials; the share that was answered rightly."""
        inputs, side = trials(BATCH, self.rng)
        course = self.course(inputs)
        error = one_hot(side, 2) - course.readout.softmax(-1)
        error[:-RECALL] = 0.0
        learning, self.state = self.feedback.step(error.flatten(0, 1), self.state, self.weights.out)
        self.adam.zero_grad()
        changes = self.rule.changes(course, error, learning.unflatten(0, error.shape[:2]))
        for weight, change in zip(self.weights, changes, strict=True):
            self.update.add_grad_(weight, change / RECALL)
        self.change()
        return float((answers(course) == side).float().mean())


def answers(course: Course) -> Tensor:
    """The side (B,) that the readout names."""
    return course.readout[-RECALL:].mean(0).argmax(-1)


class Host(NamedTuple):
    """Who learns, from how many batches of trials, how often it then answers rightly, and what a batch costs."""

    learner: type[Learner] | type[NorseLearner]
    batches: int
    enough: float
    cost: float


HOSTS = {"own": Host(Learner, TRIALS, 0.95, 1.0), "norse": Host(NorseLearner, BATCHES, 0.9, 5.0)}


def whole_life(kind: str, word: str, seed: int, batches: int, bar: tqdm, host: str = "own") -> Story:
    """Learning, then trials that were never seen."""
    learner, right = HOSTS[host].learner(kind, feedback_of(word, seed), seed, batches), []
    for _ in range(batches):
        right.append(learner.learn())
        bar.update()
        bar.set_postfix_str(f"{kind}, {word}, {right[-1]:.2f}")
    inputs, side = trials(UNSEEN, torch.Generator().manual_seed(10_000 + seed))
    course = learner.course(inputs)
    unseen = float((answers(course) == side).float().mean())
    return Story(torch.tensor(right), unseen, Course(*(part[:, :1] for part in course)), int(side[0]))


def mean(stories: list[Story]) -> tuple[float, float]:
    """Right answers on unseen trials, and the standard error over the nets."""
    unseen = torch.tensor([story.unseen for story in stories])
    return float(unseen.mean()), float(unseen.std() / len(unseen) ** 0.5) if len(unseen) > 1 else 0.0


def judge(stories: Mapping[tuple[str, str], list[Story]], enough: float) -> dict[str, Finding]:
    """Every kind of neuron with every kind of feedback, beside what it should come to."""
    findings = {}
    for (kind, word), told in stories.items():
        found, error = mean(told)
        expected, kept = f">= {enough:.2f}", found >= enough
        if kind == "LIF":
            most = mean(stories["ALIF", word])[0] - GAP_BETWEEN
            expected, kept = f"<= {most:.2f}", found <= most
        findings[f"{kind}, {word}"] = Finding(f"{found:.3f} ± {error:.3f}", expected, kept)
    return findings


def draw(stories: Mapping[tuple[str, str], list[Story]]) -> Figure:
    """How the nets learned, and a trial of the first of them."""
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.35), wspace=0.03)
    draw_learning(left.subplots(), stories)
    above, middle, below = right.subplots(3, 1, sharex=True, height_ratios=(1, 1.5, 0.8))
    story = stories["ALIF", "symmetric"][0]
    groups = [color for color in (BLUE, VERMILION, GREEN, FAINT) for _ in range(GROUP)]
    raster(story.course.inputs[:, 0], above, unit="steps", colors=groups)
    above.set_title("A trial: cues from the left (blue) and right (red), silence, recall (green)", fontsize=11)
    raster(story.course.spikes[:, 0, :40], middle, unit="steps")
    for k, (color, name) in enumerate(((BLUE, "left"), (VERMILION, "right"))):
        below.plot(story.course.readout[:, 0].softmax(-1)[:, k], color=color, label=name)
    below.axvspan(STEPS - RECALL, STEPS, color=GREEN, alpha=0.15, linewidth=0)
    below.legend(frameon=False, fontsize=9, loc="upper left", title="π")
    below.set(ylim=(-0.05, 1.05), title=f"It was {('left', 'right')[story.side]}")
    label_axes(above, "", "input")
    label_axes(middle, "", "ALIF neuron")
    label_axes(below, "step", "answer")
    return figure


def draw_learning(panel: Axes, stories: Mapping[tuple[str, str], list[Story]]) -> None:
    """Right answers, averaged over ten batches and all nets; bands are standard errors."""
    for (kind, word), told in stories.items():
        curves = torch.stack([story.right.unfold(0, min(10, len(story.right)), 1).mean(1) for story in told])
        middle, style = curves.mean(0), "-" if kind == "ALIF" else ":"
        panel.plot(middle, color=COLORS[word], linestyle=style, label=f"{kind}, {word}")
        if len(curves) > 1:
            error = curves.std(0) / len(curves) ** 0.5
            panel.fill_between(range(len(middle)), middle - error, middle + error, color=COLORS[word], alpha=0.15)
    panel.axhline(0.5, color=FAINT, linewidth=0.8)
    panel.set(ylim=(0.4, 1.01), title=f"More cues left or right? {STEPS - RECALL - CUES * (CUE + GAP)} silent steps")
    panel.legend(frameon=False, fontsize=9, loc="center right")
    label_axes(panel, "batches of trials", "right answers")


def main(argv: list[str] | None = None) -> int:
    args = settings(
        __doc__, argv, figure="cue", host=Word("whose neurons", tuple(HOSTS)),
        seed=Number("of the first net"), seeds=Number("how many nets", 3, 1),
        batches=Number("of trials to learn from, 0: as many as the host wants"),
        work=lambda args: args.seeds * (args.batches or HOSTS[args.host].batches) * HOSTS[args.host].cost,
    )  # fmt: skip
    seeds = range(args.seed, args.seed + args.seeds)
    stories: dict[tuple[str, str], list[Story]] = {}
    batches = args.batches or HOSTS[args.host].batches
    with tqdm(total=batches * args.seeds * len(NETS), unit="batch", disable=None) as bar:
        for kind, word in NETS:
            stories[kind, word] = [whole_life(kind, word, seed, batches, bar, args.host) for seed in seeds]
    accuracy = {f"{kind}, {word}": [round(s.unseen, 4) for s in told] for (kind, word), told in stories.items()}
    return close(args, judge(stories, HOSTS[args.host].enough), {"accuracy": accuracy}, lambda: draw(stories))


if __name__ == "__main__":
    raise SystemExit(main())
