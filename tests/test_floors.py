"""The shape of the package, read from its source: who may import whom, how long things are, what is absent."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "snn_plasticity"
FILES = sorted(PACKAGE.rglob("*.py"))
HOSTS = {"snntorch", "norse"}

# From the ground up. A room (a folder or a file of the package) imports from floors below it and from itself.
FLOORS = (
    {"_checks", "neuromodulators", "notices", "_untracked", "_usual_size", "_activity"},
    {"conventions", "decay", "_saved", "signals", "_weights", "_compiled", "_noted_steps"},
    {"config"},
    {"kernels", "neuromodulation", "affect", "feedback"},
    {"layers"},
    {"plasticity"},
    {"connection", "diagnostics", "third_factor"},
    {"_loss_aims", "_causes", "_changes", "_loss_changes", "_host_hooks", "_optimizers"},
    {"record"},
    {"_silence", "_learner_state", "diagnose", "explain"},
    {"learner"},
    {"hosts", "plot", "loop"},
    {"dual"},
    {"contract", "actor", "agents"},
    {"_commands"},
    {"__init__", "__main__"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

FILE_LIMIT = 300  # lines of code: neither blank, nor comment, nor docstring
FUNCTION_LIMIT = 40


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def label(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(path: Path, node: ast.AST) -> list[str]:
    """Dotted names that one statement imports, relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if not node.level:
        return [node.module or ""]
    home = ("snn_plasticity", *path.relative_to(PACKAGE).parent.parts)
    base = home[: len(home) - node.level + 1]
    if node.module:
        return [".".join((*base, node.module))]
    return [".".join((*base, alias.name)) for alias in node.names]  # from . import hooks


def rooms_imported(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parse(path)):
        for name in imported_modules(path, node):
            parts = name.split(".")
            if parts[0] == "snn_plasticity" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1], node.lineno  # type: ignore[attr-defined]


def docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def code_lines(path: Path, start: int = 1, end: int | None = None) -> int:
    silent = docstring_lines(parse(path))
    source = path.read_text(encoding="utf-8").splitlines()
    rows = range(start, (end or len(source)) + 1)
    return sum(
        bool(source[n - 1].strip()) and not source[n - 1].lstrip().startswith("#") and n not in silent for n in rows
    )


def test_every_room_has_a_floor() -> None:
    homeless = sorted({room_of(path) for path in FILES} - set(FLOOR_OF))
    assert not homeless, f"{homeless} stand on no floor: add them to FLOORS, and to docs/architecture.md"


def test_every_room_is_in_the_picture() -> None:
    """docs/architecture.md shows the house as it is."""
    picture = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in {room_of(path) for path in FILES}:
        assert f"{room}.py" in picture or f"{room}/" in picture, room


@pytest.mark.parametrize("path", FILES, ids=label)
def test_imports_go_down(path: Path) -> None:
    own = room_of(path)
    climbs = [
        f"line {line}: {own} (floor {FLOOR_OF[own]}) imports {room} (floor {FLOOR_OF.get(room)})"
        for room, line in rooms_imported(path)
        if room != own and FLOOR_OF.get(room, len(FLOORS)) >= FLOOR_OF[own]
    ]
    assert not climbs, "\n".join(climbs)


@pytest.mark.parametrize("path", FILES, ids=label)
def test_only_hosts_import_host_libraries_and_only_when_called(path: Path) -> None:
    tree = parse(path)
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lazy = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if HOSTS & {name.split(".")[0] for name in imported_modules(path, node)}:
            assert room_of(path) == "hosts", f"{label(path)} imports a host library; only hosts/ may"
            assert id(node) in lazy, f"{label(path)}, line {node.lineno}: import it inside the function that needs it"  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", FILES, ids=label)
def test_files_and_functions_are_short(path: Path) -> None:
    assert code_lines(path) <= FILE_LIMIT
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert code_lines(path, node.body[0].lineno, node.end_lineno) <= FUNCTION_LIMIT, node.name


@pytest.mark.parametrize("path", FILES, ids=label)
def test_no_junk_drawers_and_annotations_everywhere(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "base", "misc", "common", "types"}
    tree = parse(path)
    if any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body):
        assert "from __future__ import annotations" in path.read_text(encoding="utf-8")
        assert ast.get_docstring(tree), "a file says on top what it holds"


def defined(tree: ast.Module) -> Iterator[str]:
    """Classes and constants of a file."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name) and name.id != "__all__")


def test_no_name_stands_for_two_things() -> None:
    """A class or a constant is defined in one file; what another file calls so is that very thing."""
    homes: dict[str, set[str]] = {}
    for path in FILES:
        for name in defined(parse(path)):
            homes.setdefault(name, set()).add(label(path))
    twice = {name: sorted(files) for name, files in homes.items() if len(files) > 1}
    assert not twice


@pytest.mark.parametrize("path", sorted((PACKAGE / "plasticity").rglob("*.py")), ids=label)
def test_learning_never_waits_for_the_device(path: Path) -> None:
    waits = [
        f"line {node.lineno}: .{node.func.attr}()"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"item", "tolist", "cpu"}
    ]
    assert not waits, f"{label(path)} copies from the device inside a step: {waits}"


PUBLIC = [p for p in FILES if not p.stem.startswith("_") and p.parent == PACKAGE]
ROOMS = sorted(path for path in FILES if path.name == "__init__.py" and "_" not in path.parent.name[:1])


@pytest.mark.parametrize("path", PUBLIC, ids=label)
def test_a_file_that_users_may_import_says_what_it_hands_on(path: Path) -> None:
    """Files of the package without an underscore are documented, and have `__all__`; all others begin with one."""
    room = importlib.import_module(f"snn_plasticity.{path.stem}")
    assert room.__all__ and all(hasattr(room, name) for name in room.__all__)
    pages = (PACKAGE.parent / "docs" / "api").glob("*.md")
    assert any(f"::: snn_plasticity.{path.stem}\n" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("path", ROOMS, ids=label)
def test_every_public_room_says_what_it_hands_on(path: Path) -> None:
    """`__all__` holds every name that the room hands on or makes; each that it holds is there."""
    tree = parse(path)
    handed = {a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names if a.asname == a.name}
    made = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_"}
    said = [ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and "__all__" in ast.dump(n)]
    assert len(said) == 1 and len(set(said[0])) == len(said[0])
    assert handed | made <= set(said[0])
    room = importlib.import_module(".".join(("snn_plasticity", *path.relative_to(PACKAGE).parent.parts)))
    assert all(hasattr(room, name) for name in said[0])
