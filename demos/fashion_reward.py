"""A spiking network learns to tell clothes apart from reward alone: right or wrong, after each picture or much later.

It looks at a picture of Fashion-MNIST, a constant current for ten steps, and names one of ten kinds by what its output
neurons fired. The world says 1 or 0 about the choice; nobody tells the right answer, and no gradient goes back in time:

    look     e ← e + ψ ⊗ x̄                               at every synapse, in every layer (e-prop)
    choose   a ~ π = softmax(spikes / temperature)
    wait     `--delay` silent steps, in which nothing is left of the picture but e
    learn    L = (r − π_a)(1{a} − π) / temperature         at the readout, by feedback below it;   Δw from mean_B(L · e)

Beside it, backpropagation through time with the same reward.

    python demos/fashion_reward.py --seeds 3 --json reward.json
    python demos/fashion_reward.py --delay 50
    python demos/fashion_reward.py --net quickstart --seeds 1
    python demos/fashion_reward.py --host norse --epochs 1 --seeds 1

The quickstart net of snnTorch has convolutions, whose neurons hear each at its own place of the map.
Norse's resets cut what its neurons remember, so that each synapse has a trace of its own (exact, some twenty times the
time, and a GiB for a batch).

Criterion: at least 86.5 % of the 10,000 pictures never learned from, mean over seeds; with a delay, at most 1.5 points
below what is reached without. Else the exit code is 1.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import mean
from typing import Any, NamedTuple, get_args

import snntorch as snn
import torch
from command_line import Finding, Number, Word, close, settings
from digits_task import Digits as Clothes
from fashion_data import fashion
from matplotlib.figure import Figure
from quickstart_cnn import peak_mib, quickstart
from snntorch import utils
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR
from tqdm import tqdm

from snn_plasticity import Actor, PlasticityConfig, PlasticityWarning, attach
from snn_plasticity.feedback import FeedbackWord
from snn_plasticity.plot import learning_curve
from snn_plasticity.plot.canvas import FAINT

STEPS, BATCH, HIDDEN = 10, 128, 500
TEMPERATURE, LR = 2.0, {"two-layers": 1.5e-3, "quickstart": 3e-3}
LEARNED, NEAR = 0.865, 0.015
LOOKS = 5  # at the test pictures, per life
EPROP, LATE, BPTT = "reward", "delayed reward", "same reward, backpropagation through time"


class Life(NamedTuple):
    """What became of one net: pictures seen, accuracy after so many, seconds of learning, and the most memory."""

    seen: list[int]
    accuracy: list[float]
    seconds: float
    peak_mib: float


def two_layers() -> nn.Sequential:
    """784–500–10."""
    hidden = nn.Flatten(), nn.Linear(784, HIDDEN), snn.Leaky(beta=0.9, init_hidden=True)
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, 10), snn.Leaky(beta=0.9, init_hidden=True, output=True))


class Twin(nn.Module):
    """The same of Norse's own neurons, which keeps its state from step to step."""

    def __init__(self) -> None:
        from norse.torch import LIFCell, LIFParameters, SequentialState

        super().__init__()
        first, second = (LIFCell(LIFParameters(v_th=torch.tensor(0.3))) for _ in range(2))
        self.layers = SequentialState(nn.Flatten(), nn.Linear(784, HIDDEN), first, nn.Linear(HIDDEN, 10), second)
        self.state = None

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """(B, 1, 28, 28) -> spikes of one step, and the state after it."""
        spikes, self.state = self.layers(x, self.state)
        return spikes, self.state


HOSTS = ("snntorch", "norse")
NETS: dict[tuple[str, str], Callable[[], nn.Module]] = {
    ("snntorch", "two-layers"): two_layers,
    ("snntorch", "quickstart"): quickstart,
    ("norse", "two-layers"): Twin,
}


def rest(net: nn.Module) -> None:
    """Its neurons begin anew."""
    utils.reset(net)
    if isinstance(net, Twin):
        net.state = None


