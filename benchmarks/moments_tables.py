"""What the runs of dual_moments.py show: collected into dual_moments.json, and laid out in tables.

    python benchmarks/moments_tables.py      collects out/dual_moments.jsonl, writes RESULTS.md and docs/dual.md

Differences are between runs of the same seed; ± is the standard error; bold is beyond two of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from moments import AS_OFTEN, COUPLINGS, MOMENTS, PAPERS
from results import machine, put_between, table, write

from snn_plasticity.dual.report import Estimate

HERE = Path(__file__).parent
COLLECTED, PAGE = HERE / "dual_moments.json", HERE.parent / "docs" / "dual.md"
TASKS = ("digits", "mnist1d", "rows", "latencies", "photographs", "wines")
RUNS = Path("out/dual_moments.jsonl")
CONTROL = "at random"
TEXT = """## Dual training: when, and how

Accuracies of ten seeds on six tasks; what is in the columns is told in docs/dual.md.

"""
Arms = Mapping[tuple[str, str, str, str], Mapping[str, Sequence[float]]]


def collect(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each host, task, coupling and moment; in it a list over the seeds of each quantity."""
    alone, arms = {}, defaultdict(list)
    for run in sorted(runs, key=lambda run: run["seed"]):
        if run["coupling"]:
            arms[run["host"], run["task"], run["coupling"], run["moment"]].append(run)
        else:
            alone[run["host"], run["task"], run["moment"], run["seed"]] = np.array(run["curve"]).T
    entries = []
    for (host, task, coupling, moment), members in arms.items():
        names = {"host": host, "task": task, "coupling": coupling, "moment": moment}
        nets = [[alone.get((host, task, net, run["seed"])) for net in ("base alone", "large alone")] for run in members]
        known = [
            (run, *curves) for run, curves in zip(members, nets, strict=True) if all(c is not None for c in curves)
        ]
        if known:
            rows = [_beside(run, small, large) for run, small, large in known]
            entries.append({**names, **{name: [row[name] for row in rows] for name in rows[0]}})
    return entries


