"""Random histories on the package and on the tests' NumPy reference: how many, how far apart, how many fail.

    python benchmarks/reliability.py --histories 100000 --seed 0 --json out/histories.json

The table goes into `docs/reliability.md`; histories that fail go, as programs of their own, into the JSON file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path

import torch
from results import put_between
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from histories import FAMILIES, TITLES, family_of  # noqa: E402
from histories.story import Tally, events_of, failure, shrunk, told  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by benchmarks/reliability.py -->", "<!-- end -->"
CHUNK = 50


def play(first: int) -> dict[str, tuple[int, Tally, list[dict[str, object]]]]:
    """A chunk of histories: by family, how many, what was compared, and which failed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[str, tuple[int, Tally, list[dict[str, object]]]] = {}
    for seed in range(first, first + CHUNK):
        family = family_of(seed)
        count, tally, failed = results.get(family, (0, Tally(), []))
        player = FAMILIES[family]
        found = failure(player, seed, events_of(player, seed), tally)
        if found is not None:
            events = shrunk(player, seed, found[0])
            program = told(player, seed, events)
            failed.append({"seed": seed, "events": events, "error": str(found[1])[:2000], "program": program})
        results[family] = (count + 1, tally, failed)
    return results


def worst(tally: Tally, single: bool) -> str:
    """The largest error in one precision."""
    errors = [error for kind, error in tally.worst.items() if kind.endswith("(fp32)") == single]
    return f"{max(errors):.0e}" if errors else "-"


def table(results: dict[str, tuple[int, Tally, list]], seed: int, seconds: float, processes: int) -> str:
    """The section of the page."""
    lines = [
        "| | histories | events | comparisons | largest error, fp64 | fp32 | failed |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    total = [0, 0, 0, 0]
    for family, (count, tally, failed) in sorted(results.items(), key=lambda item: list(FAMILIES).index(item[0])):
        row = (count, tally.events, tally.comparisons, len(failed))
        total = [a + b for a, b in zip(total, row, strict=True)]
        numbers = [f"{n:,}" for n in row[:3]]
        lines.append(
            f"| {TITLES[family]} | {' | '.join(numbers)} | {worst(tally, False)} | {worst(tally, True)} | {row[3]} |"
        )
    lines.append(f"| all | {total[0]:,} | {total[1]:,} | {total[2]:,} | | | {total[3]} |")
    how = f"Seed {seed}, {seconds / 60:.0f} minutes in {processes} processes, torch {torch.__version__.split('+')[0]}."
    return "\n".join([*lines, "", how])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, help="stop after so many, with what has been played by then")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-page", action="store_true", help="leave docs/reliability.md as it is")
    given = parser.parse_args()
    begin, results = time.monotonic(), {}
    starts = [given.seed * 10**7 + k for k in range(0, given.histories, CHUNK)]
    bar = tqdm(total=len(starts) * CHUNK, unit="history", smoothing=0.05)
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool, bar:
        for chunk in pool.imap_unordered(play, starts):
            if given.minutes is not None and time.monotonic() - begin > 60 * given.minutes:
                break
            for family, (count, tally, failed) in chunk.items():
                before = results.get(family, (0, Tally(), []))
                results[family] = (before[0] + count, before[1].with_(tally), before[2] + failed)
            bar.update(CHUNK)
            bar.set_postfix(failed=sum(len(failed) for _, _, failed in results.values()))
    section = table(results, given.seed, time.monotonic() - begin, given.processes)
    print(section)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        found = {f: {"histories": n, **vars(tally), "failed": failed} for f, (n, tally, failed) in results.items()}
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if not given.no_page:
        put_between(BEGIN, END, section, PAGE)


if __name__ == "__main__":
    main()
