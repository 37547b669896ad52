"""snnTorch's quickstart CNN on Fashion-MNIST, learned online, beside backpropagation through time.

The net is that of the quickstart: Conv–MaxPool–Leaky twice, Linear–Leaky, β = 0.9, fast sigmoid. Both ways see the
same pictures in the same order for as many epochs, with Adam and the same loss at every step, the cross-entropy of the
membranes. Online, gradients stay within the step, and time is carried by a trace of what each synapse received:

    δ_t = ∂loss_t/∂I_t,   x̄ ← β·x̄ + x,   Δw = −lr · Σ_t δ_t ⊗ x̄_t

so that nothing is kept of the steps before, and memory does not grow with their number.

    python demos/quickstart_cnn.py --seeds 1 --json quickstart.json

Criterion: online accuracy on the 10,000 pictures never learned from at most 1.5 points below that of backpropagation
through time, at every number of steps; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import snntorch as snn
import torch
from command_line import Finding, Number, Numbers, close, settings
from fashion_data import fashion
from matplotlib.figure import Figure
from seeking_data import Split
from snntorch import surrogate, utils
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, attach
from snn_plasticity.plot.canvas import BLUE, ORANGE

WAYS = {"online": "online gradient", "bptt": "backpropagation through time"}
LINES = {"online": (BLUE, "-"), "bptt": (ORANGE, "--")}
BATCH, LR, NEAR = 128, 2e-3, 0.015
MEASURED = (10, 25, 50, 100)  # steps at which memory and time are measured


class Course(NamedTuple):
    """What came of one net: accuracy on what it never learned from, and seconds of learning."""

    accuracy: float
    seconds: float


class Cost(NamedTuple):
    """What a batch takes: the memory that learning adds at its peak, in MiB, and seconds of a core."""

    mib: float
    seconds: float


def quickstart() -> nn.Sequential:
    """The net of snnTorch's quickstart; it gives the spikes and the membranes of one step."""

    def leaky(**settings: bool) -> nn.Module:
        return snn.Leaky(beta=0.9, spike_grad=surrogate.fast_sigmoid(), init_hidden=True, **settings)

    first = nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), leaky()
    second = nn.Conv2d(8, 16, 5), nn.MaxPool2d(2), leaky()
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(16 * 4 * 4, 10), leaky(output=True))


class Student:
    """A net, and one of the two ways to teach it.

    Args:
        way: "online" or "bptt".
        seed: of its first weights.
        batches: how many will come; the learning rate falls to zero over them.
        sample: a few pictures, to see which neuron reads which synapse.
    """

    def __init__(self, way: str, seed: int, batches: int, sample: Tensor) -> None:
        torch.manual_seed(seed)
        self.net = quickstart()
        self.learner = None
        if way == "online":
            self.learner = attach(self.net, PlasticityConfig.online(mode="hybrid"), sample=sample)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR)
        self.rate = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.0, batches)

    def learn(self, x: Tensor, y: Tensor, steps: int) -> None:
        """One batch: the loss of every step is followed at once, or that of all together at the end."""
        self.optimizer.zero_grad()
        losses = (cross_entropy(membrane, y) / steps for _, membrane in run(self.net, x, steps))
        if self.learner is None:
            sum(losses, torch.zeros(())).backward()
        else:
            for loss in losses:
                self.learner.step(loss=loss)
            self.learner.reset()
        self.optimizer.step()
        self.rate.step()

    @torch.no_grad()
    def accuracy(self, x: Tensor, y: Tensor, steps: int) -> float:
        """How many it names by the neuron whose membrane is highest on average."""
        if self.learner is not None:
            self.learner.remove()
        right = 0
        for pictures, kinds in zip(x.split(500), y.split(500), strict=True):
            membranes = torch.stack([membrane for _, membrane in run(self.net, pictures, steps)])
            right += int((membranes.sum(0).argmax(1) == kinds).sum())
        return right / len(x)


