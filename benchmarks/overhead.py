"""What plasticity costs beside the network that it is attached to: 784–1000–10, T = 100, B = 32.

    python benchmarks/overhead.py [--quick]

The same network bare and attached (pair STDP on both layers, one reward for each sample at the end), taking turns, on
one thread, in CPU time; as a forward pass alone, and with training by surrogate gradients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import networks
import results
import torch
from timing import cpu_seconds, in_turns, one_thread
from torch import nn
from tqdm import tqdm

from snn_plasticity import EligibilityConfig, NeuromodConfig, PlasticityConfig, ThreeFactorConfig
from snn_plasticity.hosts import attach

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


def plasticity(clamp: tuple[float, float] | None) -> PlasticityConfig:
    rule = EligibilityConfig(
        kernel="stdp_pair", tau_e=200.0, a_plus=0.01, a_minus=0.0105, clamp_range=clamp, carry=False
    )
    return PlasticityConfig(rule, NeuromodConfig(), ThreeFactorConfig(lr=1e-4))


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


def attached(model: nn.Module, run: Callable[[], object], clamp: tuple[float, float] | None) -> Callable[[], object]:
    """The same run, then the reward."""
    learner = attach(model.net, plasticity(clamp))
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
    runs["attached"] = attached(plastic, RUNS[case.run](plastic), CLAMPS[case.clamp])
    return in_turns({name: lambda run=run: cpu_seconds(run) for name, run in runs.items()}, rounds)


def line(case: Case, times: dict[str, float]) -> list[str]:
    bare, plastic = (results.micro(times[name] / networks.STEPS) for name in ("bare", "attached"))
    ratio = f"{times['attached'] / times['bare']:.2f}×"
    return [case.host, case.run, case.clamp, bare, plastic, ratio, ASKED.get(case.run, "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than a minute; nothing is written")
    quick = parser.parse_args().quick
    one_thread()
    cases = [Case(host, run, clamp) for host in networks.HOSTS for run in RUNS for clamp in CLAMPS]
    cases = [case for case in cases if not quick or case.clamp == "no clamp on e"]
    rows = [line(case, measure(case, 3 if quick else 9)) for case in tqdm(cases, desc="overhead")]
    spikes = networks.inputs()[0]
    rates = (f"{networks.hidden_rate(networks.network(host), spikes):.1%} in {host}" for host in networks.HOSTS)
    fires = f"The hidden layer fires at {' and '.join(rates)}."
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows), fires])
    print(text)
    if not quick:
        results.write("overhead", text)


if __name__ == "__main__":
    main()
