"""What plasticity costs beside the network that it is attached to: 784–1000–10, T = 100, B = 32.

    python benchmarks/overhead.py [--quick] [--json PATH]

The same network bare and attached (pair STDP on both layers, one reward for each sample at the end), taking turns, on
one thread, in CPU time; as a forward pass alone, and with training by surrogate gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import networks
import results
import shown
import torch
from command import parser
from timing import cpu_seconds, in_turns, one_thread
from torch import nn
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, attach

HEADER = ("network", "run", "plasticity", "bare, µs/step", "attached", "ratio", "asked")
CLAMPS = {"no clamp on e": None, "clamp ±5": (-5.0, 5.0)}
ASKED = {"forward": "≤ 1.5× (aim 1.25×)"}
TEXT = """## Overhead

Networks 784–1000–10 of both hosts, T = 100, B = 32, input at 5 %: bare, and with plasticity attached to both layers
(pair STDP, τ_e = 200, A₊ = 0.01, A₋ = 0.0105, small enough that the clamp seldom binds; after the last step one
reward for each sample, then both weights change). µs of CPU time per step of the whole batch, everything included.
"""


class Case(NamedTuple):
    """One line of the table."""

    host: str
    run: str
    clamp: str


def forward(model: nn.Module) -> Callable[[], object]:
    spikes, _, _ = networks.inputs()
    return torch.no_grad()(lambda: model(spikes))


def training(model: nn.Module) -> Callable[[], object]:
    """Forward, loss on spike counts, backward through time, one step of SGD."""
    spikes, labels, _ = networks.inputs()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(spikes), labels).backward()
        optimizer.step()

    return run


RUNS = {"forward": forward, "training": training}


def attached(model: nn.Module, run: Callable[[], object], config: PlasticityConfig) -> Callable[[], object]:
    """The same run, then the reward."""
    learner = attach(model.net, config)
    reward = networks.inputs()[2]

    def learn() -> None:
        run()
        learner.step(reward=reward)
        learner.reset()

    return learn


def measure(case: Case, rounds: int) -> dict[str, float]:
    """CPU seconds of a run, bare and attached."""
    bare, plastic = networks.network(case.host), networks.network(case.host)
    runs = {"bare": RUNS[case.run](bare)}
    runs["attached"] = attached(plastic, RUNS[case.run](plastic), shown.pair(CLAMPS[case.clamp]))
    return in_turns({name: lambda run=run: cpu_seconds(run) for name, run in runs.items()}, rounds)


def line(case: Case, times: dict[str, float]) -> list[str]:
    bare, plastic = (results.micro(times[name] / networks.STEPS) for name in ("bare", "attached"))
    ratio = f"{times['attached'] / times['bare']:.2f}×"
    return [case.host, case.run, case.clamp, bare, plastic, ratio, ASKED.get(case.run, "")]


def main() -> None:
    options = parser(__doc__).parse_args()
    quick = options.quick
    one_thread()
    cases = [Case(host, run, clamp) for host in networks.HOSTS for run in RUNS for clamp in CLAMPS]
    cases = [case for case in cases if not quick or case.clamp == "no clamp on e"]
    measured = {case: measure(case, 3 if quick else 9) for case in tqdm(cases, desc="overhead")}
    rows = [line(case, times) for case, times in measured.items()]
    spikes = networks.inputs()[0]
    rates = (f"{networks.hidden_rate(networks.network(host), spikes):.1%} in {host}" for host in networks.HOSTS)
    fires = f"The hidden layer fires at {' and '.join(rates)}."
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows), fires])
    print(text)
    if not quick:
        results.write("overhead", text)
    results.write_json(options.json, "overhead", [case._asdict() | times for case, times in measured.items()])


if __name__ == "__main__":
    main()