def run(net: nn.Module, x: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A picture as a constant current, from rest: spikes and membranes of each step."""
    utils.reset(net)
    for _ in range(steps):
        yield net(x)


def taught(way: str, data: Split, steps: int, seed: int, epochs: int, bar: tqdm) -> Course:
    """One net, from its first picture to its last."""
    count = len(data.x) // BATCH
    student, rng = Student(way, seed, epochs * count, data.x[:1]), torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(data.x), generator=rng)[: count * BATCH].split(BATCH):
            student.learn(data.x[rows], data.y[rows], steps)
            bar.update()
    seconds = time.perf_counter() - start
    return Course(student.accuracy(data.unseen_x, data.unseen_y, steps), seconds)


def cost(way: str, steps: int) -> Cost:
    """What a batch of noise takes, in a process that has done nothing else."""
    torch.set_num_threads(1)
    x, y = torch.rand(BATCH, 1, 28, 28), torch.arange(BATCH) % 10
    student = Student(way, 0, 10, x[:1])
    forget_peak()
    before = peak_mib()
    student.learn(x, y, 2)  # what is made once
    start = time.process_time()
    student.learn(x, y, steps)
    return Cost(peak_mib() - before, time.process_time() - start)


def forget_peak() -> None:
    """The peak of this process is what it has now, where Linux can be told so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """The most memory that this process has had."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def costs(bar: tqdm) -> dict[str, list[Cost]]:
    """By way, at each number of steps, each in a fresh process."""
    found: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for way, steps in ((way, steps) for way in WAYS for steps in MEASURED):
            found[way].append(pool.apply(cost, (way, steps)))
            bar.update()
    return found


def draw(courses: dict[str, dict[int, list[Course]]], taken: dict[str, list[Cost]]) -> Figure:
    """Accuracy, memory and time against the number of steps."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    accuracy, memory, seconds = figure.subplots(1, 3)
    for way, name in WAYS.items():
        color, dashes = LINES[way]
        style = {"color": color, "linestyle": dashes, "label": name, "marker": "o", "markersize": 4}
        means = [100 * mean(course.accuracy for course in some) for some in courses[way].values()]
        accuracy.plot([str(steps) for steps in courses[way]], means, **style)
        memory.plot(MEASURED, [one.mib for one in taken[way]], **style)
        seconds.plot(MEASURED, [one.seconds for one in taken[way]], **style)
    for ax, label in (
        (accuracy, "test accuracy (%)"),
        (memory, "peak memory (MiB)"),
        (seconds, "core seconds per batch"),
    ):
        ax.set(xlabel="steps", ylabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    seconds.set_ylim(0)
    memory.legend(frameon=False, fontsize="small", loc="upper left")
    memory.set_ylim(0, 1.3 * memory.get_ylim()[1])
    return figure


def judge(courses: dict[str, dict[int, list[Course]]]) -> dict[str, Finding]:
    """Online beside backpropagation through time, at each number of steps."""
    found = {}
    for steps in courses["online"]:
        online, bptt = (mean(course.accuracy for course in courses[way][steps]) for way in WAYS)
        claim = f"online, {steps} steps (through time {bptt:.4f})"
        found[claim] = Finding(f"{online:.4f}", f">= {bptt - NEAR:.4f}", online >= bptt - NEAR)
    return found


def taken_table(taken: dict[str, list[Cost]]) -> str:
    """Memory and time of a batch at each number of steps."""
    rows = [f"a batch of {BATCH}" + "".join(f"{name:>32}" for name in WAYS.values())]
    for k, steps in enumerate(MEASURED):
        each = "".join(f"{f'{taken[way][k].mib:.0f} MiB, {taken[way][k].seconds:.2f} s':>32}" for way in WAYS)
        rows.append(f"{steps:>4} steps    {each}")
    return "\n".join(rows)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What was asked for."""
    return settings(
        __doc__, argv, figure="quickstart_cnn",
        work=lambda args: args.seeds * args.epochs * args.pictures * sum(args.steps),
        steps=Numbers("of each picture", (5, 10), 1),
        epochs=Number("times through the pictures", 1, 1), pictures=Number("to learn from", 60_000, BATCH),
        seeds=Number("how many", 1, 1), seed=Number("the first one"),
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    data = fashion()
    data = data._replace(x=data.x[: args.pictures], y=data.y[: args.pictures])
    seeds = range(args.seed, args.seed + args.seeds)
    courses: dict[str, dict[int, list[Course]]] = {way: {} for way in WAYS}
    total = 2 * len(args.steps) * args.seeds * args.epochs * (len(data.x) // BATCH)
    with tqdm(total=total, unit="batch", disable=None) as bar:
        for steps in args.steps:
            for way in WAYS:
                bar.set_description(f"{steps} steps, {way}")
                courses[way][steps] = [taught(way, data, steps, seed, args.epochs, bar) for seed in seeds]
    with tqdm(total=2 * len(MEASURED), unit="process", desc="memory and time", disable=None) as bar:
        taken = costs(bar)
    online, bptt = (mean(one.accuracy for one in courses[way][args.steps[-1]]) for way in WAYS)
    numbers = {
        "accuracy": online, "bptt": bptt,
        "seconds": round(mean(one.seconds for one in courses["online"][args.steps[-1]]), 1),
        "peak_mib": round(taken["online"][-1].mib, 1), "peak_mib_bptt": round(taken["bptt"][-1].mib, 1),
    }  # fmt: skip
    return close(args, judge(courses), numbers, lambda: draw(courses, taken), notes=taken_table(taken))


if __name__ == "__main__":
    raise SystemExit(main())
