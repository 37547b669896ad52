"""How much memory learning takes beside the network: B = 32, 1000×1000, so that e of all samples is 122 MiB.

    python benchmarks/memory.py [--quick] [--json PATH]

Every line is played in processes of its own: each makes trains and weight and plays a small layer to load what there is
to load, then the peak of resident memory above that is what learning takes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import naive
import ours
import results
import shown
import trains as spikes
from command import parser
from players import Player
from timing import one_thread
from tqdm import tqdm
from trains import Rule, Size, Trains

from snn_plasticity import _compiled

SIZE, QUICK_SIZE, WARM = Size(1000, 1000, 32), Size(500, 500, 32), Size(300, 300, 4)
STEPS, RULE, MIB = 256, Rule(), 2**20
PROCESSES = 5
HEADER = ("work", "peak above the network, MiB", "in sizes of e", "asked")
TEXT = f"""## Memory

Peak of resident memory above network and trains, median of {PROCESSES} processes for each line: {SIZE}, {STEPS} steps
at 5 %. One e of all samples is {4 * SIZE.n_pre * SIZE.n_post * SIZE.batch / MIB:.0f} MiB.
"""


class Work(NamedTuple):
    """What is played, and what is asked of it."""

    title: str
    build: Callable[[Trains, Rule], Player]
    asked: str = ""


WORK = {
    "naive": Work("naive, out of place, Δw", naive.three_factor),
    "plain": Work("plain path, e", lambda trains, rule: ours.eligibility_by_step(trains, rule)),
    "change": Work("Δw of a window", ours.change_of_window, "≤ 0.3 e"),
    "eligibility": Work("e of a window", ours.eligibility_of_window, "≤ e + 100 MiB"),
    "observe": Work("observed step by step, one reward at the end", ours.reward_at_end, "≤ 0.3 e"),
    "shared": Work("closed loop, one reward for all", ours.closed_loop),
}
for _name, _config in shown.presets().items():
    WORK[_name] = Work(
        f"observed step by step, {_name}",
        lambda trains, rule, config=_config.eligibility: ours.reward_at_end(trains, rule, config),
    )


def resident_peak() -> int:
    """Largest resident memory so far, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def forget_peak() -> None:
    """From here on, the peak is counted anew; what was freed is given back first, so that its reuse is counted."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def worker(name: str, size: Size) -> None:
    """Print the bytes that one kind of work takes."""
    one_thread()
    steps = 6 if name == "naive" else STEPS
    _compiled.loops()  # numba is no memory of the work
    small, trains = spikes.bernoulli(WARM, STEPS), spikes.bernoulli(size, steps)
    WORK[name].build(small, RULE).play_all()
    player = WORK[name].build(trains, RULE)
    forget_peak()
    before = resident_peak()
    player.play_all()
    print(resident_peak() - before)


def measure(name: str, size: Size) -> int:
    """The same in processes of its own: the median, since where the allocator puts things is chance."""
    command = [sys.executable, __file__, "--worker", name, *map(str, size)]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(PROCESSES)]
    return median_low(int(text.split()[-1]) for text in said)


def row(name: str, size: Size, taken: int) -> list[str]:
    e = 4 * size.n_pre * size.n_post * size.batch
    return [WORK[name].title, f"{taken / MIB:,.0f}", f"{taken / e:.2f}", WORK[name].asked]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        worker(options.worker[0], Size(*map(int, options.worker[1:])))
        return
    size = QUICK_SIZE if options.quick else SIZE
    taken = {name: measure(name, size) for name in tqdm(WORK, desc="memory")}
    rows = [row(name, size, bytes) for name, bytes in taken.items()]
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows)])
    print(text)
    if not options.quick:
        results.write("memory", text)
    results.write_json(options.json, "memory", [{"size": str(size), "bytes above the network": taken}])


if __name__ == "__main__":
    main()
