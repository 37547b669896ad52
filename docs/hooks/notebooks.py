"""Notebooks as pages of the site, as they were committed: text, code, what it printed, and its figures.

`Notebooks: notebooks/` in the navigation becomes one line for each file in demos/notebooks.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

FOLDER = Path(__file__).parents[2] / "demos" / "notebooks"


def joined(text: str | list[str]) -> str:
    """A text as notebooks keep it: whole, or in lines."""
    return text if isinstance(text, str) else "".join(text)


def fence(text: str, language: str = "") -> str:
    """A block, whatever is in it."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}\n"


def linked(text: str) -> str:
    """Links from demos/notebooks into docs lead to the pages; those to other files are words: these are not here."""
    text = re.sub(r"\]\(\.\./\.\./docs/([^)]+)\)", r"](../\1)", text)
    return re.sub(r"\[([^]]+)\]\((?!https?:|\.\./|#)([\w./-]+\.(?:py|ipynb))\)", r"\1 (`\2`)", text)


class Notebook:
    """One notebook, read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        self.pictures: dict[str, bytes] = {}
        self.heading = self.title = next(self.headings(), path.stem)

    def headings(self) -> Iterator[str]:
        """What stands behind # in cells of text."""
        for cell in self.cells:
            if cell["cell_type"] == "markdown":
                yield from re.findall(r"^#+ (.+)$", joined(cell["source"]), re.M)

    def page(self) -> str:
        """The whole of it as Markdown."""
        parts = [self.cell(cell) for cell in self.cells]
        said = self.opening(1).replace('"', "'") or self.title
        return f'---\ndescription: "{said}"\n---\n\n' + "\n".join(parts) + f"\n---\n\n{self.origin()}\n"

    def opening(self, sentences: int) -> str:
        """The first sentences of its first paragraph."""
        text = re.sub(r"^#.*$", "", joined(self.cells[0]["source"]), flags=re.M).strip()
        return " ".join(re.split(r"(?<=[.!?]) ", " ".join(text.partition("\n\n")[0].split()))[:sentences])

    def origin(self) -> str:
        """Where the notebook itself is."""
        return f"This page is the notebook `demos/notebooks/{self.path.name}`, as its cells printed and drew it."

    def cell(self, cell: dict[str, Any]) -> str:
        """Text as it is; code as a block, and behind it what came of it."""
        source = joined(cell["source"])
        if cell["cell_type"] == "markdown":
            self.heading = (re.findall(r"^#+ (.+)$", source, re.M) or [self.heading])[-1]
            return linked(source) + "\n"
        return fence(source, "python") + "\n" + "".join(self.output(output) for output in cell["outputs"])

    def output(self, output: dict[str, Any]) -> str:
        """What a cell printed, returned or drew."""
        if output["output_type"] == "stream":
            return fence(joined(output["text"])) + "\n"
        data = output.get("data", {})
        if "image/png" in data:
            name = f"{self.path.stem}_{len(self.pictures)}.png"
            self.pictures[name] = base64.b64decode(joined(data["image/png"]))
            return f"![{html.escape(self.heading)}: the figure that this cell draws.]({name})\n\n"
        if "text/plain" in data:
            return fence(joined(data["text/plain"])) + "\n"
        raise ValueError(
            f"{self.path.name}: an output of {output['output_type']}, {list(data)}, which no page can show"
        )


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs when it has collected the files of the site."""
    listed = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = Notebook(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook.page()))
        for name, picture in notebook.pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
        listed.append({notebook.title: f"notebooks/{path.stem}.md"})
    put_into(config.nav, listed)
    return files


def put_into(nav: list[Any], listed: list[dict[str, str]]) -> None:
    """The line `Notebooks: notebooks/`, wherever it stands, becomes their list."""
    for entry in nav:
        for title, inside in entry.items() if isinstance(entry, dict) else ():
            if inside == "notebooks/":
                entry[title] = listed
            elif isinstance(inside, list):
                put_into(inside, listed)
