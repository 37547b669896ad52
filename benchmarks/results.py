"""RESULTS.md: every script owns one section, between its markers, and replaces only that."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
SECTIONS = (
    "against_others", "closed_loop", "overhead", "presets", "edge_lists", "dopamine_hour", "memory", "scaling",
    "affect", "cuda", "hops", "online_gradient", "dual_overhead", "dual_moments", "dual_affect", "explained",
    "big_rasters", "recording",
)  # fmt: skip
TITLE = """# Results

Written by the scripts in this folder, each its own section; `python benchmarks/NAME.py` measures it again.
Read a ratio as "to within a factor of 1.5": it moves with the machine, its caches and its neighbours.
"""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown: first column left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """The machine in one line: processor, cores, versions, date."""
    import torch

    cores = f"{os.cpu_count()} cores" if os.cpu_count() != 1 else "1 core"
    python = platform.python_version()
    date = datetime.date.today().isoformat()
    versions = f"Python {python}, torch {torch.__version__}, {_compiler()}"
    return f"{_processor()}, {cores}, one thread used; {versions}; {date}."


def write_json(path: str | None, section: str, rows: Iterable[Mapping[str, object]]) -> None:
    """The rows of a table with the machine they were measured on; without a path, nothing."""
    if path is not None:
        content = {"section": section, "machine": machine(), "rows": list(rows)}
        Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write(section: str, text: str, path: Path = RESULTS) -> None:
    """Replace one section and leave the others as they are."""
    kept = sections(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[section] = text.strip()
    order = [name for name in SECTIONS if name in kept] + [name for name in kept if name not in SECTIONS]
    blocks = [f"<!-- {name} -->\n{kept[name]}\n<!-- /{name} -->" for name in order]
    path.write_text("\n\n".join([TITLE.strip(), *blocks]) + "\n", encoding="utf-8")


def measured(section: str, path: Path = RESULTS) -> bool:
    """Whether a section has a table already."""
    return path.exists() and "\n| --- |" in sections(path.read_text(encoding="utf-8")).get(section, "")


def tables(section: str, path: Path = RESULTS) -> list[list[dict[str, str]]]:
    """The tables of a section, as rows by the names of their columns."""
    found = re.findall(r"(?:^\|.*\n?)+", sections(path.read_text(encoding="utf-8"))[section], re.M)
    cells = [[[cell.strip() for cell in line.strip("| ").split(" | ")] for line in one.splitlines()] for one in found]
    return [[dict(zip(header, row, strict=False)) for row in rows] for header, _, *rows in cells]


def put_between(begin: str, end: str, text: str, page: Path) -> None:
    """Replace what stands between two marks of a page that has both."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def micro(seconds: float) -> str:
    """Seconds as µs with three digits that count."""
    value = seconds * 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(value: float) -> str:
    """A ratio with two or three digits that count."""
    return f"{value:,.0f}×" if value >= 20 else f"{value:.2g}×" if value < 1 else f"{value:.1f}×"


def sections(text: str) -> dict[str, str]:
    """What stands between the marks of each section."""
    found = re.finditer(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", text, re.DOTALL)
    return {match[1]: match[2] for match in found}


def _compiler() -> str:
    """What compiles loops on the CPU, if it is there."""
    if find_spec("numba") is None:
        return "no numba"
    import numba

    return f"numba {numba.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
