"""How long a step of learning takes here and elsewhere, on the same spike trains.

    python benchmarks/against_others.py [--quick] [--json PATH] [--only WORD] [--python SIMULATOR=/path/to/python ...]

One thread, CPU time, contestants taking turns, medians. Only plasticity is timed: spikes are given. Before anything is
timed, both sides play the same trains and their weight changes are compared. A simulator that is missing is skipped;
`--python` (or BENCHMARK_PYTHONS="brian2=/path;norse=/path") plays it in an environment of its own.
"""

from __future__ import annotations

import argparse
import os
import sys

import edges
import own
import peers
import results
from command import parser
from effort import FULL, QUICK, Report
from timing import one_thread

PARTS = {"peers": peers.report, "own": own.report, "edges": edges.report}
INTRODUCTION = """## Against others

Learning alone, in µs of CPU time per step of the whole batch: pair STDP with an eligibility trace (τ± = 20 steps,
τ_e = 200, A₊ = 0.01, A₋ = 0.0105: no clamp binds), Bernoulli trains at 5 % (1 % for the edge list), a reward for
each sample in every step. *Agreed to* is the largest difference between both weight changes over the largest change,
measured before the clock starts. *Asked* is the ratio that has to be reached, and the one aimed at.
"""


def arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--only", default="", metavar="WORD", help="only lines with this word; nothing is written")
    made.add_argument("--part", choices=PARTS, help="one table; nothing is written")
    made.add_argument("--python", action="append", default=[], metavar="SIMULATOR=PATH")
    return made.parse_args()


def pythons(given: list[str]) -> dict[str, str]:
    """Which simulator runs in which Python."""
    pairs = [pair for pair in os.environ.get("BENCHMARK_PYTHONS", "").split(";") if pair] + given
    for pair in pairs:
        if "=" not in pair:
            sys.exit(f"--python {pair}; expected SIMULATOR=/path/to/python, such as brian2=/opt/brian/bin/python.")
    return dict(pair.split("=", 1) for pair in pairs)


def main() -> None:
    options = arguments()
    one_thread()
    effort = QUICK if options.quick else FULL
    chosen = [options.part] if options.part else list(PARTS)
    kept = not (options.quick or options.only or options.part)
    reports: list[Report] = []
    for name in chosen:  # written as far as it is known, since the whole takes its time
        reports.append(PARTS[name](effort, options.only, pythons(options.python)))
        text = "\n\n".join([INTRODUCTION.strip(), results.machine(), *(report.text for report in reports)])
        if kept:
            results.write("against_others", text)
    print(text)
    results.write_json(options.json, "against_others", [row for report in reports for row in report.rows])
    disagreements = [line for report in reports for line in report.disagreements]
    if disagreements:
        sys.exit("These disagree, so that their ratios mean nothing: " + "; ".join(disagreements))


if __name__ == "__main__":
    main()
