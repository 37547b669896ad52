"""Everything that is written down runs, and everything public is written down."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import types
import unicodedata
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib import pyplot

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "docs" / "hooks")]
from pages import (  # noqa: E402
    DOCS,
    LANGUAGES,
    PAGES,
    ROOT,
    Block,
    agrees,
    blocks,
    claimed,
    code_blocks,
    commands,
    missing,
    refused,
)

API = sorted((DOCS / "api").glob("*.md"))
MADE = {DOCS / "gallery.md", DOCS / "references.md"}  # pages that are made when the site is
MADE |= {DOCS / "notebooks" / f"{path.stem}.md" for path in (ROOT / "demos" / "notebooks").glob("*.ipynb")}
api, setting = importlib.import_module("api"), importlib.import_module("equations")


def directives(path: Path) -> list[str]:
    return re.findall(r"^::: (\S+)", path.read_text(encoding="utf-8"), re.M)


def resolve(dotted: str) -> object:
    """The object behind a dotted name: a module, or something inside one."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        parent, _, name = dotted.rpartition(".")
        return getattr(resolve(parent), name)


def run(block: Block, page: Path, names: dict[str, object]) -> str:
    """Run a block, statement by statement, and hold the figures in its comments; what else it prints."""
    figures, printed = claimed(block), io.StringIO()
    for node in ast.parse(block.text).body:
        figure = figures.get(node.end_lineno or 0)
        ast.increment_lineno(node, block.line)
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            if isinstance(node, ast.Expr):
                value = eval(compile(ast.Expression(node.value), str(page), "eval"), names)
            else:
                exec(compile(ast.Module([node], []), str(page), "exec"), names)
                value = names.get(ast.unparse(node.targets[0])) if isinstance(node, ast.Assign) else None
        if figure:
            value = shown.getvalue().split()[0] if shown.getvalue() else value
            assert agrees(figure, value), f"{page.name}, line {node.end_lineno}: {figure[0]}, but it is {value}"
        else:
            printed.write(shown.getvalue())
    return printed.getvalue()


def run_commands(block: Block) -> None:
    """Run what a console shows, where it stands, and hold the lines below it."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    for command, shown in commands(block):
        program, *arguments = shlex.split(command)
        assert program == "python", command
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=False)
        lost = missing(shown, done.stdout)
        assert lost is None, f"line {block.line}: {command} does not print {lost!r}, but\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("path", [p for p in PAGES if code_blocks(p)], ids=lambda p: p.name)
def test_code_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, from top to bottom, in one session; what they print is what the page says."""
    if path.name == "agent.md":
        pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    torch.manual_seed(0)
    module = types.ModuleType("__page__")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "__page__", module)
    for block in blocks(path):
        if block.language == "python":
            printed = run(block, path, module.__dict__)
            assert printed.split() == (block.output or "").split(), f"line {block.line}: the page shows other output"
        elif block.language == "console":
            run_commands(block)
        elif block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, module.__dict__, path.name, str(path), block.line)
            test.globs = module.__dict__
            said: list[str] = []
            doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
            assert not said, "".join(said)
    pyplot.close("all")


def test_pages_show_output_in_forms_that_are_compared() -> None:
    """`pages.py` says which these are."""
    wrong = []
    for page in PAGES:
        for block in blocks(page):
            if block.language not in LANGUAGES:
                wrong.append(f"{page.name}, line {block.line}: a block of {block.language}")
            wrong += [f"{page.name}: {said}" for said in refused(block)]
    assert not wrong, "\n".join(wrong)