def worlds(pictures: int) -> tuple[Clothes, Clothes]:
    """What is learned from, and what is not; the mean picture is subtracted."""
    data = fashion()
    centre = data.x.mean(0)
    return Clothes(data.x[:pictures] - centre, data.y[:pictures]), Clothes(data.unseen_x - centre, data.unseen_y)


def look(net: nn.Module, current: Tensor, steps: int) -> Tensor:
    """How often each output neuron fired, (B, 10)."""
    return sum((net(current)[0] for _ in range(steps)), torch.zeros(len(current), 10))


class ByReward:
    """Eligibility, an actor, and feedback from the readout.

    Args:
        net: who learns.
        delay: silent steps between choice and reward.
        feedback: from the readout to the layers below.
        seed: of choices.
        sample: a picture, to see which neuron reads which synapse.
    """

    def __init__(self, net: nn.Module, delay: int, feedback: FeedbackWord, seed: int, sample: Tensor) -> None:
        self.net, self.delay = net, delay
        self.learner = attach(net, PlasticityConfig.eprop(1.0, mode="hybrid"), sample=sample)
        self.actor = Actor(self.learner, temperature=TEMPERATURE, feedback=feedback, seed=seed)

    @torch.no_grad()
    def learn(self, clothes: Clothes) -> None:
        """Look, choose, wait, and hear whether it was right."""
        look(self.net, clothes.images, STEPS)
        choice = self.actor.act()
        look(self.net, torch.zeros_like(clothes.images), self.delay)
        self.actor.learn(clothes.reward(choice))
        self.actor.reset()


class ThroughTime:
    """The same choice and the same reward, and a gradient back through all steps."""

    def __init__(self, net: nn.Module, seed: int) -> None:
        self.net, self.rng = net, torch.Generator().manual_seed(seed)

    def learn(self, clothes: Clothes) -> None:
        """The gradient of (r − π_a) · log π_a."""
        policy = torch.softmax(look(self.net, clothes.images, STEPS) / TEMPERATURE, 1)
        choice = torch.multinomial(policy.detach(), 1, generator=self.rng)
        probability = policy.gather(1, choice)[:, 0]
        error = clothes.reward(choice[:, 0]) - probability.detach()
        (-error * probability.log()).mean().backward()


