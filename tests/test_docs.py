"""Everything that is written down runs, and everything public is written down."""

from __future__ import annotations

import importlib
import re
import sys
import types
import unicodedata
from pathlib import Path

import matplotlib
import pytest
import torch

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
API = sorted((DOCS / "api").glob("*.md"))


def code_blocks(path: Path) -> list[tuple[int, str, str | None]]:
    """Line number and text of every ```python block, with the block of output that follows it, if one does."""
    text = path.read_text(encoding="utf-8")
    blocks = re.finditer(r"^```python\n(.*?)^```\n(?:\n*```\n(.*?)^```)?", text, re.S | re.M)
    return [(text.count("\n", 0, match.start(1)), match.group(1), match.group(2)) for match in blocks]


def directives(path: Path) -> list[str]:
    return re.findall(r"^::: (\S+)", path.read_text(encoding="utf-8"), re.M)


def resolve(dotted: str) -> object:
    """The object behind a dotted name: a module, or something inside one."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        parent, _, name = dotted.rpartition(".")
        return getattr(resolve(parent), name)


@pytest.mark.parametrize("path", [p for p in PAGES if code_blocks(p)], ids=lambda p: p.name)
def test_code_blocks_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks of a page, from top to bottom, in one session; what they print is what the page says."""
    if path.name == "agent.md":
        pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    torch.manual_seed(0)
    module = types.ModuleType("__page__")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "__page__", module)
    for line, block, output in code_blocks(path):
        exec(compile("\n" * line + block, str(path), "exec"), module.__dict__)
        printed = capsys.readouterr().out
        assert printed.split() == (output or "").split(), f"line {line}: what is printed is not what the page shows"


@pytest.mark.parametrize("path", API, ids=lambda p: p.stem)
def test_api_pages_name_what_exists(path: Path) -> None:
    assert directives(path), "an API page without an entry"
    for dotted in directives(path):
        resolve(dotted)


ROOMS = [
    importlib.import_module(".".join(path.relative_to(ROOT).parent.parts))
    for path in sorted(ROOT.glob("snn_plasticity/**/__init__.py"))
    if not path.parent.name.startswith("_")
]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_public_name_is_in_the_api_pages(room: types.ModuleType) -> None:
    """What a room hands on: itself, or all of the file that it comes from."""
    entries = {dotted for path in API for dotted in directives(path)}
    for name in room.__all__:
        thing = getattr(room, name)
        if hasattr(thing, "__qualname__"):  # constants stand in the page of their file
            files = {thing.__module__, f"{thing.__module__}.{thing.__qualname__}", room.__name__}
            assert files & entries, f"{name}: {thing.__module__}"


sys.path.append(str(DOCS / "hooks"))
setting = importlib.import_module("equations")


def equations(page: Path) -> list[tuple[str, str]]:
    """(module, line) of every line of an ```equation block; the page names the module above it."""
    found, module, inside = [], "", False
    for line in page.read_text(encoding="utf-8").splitlines():
        named = re.search(r"`(snn_plasticity/\S+\.py)`", line)
        if line.startswith("```"):
            inside = line == "```equation"
        elif inside and line.strip():
            found.append((module, " ".join(line.split())))
        elif named:
            module = named.group(1)
    return found


def test_equations_are_those_of_the_code() -> None:
    """Pages quote the files that implement an equation; a line that drifts from its file is an error."""
    assert len(equations(DOCS / "equations.md")) > 20
    for page in PAGES:
        for module, line in equations(page):
            assert module, f"{page.name}: no module is named above the equation: {line}"
            source = " ".join((ROOT / module).read_text(encoding="utf-8").split())
            assert line in source, f"{page.name}: {module} no longer says: {line}"


def signs_of_latex(set_: str) -> str:
    """The signs that a reader sees, in the order of the line: what must be the plain text again."""
    for spacing in (r"\left", r"\right", r"\mathopen{}", r"\,", r"\ "):
        set_ = re.sub(re.escape(spacing) + r"(?![a-z])", "", set_)
    named = {f"\\{name}": sign for sign, name in setting.GREEK.items()}
    tables = (setting.NAMED, setting.OPERATORS, setting.BRACKETS, setting.RAISED)
    named |= {latex: sign for table in tables for sign, latex in table.items() if latex[0] == "\\"}
    named |= {r"\lvert": "|", r"\rvert": "|", r"\sqrt": "√", r"\text": "", r"\tau": "τ"}
    set_ = re.sub(r"\\bar\{(.)\}", "\\1\u0304", set_).replace(r"\tfrac12", "½")
    while found := re.search(r"\\frac\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}\{", set_):
        set_ = set_[: found.start()] + found[1] + "/{" + set_[found.end() :]
    set_ = re.sub(r"\\[A-Za-z]+", lambda found: named[found[0]], set_)
    return re.sub(r"[\s{}()_^\\]", "", set_)


def signs_of_text(line: str) -> str:
    flat = unicodedata.normalize("NFD", line).replace("−", "-").replace("tau", "τ")
    flat = flat.translate(str.maketrans("₀₁₂₃₊₋²³", "0123+-23"))
    return re.sub(r"[\s{}()_^]", "", flat)


LINES = sorted({line for page in PAGES for _, line in equations(page)})


def test_equations_are_set_sign_by_sign() -> None:
    """Of every line the LaTeX shows the same signs in the same order, but for spaces and the brackets of fractions."""
    for line in LINES:
        assert signs_of_latex(setting.latex(line)) == signs_of_text(line), line


FRACTIONS = {
    "1 / (1 − d)": r"\frac{1}{1 -  d}",
    "a b / c": r"a \, \frac{b}{c}",
    "f(x) / y": r"\frac{f\mathopen{}\left( x \right) }{y}",
    "(a + b) (c + d) / e": r"\left( a +  b \right)  \, \frac{c +  d}{e}",
    "x_C²": "x_{C}^{2 }",
}


@pytest.mark.parametrize(("line", "value"), FRACTIONS.items(), ids=FRACTIONS)
def test_fractions_take_what_binds_to_their_bar(line: str, value: str) -> None:
    assert setting.latex(line) == value


@pytest.mark.parametrize("line", ["f = post ☃ x", "f = (x", "f = x)"])
def test_what_cannot_be_set_stops_the_build(line: str) -> None:
    with pytest.raises(ValueError, match="in the equation"):
        setting.latex(line)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *API]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "mailto:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_of_architecture_calls_things_by_their_names() -> None:
    """What stands there in `code` style, outside of blocks, are words of the package's source."""
    page = re.sub(r"```.*?```", "", (DOCS / "architecture.md").read_text(encoding="utf-8"), flags=re.S)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "snn_plasticity").rglob("*.py")]
    words = set(re.findall(r"\w+", " ".join(sources))) | {path.stem for path in (ROOT / "snn_plasticity").rglob("*.py")}
    named = {word for code in re.findall(r"`([A-Za-z_][\w./]*)", page) for word in re.split(r"[./]", code) if word}
    assert len(named) > 30 and not named - words


def test_extras_that_pages_install_are_there() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^(\w+) = ", project.partition("\n[")[0], re.M))
    asked = {
        e
        for page in PAGES
        for names in re.findall(r'\.\[([\w,]+)\]"', page.read_text(encoding="utf-8"))
        for e in names.split(",")
    }
    assert {"fast", "demos", "test"} <= asked <= extras
