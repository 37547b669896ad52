"""What recording costs: a whole step, net and learner, with and without `learner.record()`.

    python benchmarks/recording.py [--quick] [--json PATH]

The net of the README, 64-100-10, in snnTorch and Norse: 64 samples and one reward after 25 steps, and one sample that
learns at every step. Recorded and unrecorded runs take turns (A B B A), on one thread; medians of CPU time, in several
fresh processes, since where its memory lies sways a process by some percent. After the clock, both must have the same
weights, to the last bit. Some minutes.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
import results
from command import parser

from snn_plasticity import PlasticityConfig, attach

N_IN, N_HIDDEN, N_OUT, DENSITY = 64, 100, 10, 0.3
HEADER = ("net", "work", "µs/step", "recorded", "more", "of all", "asked", "same bits")
ASKED, PROCESSES = 0.05, 5
TEXT = f"""## Recording

A whole step, net and learner, of the README's net ({N_IN}-{N_HIDDEN}-{N_OUT}) in µs of CPU time, with and without
`learner.record()` as it is by default: both sides of both layers, eight synapses of each, every third factor. Runs take
turns. *More* is the median of the ratios of neighbouring runs; of {PROCESSES} processes the one in the middle is shown,
beside the least and the most of them. Asked is less than {ASKED:.0%}.
"""


class Work(NamedTuple):
    """How a net is played: samples, steps of a run, whether it learns at every step."""

    name: str
    batch: int
    steps: int
    closed: bool


WORKS = (Work("64 samples, reward after 25 steps", 64, 25, False), Work("1 sample, learns at every step", 1, 100, True))


def of_snntorch() -> tuple[nn.Module, Callable[[Tensor, Any], Any]]:
    """The net, and what makes a step of it."""
    import snntorch

    parts = nn.ModuleList(
        [nn.Linear(N_IN, N_HIDDEN), snntorch.Leaky(0.95), nn.Linear(N_HIDDEN, N_OUT), snntorch.Leaky(0.95)]
    )

    def step(x: Tensor, state: Any) -> Any:
        one, two = state or (parts[1].init_leaky(), parts[3].init_leaky())
        spikes, one = parts[1](parts[0](x), one)
        _, two = parts[3](parts[2](spikes), two)
        return one, two

    return parts, step


def of_norse() -> tuple[nn.Module, Callable[[Tensor, Any], Any]]:
    """The same in Norse."""
    import norse.torch as norse

    low = norse.LIFParameters(v_th=torch.tensor(0.05))
    net = norse.SequentialState(
        nn.Linear(N_IN, N_HIDDEN), norse.LIFCell(low), nn.Linear(N_HIDDEN, N_OUT), norse.LIFCell(low)
    )
    return net, lambda x, state: net(x, state)[1]


HOSTS = {"snnTorch": of_snntorch, "Norse": of_norse}


def player(host: str, work: Work, *, recorded: bool) -> tuple[Callable[[], None], nn.Module, Any]:
    """What plays a run of the work, the net, and its record."""
    torch.manual_seed(0)
    net, step = HOSTS[host]()
    learner = attach(net, PlasticityConfig.production())
    record = learner.record() if recorded else None
    trains = (torch.rand(work.steps, work.batch, N_IN) < DENSITY).float()
    rewards = torch.randn(work.steps, work.batch)

    @torch.no_grad()
    def play() -> None:
        state = None
        for x, reward in zip(trains, rewards, strict=True):
            state = step(x, state)
            if work.closed:
                learner.step(reward=reward)
        if not work.closed:
            learner.step(reward=rewards[0])
            learner.reset()

    return play, net, (learner, record)


def measure(host: str, work: Work, runs: int) -> dict[str, Any]:
    """One row."""
    plain, net, _kept = player(host, work, recorded=False)
    recorded, twin, (_, record) = player(host, work, recorded=True)
    pairs: list[tuple[float, float]] = []
    for run in range(runs + 3):
        both = [0.0, 0.0]
        for which in (0, 1) if run % 2 else (1, 0):
            start = time.process_time()
            (plain, recorded)[which]()
            both[which] = (time.process_time() - start) / work.steps
        if run >= 3:
            pairs.append((both[0], both[1]))
    assert record.spikes(record.layers[0]).post.any()
    same = all(map(torch.equal, net.parameters(), twin.parameters()))
    return {
        "host": host, "work": work.name, "plain": median(a for a, _ in pairs), "recorded": median(b for _, b in pairs),
        "more": median(b / a for a, b in pairs) - 1, "same": same, "memory": record.nbytes,
    }  # fmt: skip


def alone(task: tuple[str, Work, int]) -> dict[str, Any]:
    """One row, in a process of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that one reward for all neurons teaches little
    return measure(*task)


def repeated(host: str, work: Work, runs: int, processes: int) -> dict[str, Any]:
    """The row of the median process, and how far the others are from it."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = sorted(pool.map(alone, [(host, work, runs)] * processes, chunksize=1), key=lambda row: row["more"])
    spread = {"least": found[0]["more"], "most": found[-1]["more"], "same": all(row["same"] for row in found)}
    return found[len(found) // 2] | spread


def main(argv: list[str] | None = None) -> int:
    """Measure and write the section."""
    args = parser(__doc__).parse_args(argv)
    runs, processes = (20, 1) if args.quick else (100, PROCESSES)
    tasks = [(host, work) for host in HOSTS for work in WORKS]
    rows = [repeated(*task, runs, processes) for task in tqdm(tasks, desc="recording", disable=None)]
    cells = [
        (r["host"], r["work"], results.micro(r["plain"]), results.micro(r["recorded"]), f"{r['more']:+.1%}",
         f"{r['least']:+.1%} to {r['most']:+.1%}", f"< {ASKED:.0%}", "yes" if r["same"] else "no")
        for r in rows
    ]  # fmt: skip
    shown = results.table(HEADER, cells)
    print(shown)
    results.write_json(args.json, "recording", rows)
    if not args.quick:
        results.write("recording", f"{TEXT}\n{results.machine()}\n\n{shown}\n")
    return 0 if all(row["same"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
