"""Online gradients beside backpropagation through time: memory against the number of steps, and time.

    python benchmarks/online_gradient.py [--quick] [--json PATH]

Peaks of memory are those of processes of their own. The net of the first two tables is 64–100–10 (`Leaky`, B 32);
that of the third is one layer 2048→512 with 1 % of its inputs active.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
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
from snn_plasticity.plasticity.window_sum import sum_window

BATCH, WINDOW = 32, 50
LENGTHS, QUICK_LENGTHS = (100, 1_000, 10_000, 100_000), (100, 1_000)
STEPS, QUICK_STEPS, REPEATS = 1_000, 200, 3
MEMORY_HEADER = ("steps", "peak of the process, MiB", "above that of the fewest")
TIME_HEADER = ("way", "sample-steps/s", "beside backpropagation through time")
LAYER_HEADER = ("what", "sample-steps/s", "asked")
TEXT = f"""## Online gradients

`PlasticityConfig.online()` in snnTorch, one thread. First: a loss and `learner.step(loss=loss)` at every step, peak of
the whole process. Second: {STEPS} steps of 64–100–10, B {BATCH}. Third: 2048→512, B {BATCH}, 1 % of inputs active, a
loss for every {WINDOW} steps.
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


def online(net: Net, steps: int, window: int, rate: float = 0.2) -> float:
    """Seconds of learning from random spikes, with a loss for every `window` steps."""
    loss_fn, y = nn.CrossEntropyLoss(), torch.arange(BATCH) % net.layers[-1].out_features
    x = (torch.rand(64, BATCH, net.layers[0].in_features) < rate).float()
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


def through_time(net: Net, steps: int, rate: float = 0.2) -> float:
    """Seconds of backpropagation through all steps, and one of SGD."""
    loss_fn, y = nn.CrossEntropyLoss(), torch.arange(BATCH) % net.layers[-1].out_features
    x = (torch.rand(64, BATCH, net.layers[0].in_features) < rate).float()
    optimizer, states, loss = torch.optim.SGD(net.parameters(), lr=1e-4), net.start(), torch.zeros(())
    begun = perf_counter()
    for t in range(steps):
        _, states = net(x[t % 64], states)
        loss = loss + loss_fn(states[-1], y) / steps
    loss.backward()
    optimizer.step()
    return perf_counter() - begun


def learning_part(steps: int) -> float:
    """Seconds of what gradients and inputs come to: Σ_t Σ_b δ ⊗ x̄ of one layer, in windows."""
    net, made = Net(2048, 512), 0.0
    with attach(net, PlasticityConfig.online()) as learner:
        net((torch.rand(BATCH, 2048) < 0.01).float(), net.start())
        traces = learner.connections["layers.0"].traces
        for _ in range(max(1, steps // WINDOW)):
            pre = (torch.rand(WINDOW, BATCH, 2048) < 0.01).float()
            delta = torch.randn(WINDOW, BATCH, 512)
            begun = perf_counter()
            sum_window(traces, pre, delta)
            made += perf_counter() - begun
    return made


def best(measured: Callable[[], float]) -> float:
    """Of a few, after one to warm up."""
    measured()
    return min(measured() for _ in range(REPEATS))


def peak(steps: int) -> int:
    """Bytes, in a process of its own."""
    command = [sys.executable, __file__, "--worker", str(steps)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def worker(steps: int) -> None:
    """Print the peak of this process while it learns step by step."""
    one_thread()
    net = Net(64, 100, 10)
    online(net, 100, 1)
    forget_peak()
    online(net, steps, 1)
    print(resident_peak())


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        worker(options.worker)
        return
    one_thread()
    lengths, steps = (QUICK_LENGTHS, QUICK_STEPS) if options.quick else (LENGTHS, STEPS)
    peaks = {length: peak(length) for length in tqdm(lengths, desc="online_gradient")}
    first = peaks[lengths[0]]
    memory_rows = [(f"{n:,}", f"{b / MIB:,.0f}", f"{b / first - 1.0:+.1%}") for n, b in peaks.items()]
    whole = best(lambda: through_time(Net(64, 100, 10), steps))
    ways = {"backpropagation through time": whole}
    for window in (1, WINDOW):
        name = "online, a loss for each step" if window == 1 else f"online, a loss for every {window} steps"
        ways[name] = best(lambda window=window: online(Net(64, 100, 10), steps, window))
    rows = [(name, f"{BATCH * steps / s:,.0f}", results.ratio(whole / s)) for name, s in ways.items()]
    layer = {
        "learning part": (best(lambda: learning_part(steps)), "≥ 150,000"),
        "whole step": (best(lambda: online(Net(2048, 512), steps, WINDOW, 0.01)), "≥ 25,000"),
    }
    layer_rows = [(name, f"{BATCH * steps / s:,.0f}", asked) for name, (s, asked) in layer.items()]
    tables = [results.table(MEMORY_HEADER, memory_rows), results.table(TIME_HEADER, rows)]
    text = "\n\n".join([TEXT.strip(), results.machine(), *tables, results.table(LAYER_HEADER, layer_rows)])
    print(text)
    if not options.quick:
        results.write("online_gradient", text)
    numbers = {"peaks": peaks, "seconds": ways, "layer": {name: s for name, (s, _) in layer.items()}}
    results.write_json(options.json, "online_gradient", [numbers])


if __name__ == "__main__":
    main()
