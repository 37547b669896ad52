"""The gallery: every demo and notebook with its figure, one sentence, what to type, and how long it took.

All of it is what `python demos/run_all.py` wrote into demos/results.json; nothing is told here a second time.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from notebooks import FOLDER, Notebook

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "demos" / "results.json"
HEAD = """---
description: "Every demo and notebook: its figure, one sentence, how long it takes, and what to type."
---

# Gallery

Every demo and every notebook, with its figure. A demo measures what it claims, and fails where that does not hold;
*claims kept* counts them. Times are those of one run of all, {processes} at once with one thread each (Python {python},
torch {torch}). In a clone of the repository `pip install -e ".[demos,notebooks]"` brings what they need, and
`python demos/run_all.py` runs them all.

"""


def span(seconds: float) -> str:
    """Seconds, as people say them."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def card(run: dict[str, Any]) -> str:
    """One demo or notebook."""
    kept = [finding["kept"] for finding in run["findings"].values()]
    title, said = run["name"], html.escape(run["sentence"].rstrip("."), quote=False)
    if run["kind"] == "notebook":
        opening = Notebook(FOLDER / f"{run['name']}.ipynb").opening(2)
        title, said = f"[{said}](notebooks/{run['name']}.md)", opening.rstrip(".:")
    else:
        title = f"`{title}`"
    lines = [f"-   **{title}**", ""]
    if run["figure"]:
        picture = run["figure"].removeprefix("docs/")
        alt = html.escape(f"{run['name']}: {run['sentence']}")
        lines += [f"    [![{alt}]({picture})]({picture})", ""]
    count = str(len(kept)) if all(kept) else f"{sum(kept)} of {len(kept)}"
    claims = f", {count} claim{'s' * (len(kept) > 1)} kept" if kept else ""
    lines += [f"    {said}.", "", f"    `{run['command']}`  ", f"    {span(run['seconds'])}{claims}", ""]
    return "\n".join(lines)


def gallery(measured: dict[str, Any]) -> str:
    """The page."""
    parts = [HEAD.format(**measured["about"])]
    for kind, title in (("demo", "Demos"), ("notebook", "Notebooks")):
        cards = "\n".join(card(run) for run in measured["runs"] if run["kind"] == kind)
        parts += (
            [] if not cards else [f'## {title}\n\n<div class="grid cards gallery" markdown>\n\n{cards}\n</div>\n\n']
        )
    return "".join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs when it has collected the files of the site; before all was run once there is no gallery."""
    if MEASURED.exists():
        page = gallery(json.loads(MEASURED.read_text(encoding="utf-8")))
        files.append(File.generated(config, "gallery.md", content=page))
        next(entry for entry in config.nav if "Examples" in entry)["Examples"].insert(0, {"Gallery": "gallery.md"})
    return files