SHOWN = {  # a page, and what the check says of it
    "```python\nprint(1.25)\n```\n\n```\n1.25\n```\n": "",
    "```python\nprint(1.25)\n```\n\n```\n1.26\n```\n": "other output",
    "```python\nprint(1.25)\n```\n\nIt prints.\n": "other output",
    '=== "tab"\n\n    ```python\n    print(1.25)\n    ```\n    ```\n    1.3\n    ```\n': "other output",
    "```python\nprint('| 2 |')\n```\n\n| 2 |\n": "",
    "```python\nprint('| 2 |')\n```\n\n| 3 |\n": "other output",
    "```python\nx = 2 / 3  # 0.667\nprint(x)  # 0.67, or so\n```\n": "",
    "```python\nx = 2 / 3  # 0.66\n```\n": "but it is",
    "```python\nimport torch\ntorch.ones(2, 3)  # (2, 3): ones\n```\n": "",
    "```python\nimport torch\ntorch.ones(2, 3)  # (3, 2)\n```\n": "but it is",
    "```python\nfor x in [1.5]:\n    x + 1  # 2.5\n```\n": "no value to compare",
    "```python\nx = 1.5  # which is 1.5\n```\n": "not the first word",
    "```\nloss 0.35\n```\n": "no code prints",
    "```console\n$ python -c 'print(1.25); print(2)'\n…\n2\n```\n": "",
    "```console\n$ python -c 'print(1.25); print(2)'\n2\n1.25\n```\n": "does not print",
    "```console\n$ python -c 'print(\"took 3 ms\")'\ntook 4 ms\n```\n": "",
    "```pycon\n>>> 1 + 1\n3\n```\n": "Expected",
}


@pytest.mark.parametrize("page", SHOWN)
def test_a_wrong_figure_is_found(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.md"
    path.write_text(page, encoding="utf-8")
    said = " ".join(said for block in blocks(path) for said in refused(block))
    if not said and SHOWN[page]:
        with pytest.raises(AssertionError, match=SHOWN[page]):
            test_code_blocks_run(path, tmp_path, monkeypatch)
    elif not said:
        test_code_blocks_run(path, tmp_path, monkeypatch)
    assert not said or SHOWN[page] in said


@pytest.mark.parametrize("path", API, ids=lambda p: p.stem)
def test_api_pages_name_what_exists(path: Path) -> None:
    assert directives(path), "an API page without an entry"
    for dotted in directives(path):
        resolve(dotted)


def test_every_public_name_is_in_the_api_pages_once() -> None:
    """What a room, or a file at the top of the package, gives away."""
    shown = [entry for path in API for dotted in directives(path) for entry in api.shown(dotted)]
    assert sorted(shown) == sorted(set(shown))
    missing = set(api.public.public_paths().values()) - set(shown) - {"snn_plasticity.__version__"}
    assert not missing, f"no entry: {sorted(missing)}"


def test_public_paths_are_read_as_python_imports_them() -> None:
    """Where a thing is written, and from where it is imported, are one thing."""
    for paths in api.public.public_paths().items():
        here, there = (
            getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in paths
        )
        assert here is there, paths


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


def anchors(page: Path) -> set[str]:
    """What a link can jump to on GitHub: headings, as it makes anchors of them, and names given by hand."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found: set[str] = set(re.findall(r'(?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.M):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(next(s for s in (slug, *(f"{slug}-{k}" for k in range(1, 99))) if s not in found))
    return found


def test_links_between_pages_lead_somewhere() -> None:
    """In the repository, as on the site: to files, and to headings within them."""
    broken = []
    for page in [*PAGES, *API]:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
            if re.match(r"https?:|mailto:", target):
                continue
            at = page.parent / target if target else page
            if page.parent == DOCS and Path(os.path.normpath(at)) in MADE:
                continue
            if not at.exists() or anchor and at.suffix == ".md" and anchor not in anchors(at):
                broken.append(f"{page.name} links to {target}#{anchor}")
    assert not broken, "\n".join(broken)


def test_commands_that_pages_name_are_there() -> None:
    """`python -m snn_plasticity COMMAND`, scripts of demos and benchmarks, extras."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    said = subprocess.run([sys.executable, "-m", "snn_plasticity", "--help"], cwd=ROOT, capture_output=True, text=True)
    commands = {word for text in texts for word in re.findall(r"python -m snn_plasticity ([a-z][\w-]*)", text)}
    assert "validate" in commands and not commands - set(re.findall(r"[a-z][\w-]*", said.stdout))
    scripts = {word for text in texts for word in re.findall(r"\b(?:demos|benchmarks)/[\w/]+\.(?:py|md|ipynb)", text)}
    assert len(scripts) > 10 and not [name for name in scripts if not (ROOT / name).exists()]


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
    installed = re.compile(r'(?:\.|snn_plasticity)\[([\w, ]+)\]["\']')
    asked = {
        e for page in PAGES for names in installed.findall(page.read_text(encoding="utf-8")) for e in names.split(",")
    }
    assert {"fast", "demos", "test"} <= asked <= extras
