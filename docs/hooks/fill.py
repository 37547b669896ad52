"""Runs a page from top to bottom, writes what each block prints below it, and keeps the pictures that it saves.

    python docs/hooks/fill.py docs/tutorial_snntorch.md [more pages]

Pictures are kept in docs/figures where the page shows one of that name.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
import textwrap
import types
import warnings
from pathlib import Path

import matplotlib
import torch

FIGURES = Path(__file__).resolve().parents[1] / "figures"
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```\n(?:\n*\1```\n.*?^\1```\n)?", re.S | re.M)
WIDTH = 80


def fill(page: Path) -> str:
    """The page with outputs as they are now; run in the folder of the moment."""
    matplotlib.use("Agg")
    torch.manual_seed(0)
    module = sys.modules["__page__"] = types.ModuleType("__page__")
    text = page.read_text(encoding="utf-8")

    def run(match: re.Match[str]) -> str:
        printed = io.StringIO()
        indent, code = match[1], textwrap.dedent(match[2])
        line = text.count("\n", 0, match.start(2))
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, str(page), "exec"), module.__dict__)
        lines = "\n".join(wrap(each) for each in printed.getvalue().splitlines())
        output = textwrap.indent(f"```\n{lines}\n```\n", indent) if lines else ""
        return f"{indent}```python\n{match[2]}{indent}```\n{output}"

    return BLOCK.sub(run, text)


def wrap(line: str) -> str:
    """A long line in several; the indent is kept."""
    indent = line[: len(line) - len(line.lstrip())]
    lines = textwrap.wrap(
        line.strip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines) if len(line) > WIDTH else line


def main() -> None:
    """Pages are named on the command line."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    for page in [Path(name).resolve() for name in sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            text = fill(page)
            for picture in Path(folder).glob("*.png"):
                if f"figures/{picture.name}" in text:
                    shutil.copy(picture, FIGURES)
            os.chdir(FIGURES)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
