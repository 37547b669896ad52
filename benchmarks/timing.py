"""CPU time on one thread, contestants taking turns: A B A B, medians."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def one_thread() -> None:
    """This process and those it starts compute on one thread."""
    os.environ.update(ONE_THREAD)
    try:
        import torch
    except ImportError:  # a simulator's own environment may have none
        return
    torch.set_num_threads(1)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process in `work`: what neighbours do on the machine is not counted."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def in_turns(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of what each contestant measures of itself, after one turn of warming up."""
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, play in contestants.items():
            seconds = play()
            if turn:
                measured[name].append(seconds)
    return {name: statistics.median(values) for name, values in measured.items()}