def lived(way: str, args: argparse.Namespace, seed: int, bar: tqdm) -> Life:
    """One net, from its first picture to its last."""
    torch.manual_seed(seed)
    (seen, unseen), rng = worlds(args.pictures), torch.Generator().manual_seed(seed)
    net = NETS[args.host, args.net]()
    delay = args.delay if way == LATE else 0
    pupil = ThroughTime(net, seed) if way == BPTT else ByReward(net, delay, args.feedback, seed, seen.images[:1])
    optimizer = torch.optim.Adam(net.parameters(), lr=LR[args.net])
    total = args.epochs * (len(seen) // BATCH)
    rate = LinearLR(optimizer, 1.0, 0.0, total)
    batches = (batch for _ in range(args.epochs) for batch in seen.batches(BATCH, rng))
    looked, accuracy, seconds = [], [], 0.0
    for done, clothes in enumerate(batches, start=1):
        start = time.perf_counter()
        optimizer.zero_grad()
        rest(net)
        pupil.learn(clothes)
        optimizer.step()
        rate.step()
        seconds += time.perf_counter() - start
        if done * LOOKS // total > (done - 1) * LOOKS // total:
            looked.append(done * BATCH)
            accuracy.append(named(net, unseen, pupil))
        bar.update()
    return Life(looked, accuracy, seconds, peak_mib())


@torch.no_grad()
def named(net: nn.Module, unseen: Clothes, pupil: ByReward | ThroughTime) -> float:
    """How many pictures it names right by its most active output neuron."""
    right = []
    with pupil.learner.paused() if isinstance(pupil, ByReward) else torch.no_grad():
        for start in range(0, len(unseen), 500):
            clothes = unseen[start : start + 500]
            rest(net)
            right.append(clothes.reward(look(net, clothes.images, STEPS).argmax(1)))
    return float(torch.cat(right).mean())


def judge(lives: dict[str, list[Life]]) -> dict[str, Finding]:
    """Each criterion."""
    reached = {way: mean(life.accuracy[-1] for life in some) for way, some in lives.items()}
    findings = {EPROP: Finding(f"{reached[EPROP]:.4f}", f">= {LEARNED}", reached[EPROP] >= LEARNED)}
    if LATE in reached:
        least = reached[EPROP] - NEAR
        findings[LATE] = Finding(f"{reached[LATE]:.4f}", f">= {least:.4f}", reached[LATE] >= least)
    findings[BPTT] = Finding(f"{reached[BPTT]:.4f}", "-", True)
    return findings


def report(lives: dict[str, list[Life]]) -> dict[str, float]:
    """The numbers, for a file: means over seeds; seconds of learning of one net."""
    means = {way: mean(life.accuracy[-1] for life in some) for way, some in lives.items()}
    numbers = {
        "accuracy": means[EPROP], "bptt": means[BPTT], "seconds": mean(life.seconds for life in lives[EPROP]),
        "peak_mib": max(life.peak_mib for life in lives[EPROP]),
    }  # fmt: skip
    late = {"accuracy_delayed": means[LATE]} if LATE in lives else {}
    return {name: round(number, 4) for name, number in {**numbers, **late}.items()}


def draw(lives: dict[str, list[Life]]) -> Figure:
    """Accuracy against pictures seen, from the worst to the best net."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    curves = {way: [[100 * accuracy for accuracy in life.accuracy] for life in some] for way, some in lives.items()}
    seen = [pictures / 1000 for pictures in lives[EPROP][0].seen]
    words = {"xlabel": "thousand pictures seen (dotted: learned)", "ylabel": "test accuracy (%)"}
    ax = learning_curve(curves, figure.subplots(), x=seen, band="range", **words)
    ax.axhline(100 * LEARNED, color=FAINT, linewidth=0.8, linestyle=":")
    return figure


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What was asked for."""
    return settings(
        __doc__, argv, figure="fashion_reward", work=work, refuse=refuse, holds=("seed", "delay"),
        host=Word("whose neurons", HOSTS), net=Word("who learns", ("two-layers", "quickstart")),
        delay=Number("silent steps before the reward"),
        feedback=Word("how the layers below hear of it", get_args(FeedbackWord)),
        epochs=Number("times through the pictures", 3, 1), pictures=Number("to learn from", 60_000, LOOKS * BATCH),
        seeds=Number("how many", 2, 1), seed=Number("the first one"),
    )  # fmt: skip


def refuse(args: argparse.Namespace) -> str | None:
    """A net that the host does not have."""
    if (args.host, args.net) in NETS:
        return None
    return f"--net {args.net} is a net of snnTorch; expected --net two-layers with --host {args.host}."


def work(args: argparse.Namespace) -> float:
    """Pictures looked at, and how much longer another net or a wait takes."""
    ways = 2 + (1 + args.delay / STEPS if args.delay else 0)
    slower = 20 if args.host == "norse" else 8 if args.net == "quickstart" else 1
    return ways * slower * args.seeds * args.epochs * min(args.pictures, 60_000)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    warnings.filterwarnings("ignore", "mode='hybrid'", PlasticityWarning)  # that Adam rescales the signal is wanted
    ways, seeds = [EPROP, LATE, BPTT] if args.delay else [EPROP, BPTT], range(args.seed, args.seed + args.seeds)
    lives: dict[str, list[Life]] = {}
    total = len(ways) * args.seeds * args.epochs * (min(args.pictures, 60_000) // BATCH)
    with tqdm(total=total, unit="batch", disable=None) as bar:
        for way in ways:
            bar.set_description(way)
            lives[way] = [lived(way, args, seed, bar) for seed in seeds]
    numbers = report(lives)
    said = f"A net learns for {numbers['seconds']:.0f} s; at most {numbers['peak_mib']:.0f} MiB."
    return close(args, judge(lives), numbers, lambda: draw(lives), notes=said)


if __name__ == "__main__":
    raise SystemExit(main())
