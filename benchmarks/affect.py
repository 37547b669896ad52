"""What a step of affect costs: the estimator alone, and the whole loop with modulators and gate.

    python benchmarks/affect.py [--quick] [--json PATH]

Batches of 1 to 16,384 lives, all events given, on one thread, in CPU time; without gradients and with them.
"""

from __future__ import annotations

from collections.abc import Callable

import results
import torch
from command import parser
from timing import cpu_seconds, in_turns, one_thread
from tqdm import tqdm

from snn_plasticity.affect import AffectiveEstimator, InternalSignals
from snn_plasticity.loop import AffectiveLoop

BATCHES, STEPS = (1, 32, 1024, 16_384), 100
ASKED = {1024: "loop < 1,000"}
HEADER = ("lives", "estimate, µs/step", "whole loop", "loop with gradients", "lives per ms", "asked")
TEXT = """## Affect

One step of affect for a batch of lives: the estimator alone, and the closed loop (estimate, modulators, gate), all
events given and every value checked at the door. µs of CPU time.
"""


def events(batch: int, *, gradients: bool = False) -> dict[str, torch.Tensor]:
    draw = torch.rand(7, batch, generator=torch.Generator().manual_seed(0)).requires_grad_(gradients)
    names = ("reward", "novelty", "uncertainty", "surprise", "homeostatic_deviation", "urgency", "patience")
    return dict(zip(names, draw.unbind(), strict=True))


def estimating(batch: int) -> Callable[[], object]:
    reward, novelty, uncertainty, surprise, deviation, _, _ = events(batch).values()
    signals = InternalSignals(reward, uncertainty, surprise, novelty, deviation)
    estimator = AffectiveEstimator()

    def run() -> None:
        state = estimator.reset(batch)
        for _ in range(STEPS):
            state = estimator.estimate(signals, state)

    return torch.no_grad()(run)


def looping(batch: int, *, gradients: bool = False) -> Callable[[], object]:
    heard, loop = events(batch, gradients=gradients), AffectiveLoop()

    def run() -> None:
        state = loop.init(batch)
        for _ in range(STEPS):
            state = loop.advance(heard, state)

    return run if gradients else torch.no_grad()(run)


def measure(batch: int, rounds: int) -> dict[str, float]:
    """Seconds per step at one size: median of the rounds, contestants taking turns."""
    runs = {
        "estimate": estimating(batch),
        "loop": looping(batch),
        "gradients": looping(batch, gradients=True),
    }
    return in_turns({name: lambda run=run: cpu_seconds(run) / STEPS for name, run in runs.items()}, rounds)


def line(batch: int, times: dict[str, float]) -> list[str]:
    micros = [results.micro(seconds) for seconds in times.values()]
    return [f"{batch:,}", *micros, f"{batch / times['loop'] / 1e3:,.0f}", ASKED.get(batch, "")]


def main() -> None:
    options = parser(__doc__).parse_args()
    quick = options.quick
    one_thread()
    measured = {batch: measure(batch, 2 if quick else 9) for batch in tqdm(BATCHES, desc="affect")}
    rows = [line(batch, times) for batch, times in measured.items()]
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows)])
    print(text)
    if not quick:
        results.write("affect", text)
    results.write_json(options.json, "affect", [{"lives": batch} | times for batch, times in measured.items()])


if __name__ == "__main__":
    main()
