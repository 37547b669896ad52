"""A small spiking net learns, and at some moments a four times wider one that contains it learns too, and teaches it.

    every third batch?   no:  the base learns
                         yes: it learns; its weights go up into the large net, which learns; the shared part comes
                              down, and the large net's answers teach the base

At the end there are two nets: one for small devices, one for large ones. Beside them, the base alone and the large net
alone, at equal steps and at equal compute.

    python demos/seeking.py --data rows --host norse
    python demos/seeking.py --condition loss-decrease --coupling replace     the paper's way

Criterion: at most 60 % of the large net's multiply-accumulates, the motivated net within 2.5 points of the large net at
equal compute, the base no worse than half a point below the base alone at equal steps; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from command_line import mark, refuse_less
from seeking_data import TASKS, Shuffled, Split
from seeking_nets import HOSTS, newborn
from tqdm import tqdm

from snn_plasticity.dual import (
    AffectSignals,
    Always,
    BaseToo,
    Comparison,
    Distill,
    DualModelTrainer,
    DualReport,
    Every,
    LossDecrease,
    LossSpike,
    Never,
    Plateau,
    RandomActivation,
    Replace,
    Sandwich,
    Seeking,
)

FIGURE = Path("out/seeking.png")
CONDITIONS = {
    "loss-decrease": LossDecrease(2),
    "loss-spike": LossSpike(1.0),
    "plateau": Plateau(),
    "seeking": Seeking(share=0.3),
    "affect": Seeking(share=0.3),
    "every-third": Every(3),
    "every-fourth": Every(4),
    "random": RandomActivation(0.3),
    "always": Always(),
    "never": Never(),
}
COUPLINGS = {
    "replace": Replace(),
    "base-too": BaseToo(),
    "distill": Distill(),
    "teach": Distill(base_first=True),
    "sandwich": Sandwich(1.0, 0.5),
}
SPENT, NEAR_LARGE, NEAR_BASE = 0.6, 0.025, 0.005


def three_runs(args: argparse.Namespace, data: Split, seed: int, bar: tqdm) -> tuple[DualReport, ...]:
    """One seed: the two nets together, then each alone, as long as equal compute needs."""
    epochs, loader = args.epochs, Shuffled(data.x, data.y, TASKS[args.data].batch)
    nets, unseen = partial(newborn, args.host, data, args.hidden, seed), [(data.unseen_x, data.unseen_y)]

    def fit(trainer: DualModelTrainer, name: str, epochs: int) -> DualReport:
        bar.set_postfix_str(f"seed {seed}: {name}")
        report = trainer.fit(loader, epochs, validation=unseen, progress=False)
        bar.update()
        return report

    base, large, weights = nets()
    trainer = DualModelTrainer(
        base, large, weights, CONDITIONS[args.condition], coupling=COUPLINGS[args.coupling], seed=seed,
        signals=AffectSignals() if args.condition == "affect" else None,
    )  # fmt: skip
    dual = fit(trainer, "dual", epochs)
    budget = dual.cost.macs
    base, large, _ = nets()
    alone = fit(DualModelTrainer(base, seed=seed), "base alone", epochs)
    if alone.cost.macs < budget:
        more = -(-budget * epochs // alone.cost.macs)
        base, _, _ = nets()
        alone = fit(DualModelTrainer(base, seed=seed), "base alone, longer", more)
    return dual, alone, fit(DualModelTrainer(large, seed=seed), "large alone", epochs)


def judge(seen: Comparison) -> dict[str, bool]:
    """Each criterion."""
    rows, macs = seen.rows, seen.compute()
    return {
        "compute at most 60 % of the large net's": macs["dual"].mean <= SPENT * macs["large alone"].mean,
        "motivated within 2.5 points of the large net at equal compute": (
            rows["motivated − large alone, equal compute"].mean >= -NEAR_LARGE
        ),
        "base within half a point of the base alone at equal steps": (
            rows["base − base alone, equal steps"].mean >= -NEAR_BASE
        ),
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=TASKS, default="digits", help="(default: %(default)s)")
    parser.add_argument("--host", choices=HOSTS, default="snntorch", help="whose neurons (default: %(default)s)")
    parser.add_argument("--condition", choices=CONDITIONS, default="every-third", help="(default: %(default)s)")
    parser.add_argument("--coupling", choices=COUPLINGS, default="teach", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="times through the data (default: 7 to 20, by task)")
    parser.add_argument("--hidden", type=int, help="hidden units of the base (default: 4 to 32, by task)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", default=FIGURE, help="draw it here (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    task = TASKS[args.data]
    args.hidden = task.hidden if args.hidden is None else args.hidden
    args.epochs = task.epochs if args.epochs is None else args.epochs
    refuse_less(parser, args, {"seeds": 1, "seed": 0, "epochs": 1, "hidden": 1})
    return args


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)  # the tensors are small
    data, start = TASKS[args.data].data(), time.perf_counter()
    with tqdm(total=4 * args.seeds, unit="run", desc=args.data, disable=None) as bar:
        runs = [three_runs(args, data, args.seed + i, bar) for i in range(args.seeds)]
    seen = Comparison(*zip(*runs, strict=True))
    verdict = judge(seen)
    print(seen.table())
    for criterion, met in verdict.items():
        print(f"{criterion}: {mark(met)}")
    print(f"{args.host}, {args.data}, {args.condition}, {args.coupling}: {time.perf_counter() - start:.1f} s")
    if args.json:
        numbers = {name: list(value) for name, value in seen.rows.items()}
        args.json.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    seen.figure(args.figure)
    print(f"figure: {args.figure}")
    return 0 if all(verdict.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
