"""Docstring examples (`>>>`) as code blocks in the API pages; Markdown would take them for quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^[ \t]*(?:>>>|\.\.\.).*\n?(?:^[ \t]*(?!>>>)\S.*\n?)*)+", re.M)


class DoctestBlocks(griffe.Extension):
    """Fence every run of doctest lines, with the output that follows it."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            fence = lambda m: "```pycon\n" + m.group(0).rstrip("\n") + "\n```\n"  # noqa: E731
            obj.docstring.value = EXAMPLE.sub(fence, obj.docstring.value)
