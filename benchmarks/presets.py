"""What each preset costs beside the network that it is attached to: 784–1000–10 of both hosts, T = 100, B = 32.

    python benchmarks/presets.py [--quick] [--json PATH]

The forward pass bare and attached, taking turns, on one thread, in CPU time; after the last step one reward for each
sample, and both weights change. Beside it stands how much of the eligibility is at its clamp by then, layer by layer,
and how large it is: a preset at its clamp has forgotten by how much its synapses differ.
"""

from __future__ import annotations

from typing import NamedTuple

import networks
import overhead
import results
import shown
import torch
from command import parser
from timing import cpu_seconds, in_turns, one_thread
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, attach

AT_LEAST, AIM = 1.4, 1.2
HEADER = (
    "network", "preset", "bare, µs/step", "attached", "ratio", "asked", "e at its clamp",
    "median of e ÷ clamp", "largest",
)  # fmt: skip
TEXT = """## Presets

Forward pass of 784–1000–10, T = 100, B = 32, input at 5 %, then one reward for each sample: µs of CPU time per step of
the whole batch, everything included, and the share of the eligibilities of both layers that are at their clamp when the
reward comes; then the median of what is not zero, and the largest, as parts of the clamp.
"""


class Clamped(NamedTuple):
    """How the eligibility of a layer lies in its range."""

    share: float  # of all that are at the clamp
    median: float  # of |e| / clamp where e is not zero
    largest: float


def measure(host: str, rounds: int) -> dict[str, float]:
    """CPU seconds of a run: bare, then with every preset."""
    bare = networks.network(host)
    runs = {"bare": overhead.forward(bare)}
    for name, config in shown.presets().items():
        plastic = networks.network(host)
        runs[name] = overhead.attached(plastic, overhead.forward(plastic), config)
    return in_turns({name: lambda run=run: cpu_seconds(run) for name, run in runs.items()}, rounds)


@torch.no_grad()
def clamped(host: str, config: PlasticityConfig) -> list[Clamped]:
    """Every layer's eligibility when the reward comes."""
    model = networks.network(host)
    learner = attach(model.net, config)
    model(networks.inputs()[0])
    found = []
    for connection in learner.connections.values():
        assert connection.eligibility is not None
        found.append(_clamped(connection.eligibility, config.eligibility.clamp_range))
    return found


def _clamped(e: torch.Tensor, clamp: tuple[float, float] | None) -> Clamped:
    """Upper and lower bound each on its own side."""
    if clamp is None:
        return Clamped(0.0, 0.0, 0.0)
    part = torch.where(e > 0, e / clamp[1], e / clamp[0])
    moved = part[e != 0]
    median = float(moved.median()) if len(moved) else 0.0
    return Clamped(float((part >= 1.0 - 1e-6).float().mean()), median, float(part.max()))


def line(host: str, name: str, times: dict[str, float], layers: list[Clamped]) -> list[str]:
    """A row of the table."""
    bare, attached = (times[key] for key in ("bare", name))
    micros = [results.micro(seconds / networks.STEPS) for seconds in (bare, attached)]
    ranges = (", ".join(f"{value:.1%}" for value in column) for column in zip(*layers, strict=True))
    return [host, name, *micros, f"{attached / bare:.2f}×", f"≤ {AT_LEAST}× (aim {AIM}×)", *ranges]


def main() -> None:
    options = parser(__doc__).parse_args()
    one_thread()
    presets = shown.presets()
    measured = {host: measure(host, 2 if options.quick else 9) for host in tqdm(networks.HOSTS, desc="presets")}
    ranges = {(host, name): clamped(host, config) for host in networks.HOSTS for name, config in presets.items()}
    rows = [line(host, name, measured[host], ranges[host, name]) for host, name in ranges]
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows)])
    print(text)
    if not options.quick:
        results.write("presets", text)
    flat = [
        {"host": host, "preset": name, "seconds": measured[host][name], "bare": measured[host]["bare"]}
        | {"layers": [layer._asdict() for layer in ranges[host, name]]}
        for host, name in ranges
    ]
    results.write_json(options.json, "presets", flat)


if __name__ == "__main__":
    main()
