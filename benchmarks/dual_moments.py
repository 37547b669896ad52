"""Does it matter when the large net is recruited, and what is done with it then? Ten seeds, six tasks.

    python benchmarks/dual_moments.py [--host HOST] [--seeds N] [--workers N] [--tasks ...] [--moments ...]
                                      [--couplings ...] [--tables]

Each run is a line in out/dual_moments.jsonl; what is there is not run again. `--tables` runs nothing: it collects
the lines into dual_moments.json and writes the tables of RESULTS.md and docs/dual.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from moments import COUPLINGS, MOMENTS, SHARE
from tqdm import tqdm

sys.path.append(str(Path(__file__).parent.parent / "demos"))
from seeking_data import STEPS, TASKS, Shuffled, Split  # noqa: E402
from seeking_nets import HOSTS, newborn  # noqa: E402

from snn_plasticity.dual import DualModelTrainer, Trainee  # noqa: E402

RUNS = Path("out/dual_moments.jsonl")
ALONE = ("base alone", "large alone")


class Job(NamedTuple):
    """One run: of both nets, or, where the coupling is empty, of the one that `moment` names."""

    host: str
    task: str
    seed: int
    moment: str
    coupling: str = ""


def jobs(args: argparse.Namespace) -> Iterator[Job]:
    """What was asked for, seed by seed."""
    for seed in range(args.seeds):
        for task in args.tasks:
            yield from (Job(args.host, task, seed, net) for net in ALONE)
            yield from (Job(args.host, task, seed, m, c) for c in args.couplings for m in args.moments)


def run(job: Job) -> dict[str, Any]:
    """Do it; what is worth keeping, as plain values."""
    torch.set_num_threads(1)
    data = data_of(job.task)
    found = dual(job, data) if job.coupling else alone(job, data)
    return {**job._asdict(), **found}


@cache
def data_of(task: str) -> Split:
    """Made once in each process."""
    return TASKS[task].data()


def alone(job: Job, data: Split) -> dict[str, Any]:
    """One net alone; the base for as long as equal compute needs at the dearest coupling."""
    task = TASKS[job.task]
    base, large, _ = newborn(job.host, data, task.hidden, job.seed)
    longer = 1.5 + 1.1 * SHARE * synapses(large) / synapses(base)
    net, epochs = (base, round(longer * task.epochs)) if job.moment == "base alone" else (large, task.epochs)
    trainer = DualModelTrainer(net, seed=job.seed)
    loader, unseen = Shuffled(data.x, data.y, task.batch), [(data.unseen_x, data.unseen_y)]
    report = trainer.fit(loader, epochs, validation=unseen, progress=False)
    curve = [[p.step, p.macs, p.synops, round(p.base.accuracy, 5)] for p in report.curve]
    return {"curve": curve, "seconds": round(report.seconds, 2)}


def dual(job: Job, data: Split) -> dict[str, Any]:
    """Both nets."""
    task, moment = TASKS[job.task], MOMENTS[job.moment]
    base, large, weights = newborn(job.host, data, task.hidden, job.seed)
    loader, unseen = Shuffled(data.x, data.y, task.batch), [(data.unseen_x, data.unseen_y)]
    of = task.epochs * len(loader)
    trainer = DualModelTrainer(
        base, large, weights, moment.condition(round(SHARE * of), of, job.seed), coupling=COUPLINGS[job.coupling],
        signals=moment.signals and moment.signals(base), seed=job.seed,
    )  # fmt: skip
    report = trainer.fit(loader, task.epochs, progress=False)
    end = trainer.validate(unseen)
    asked = moment.passes * synapses(base) * STEPS * task.epochs * len(data.x)
    return {
        "base": round(end.base.accuracy, 5), "motivated": round(end.score("motivated").accuracy, 5),
        "share": round(report.share, 4), "macs": end.macs + asked, "synops": end.synops,
        "seconds": round(report.seconds, 2),
    }  # fmt: skip


def synapses(net: Trainee) -> int:
    """How many weights between units."""
    return sum(p.numel() for p in net.model.parameters() if p.dim() > 1)


def read(path: Path = RUNS) -> dict[Job, dict[str, Any]]:
    """What was run so far."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return {Job(*(one[field] for field in Job._fields)): one for one in found}


def run_all(wanted: Iterable[Job], workers: int) -> None:
    """What is not there yet, each a line at the end of the file."""
    there = read()
    missing = [job for job in wanted if job not in there]
    RUNS.parent.mkdir(exist_ok=True)
    with get_context("spawn").Pool(workers) as pool, RUNS.open("a", encoding="utf-8") as file:
        for found in tqdm(pool.imap_unordered(run, missing), total=len(missing), unit="run", disable=None):
            file.write(json.dumps(found) + "\n")
            file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", choices=HOSTS, default="snntorch")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    for name, known in {"tasks": TASKS, "moments": MOMENTS, "couplings": COUPLINGS}.items():
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=list(known))
    args = parser.parse_args()
    run_all(jobs(args), args.workers)


if __name__ == "__main__":
    main()
