"""The API pages: of `::: snn_plasticity.kernels.stdp` they show what the file says, and an entry for all it gives away.

An entry shows the path from which a name is imported. A class that is met but not imported (what a call returns) stands
in the page by its full path, and is shown by its name alone; a private room is refused.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
import public  # noqa: E402

DIRECTIVE = re.compile(r"^::: (\S+)$", re.M)
INTRODUCTION = """::: {0}
    options:
      members: false
      show_root_heading: false
      show_root_toc_entry: false
"""
ENTRY = """::: {0}
    options:
      heading_level: 3
      show_root_full_path: true
      toc_label: {1}
"""
MET = """::: {0}
    options:
      heading_level: 3
      toc_label: {1}
"""


def shown(path: str) -> list[str]:
    """The paths that a directive shows: of a file, of one public name, or of a class that is met."""
    if path in public.public_paths().values() or not public.file_of(path).exists():
        return [public.public_paths().get(path, path)]
    return public.entries(path)


def expanded(path: str) -> str:
    """The entries behind one directive."""
    if "._" in path:
        raise ValueError(f"{path} is a private room: an API page cannot show it")
    found = shown(path)
    introduced = public.file_of(path).exists() and found != [path] and public.ast.get_docstring(public.tree(path))
    parts = [INTRODUCTION.format(path)] if introduced else []
    for entry in found:
        public_ = entry in public.public_paths().values()
        parts.append((ENTRY if public_ else MET).format(entry, entry.rpartition(".")[2]))
    return "\n".join(parts)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every page."""
    if not page.file.src_uri.startswith("api/"):
        return markdown
    page.meta.setdefault("search", {"boost": 2})  # who looks for a name wants its entry first
    return DIRECTIVE.sub(lambda found: expanded(found.group(1)), markdown)
