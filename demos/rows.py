"""Digits row by row: recurrent nets of both hosts learn by e-prop, beside backpropagation through time on the same net.

    8 rows ─► LIF or adaptive LIF neurons (`row_nets.py`) ─► their spikes counted ─► linear readout, cross-entropy

e-prop holds no graph over time: each synapse keeps its eligibility, and at the end the error of the readout reaches
each neuron as a learning signal. What it leaves out is how a spike comes back through the recurrent weights later on:
without recurrence both are the same gradient.
Membrane and threshold of an adaptive neuron are followed for each synapse, which takes time, so there are fewer.

    python demos/rows.py [--host both|snntorch|norse] [--seeds 3]

Criterion, on digits that were never seen, mean of all seeds, for each net: e-prop is within 2 points of
backpropagation through time, and the recurrent weights are worth having; else the exit code is 1.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020; Bohte 2011 (surrogate derivative).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from command_line import Finding, Number, Word, close, settings
from digits_task import split_digits
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from row_nets import ALIF, LIF, STEPS, UNIT, RowNet
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, PlasticityLearner, attach
from snn_plasticity.plot import learning_curve
from snn_plasticity.plot.canvas import label_axes

BATCH, NOISE = 64, 0.2  # of the pixels
WITHIN = 0.02
WAYS = "e-prop", "backpropagation through time", "no recurrence"
NETS: dict[str, type[RowNet]] = {"LIF": LIF, "ALIF": ALIF}
HOSTS = {"both": tuple(NETS), "snntorch": ("LIF",), "norse": ("ALIF",)}


class Story(NamedTuple):
    """Right answers on unseen digits after each epoch, and the seconds of learning."""

    curve: Tensor
    seconds: float


class Digits(NamedTuple):
    """Images (N, 64) and what they are (N,): 1,347 to learn from, 450 that are never seen while learning."""

    seen: Tensor
    labels: Tensor
    unseen: Tensor
    unseen_labels: Tensor


def load() -> Digits:
    """scikit-learn's scanned digits, split as for the other demos."""
    return Digits(*split_digits())


def life(kind: str, way: str, seed: int, epochs: int, digits: Digits, bar: tqdm) -> Story:
    """One net learns, and is asked after each epoch."""
    torch.manual_seed(seed)
    rng, net, recurrent = torch.Generator().manual_seed(seed), NETS[kind](), way != "no recurrence"
    if not recurrent:
        net.get_parameter(f"{net.back}.weight").requires_grad_(False).zero_()
    optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), net.lr)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    settings = PlasticityConfig.eprop(1.0, mode="hybrid")
    learner = attach(net, settings, pairs={"readout": ()}) if way == "e-prop" else None
    curve, took = [], 0.0
    for _ in range(epochs):
        start = time.process_time()
        for batch in torch.randperm(len(digits.seen), generator=rng).split(BATCH):
            images = digits.seen[batch]
            images = images + NOISE * torch.randn(images.shape, generator=rng)
            optimizer.zero_grad()
            if learner is None:
                cross_entropy(net.readout(net(images)), digits.labels[batch]).backward()
            else:
                by_eprop(net, learner, images, digits.labels[batch])
            optimizer.step()
        cooling.step()
        took += time.process_time() - start
        with torch.no_grad(), nullcontext() if learner is None else learner.paused():
            right = net.readout(net(digits.unseen)).argmax(1) == digits.unseen_labels
        curve.append(float(right.float().mean()))
        bar.update()
        bar.set_postfix_str(f"{kind}, {way}, {curve[-1]:.3f}")
    return Story(torch.tensor(curve), took)


def by_eprop(net: RowNet, learner: PlasticityLearner, images: Tensor, labels: Tensor) -> None:
    """The readout gets its own gradient, and every neuron below it the error as a learning signal."""
    with torch.no_grad():
        count = net(images)
    count.requires_grad_()
    cross_entropy(net.readout(count), labels).backward()
    assert count.grad is not None
    signal = -len(images) / UNIT * count.grad  # the loss is a mean over the batch, and so is Δw
    learner.step(dict.fromkeys(learner.connections, signal))
    learner.reset()


