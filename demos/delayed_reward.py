"""A spiking network learns to read handwritten digits from reward alone, and the reward comes late.

    the digit as spikes ─► ten action neurons compete ─► the chosen one bursts and tags its active synapses    e
    · · · · · · · · · · ·  50 silent steps, in which nothing is left of it but the tags  · · · · · · · · · ·   e decays
    reward − what the chosen neuron's own activity promised ─► dopamine ─► every tagged synapse learns         Δw

Nobody tells it the right answer; the world says 1 or 0 about the chosen action only. No gradient is taken. Three
controls live the same life: `no_trace` (no eligibility outlives the gap), `random_dopamine` (it hears the dopamine of
other trials), `no_dopamine`.

    python demos/delayed_reward.py --host norse --figure norse.png

Criterion: held-out accuracy of at least 0.88, at most 0.25 in every control, and without dopamine not one bit of one
weight changed; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from delayed_reward_figure import draw
from digits_life import BATCH, CONDITIONS, CONTROLS, STORY, Life, whole_life
from digits_reader import HOSTS
from digits_task import train_and_held_out
from tqdm import tqdm

FIGURE = Path("out/delayed_reward.png")
LEARNED, UNLEARNED = 0.88, 0.25  # held-out accuracy: at least, and of a control at most


def all_lives(host: str, delay: int, seed: int, epochs: int) -> dict[str, Life]:
    """The same life under every condition."""
    batches = epochs * (len(train_and_held_out()[0]) // BATCH)
    lives = {}
    with tqdm(total=batches * len(CONDITIONS), unit="batch", desc=host, disable=None) as bar:
        for name, condition in CONDITIONS.items():
            bar.set_postfix_str(name)
            lives[name] = whole_life(host, condition, delay, seed, epochs, bar)
    return lives


def judge(lives: dict[str, Life], delay: int) -> dict[str, bool]:
    """Each condition against its criterion. Where there is no gap, no trace is needed to bridge it."""
    verdict = {name: life.accuracy[-1] <= UNLEARNED for name, life in lives.items()}
    verdict[STORY] = lives[STORY].accuracy[-1] >= LEARNED
    verdict["no_trace"] |= delay == 0
    verdict["no_dopamine"] &= lives["no_dopamine"].unchanged
    return verdict


def table(lives: dict[str, Life], verdict: dict[str, bool]) -> str:
    """What was measured, beside what was expected."""
    rows = ["condition         held-out accuracy   criterion   weights"]
    for name, life in lives.items():
        criterion = f">= {LEARNED:.2f}" if name == STORY else f"<= {UNLEARNED:.2f}"
        weights = "bit-identical" if life.unchanged else "changed"
        result = "ok" if verdict[name] else "FAILED"
        rows.append(f"{name:<17} {life.accuracy[-1]:>17.3f}   {criterion:<9}   {weights:<13}   {result}")
    return "\n".join(rows)


def report(lives: dict[str, Life], seconds: float) -> dict[str, object]:
    """The numbers, for a file."""
    final = {name: round(life.accuracy[-1], 4) for name, life in lives.items()}
    controls = {name: final[name] for name in CONTROLS}
    return {"accuracy": final[STORY], "controls": controls, "seconds": round(seconds, 2)}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", choices=HOSTS, default="snntorch", help="whose neurons (default: %(default)s)")
    parser.add_argument("--delay", type=int, default=50, help="silent steps before the reward (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, spikes and choices (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="times through the digits (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", default=FIGURE, help="draw it here (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    for name in ("delay", "seed", "epochs"):
        if getattr(args, name) < 0:
            parser.error(f"--{name} is {getattr(args, name)}; expected 0 or more.")
    return args


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)  # the tensors are small
    start = time.perf_counter()
    lives = all_lives(args.host, args.delay, args.seed, args.epochs)
    seconds, verdict = time.perf_counter() - start, judge(lives, args.delay)
    print(table(lives, verdict))
    print(f"{args.host}, delay {args.delay} steps, seed {args.seed}, {args.epochs} epochs: {seconds:.1f} s")
    if args.json:
        args.json.write_text(json.dumps(report(lives, seconds), indent=2) + "\n", encoding="utf-8")
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    draw(lives, args.host, args.delay, args.seed).savefig(args.figure, dpi=150)
    print(f"figure: {args.figure}")
    return 0 if all(verdict.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
