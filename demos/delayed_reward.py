"""A spiking network learns to read handwritten digits from reward alone, and the reward comes late.

    the digit as spikes ─► ten action neurons compete ─► the chosen one bursts and tags its active synapses    e
    · · · · · · · · · · ·  50 silent steps, in which nothing is left of it but the tags  · · · · · · · · · ·   e decays
    reward − what the chosen neuron's own activity promised ─► dopamine ─► every tagged synapse learns         Δw

Nobody tells it the right answer; the world says 1 or 0 about the chosen action only. No gradient is taken. Three
controls live the same life: `no_trace` (no eligibility outlives the gap), `random_dopamine` (it hears the dopamine of
other trials), `no_dopamine`.

    python demos/delayed_reward.py --host norse --figure norse.png
    python demos/delayed_reward.py --affect

With `--affect` the world changes half-way: every digit calls for another action, and animals whose learning rate, gate
and temperature come from their affect meet it beside animals without (see `digits_comparison`).

Criterion: held-out accuracy of at least 0.88, at most 0.25 in every control, and without dopamine not one bit of one
weight changed. With `--affect`, over all lives: animals with affect recover sooner than those without and than
those with the same rate and temperature on average, by two standard errors of the paired differences; they end no
worse within as many, and at 0.85 or better. Else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import digits_comparison as comparison
import torch
from command_line import mark, refuse_less
from delayed_reward_figure import draw
from digits_affect_figure import draw as draw_comparison
from digits_life import BATCH, CONDITIONS, CONTROLS, STORY, Life, whole_life
from digits_reader import HOSTS
from digits_task import train_and_held_out
from matplotlib.figure import Figure
from tqdm import tqdm

FIGURES = {False: Path("out/delayed_reward.png"), True: Path("out/delayed_reward_affect.png")}  # with affect or not
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
        rows.append(f"{name:<17} {life.accuracy[-1]:>17.3f}   {criterion:<9}   {weights:<13}   {mark(verdict[name])}")
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
    parser.add_argument("--affect", action="store_true", help="change the world, and compare lives with affect")
    parser.add_argument("--lives", type=int, default=8, help="seeds with --affect (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    parser.add_argument("--figure", type=Path, metavar="FILE", help=f"draw it here (default: {FIGURES[False]})")
    args = parser.parse_args(argv)
    args.figure = args.figure or FIGURES[args.affect]
    refuse_less(parser, args, {"delay": 0, "seed": 0, "epochs": 0})
    if args.affect and (args.lives < 2 or args.epochs < 1):
        parser.error(
            f"--lives is {args.lives} and --epochs {args.epochs}; expected 2 or more lives of 1 or more epochs."
        )
    return args


def changed_world(args: argparse.Namespace) -> tuple[bool, dict[str, object], Figure]:
    """Lives with affect and without, in a world that changes."""
    start, seeds = time.perf_counter(), range(args.seed, args.seed + args.lives)
    lives = comparison.all_lives(args.host, args.delay, seeds, args.epochs)
    seconds, verdict = time.perf_counter() - start, comparison.judge(lives, args.epochs)
    print(comparison.table(lives, args.epochs) + "\n")
    for criterion, kept in verdict.items():
        print(f"{criterion:<60} {mark(kept)}")
    print(
        f"{args.host}, delay {args.delay} steps, seeds {seeds[0]} to {seeds[-1]}, {args.epochs} epochs: {seconds:.0f} s"
    )
    numbers = comparison.report(lives, args.epochs, seconds)
    return all(verdict.values()), numbers, draw_comparison(lives, args.epochs, args.host)


def one_world(args: argparse.Namespace) -> tuple[bool, dict[str, object], Figure]:
    """One life under each condition, in a world that stays as it is."""
    start = time.perf_counter()
    lives = all_lives(args.host, args.delay, args.seed, args.epochs)
    seconds, verdict = time.perf_counter() - start, judge(lives, args.delay)
    print(table(lives, verdict))
    print(f"{args.host}, delay {args.delay} steps, seed {args.seed}, {args.epochs} epochs: {seconds:.1f} s")
    return all(verdict.values()), report(lives, seconds), draw(lives, args.host, args.delay, args.seed)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)  # the tensors are small
    passed, numbers, figure = (changed_world if args.affect else one_world)(args)
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.figure, dpi=150)
    print(f"figure: {args.figure}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
