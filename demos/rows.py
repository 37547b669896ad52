"""Digits row by row: a recurrent snnTorch net learns by e-prop, beside backpropagation through time on the same net.

    8 rows, 3 steps each ─► 200 RLeaky neurons, all to all ─► their spikes counted ─► linear readout, cross-entropy

e-prop holds no graph over time: each synapse keeps its eligibility, and at the end the error of the readout reaches
each neuron as a learning signal. What it leaves out is how a spike comes back through the recurrent weights later on.

    python demos/rows.py --seeds 3 --figure rows.png

Criterion, on digits that were never seen, mean of all seeds: e-prop is within 2 points of backpropagation through time,
and the recurrent weights are worth having; else the exit code is 1.

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020; Bohte 2011 (surrogate derivative).
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import NamedTuple

import snntorch as snn
import torch
from command_line import Finding, Number, settings, tell, write
from digits_task import split_digits
from matplotlib.figure import Figure
from snntorch.surrogate import fast_sigmoid
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, PlasticityLearner, attach
from snn_plasticity.plot.canvas import BLUE, FAINT, GREEN, VERMILION, label_axes

NEURONS, STEPS_PER_ROW, BETA, EPOCHS, BATCH, LR = 200, 3, 0.6, 30, 64, 0.01
GAIN, NOISE, COUNT = 3.0, 0.2, 8.0  # of the input weights; of the pixels; spikes that are one unit at the readout
WITHIN = 0.02
WAYS = {"e-prop": BLUE, "backpropagation through time": VERMILION, "e-prop, no recurrence": GREEN}


class Net(nn.Module):
    """Rows in, the spikes of each recurrent neuron counted out."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(8, NEURONS)
        self.lif = snn.RLeaky(BETA, all_to_all=True, linear_features=NEURONS, spike_grad=fast_sigmoid(5))
        self.readout = nn.Linear(NEURONS, 10)
        with torch.no_grad():
            self.fc.weight.mul_(GAIN)
            self.lif.recurrent.weight.mul_(float(recurrent))

    def forward(self, images: Tensor) -> Tensor:
        """From images (B, 64) to spikes counted (B, NEURONS)."""
        spikes, membrane = self.lif.init_rleaky()
        count = torch.zeros(())
        for row in images.view(-1, 8, 8).unbind(1):
            for _ in range(STEPS_PER_ROW):
                spikes, membrane = self.lif(self.fc(row), spikes, membrane)
                count = count + spikes
        return count / COUNT


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


def life(way: str, seed: int, epochs: int, digits: Digits, bar: tqdm) -> Story:
    """One net learns, and is asked after each epoch."""
    torch.manual_seed(seed)
    rng, recurrent = torch.Generator().manual_seed(seed), "no recurrence" not in way
    net = Net(recurrent)
    learning = [p for name, p in net.named_parameters() if recurrent or "recurrent" not in name]
    optimizer = torch.optim.Adam(learning, LR)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    settings = PlasticityConfig.eprop(1.0, mode="hybrid")
    learner = attach(net, settings, pairs={"readout": ()}) if "e-prop" in way else None
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
                by_eprop(net, learner, images, digits.labels[batch], recurrent)
            optimizer.step()
        cooling.step()
        took += time.process_time() - start
        with torch.no_grad(), nullcontext() if learner is None else learner.paused():
            right = net.readout(net(digits.unseen)).argmax(1) == digits.unseen_labels
        curve.append(float(right.float().mean()))
        bar.update()
        bar.set_postfix_str(f"{way}, {curve[-1]:.3f}")
    return Story(torch.tensor(curve), took)


def by_eprop(net: Net, learner: PlasticityLearner, images: Tensor, labels: Tensor, recurrent: bool) -> None:
    """The readout gets its own gradient, and every neuron below it the error as a learning signal."""
    with torch.no_grad():
        count = net(images)
    count.requires_grad_()
    cross_entropy(net.readout(count), labels).backward()
    assert count.grad is not None
    signal = -len(images) / COUNT * count.grad  # the loss is a mean over the batch, and so is Δw
    learner.step({name: signal for name in ("fc", "lif.recurrent") if recurrent or name == "fc"})
    learner.reset()


def last(stories: list[Story]) -> tuple[float, float]:
    """Right answers at the end, and the standard error over the nets."""
    ends = torch.stack([story.curve[-1] for story in stories])
    return float(ends.mean()), float(ends.std() / len(ends) ** 0.5) if len(ends) > 1 else 0.0


def judge(stories: dict[str, list[Story]]) -> dict[str, Finding]:
    """Each way of learning beside what it should come to."""
    local, through_time, alone = (last(stories[way])[0] for way in WAYS)
    expected = {
        "e-prop": (f">= {through_time - WITHIN:.3f}", local >= through_time - WITHIN),
        "backpropagation through time": ("", True),
        "e-prop, no recurrence": (f"< {local:.3f}", alone < local),
    }
    return {way: Finding("{:.3f} ± {:.3f}".format(*last(stories[way])), *expected[way]) for way in WAYS}


def draw(stories: dict[str, list[Story]], digits: Digits) -> Figure:
    """A digit as it is read, and how the nets learned."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.4))
    left.imshow(digits.unseen[0].view(8, 8), cmap="gray_r", aspect="auto")
    left.set(title=f"Read from above, {STEPS_PER_ROW} steps a row", xticks=[], yticks=range(8))
    left.set_yticklabels([str(STEPS_PER_ROW * row) for row in range(8)])
    label_axes(left, "pixel", "step")
    for way, color in WAYS.items():
        curves = 100 * torch.stack([story.curve for story in stories[way]])
        middle, epochs = curves.mean(0), range(1, len(curves[0]) + 1)
        right.plot(epochs, middle, color=color, label=way)
        if len(curves) > 1:
            error = curves.std(0) / len(curves) ** 0.5
            right.fill_between(epochs, middle - error, middle + error, color=color, alpha=0.15)
    right.axhline(10, color=FAINT, linewidth=0.8)
    right.set(ylim=(0, 101), title="Digits that were never seen")
    right.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.15))
    label_axes(right, "epoch", "right answers (%)")
    return figure


def main(argv: list[str] | None = None) -> int:
    args = settings(
        __doc__, argv, report=True, seed=Number("of the first net"), seeds=Number("how many nets", 3, 1),
        epochs=Number("to learn for", EPOCHS, 1),
    )  # fmt: skip
    torch.set_num_threads(1)  # the tensors are small
    start, seeds, digits = time.perf_counter(), range(args.seed, args.seed + args.seeds), load()
    with tqdm(total=args.epochs * args.seeds * len(WAYS), unit="epoch", disable=None) as bar:
        stories = {way: [life(way, seed, args.epochs, digits, bar) for seed in seeds] for way in WAYS}
    took = time.perf_counter() - start
    code = tell(judge(stories), "{:<30}{:>15}   {:<10}   {}")
    each = {way: sum(story.seconds for story in told) / len(told) for way, told in stories.items()}
    print("CPU seconds a net:", ", ".join(f"{way} {seconds:.0f}" for way, seconds in each.items()))
    accuracy = {way: [round(float(s.curve[-1]), 4) for s in told] for way, told in stories.items()}
    numbers = {"accuracy": accuracy, "cpu_seconds": each, "seconds": round(took, 1)}
    write(args, numbers, draw(stories, digits) if args.figure else None)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
