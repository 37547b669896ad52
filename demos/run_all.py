"""Runs every demo with its default settings and every notebook, and writes down what was measured.

    python demos/run_all.py                 in the environment that runs it
    python demos/run_all.py --fresh         in a new one, which is made for it and removed afterwards
    python demos/run_all.py cue agent       these alone; the rest of the table stays

Two processes at once, one thread each. What each prints goes to out/run_all/NAME.log. A demo that fails stops no other;
the exit code is 1 where a claim is not kept, or something did not run. The table is `demos/RESULTS.md`, the same for
programs `demos/results.json`, and a small picture of each is in `docs/figures/gallery/`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from run_list import ROOT, Run, everything, seconds_of, span

EXTRAS = "demos,notebooks"
OUT = ROOT / "out" / "run_all"
UNKNOWN = 60.0  # seconds, of what was never timed
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {"MPLBACKEND": "Agg"}


class Ended(NamedTuple):
    """A run, its exit code, the seconds of a core that it took, and those that went by meanwhile."""

    run: Run
    code: int
    seconds: float
    passed: float


def run_one(run: Run, out: Path) -> Ended:
    """Wait for one; what it prints, its numbers and its figure go to `out`."""
    for left_over in (out / f"{run.name}.json", out / f"{run.name}.png"):
        left_over.unlink(missing_ok=True)
    start = time.perf_counter()
    with (out / f"{run.name}.log").open("w", encoding="utf-8") as log:
        command = [sys.executable, *run.arguments(out)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | ONE_THREAD)
        code, seconds = waited_for(process)
    passed = time.perf_counter() - start
    return Ended(run, code, passed if seconds is None else seconds, passed)


def waited_for(process: subprocess.Popen[bytes]) -> tuple[int, float | None]:
    """Its exit code, and the seconds of a core that it took, where the system tells."""
    if not hasattr(os, "wait4"):
        return process.wait(), None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def run_side_by_side(runs: Sequence[Run], out: Path, processes: int) -> Iterator[tuple[Ended, str]]:
    """All of them, the longest first, so many at once; each as it ends, with a line on how far it all is."""
    out.mkdir(parents=True, exist_ok=True)
    guess = {run: seconds_of(run.name) or UNKNOWN for run in runs}
    ended: dict[Run, Ended] = {}
    with ThreadPoolExecutor(processes) as pool:
        longest_first = sorted(runs, key=lambda run: -guess[run])
        for future in as_completed([pool.submit(run_one, run, out) for run in longest_first]):
            one = future.result()
            ended[one.run] = one
            how = "done" if one.code == 0 else f"FAILED (exit code {one.code}; see {out / one.run.name}.log)"
            rest = left(guess, ended, processes)
            yield one, f"{len(ended):>3} of {len(runs)}  {one.run.name:<28} {how}, {span(one.passed)}{rest}"


def left(guess: dict[Run, float], ended: dict[Run, Ended], processes: int) -> str:
    """How long the others will take: what they took before, times how much slower or faster this machine is today."""
    others = [seconds for run, seconds in guess.items() if run not in ended]
    if not others:
        return ""
    pace = sum(one.passed for one in ended.values()) / sum(guess[run] for run in ended)
    return f"; about {span(pace * max(sum(others) / processes, max(others)))} left"


def in_a_fresh_environment(arguments: list[str]) -> int:
    """Make a virtual environment, install this checkout into it, and run there; the exit code."""
    with tempfile.TemporaryDirectory(prefix="snn_plasticity-") as folder:
        start = time.perf_counter()
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        print(f"A new environment in {folder}: python -m venv, then pip install '.[{EXTRAS}]' …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f".[{EXTRAS}]"]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if subprocess.run(install, cwd=ROOT, env=clean).returncode:
            print("The installation failed; pip says above why.", file=sys.stderr)
            return 1
        print(f"Installed in {span(time.perf_counter() - start)}.\n", flush=True)
        return subprocess.run([str(python), str(Path(__file__)), *arguments], cwd=ROOT, env=clean).returncode


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {run.name: run for run in everything()}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"these alone, of: {', '.join(known)}")
    parser.add_argument("--fresh", action="store_true", help="make a new environment, and run there")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="at once (default: %(default)s)")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"{', '.join(unknown)} is no demo and no notebook; expected some of {', '.join(known)}.")
    if args.processes < 1:
        parser.error(f"--processes is {args.processes}; expected 1 or more.")
    if args.fresh:
        return in_a_fresh_environment([word for word in argv if word != "--fresh"])
    from run_page import recorded, write

    runs = [known[name] for name in args.names] or list(known.values())
    guess = sum(seconds_of(run.name) or UNKNOWN for run in runs) / args.processes
    print(f"{len(runs)} demos and notebooks, {args.processes} at once; about {span(guess)}.", flush=True)
    start, records = time.perf_counter(), []
    for one, line in run_side_by_side(runs, OUT, args.processes):
        print(line, flush=True)
        records.append(recorded(one.run, OUT, one.code, one.seconds))
        whole = not args.names and len(records) == len(runs)
        write(records, time.perf_counter() - start, args.processes, whole=whole)
    broken = [record["name"] for record in records if not record["kept"]]
    print(f"All claims are kept: {ROOT / 'demos' / 'RESULTS.md'}" if not broken else f"Not kept: {', '.join(broken)}.")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
