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
from functools import partial

from command_line import Finding, Number, Word, close, settings
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

CONDITIONS = {
    "every-third": Every(3),
    "loss-decrease": LossDecrease(2),
    "loss-spike": LossSpike(1.0),
    "plateau": Plateau(),
    "seeking": Seeking(share=0.3),
    "affect": Seeking(share=0.3),
    "every-fourth": Every(4),
    "random": RandomActivation(0.3),
    "always": Always(),
    "never": Never(),
}
COUPLINGS = {
    "teach": Distill(base_first=True),
    "replace": Replace(),
    "base-too": BaseToo(),
    "distill": Distill(),
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


def judge(seen: Comparison) -> dict[str, Finding]:
    """Each criterion."""
    macs, claims = seen.compute(), {
        "motivated, less large alone at equal compute": ("motivated − large alone, equal compute", NEAR_LARGE),
        "base, less base alone at equal steps": ("base − base alone, equal steps", NEAR_BASE),
    }  # fmt: skip
    spent = macs["dual"].mean / macs["large alone"].mean
    found = {"compute, of the large net's": Finding(f"{spent:.1%}", f"<= {SPENT:.0%}", spent <= SPENT)}
    for claim, (row, near) in claims.items():
        mean = seen.rows[row].mean
        found[claim] = Finding(f"{100 * mean:+.2f} points", f">= −{100 * near:g}", mean >= -near)
    return found


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What was asked for; hidden units and epochs as the task wants them, unless they are given."""
    args = settings(
        __doc__, argv, figure="seeking", work=work,
        data=Word("what is learned", tuple(TASKS)), host=Word("whose neurons", tuple(HOSTS)),
        condition=Word("when the large net is recruited", tuple(CONDITIONS)),
        coupling=Word("what the two tell each other", tuple(COUPLINGS)),
        seeds=Number("how many", 3, 1), seed=Number("the first of them"),
        epochs=Number("times through the data, 0: 7 to 20, by task"),
        hidden=Number("units of the base, 0: 4 to 32, by task"),
    )  # fmt: skip
    args.hidden, args.epochs = args.hidden or TASKS[args.data].hidden, args.epochs or TASKS[args.data].epochs
    return args


def work(args: argparse.Namespace) -> float:
    """Passes through the data in all."""
    return args.seeds * (args.epochs or TASKS[args.data].epochs)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    data = TASKS[args.data].data()
    with tqdm(total=4 * args.seeds, unit="run", desc=args.data, disable=None) as bar:
        runs = [three_runs(args, data, args.seed + i, bar) for i in range(args.seeds)]
    seen = Comparison(*zip(*runs, strict=True))
    numbers = {name: list(value) for name, value in seen.rows.items()}
    return close(args, judge(seen), numbers, seen.figure, notes=seen.table())


if __name__ == "__main__":
    raise SystemExit(main())
