"""`bench affect`: how mood follows good and bad news, and how many steps of affect there are in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch

from ..affect import AffectiveEstimator, AffectiveState, InternalSignals, to_neuromodulators
from ..loop import AffectiveLoop
from .spoken import opening, progress

AFFECT_SECONDS, AFFECT_ROUNDS, TIMED_STEPS = 10.0, 5, 100
LIVES = (1, 32, 1024)
STORY = (("good news", 40, 1.0), ("nothing new", 80, 0.0), ("bad news", 40, -1.0), ("nothing new", 160, 0.0))
WHAT_HAPPENS = """A prediction error of +1 at every step, then nothing, then -1, then nothing. Valence (○) is felt at
once; mood (●) follows it slowly (tau_mood = 100 steps), lasts, and colours what comes next.
"""
WHAT_IS_TIMED = """
Steps in a second, for so many lives at once. Estimator: from signals to affect. Mapping: from affect to dopamine,
acetylcholine, norepinephrine and serotonin. Whole loop: both, the gate, and what is released is felt again.
"""
LINE_EVERY, HALF = 20, 12  # steps between two lines; characters from zero to one


def bench_affect() -> int:
    """Print the story of a mood, and the throughput of estimator, mapping and loop."""
    opening("Shows how mood follows what happens, and times affect on this machine, with one thread.", AFFECT_SECONDS)
    print(WHAT_HAPPENS)
    for line in story():
        print(line)
    print(WHAT_IS_TIMED)
    print(f"  {'lives':>6}{'estimator':>14}{'mapping':>14}{'whole loop':>14}{'lives × steps of the loop':>30}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for batch in LIVES:
            progress(f"{batch} lives …")
            estimate, mapping, loop = (1.0 / seconds for seconds in seconds_of(batch))
            print(f"  {batch:>6,}{estimate:>14,.0f}{mapping:>14,.0f}{loop:>14,.0f}{batch * loop:>30,.0f}", flush=True)
    finally:
        torch.set_num_threads(threads)
    return 0


def story() -> Iterator[str]:
    """Valence and mood, line by line."""
    estimator, state, step = AffectiveEstimator(), None, 0
    yield f"  {'step':>5}  {'what happens':<13}{'valence':>8}{'mood':>8}   {'-1':<{HALF}}0{'1':>{HALF}}"
    for what, steps, error in STORY:
        for _ in range(steps):
            state = estimator.estimate(InternalSignals(reward_prediction_error=error), state)
            step += 1
            if step % LINE_EVERY == 0:
                valence, mood = float(state.valence), float(state.mood[0, 0])
                yield f"  {step:>5}  {what:<13}{valence:>8.2f}{mood:>8.2f}   {drawn(valence, mood)}"


def drawn(valence: float, mood: float) -> str:
    """Both between -1 and 1: a ring for valence, a full dot for mood.

    >>> drawn(1.0, -0.5)
    '      ●     |           ○'
    """
    line = list(" " * HALF + "|" + " " * HALF)
    line[HALF + round(HALF * valence)] = "○"
    line[HALF + round(HALF * mood)] = "●"
    return "".join(line)


@torch.no_grad()
def seconds_of(batch: int) -> tuple[float, float, float]:
    """A step of the estimator, of the mapping, and of the whole loop, for so many lives."""
    reward, uncertainty, surprise, novelty = torch.rand(4, batch, generator=torch.Generator().manual_seed(0))
    estimator, loop = AffectiveEstimator(), AffectiveLoop()
    signals = InternalSignals(reward, uncertainty, surprise, novelty)
    felt, heard = estimator.estimate(signals), {"reward": reward, "novelty": novelty, "uncertainty": uncertainty}

    def estimating() -> None:
        state: AffectiveState | None = None
        for _ in range(TIMED_STEPS):
            state = estimator.estimate(signals, state)

    def mapping() -> None:
        for _ in range(TIMED_STEPS):
            to_neuromodulators(felt)

    def looping() -> None:
        state = loop.init(batch)
        for _ in range(TIMED_STEPS):
            state = loop.advance(heard, state)

    return timed(estimating), timed(mapping), timed(looping)


def timed(run: Callable[[], None]) -> float:
    """Seconds of one of its steps: the median of some rounds, after one that does not count."""
    run()
    took = []
    for _ in range(AFFECT_ROUNDS):
        start = time.perf_counter()
        run()
        took.append((time.perf_counter() - start) / TIMED_STEPS)
    return median(took)
