"""What there is to run: demos, which are programs with a criterion, and notebooks; and how long each took before."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DEMOS = ROOT / "demos"
MEASURED = DEMOS / "results.json"  # written by run_all.py


class Run(NamedTuple):
    """A demo or a notebook, and the one sentence that says what it is."""

    name: str
    path: Path
    sentence: str

    @property
    def kind(self) -> str:
        """In a word."""
        return "notebook" if self.path.suffix == ".ipynb" else "demo"

    @property
    def command(self) -> str:
        """What its reader types."""
        path = self.path.relative_to(ROOT).as_posix()
        return f"jupyter lab {path}" if self.kind == "notebook" else f"python {path}"

    def arguments(self, out: Path) -> list[str]:
        """What is handed to Python, so that numbers and figure come to `out`."""
        files = ["--json", str(out / f"{self.name}.json"), "--figure", str(out / f"{self.name}.png")]
        program = [str(DEMOS / "run_notebook.py")] if self.kind == "notebook" else []
        return [*program, str(self.path), *files]


def demos() -> list[Run]:
    """Every program of the folder that has settings and a criterion; what it is stands in its first line."""
    found = []
    for path in sorted(DEMOS.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^from command_line import", text, re.M) and '__name__ == "__main__"' in text:
            found.append(Run(path.stem, path, (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]))
    return found


def notebooks() -> list[Run]:
    """Every notebook; what it is stands in its title."""
    found = []
    for path in sorted((DEMOS / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title = next((line for cell in cells for line in cell["source"] if line.startswith("# ")), path.stem)
        found.append(Run(path.stem, path, title.removeprefix("# ").strip()))
    return found


def everything() -> list[Run]:
    """Demos, then notebooks."""
    return [*demos(), *notebooks()]


def seconds_of(name: str) -> float | None:
    """Seconds of a core that a demo or a notebook took with default settings; None where it is not in the table."""
    if not MEASURED.exists():
        return None
    runs = json.loads(MEASURED.read_text(encoding="utf-8"))["runs"]
    return next((run["seconds"] for run in runs if run["name"] == name), None)


def span(seconds: float) -> str:
    """Seconds as people say them.

    >>> span(3.2), span(95.0), span(5400.0)
    ('5 s', '2 min', '1.5 h')
    """
    if seconds < 58:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{seconds / 60:.0f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"
