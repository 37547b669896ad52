"""What the package gives away, and from where: read from its files, without running them.

A room (a folder) and a file at the top of the package give away what their `__all__` names. A name is shown at the
shortest of its paths: `snn_plasticity.attach`, not `snn_plasticity.hosts.attaching.attach`.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "snn_plasticity"


def file_of(module: str) -> Path:
    """Where a module stands, whether it is a room or a file."""
    at = ROOT.joinpath(*module.split("."))
    return at / "__init__.py" if at.is_dir() else at.with_suffix(".py")


@cache
def tree(module: str) -> ast.Module:
    """What is written in a module."""
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


@cache
def imported(module: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, name there) of what a module imports from this package."""
    room = module if file_of(module).name == "__init__.py" else module.rpartition(".")[0]
    found: dict[str, tuple[str, str]] = {}
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = room.split(".")[: len(room.split(".")) - node.level + 1]
            source = ".".join([*parents, *([node.module] if node.module else [])])
            found |= {name.asname or name.name: (source, name.name) for name in node.names}
    return found


def given_away(module: str) -> list[str]:
    """The names in a module's `__all__`."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def home(module: str, name: str) -> str:
    """The path of the file in which a name is written, and the name."""
    while name in imported(module):
        source, name = imported(module)[name]
        if file_of(f"{source}.{name}").exists() and not defines(source, name):
            return f"{source}.{name}"  # a module
        module = source
    return f"{module}.{name}"


def defines(module: str, name: str) -> bool:
    """Whether a module has such a name, beside files of that name."""
    return name in imported(module) or any(name in names_of(node) for node in tree(module).body)


def names_of(node: ast.stmt) -> list[str]:
    """What a statement at the top of a file defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def public_modules() -> list[str]:
    """Rooms and files at the top of the package, nearest first."""
    rooms = [path.parent for path in (ROOT / PACKAGE).rglob("__init__.py")]
    files = [path.with_suffix("") for path in (ROOT / PACKAGE).glob("*.py") if path.stem != "__init__"]
    paths = [".".join(path.relative_to(ROOT).parts) for path in [*rooms, *files]]
    return sorted((p for p in paths if "._" not in p), key=lambda p: (p.count("."), p))


@cache
def public_paths() -> dict[str, str]:
    """Where a thing is written -> the shortest path from which it can be imported, for everything public."""
    found: dict[str, str] = {}
    for module in public_modules():
        for name in given_away(module):
            found.setdefault(home(module, name), f"{module}.{name}")
    return found


def entries(module: str) -> list[str]:
    """The public paths of what is written in a file, in the order of the file; of a room: what it gives away itself."""
    written = dict.fromkeys(f"{module}.{name}" for node in tree(module).body for name in names_of(node))
    return [public_paths()[path] for path in written if path in public_paths() and path != f"{module}.__all__"]