def last(stories: list[Story]) -> tuple[float, float]:
    """Right answers at the end, and the standard error over the nets."""
    ends = torch.stack([story.curve[-1] for story in stories])
    return float(ends.mean()), float(ends.std() / len(ends) ** 0.5) if len(ends) > 1 else 0.0


def judge(stories: Mapping[tuple[str, str], list[Story]]) -> dict[str, Finding]:
    """Each net and way of learning beside what it should come to."""
    findings = {}
    for kind in dict.fromkeys(kind for kind, _ in stories):
        local, through_time, alone = (last(stories[kind, way])[0] for way in WAYS)
        expected = {
            "e-prop": (f">= {through_time - WITHIN:.3f}", local >= through_time - WITHIN),
            "backpropagation through time": ("", True),
            "no recurrence": (f"< {local:.3f}", alone < local),
        }
        for way in WAYS:
            findings[f"{kind}, {way}"] = Finding("{:.3f} ± {:.3f}".format(*last(stories[kind, way])), *expected[way])
    return findings


def draw(stories: Mapping[tuple[str, str], list[Story]], digits: Digits) -> Figure:
    """A digit as it is read, and how the nets learned."""
    kinds = dict.fromkeys(kind for kind, _ in stories)
    figure = Figure(figsize=(5 + 5 * len(kinds), 4.2), layout="constrained")
    left, *panels = figure.subplots(1, 1 + len(kinds), width_ratios=(1, *[1.8] * len(kinds)))
    left.imshow(digits.unseen[0].view(8, 8).numpy(), cmap="gray_r", aspect="auto")
    left.set(title=f"Read from above, {STEPS} steps a row", xticks=[], yticks=range(8))
    left.set_yticklabels([str(row + 1) for row in range(8)])
    label_axes(left, "pixel", "row")
    for kind, panel in zip(kinds, panels, strict=True):
        draw_learning(panel, {way: stories[kind, way] for way in WAYS})
        panel.set_title(f"{NETS[kind].neurons} {kind} neurons")
    return figure


def draw_learning(panel: Axes, stories: Mapping[str, list[Story]]) -> None:
    """Right answers after each epoch."""
    curves = {way: 100 * torch.stack([story.curve for story in stories[way]]) for way in WAYS}
    epochs = torch.arange(1, curves[WAYS[0]].shape[1] + 1)
    learning_curve(curves, panel, x=epochs, chance=10, ylabel="right answers, never seen (%)")
    panel.set(ylim=(0, 101))


def epochs_of(args: argparse.Namespace) -> dict[str, int]:
    """How long each net learns."""
    return {kind: args.epochs or NETS[kind].epochs for kind in HOSTS[args.host]}


def main(argv: list[str] | None = None) -> int:
    args = settings(
        __doc__, argv, figure="rows", work=lambda args: args.seeds * sum(epochs_of(args).values()),
        host=Word("whose neurons: LIF of snnTorch, ALIF of Norse", tuple(HOSTS)),
        seed=Number("of the first net"), seeds=Number("how many nets", 3, 1),
        epochs=Number("to learn for, 0: as many as each net wants"),
    )  # fmt: skip
    seeds, digits = range(args.seed, args.seed + args.seeds), load()
    stories: dict[tuple[str, str], list[Story]] = {}
    epochs = epochs_of(args)
    with tqdm(total=sum(epochs.values()) * args.seeds * len(WAYS), unit="epoch", disable=None) as bar:
        for kind in epochs:
            for way in WAYS:
                stories[kind, way] = [life(kind, way, seed, epochs[kind], digits, bar) for seed in seeds]
    each = {f"{kind}, {way}": sum(s.seconds for s in told) / len(told) for (kind, way), told in stories.items()}
    said = "CPU seconds a net: " + "; ".join(f"{name} {seconds:.0f}" for name, seconds in each.items())
    accuracy = {f"{kind}, {way}": [round(float(s.curve[-1]), 4) for s in told] for (kind, way), told in stories.items()}
    numbers = {"accuracy": accuracy, "cpu_seconds": each}
    return close(args, judge(stories), numbers, lambda: draw(stories, digits), notes=said)


if __name__ == "__main__":
    raise SystemExit(main())
