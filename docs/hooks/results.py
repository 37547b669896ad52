"""Tables of benchmarks/RESULTS.md on a page of the site, as they are there: no number is copied by hand.

<!-- results: closed_loop -->        becomes that section, without its heading
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MARK = re.compile(r"<!-- results: (\w+) -->")


def sections() -> dict[str, str]:
    """{name: text} of RESULTS.md, headings of the sections left out."""
    text = (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8")
    found = re.finditer(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", text, re.S)
    return {match[1]: re.sub(r"^## .*\n", "", match[2]).strip() for match in found}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the sections where they are asked for; an unknown one is a KeyError."""
    known = sections() if MARK.search(markdown) else {}
    return MARK.sub(lambda match: known[match[1]], markdown)


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """The figures of the tables, beside those of the pages."""
    from mkdocs.structure.files import File

    for picture in sorted((BENCHMARKS / "figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{picture.name}", abs_src_path=str(picture)))
    return files
