"""Recruitment driven by affect, end to end, against as many steps at random. Paired by seed.

    python benchmarks/dual_affect.py [--tasks ...] [--seeds N] [--share S]

Each run is a line in out/dual_affect.jsonl; what is there is not run again. Criteria: the motivated net no more than
one standard error of the paired difference below count-matched random, and no mean below that of the base.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import machine, table, write
from tqdm import tqdm

sys.path.append(str(Path(__file__).parent.parent / "demos"))
from command_line import mark  # noqa: E402
from seeking_data import TASKS, Shuffled, Split  # noqa: E402
from seeking_nets import newborn  # noqa: E402

from snn_plasticity.dual import AffectSignals, CountMatched, DualModelTrainer, Seeking  # noqa: E402
from snn_plasticity.dual.report import Estimate  # noqa: E402

RUNS = Path("out/dual_affect.jsonl")
Runs = dict[tuple[str, int, str], dict[str, Any]]


def run(task: str, data: Split, seed: int, share: float, count: int | None = None) -> dict[str, Any]:
    """Both nets once: recruited by affect, or in `count` steps at random."""
    base, large, weights = newborn("snntorch", data, TASKS[task].hidden, seed)
    loader, epochs = Shuffled(data.x, data.y, TASKS[task].batch), TASKS[task].epochs
    condition = Seeking(share=share) if count is None else CountMatched(count, epochs * len(loader), seed)
    signals = AffectSignals() if count is None else None
    trainer = DualModelTrainer(base, large, weights, condition, signals=signals, seed=seed)
    report = trainer.fit(loader, epochs, progress=False)
    end, motivated = trainer.validate([(data.unseen_x, data.unseen_y)]), report.history.motivated
    return {
        "task": task, "seed": seed, "moment": "affect" if count is None else "at random", "count": sum(motivated),
        "steps": len(motivated), "late": round(sum(motivated[len(motivated) // 2 :]) / max(1, sum(motivated)), 4),
        "base": end.base.accuracy, "motivated": end.score("motivated").accuracy,
    }  # fmt: skip


def read() -> Runs:
    """What was run so far."""
    lines = RUNS.read_text(encoding="utf-8").splitlines() if RUNS.exists() else []
    return {(one["task"], one["seed"], one["moment"]): one for one in map(json.loads, lines)}


def run_missing(tasks: Sequence[str], seeds: int, share: float) -> Runs:
    """Affect first, then chance with the same count, seed by seed."""
    there = read()
    RUNS.parent.mkdir(exist_ok=True)
    with RUNS.open("a", encoding="utf-8") as file, tqdm(total=2 * seeds * len(tasks), unit="run", disable=None) as bar:
        for task in tasks:
            data = TASKS[task].data()
            for seed in range(seeds):
                for moment in ("affect", "at random"):
                    if (task, seed, moment) not in there:
                        count = None if moment == "affect" else there[task, seed, "affect"]["count"]
                        there[task, seed, moment] = found = run(task, data, seed, share, count)
                        file.write(json.dumps(found) + "\n")
                        file.flush()
                    bar.update()
    return there


def row(task: str, runs: Runs) -> tuple[list[object], bool]:
    """One line of the table, over all seeds that were run, and whether both criteria are met."""
    seeds = sorted(seed for one, seed, moment in runs if (one, moment) == (task, "at random"))
    felt, chance = ([runs[task, seed, moment] for seed in seeds] for moment in ("affect", "at random"))
    large, base = ([one[net] for one in felt] for net in ("motivated", "base"))
    other, pairs = [one["motivated"] for one in chance], zip(large, base, strict=True)
    ahead, above = Estimate.of(np.subtract(large, other).tolist()), [a - b for a, b in pairs]
    met = ahead.mean >= -ahead.error and sum(above) >= 0
    share, late = np.mean([one["count"] / one["steps"] for one in felt]), np.mean([one["late"] for one in felt])
    cells = [task, len(seeds), *map(Estimate.of, (large, other)), ahead, Estimate.of(base), Estimate.of(above)]
    return [*cells, f"{sum(a >= 0 for a in above)} / {len(seeds)}", f"{share:.2f}", f"{late:.2f}", mark(met)], met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["digits", "mnist1d", "photographs"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = run_missing(args.tasks, args.seeds, args.share)
    rows, met = zip(*(row(task, runs) for task in args.tasks), strict=True)
    header = ["task", "seeds", "motivated", "as many at random", "difference", "base", "motivated − base",
              "at or above", "share", "in the second half", "met"]  # fmt: skip
    text = table(header, rows)
    print(text)
    write("dual_affect", f"## Recruitment by affect\n\n{__doc__.splitlines()[0]} {machine()}\n\n{text}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
