"""How the package is read for the API pages: its docstrings, and what its files do not tell but Python does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.append(str(Path(__file__).parent))
import public  # noqa: E402

EXAMPLE = re.compile(r"(?:^[ \t]*(?:>>>|\.\.\.).*\n?(?:^[ \t]*(?!>>>)\S.*\n?)*)+", re.M)
SECTION = re.compile(r"^(?:Args|Attributes):\n(?:(?:[ ]{4}.*)?\n?)*?(?=^\S|\Z)", re.M)
GROUP = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)+):((?:.*\n?)(?:(?:[ ]{5,}.*)?(?:\n|\Z))*?)(?=^ {0,4}\S|\Z)", re.M)


def fenced(text: str) -> str:
    """Every run of doctest lines, with its output, as a block; Markdown would take it for a quotation."""
    return EXAMPLE.sub(lambda found: "```pycon\n" + found.group(0).rstrip("\n") + "\n```\n", text)


def ungrouped(text: str) -> str:
    """`tau_plus, tau_minus: ...` as an entry for each name, so that each row has its own default."""

    def entries(found: re.Match[str]) -> str:
        said = found.group(2).rstrip("\n")
        return "".join(f"    {name}:{said}\n" for name in found.group(1).split(", "))

    return SECTION.sub(lambda section: GROUP.sub(entries, section.group(0)), text)


class ReadAsPython(griffe.Extension):
    """Called by griffe while it reads the package."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = fenced(ungrouped(obj.docstring.value))

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """A named tuple is called with its fields, in their order, with their defaults."""
        if "NamedTuple" not in map(str, cls.bases):
            return
        kind = griffe.ParameterKind.positional_or_keyword
        fields = [
            griffe.Parameter(name, annotation=field.annotation, kind=kind, default=field.value)
            for name, field in cls.members.items()
            if field.is_attribute and field.annotation is not None
        ]
        call = griffe.Function("__init__", parameters=griffe.Parameters(griffe.Parameter("self", kind=kind), *fields))
        cls.set_member("__init__", call)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """A room gives away the function that shares its name with its file (`plot.raster`), as `import` does."""
        homes = {path: home for home, path in public.public_paths().items() if len(set(home.split(".")[-2:])) == 1}
        things = {path: pkg[home.partition(".")[2]] for path, home in homes.items()}
        for path, thing in things.items():
            room, _, name = path.rpartition(".")
            parent = pkg[room.partition(".")[2]] if "." in room else pkg
            parent.members[name] = griffe.Alias(name, thing, parent=parent)
