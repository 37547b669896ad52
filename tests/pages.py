"""The pages as tests read them: their blocks, what each is said to print, and the figures beside code.

What a page shows of a run has one of five forms; any other is refused:

- a block of ```python, followed at once by a block without a language: what it prints;
- a block of ```python, followed at once by a table: the rows that it prints;
- a comment that begins with a figure, beside a statement that stands in no other: `loss  # 0.13, after training`,
  `e  # (8, 10, 20): one for each sample`; of `print(...)` what is printed, of an assignment the value;
- a block of ```pycon, which is a doctest;
- a block of ```console, `$ python …` and below it lines that it prints, in their order; `…` stands for any. Whatever a
  line with a time in it measures may differ.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LANGUAGES = {"python", "pycon", "console", "bash", "text", "equation", "json", "toml", "bibtex", ""}
FENCE = re.compile(r"^(?P<indent> *)```(?P<said>[^\n]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.S | re.M)
TABLE = re.compile(r"\n*((?:^ *\|.*\n)+)", re.M)
FIGURE = re.compile(r"#\s*(?P<shape>\(\d+(?:, \d+)*,?\))|#\s*(?P<number>[-−]?\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w.]*\w)")
TIMED = re.compile(r"\d ?(?:ms|s|×|steps)\b|×|in a second", re.I)
DECIMAL = re.compile(r"\d\.\d|\d ?%")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line above its first one, its text, and what it is shown to print."""

    language: str
    line: int
    text: str
    output: str | None
    shows: str = "nothing"  # or "block", "table"


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a page, also those in tabs and notes; one that is the output of another is part of that."""
    text = path.read_text(encoding="utf-8")
    found: list[Block] = []
    at = 0
    while match := FENCE.search(text, at):
        at, language = match.end(), match["said"].split(" ")[0].strip()
        body, line = textwrap.dedent(match["body"]), text.count("\n", 0, match.start("body"))
        output, shows = None, "nothing"
        after = FENCE.match(text, at + len(text[at:]) - len(text[at:].lstrip("\n")))
        if language == "python" and after and not after["said"] and after["indent"] == match["indent"]:
            output, shows, at = textwrap.dedent(after["body"]), "block", after.end()
        elif language == "python" and "print(" in body and (table := TABLE.match(text, at)):
            output, shows = textwrap.dedent(table[1]), "table"
        found.append(Block(language, line, body, output, shows))
    return found


def code_blocks(path: Path) -> list[tuple[int, str, str | None]]:
    """Line number and text of every block of Python, with what it prints."""
    return [(block.line, block.text, block.output) for block in blocks(path) if block.language == "python"]


def comments(code: str) -> dict[int, str]:
    """Line -> comment of a block."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def refused(block: Block) -> list[str]:
    """Figures that nobody could check: in a comment inside a loop or function, or in the middle of a comment."""
    if block.language in ("", "text"):
        return ["a figure in a block that no code prints"] if DECIMAL.search(block.text) else []
    if block.language != "python":
        return []
    said = []
    ends = {node.end_lineno: node for node in ast.parse(block.text).body}
    lines = block.text.splitlines()
    for line, comment in comments(block.text).items():
        beside = not lines[line - 1].lstrip().startswith("#")
        figure = FIGURE.match(comment) if beside else None
        rest = comment[figure.end() :] if figure else comment
        if DECIMAL.search(rest):
            said.append(f"line {block.line + line}: a figure that is not the first word of its comment: {comment}")
        elif figure and not (line in ends and isinstance(ends[line], ast.Expr | ast.Assign)):
            said.append(f"line {block.line + line}: a figure beside code that has no value to compare: {comment}")
    return said


def claimed(block: Block) -> dict[int, re.Match[str]]:
    """Last line of a statement -> the figure in its comment."""
    found = {line: FIGURE.match(comment) for line, comment in comments(block.text).items()}
    ends = {node.end_lineno for node in ast.parse(block.text).body}
    return {line: figure for line, figure in found.items() if figure and line in ends}


def agrees(figure: re.Match[str], value: Any) -> bool:
    """Whether a value is the figure, to the digits that are shown."""
    if value is None or isinstance(value, list | dict):
        return False
    if figure["shape"]:
        return tuple(getattr(value, "shape", value)) == ast.literal_eval(figure["shape"])
    number = figure["number"].replace("−", "-")
    digits = len(number.partition("e")[0].partition(".")[2])
    if "e" in number:
        return f"{float(value):.{digits}e}" == f"{float(number):.{digits}e}"
    return round(float(value), digits) == float(number)


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Each command of a console, and the lines that it is shown to print."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip() and line.strip() != "…":
            found[-1][1].append(comparable(line))
    return found


def comparable(line: str) -> str:
    """A line without its spacing; where it tells a time, without its figures."""
    return " ".join((re.sub(r"\d[\d.,]*", "#", line) if TIMED.search(line) else line).split())


def missing(shown: list[str], printed: str) -> str | None:
    """The first line that is shown, and was not printed after those before it."""
    rest = iter([comparable(line) for line in printed.splitlines()])
    return next((line for line in shown if line not in rest), None)
