"""What becomes of a run of all demos: a table to read, the same for programs, and a small picture of each."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image
from run_list import MEASURED, ROOT, Run, everything, span

GALLERY = ROOT / "docs" / "figures" / "gallery"
PAGE = ROOT / "demos" / "RESULTS.md"
LARGEST, WIDTHS, COLOURS = 120_000, (1200, 1000, 850, 700, 550), 128  # bytes; pixels; of a small picture
HEAD = """# What the demos measured

As `python demos/run_all.py` writes it: demos with their default settings, and notebooks, {processes} at once, one
thread each (Python {python}, torch {torch}; {minutes}). A demo ends with exit code 1 where a claim is not kept; a
notebook has to print what is stored in it. Times are those of one core.

| | what it shows | time | claims kept |
|---|---|---:|---|
"""


def recorded(run: Run, out: Path, code: int, seconds: float) -> dict[str, Any]:
    """What there is to know of a run that has ended."""
    told, drawn = out / f"{run.name}.json", out / f"{run.name}.png"
    findings = json.loads(told.read_text(encoding="utf-8"))["findings"] if told.exists() else {}
    figure = small(drawn, GALLERY / f"{run.name}.png") if drawn.exists() else None
    return {
        "name": run.name, "kind": run.kind, "sentence": run.sentence, "command": run.command,
        "seconds": round(seconds, 1), "exit": code, "findings": findings,
        "kept": code == 0 and bool(findings) and all(finding["kept"] for finding in findings.values()),
        "figure": None if figure is None else figure.relative_to(ROOT).as_posix(),
    }  # fmt: skip


def small(drawn: Path, path: Path) -> Path:
    """The same picture, as wide as may be within `LARGEST` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(drawn).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    for width in WIDTHS:
        width = min(width, picture.width)
        scaled = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        scaled.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            break
    return path


def write(records: list[dict[str, Any]], seconds: float, processes: int, *, whole: bool) -> None:
    """The table and its twin for programs; runs of some demos take their places among the others."""
    about = {
        "minutes": round(seconds / 60, 1) if whole else None, "processes": processes,
        "python": platform.python_version(), "torch": version("torch").partition("+")[0],
    }  # fmt: skip
    if not whole and MEASURED.exists():
        before = json.loads(MEASURED.read_text(encoding="utf-8"))
        about = before["about"]
        records = [*records, *before["runs"]]
    first: dict[str, dict[str, Any]] = {}
    for record in records:
        first.setdefault(record["name"], record)
    runs = [first[run.name] for run in everything() if run.name in first]
    new = MEASURED.with_suffix(".new")
    new.write_text(json.dumps({"about": about, "runs": runs}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    new.replace(MEASURED)  # at once: demos that begin now read it
    PAGE.write_text(page(runs, about), encoding="utf-8")


def page(runs: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table to read."""
    took = about["minutes"] and f"all of them in {span(60 * about['minutes'])}"
    lines = [HEAD.format(**about | {"minutes": took or "not all of them in one go"})]
    for run in runs:
        kept = [finding["kept"] for finding in run["findings"].values()]
        how = f"{sum(map(bool, kept))} of {len(kept)}" if kept else "did not run"
        name = run["name"]
        lines.append(f"| [{name}](#{name}) | {run['sentence']} | {span(run['seconds'])} | {how} |\n")
    return "".join([*lines, *map(section, runs)])


def section(run: dict[str, Any]) -> str:
    """A demo: what to type, what was measured, and its picture."""
    text = f"\n## {run['name']}\n\n{run['sentence']} `{run['command']}` ({span(run['seconds'])})\n"
    if run["findings"]:
        text += "\n| | measured | criterion | kept |\n|---|---|---|---|\n"
    for claim, finding in run["findings"].items():
        cells = (claim, finding["measured"], finding["expected"], "yes" if finding["kept"] else "**no**")
        text += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    if run["figure"]:
        text += f"\n![{run['sentence']}](../{run['figure']})\n"
    return text
