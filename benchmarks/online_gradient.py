"""Online gradients beside backpropagation through time: memory against the number of steps, and time.

    python benchmarks/online_gradient.py [--quick] [--json PATH]

Peaks of memory are those of processes of their own. Times are medians; the ways take turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import results
import snntorch
import torch
from command import parser
from memory import MIB, forget_peak, resident_peak
from timing import one_thread
from torch import Tensor, nn
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, attach
from snn_plasticity._compiled import loops

BATCH, WINDOW = 32, 50
LENGTHS, QUICK_LENGTHS = (100, 1_000, 10_000, 100_000), (100, 1_000)
STEPS, QUICK_STEPS, REPEATS = 1_000, 200, 3
MEMORY_HEADER = ("steps", "e-prop", "online, a loss for each step")
TIME_HEADER = ("way", "64–100–10, 20 % active", "", "2048→512, 1 % active", "")
LAYER_HEADER = ("2048→512, 1 % active", "sample-steps/s", "asked")
SIZES = {(64, 100, 10): 0.2, (2048, 512): 0.01}  # layers, and the share of inputs that are active
TEXT = f"""## Online gradients

`PlasticityConfig.eprop()` and `.online()` in snnTorch's `Leaky`, one thread, B {BATCH}. First: the peak of the whole
process, and how far it is above that of the fewest steps. Second: sample-steps/s over {STEPS:,} steps, and beside
backpropagation through time on the same net; e-prop is given its learning signal after all steps, online gradients a
loss. Third: what learning takes where nothing but e-prop learns, and with snnTorch's forward pass.
"""


class Net(nn.Module):
    """Layers of leaky neurons; states are handed on."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False))
        self.neurons = nn.ModuleList(snntorch.Leaky(beta=0.9) for _ in sizes[1:])
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.mul_(3.0)

    def start(self) -> list[Tensor]:
        """Silent membranes."""
        return [neuron.reset_mem() for neuron in self.neurons]

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Spikes of the last layer, and the membranes."""
        after = []
        for layer, neuron, state in zip(self.layers, self.neurons, states, strict=True):
            x, state = neuron(layer(x), state)
            after.append(state)
        return x, after


def inputs(net: Net, rate: float) -> Tensor:
    """Random spikes, (64, B, N)."""
    return (torch.rand(64, BATCH, net.layers[0].in_features) < rate).float()


@torch.no_grad()
def forward(net: Net, steps: int, rate: float) -> float:
    """Seconds of the net alone."""
    x, states = inputs(net, rate), net.start()
    begun = perf_counter()
    for t in range(steps):
        _, states = net(x[t % 64], states)
    return perf_counter() - begun


@torch.no_grad()
def by_eprop(net: Net, steps: int, rate: float) -> tuple[float, float]:
    """Seconds of running while eligibility is kept, and of the change by a signal for each neuron at the end."""
    x = inputs(net, rate)
    signals = {f"layers.{k}": torch.randn(BATCH, layer.out_features) for k, layer in enumerate(net.layers)}
    with attach(net, PlasticityConfig.eprop(1e-4)) as learner:
        states = net.start()
        begun = perf_counter()
        for t in range(steps):
            _, states = net(x[t % 64], states)
        ran = perf_counter()
        learner.step(signals)
        return ran - begun, perf_counter() - ran


def online(net: Net, steps: int, window: int, rate: float) -> float:
    """Seconds of learning from random spikes, with a loss for every `window` steps."""
    loss_fn, y, x = nn.CrossEntropyLoss(), torch.arange(BATCH) % net.layers[-1].out_features, inputs(net, rate)
    with attach(net, PlasticityConfig.online(lr=1e-4)) as learner:
        states, loss = net.start(), torch.zeros(())
        begun = perf_counter()
        for t in range(steps):
            _, states = net(x[t % 64], states)
            loss = loss + loss_fn(states[-1], y) / window
            if (t + 1) % window == 0:
                learner.step(loss=loss)
                loss = torch.zeros(())
        return perf_counter() - begun


def through_time(net: Net, steps: int, rate: float) -> float:
    """Seconds of backpropagation through all steps, and one of SGD."""
    loss_fn, y, x = nn.CrossEntropyLoss(), torch.arange(BATCH) % net.layers[-1].out_features, inputs(net, rate)
    optimizer, states, loss = torch.optim.SGD(net.parameters(), lr=1e-4), net.start(), torch.zeros(())
    begun = perf_counter()
    for t in range(steps):
        _, states = net(x[t % 64], states)
        loss = loss + loss_fn(states[-1], y) / steps
    loss.backward()
    optimizer.step()
    return perf_counter() - begun


FORWARD, THROUGH_TIME, EPROP = "forward alone", "backpropagation through time", "e-prop"
Seconds = tuple[float, ...]  # of the parts of one run, one after the other
WAYS: dict[str, Callable[[Net, int, float], Seconds]] = {
    FORWARD: lambda *given: (forward(*given),),
    THROUGH_TIME: lambda *given: (through_time(*given),),
    EPROP: by_eprop,
    f"online, a loss for every {WINDOW} steps": lambda net, steps, rate: (online(net, steps, WINDOW, rate),),
    "online, a loss for each step": lambda net, steps, rate: (online(net, steps, 1, rate),),
}
KEEPS = {
    "e-prop": lambda net, steps: by_eprop(net, steps, 0.2),
    "online": lambda net, steps: online(net, steps, 1, 0.2),
}


def taken(steps: int, repeats: int) -> dict[tuple[int, ...], dict[str, list[Seconds]]]:
    """Seconds of the runs of each way, by net; the ways take turns."""
    found = {}
    for sizes, rate in SIZES.items():
        seconds: dict[str, list[Seconds]] = {way: [] for way in WAYS}
        for k in tqdm(range(repeats + 1), desc="–".join(map(str, sizes))):
            for way, measured in WAYS.items():
                one = measured(Net(*sizes), steps, rate)
                seconds[way] += [one] if k else []  # after one to warm up
        found[sizes] = seconds
    return found


def medians(runs: dict[str, list[Seconds]]) -> dict[str, float]:
    """Seconds of each way, all parts together."""
    return {way: median(map(sum, each)) for way, each in runs.items()}


def layer_rows(runs: dict[str, list[Seconds]], steps: int) -> list[tuple[str, str, str]]:
    """One layer by e-prop: the change alone, with the hooks, and with the forward pass."""
    alone = medians(runs)[FORWARD]
    ran, change = (median(part) for part in zip(*runs[EPROP], strict=True))
    rows = {
        "forward pass alone": (alone, ""),
        "the change": (change, "≥ 150,000"),
        "hooks and change": (ran + change - alone, ""),
        "forward pass, hooks and change": (ran + change, "≥ 25,000"),
    }
    return [(name, f"{BATCH * steps / s:,.0f}", asked) for name, (s, asked) in rows.items()]


def peak(way: str, steps: int) -> int:
    """Bytes, in a process of its own."""
    command = [sys.executable, __file__, "--worker", way, str(steps)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


@torch.no_grad()
def fold_once(net: Net) -> None:
    """Some steps, and the eligibility after them."""
    with attach(net, PlasticityConfig.eprop()) as learner:
        states = net.start()
        for x in inputs(net, 0.2):
            _, states = net(x, states)
        for connection in learner.connections.values():
            _ = connection.eligibility


def worker(way: str, steps: int) -> None:
    """Print the peak of this process while it learns step by step."""
    one_thread()
    net = Net(64, 100, 10)
    if way == "e-prop" and loops() is not None:
        fold_once(net)  # compiled loops are loaded when they are first needed
    KEEPS[way](net, 1_000)
    forget_peak()
    KEEPS[way](net, steps)
    print(resident_peak())


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        worker(options.worker[0], int(options.worker[1]))
        return
    one_thread()
    lengths, steps, repeats = (QUICK_LENGTHS, QUICK_STEPS, 1) if options.quick else (LENGTHS, STEPS, REPEATS)
    runs = tqdm([(way, length) for way in KEEPS for length in lengths], desc="memory")
    peaks = {run: peak(*run) for run in runs}
    memory_rows = [
        (
            f"{n:,}",
            *(f"{peaks[way, n] / MIB:,.0f} MiB, {peaks[way, n] / peaks[way, lengths[0]] - 1.0:+.1%}" for way in KEEPS),
        )
        for n in lengths
    ]
    runs_of = taken(steps, repeats)
    ways = {sizes: medians(each) for sizes, each in runs_of.items()}
    rows = []
    for way in WAYS:
        cells = [(BATCH * steps / each[way], each[THROUGH_TIME] / each[way]) for each in ways.values()]
        rows.append((way, *(text for speed, ratio in cells for text in (f"{speed:,.0f}", results.ratio(ratio)))))
    layer = layer_rows(runs_of[2048, 512], steps)
    tables = [results.table(MEMORY_HEADER, memory_rows), results.table(TIME_HEADER, rows)]
    text = "\n\n".join([TEXT.strip(), results.machine(), *tables, results.table(LAYER_HEADER, layer)])
    print(text)
    if not options.quick:
        results.write("online_gradient", text)
    numbers = {
        "peaks": {f"{way}, {n}": size for (way, n), size in peaks.items()},
        "seconds": {"–".join(map(str, sizes)): each for sizes, each in ways.items()},
        "layer": {name: speed for name, speed, _ in layer},
    }
    results.write_json(options.json, "online_gradient", [numbers])


if __name__ == "__main__":
    main()