def _beside(run: Mapping[str, Any], small: np.ndarray, large: np.ndarray) -> dict[str, float]:
    """A dual run and each net alone, at as many steps and at as much compute."""
    steps, macs = large[0, -1], run["macs"]
    found = {
        "seed": run["seed"],
        "base": run["base"],
        "motivated": run["motivated"],
        "share": run["share"],
        "base, equal steps": np.interp(steps, small[0], small[2]),
        "base, equal compute": np.interp(macs, small[1], small[2]),
        "large, equal steps": large[2, -1],
        "large, equal compute": np.interp(macs, large[1], large[2]),
        "compute": macs / large[1, -1],
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def load(path: Path = COLLECTED) -> Arms:
    """What was collected, by host, task, coupling and moment."""
    entries = json.loads(path.read_text(encoding="utf-8"))["arms"]
    return {(e["host"], e["task"], e["coupling"], e["moment"]): e for e in entries}


def save(runs: Iterable[Mapping[str, Any]], path: Path = COLLECTED) -> None:
    """Collect, and write each entry as a line."""
    lines = ",\n".join(json.dumps(entry) for entry in collect(runs))
    path.write_text(f'{{"machine": {json.dumps(machine())},\n"arms": [\n{lines}\n]}}\n', encoding="utf-8")


def value(of: Sequence[float]) -> str:
    """Mean ± standard error, as .936 ± .003."""
    mean, error = Estimate.of(of)
    return f"{_short(f'{mean:.3f}')} ± {_short(f'{error:.3f}')}"


def difference(a: Sequence[float], b: Sequence[float]) -> str:
    """Mean ± standard error of paired differences; bold beyond two of them."""
    mean, error = gap = Estimate.of(np.subtract(a, b).tolist())
    text = f"{_short(f'{mean:+.3f}'.replace('-', '−'))} ± {_short(f'{error:.3f}')}"
    return f"**{text}**" if beyond(gap) else text


def beyond(gap: Estimate) -> int:
    """1 and −1 for more than two standard errors above and below nothing; 0 between."""
    return int(gap.mean > 2 * gap.error) - int(gap.mean < -2 * gap.error)


def _short(number: str) -> str:
    return number.replace("0.", ".", 1)


def moments_table(arms: Arms, net: str, host: str = "snntorch", coupling: str = "replace") -> str:
    """For every moment and task, what a net gains over the same number of steps at random."""
    rows = []
    for moment in MOMENTS:
        found = [against_chance(arms, host, task, coupling, moment, net) for task in TASKS]
        signs = [beyond(Estimate.of(np.subtract(*pair).tolist())) for pair in found if pair]
        if moment in (CONTROL, AS_OFTEN) or not signs:
            continue
        cells = [difference(*pair) if pair else "" for pair in found]
        share = np.mean([np.mean(arm["share"]) for task in TASKS if (arm := arms.get((host, task, coupling, moment)))])
        rows.append([moment, *cells, f"{signs.count(1)} / {signs.count(-1)}", _short(f"{share:.2f}")])
    level = [value(arms[host, task, coupling, CONTROL][net]) for task in TASKS]
    return table(["recruited", *TASKS, "better / worse", "share"], [[CONTROL, *level, "", ".30"], *rows])


def against_chance(arms: Arms, host: str, task: str, coupling: str, moment: str, net: str) -> tuple[Any, Any] | None:
    """A net with a moment and with its control, over the seeds that both have."""
    control = AS_OFTEN if moment == PAPERS else CONTROL
    one, other = (arms.get((host, task, coupling, m)) for m in (moment, control))
    if one is None or other is None:
        return None
    drawn = dict(zip(other["seed"], other[net], strict=True))
    both = [(mine, drawn[seed]) for seed, mine in zip(one["seed"], one[net], strict=True) if seed in drawn]
    return tuple(zip(*both, strict=True))


def coupling_table(arms: Arms, net: str, alone: str, host: str = "snntorch") -> str:
    """For every coupling, and moments that went with several, what a net is ahead of the same net alone."""
    tried = {(coupling, moment) for _, _, coupling, moment in arms}
    moments = [m for m in MOMENTS if sum((coupling, m) in tried for coupling in COUPLINGS) > 1]
    rows = []
    for coupling in COUPLINGS:
        for moment in moments:
            found = [arms.get((host, task, coupling, moment)) for task in TASKS]
            if all(found):
                compute = np.mean([np.mean(arm["compute"]) for arm in found])
                cells = (difference(arm[net], arm[alone]) for arm in found)
                rows.append([coupling, moment, *cells, _short(f"{compute:.2f}")])
    return table(["coupling", "recruited", *TASKS, "compute"], rows)


def levels_table(arms: Arms, coupling: str, moment: str, host: str = "snntorch") -> str:
    """Accuracies of both nets and of each alone, task by task, and what both cost as a share of the large one."""
    names = [
        "base",
        "base, equal steps",
        "base, equal compute",
        "motivated",
        "large, equal compute",
        "large, equal steps",
    ]
    header = [name.replace(", equal", " alone, equal") for name in names]
    found = {task: arms[host, task, coupling, moment] for task in TASKS if (host, task, coupling, moment) in arms}
    rows = [
        [task, *(value(arm[name]) for name in names), _short(f"{np.mean(arm['compute']):.2f}")]
        for task, arm in found.items()
    ]
    return table(["", *header, "compute"], rows)


def pages(arms: Arms) -> dict[str, str]:
    """Every table of the page on dual training, by the name of its marks."""
    return {
        "paper": levels_table(arms, "replace", "loss fell twice"),
        "taught": levels_table(arms, "teach", "at random"),
        "norse": levels_table(arms, "teach", "at random", "norse"),
        "base ahead": coupling_table(arms, "base", "base, equal steps"),
        "large ahead": coupling_table(arms, "motivated", "large, equal compute"),
        "large by moment": moments_table(arms, "motivated"),
        "base by moment": moments_table(arms, "base"),
    }


def main() -> None:
    if RUNS.exists():
        save([json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()])
    made = pages(load())
    for name, text in made.items():
        put_between(f"<!-- {name} -->", f"<!-- /{name} -->", text, PAGE)
    machine_line = json.loads(COLLECTED.read_text(encoding="utf-8"))["machine"]
    write("dual_moments", TEXT + "\n\n".join([machine_line, *(f"{name}:\n\n{text}" for name, text in made.items())]))


if __name__ == "__main__":
    main()
