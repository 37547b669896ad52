"""Does it matter when the large net is recruited, and what is done with it then? Ten seeds, six tasks.

    python benchmarks/dual_moments.py [--host HOST] [--seeds N] [--workers N] [--tasks ...] [--moments ...]
                                      [--couplings ...]

All seeds of a job learn side by side (`stacked.py`). Each run is a line in out/dual_moments.jsonl; what is there is not
run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from moments import AS_OFTEN, COUPLINGS, MOMENTS, PAPERS, SHARE
from seeking_data import TASKS, Shuffled, Split  # in demos/, which `stacked` adds to the path
from seeking_nets import HOSTS, newborn
from stacked import Stack, StackedPair
from torch import Tensor
from tqdm import tqdm

from snn_plasticity.dual import Coupling, History
from snn_plasticity.dual.conditions.condition import decide
from snn_plasticity.dual.fitting import DataOrder

RUNS = Path("out/dual_moments.jsonl")
ALONE = ("base alone", "large alone")


class Job(NamedTuple):
    """Runs of both nets, or, where the coupling is empty, of the one that `moment` names."""

    host: str
    task: str
    moment: str
    coupling: str
    seeds: tuple[int, ...]


@cache
def data_of(task: str) -> Split:
    """Made once in each process."""
    return TASKS[task].data()


def run(job: Job) -> list[dict[str, Any]]:
    """Do it; what is worth keeping of each seed, as plain values."""
    torch.set_num_threads(1)
    found = dual(job) if job.coupling else alone(job)
    names = {"host": job.host, "task": job.task, "moment": job.moment, "coupling": job.coupling}
    return [{**names, "seed": seed, **one} for seed, one in zip(job.seeds, found, strict=True)]


def pair_of(job: Job, coupling: Coupling) -> StackedPair:
    """Both stacks, as `newborn` makes each seed's nets."""
    made = [newborn(job.host, data_of(job.task), TASKS[job.task].hidden, seed) for seed in job.seeds]
    base, large = (Stack([nets[place].model for nets in made]) for place in (0, 1))
    return StackedPair(base, large, made[0][2], coupling)


def batches(job: Job, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """x (seeds, B, ...) and y (seeds, B), each seed in its own order."""
    data = data_of(job.task)
    loader = Shuffled(data.x, data.y, TASKS[job.task].batch)
    for own in zip(*(DataOrder(loader, seed).epoch(epoch) for seed in job.seeds), strict=True):
        yield tuple(torch.stack(same) for same in zip(*own, strict=True))


def alone(job: Job) -> list[dict[str, Any]]:
    """One net alone; the base for as long as equal compute needs at the dearest coupling."""
    data, epochs = data_of(job.task), TASKS[job.task].epochs
    pair, everyone, macs, step, curves = pair_of(job, COUPLINGS["replace"]), torch.arange(len(job.seeds)), 0, 0, []
    net = pair.base if job.moment == "base alone" else pair.large
    if net is pair.base:
        epochs = round(epochs * (1.5 + 1.1 * SHARE * sum(pair.large.synapses) / sum(pair.base.synapses)))
    for epoch in range(epochs):
        for x, y in batches(job, epoch):
            net.train(everyone, x, y)
            macs, step = macs + net.macs(x), step + 1
        curves.append([[step, macs, accuracy] for accuracy in net.accuracies(data.unseen_x, data.unseen_y)])
    return [{"curve": list(curve)} for curve in zip(*curves, strict=True)]


def dual(job: Job) -> list[dict[str, Any]]:
    """Both nets."""
    data, task, moment = data_of(job.task), TASKS[job.task], MOMENTS[job.moment]
    pair, histories = pair_of(job, COUPLINGS[job.coupling]), [History() for _ in job.seeds]
    of = task.epochs * -(-len(data.x) // task.batch)
    conditions = [moment.condition(count_of(job, seed, of), of, seed) for seed in job.seeds]
    measure = moment.signals and moment.signals(pair.base)
    for epoch in range(task.epochs):
        for x, y in batches(job, epoch):
            if measure:
                for history, signals in zip(histories, measure(histories, x, y), strict=True):
                    history.add_signals(signals)
            for history in histories:
                history.note_steps_left(of)
            asked = list(map(decide, conditions, histories))
            losses = pair.step(torch.tensor(asked), x, y).tolist()
            for history, loss, motivated in zip(histories, losses, asked, strict=True):
                history.add_step(loss, motivated)
            pair.costs += moment.cost(pair.base, x)
    base = pair.base.accuracies(data.unseen_x, data.unseen_y)
    pair.up(torch.arange(len(job.seeds)))
    large = pair.large.accuracies(data.unseen_x, data.unseen_y)
    shares = [sum(history.motivated) / of for history in histories]
    names = ("base", "motivated", "share", "macs")
    return [dict(zip(names, row, strict=True)) for row in zip(base, large, shares, pair.costs.tolist(), strict=True)]


def count_of(job: Job, seed: int, of: int) -> int:
    """How many steps are to be motivated; to be as many as the paper's, its run must be there."""
    if job.moment != AS_OFTEN:
        return round(SHARE * of)
    same = {"host": job.host, "task": job.task, "moment": PAPERS, "coupling": job.coupling, "seed": seed}
    return next(round(one["share"] * of) for one in read() if same.items() <= one.items())


def jobs(args: argparse.Namespace, there: Sequence[dict[str, Any]]) -> Iterator[Job]:
    """What was asked for and is not there."""
    done = {(one["host"], one["task"], one["moment"], one["coupling"], one["seed"]) for one in there}
    arms = [(net, "") for net in ALONE] + [(m, c) for c in args.couplings for m in args.moments]
    for arm in arms:
        for task in args.tasks:
            missing = tuple(s for s in range(args.seeds) if (args.host, task, *arm, s) not in done)
            if missing:
                yield Job(args.host, task, *arm, missing)


def read(path: Path = RUNS) -> list[dict[str, Any]]:
    """What was run so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def run_all(wanted: Iterable[Job], workers: int) -> None:
    """Each run a line at the end of the file."""
    wanted = list(wanted)
    RUNS.parent.mkdir(exist_ok=True)
    with get_context("spawn").Pool(workers) as pool, RUNS.open("a", encoding="utf-8") as file:
        for found in tqdm(pool.imap_unordered(run, wanted), total=len(wanted), unit="job"):
            file.writelines(json.dumps(one) + "\n" for one in found)
            file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", choices=HOSTS, default="snntorch")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    for name, known in {"tasks": TASKS, "moments": MOMENTS, "couplings": COUPLINGS}.items():
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=list(known))
    args = parser.parse_args()
    run_all(jobs(args, read()), args.workers)


if __name__ == "__main__":
    main()
