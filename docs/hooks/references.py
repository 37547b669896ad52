"""The page of references: every paper of `references.bib`, and where the library and its pages name it.

A paper is named by all its authors and the year ("Yu & Dayan 2005"), or the first of them ("Bellec et al. 2020").
"""

from __future__ import annotations

import ast
import html
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parent))
import public  # noqa: E402

ROOT = public.ROOT
BIB = ROOT / "docs" / "references.bib"
NAME = r"(?:(?:van|von|der|de) )*[A-Z][\w’'-]+"
NAMED = re.compile(rf"({NAME}(?:(?:, | & | and ){NAME})*?)( et al\.)?,? \(?((?:19|20)\d\d)\b")
HEAD = """---
description: "The papers behind every rule, and where the library names each."
---

# References

The papers that the library and these pages name; all of them as one file for BibTeX, in UTF-8:
[references.bib](references.bib).

"""


class Paper(NamedTuple):
    """One entry of the file."""

    key: str
    fields: dict[str, str]
    source: str

    @property
    def authors(self) -> list[str]:
        """Their family names."""
        return [author.partition(",")[0].strip() for author in self.fields["author"].split(" and ")]

    @property
    def address(self) -> str:
        """Where it is found; nothing for a book."""
        at = {"doi": "https://doi.org/{}", "eprint": "https://arxiv.org/abs/{}", "url": "{}"}
        return next((form.format(self.fields[name]) for name, form in at.items() if name in self.fields), "")

    def named(self, authors: list[str], year: str, *, shortened: bool) -> bool:
        """Whether these words name it."""
        if self.fields["year"] != year:
            return False
        return self.authors[0] == authors[0] if shortened else self.authors == authors


@cache
def papers() -> tuple[Paper, ...]:
    """Every entry, in the order of the file."""
    found = []
    for entry in re.findall(r"^@\w+\{.*?^\}$", BIB.read_text(encoding="utf-8"), re.S | re.M):
        key = re.match(r"@\w+\{(\w+),", entry)
        assert key is not None, entry
        found.append(Paper(key[1], dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.M)), entry))
    return tuple(found)


def citations(text: str) -> Iterator[tuple[str, list[str], str, bool]]:
    """(words, authors, year, whether by the first author) of everything that reads like the name of a paper."""
    for found in NAMED.finditer(" ".join(text.split())):
        yield found[0], re.split(r", | & | and ", re.sub(r"['’]s\b", "", found[1])), found[3], bool(found[2])


def paper_of(authors: list[str], year: str, shortened: bool) -> Paper | None:
    """The entry that is named; the last names of a longer list count too, as in "After Song, Miller & Abbott 2000"."""
    for start in range(len(authors)):
        for paper in papers():
            if paper.named(authors[start:], year, shortened=shortened):
                return paper
    return None


def docstrings() -> Iterator[tuple[str, str]]:
    """(where, text) of every docstring of the package: of a public name its path, else that of its file."""
    for path in sorted((ROOT / public.PACKAGE).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield public.public_paths().get(f"{module}.{getattr(node, 'name', '')}", module), text


def places() -> Iterator[tuple[str, str]]:
    """(where, text) of all that names papers: docstrings, then pages, then demos."""
    yield from docstrings()
    yield "README", (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").glob("*.md")):
        yield f"{path.name}", path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "demos").glob("*.py")):
        yield f"demos/{path.name}", path.read_text(encoding="utf-8")


@cache
def used() -> dict[str, list[str]]:
    """Key -> where it is named."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for where, text in places():
        for _, authors, year, shortened in citations(text):
            if paper := paper_of(authors, year, shortened):
                found[paper.key][where] = None
    return {key: list(where) for key, where in found.items()}


@cache
def introduced() -> dict[str, str]:
    """The files that API pages show, and where."""
    return {
        path: f"api/{page.name}"
        for page in sorted((ROOT / "docs" / "api").glob("*.md"))
        for path in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)
    }


def link(where: str) -> str:
    """A place as a link, if it is on the site."""
    name = where.removeprefix("snn_plasticity.")
    if where in public.public_paths().values():
        return f"[`{name}`][{where}]"
    if where in introduced():
        return f"[`{name}`]({introduced()[where]})"
    if where.endswith(".md"):
        title = re.search(r"^# (.+)$", (ROOT / "docs" / where).read_text(encoding="utf-8"), re.M)
        return f"[{title[1] if title else where}]({where})"
    return f"`{name}`"


def item(paper: Paper) -> str:
    """One paper on the page."""
    fields = paper.fields
    names = paper.authors if len(paper.authors) < 8 else [*paper.authors[:6], "…"]
    who = " & ".join(filter(None, (", ".join(names[:-1]), names[-1]))).replace("& others", "et al.")
    venue = fields.get("journal") or fields.get("booktitle") or fields.get("publisher") or "arXiv"
    volume = " " + ":".join(filter(None, (fields.get("volume", ""), fields.get("pages", ""))))
    found = f" [{paper.address.partition('//')[2]}]({paper.address})" if paper.address else ""
    lines = [
        f"## {who} {fields['year']} {{#{paper.key}}}",
        f"{html.escape(fields['title'], quote=False)}. *{venue}*{volume.replace('--', '–').rstrip()}.{found}",
        f"Named in {', '.join(map(link, used().get(paper.key, [])))}.",
        '??? quote "BibTeX"\n\n'
        + "\n".join(f"    {line}" for line in ["```bibtex", *paper.source.splitlines(), "```"]),
    ]
    return "\n\n".join(lines)


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs when it has collected the files of the site."""
    from mkdocs.structure.files import File  # papers are listed, and checked, where no site is built

    page = HEAD + "\n\n".join(map(item, papers())) + "\n"
    files.append(File.generated(config, "references.md", content=page))
    return files
