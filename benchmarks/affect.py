"""What a step of affect costs: the estimator alone, and the whole loop with modulators and gate.

    python benchmarks/affect.py [--quick]

Batches of 1 to 16,384 lives, all events given, on one thread, in CPU time; without gradients and with them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import results
import torch
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


def line(batch: int, rounds: int) -> list[str]:
    """One size: median of the rounds, contestants taking turns."""
    runs = {
        "estimate": estimating(batch),
        "loop": looping(batch),
        "gradients": looping(batch, gradients=True),
    }
    times = in_turns({name: lambda run=run: cpu_seconds(run) / STEPS for name, run in runs.items()}, rounds)
    micros = [results.micro(seconds) for seconds in times.values()]
    return [f"{batch:,}", *micros, f"{batch / times['loop'] / 1e3:,.0f}", ASKED.get(batch, "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds; nothing is written")
    quick = parser.parse_args().quick
    one_thread()
    rows = [line(batch, 2 if quick else 9) for batch in tqdm(BATCHES, desc="affect")]
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows)])
    print(text)
    if not quick:
        results.write("affect", text)


if __name__ == "__main__":
    main()
