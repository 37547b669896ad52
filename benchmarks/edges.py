"""A list of edges: 1000 neurons with 100 synapses each at 10 Hz, beside Brian2, one table."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NamedTuple

import ours
import results
import trains as spikes
from contests import Bar
from effort import Effort, Report, difference, disagreeing, take_turns
from elsewhere import Elsewhere
from tqdm import tqdm
from trains import Rule

from snn_plasticity import Convention

RULE = Rule()
EXACT = Convention(eligibility_decay="exponential")
STEPS = 1000
HEADER = ("Brian2", "its µs/step", "ours, edges", "ratio", "ours, full matrix", "ratio", "asked", "agreed to")


NOTE = """1000 neurons with 100 synapses each onto one another, 1 % (10 Hz): the same spikes replayed in both, and no
neurons simulated. Ours as a list of edges, and as a full matrix out of which the edges are read; the change of 1000
steps is applied at their end."""


class Variant(NamedTuple):
    """A way to run it in Brian2, and how often a reward comes."""

    title: str
    function: str
    every: int
    bar: Bar


CYTHON, STANDALONE = Bar(2, 4), Bar(0.5, 1)
VARIANTS = (
    Variant("Cython, reward each step", "cython_clock", 1, CYTHON),
    Variant("Cython, reward each 100 steps", "cython_event", 100, CYTHON),
    Variant("C++ standalone, reward each step", "standalone_clock", 1, STANDALONE),
    Variant("C++ standalone, reward each 100 steps", "standalone_event", 100, STANDALONE),
)


class Line(NamedTuple):
    """What was measured; seconds per step."""

    variant: Variant
    theirs: float
    edges: float
    matrix: float
    difference: float

    def cells(self) -> list[str]:
        """A row of the table."""
        cells = [self.variant.title, results.micro(self.theirs)]
        for seconds in (self.edges, self.matrix):
            cells += [results.micro(seconds), results.ratio(self.theirs / seconds)]
        return [*cells, str(self.variant.bar), f"{self.difference:.0e}"]


def report(effort: Effort, only: str, pythons: dict[str, str]) -> Report:
    """Every variant, if Brian2 is there."""
    heading = f"### Brian2\n\n{NOTE}\n\n"
    python = pythons.get("brian2", sys.executable)
    if "brian2" not in pythons and find_spec("brian2") is None:
        return Report(heading + "Skipped: brian2 (not installed in this environment).", [])
    variants = [variant for variant in VARIANTS if only.lower() in f"brian2 {variant.title}".lower()]
    variants = variants[:1] if effort.quick else variants
    lines = [measure(variant, effort, python) for variant in tqdm(variants, desc="Brian2")]
    wrong = disagreeing((line.variant.title, line.difference) for line in lines)
    rows = [line._asdict() | {"variant": line.variant.title} for line in lines]
    return Report(heading + results.table(HEADER, [line.cells() for line in lines]), wrong, rows)


def measure(variant: Variant, effort: Effort, python: str) -> Line:
    """First whether both agree on every weight, then how long each takes."""
    trains = spikes.recurrent(STEPS, every=variant.every)
    theirs = Elsewhere(python, "brian2_edges", variant.function, trains, RULE)
    players = {
        "theirs": theirs,
        "edges": ours.change_of_window(trains, RULE, EXACT),
        "matrix": ours.change_of_edges(trains, RULE, EXACT),
    }
    for player in players.values():
        player.play_all()
    found = max(difference(players[name].change(), theirs.change()) for name in ("edges", "matrix"))
    times = take_turns(players, effort)
    theirs.close()
    return Line(variant, **times, difference=found)
