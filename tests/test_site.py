"""The site builds without a warning; what it shows of the API is what Python has; its links lead somewhere."""

from __future__ import annotations

import dataclasses
import html
import importlib
import inspect
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs" / "hooks"))
pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
public = importlib.import_module("public")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", ".mkdocs.yml", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


class Page(HTMLParser):
    """What of a built page is checked: its anchors, what it points at, its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.anchors, self.targets, self.pictures, self.meta = path, set(), [], [], {}
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        self.targets += [given[key] for key in ("href", "src") if given.get(key)]
        if tag == "img":
            self.pictures.append(given)
        if tag == "meta":
            self.meta[given.get("name") or given.get("property")] = given.get("content")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_links_and_anchors_of_the_site_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or target.startswith("//"):
                assert parts.scheme in ("https", "http", "mailto", "data") and " " not in target, target
                continue
            at = path if not parts.path else site / parts.path[1:] if parts.path[0] == "/" else path.parent / parts.path
            at = Path(unquote(str(at))).resolve()
            at = at / "index.html" if at.is_dir() else at
            if not at.exists() or parts.fragment and at in pages and unquote(parts.fragment) not in pages[at].anchors:
                broken.append(f"{path.relative_to(site)} -> {target}")
    broken += [f"{path.relative_to(site)}: a name in brackets" for path, page in pages.items() if "][snn_" in page.text]
    assert not broken, "\n".join(broken)


def test_pictures_say_what_they_show(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for picture in page.pictures:
            assert picture.get("class") == "twemoji" or len(picture.get("alt") or "") > 3, f"{path.name}: {picture}"


def test_pages_ask_no_other_machine_for_anything(pages: dict[Path, Page]) -> None:
    """But for MathJax, where it could not be brought along."""
    for path, page in pages.items():
        asked = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?(//[^"]+)"', page.text)
        assert all("mathjax" in address for address in asked), f"{path.name}: {asked}"


def test_every_page_has_a_title_and_a_description(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert page.meta.get("description") and page.meta.get("og:title"), path
        assert page.meta.get("og:description") == page.meta["description"], path


def api(pages: dict[Path, Page]) -> list[Page]:
    return [page for path, page in pages.items() if path.parent.name == "api"]


def test_every_public_name_has_its_place(pages: dict[Path, Page]) -> None:
    """At the path from which it is imported, and only there."""
    headings = [name for page in api(pages) for name in re.findall(r'<h3 id="(snn_plasticity[^"]*)"', page.text)]
    wanted = set(public.public_paths().values()) - {"snn_plasticity.__version__"}
    assert len(headings) == len(set(headings)), sorted({n for n in headings if headings.count(n) > 1})
    assert not wanted - set(headings), "not shown"
    for room in map(importlib.import_module, public.public_modules()):
        for name in getattr(room, "__all__", ()):
            thing = public.home(room.__name__, name)
            assert thing in public.public_paths(), f"{room.__name__}.{name}"
    shown = [
        name for page in api(pages) for name in re.findall(r"doc-object-name[^>]*>(snn_plasticity[^<]*)<", page.text)
    ]
    assert set(shown) <= wanted, "a path from which nobody imports"
    assert not any("._" in anchor for page in api(pages) for anchor in page.anchors), "a private room"


def runtime(path: str) -> Any:
    """The object behind a dotted path, as Python has it; of a property its getter, of a class method its function."""
    thing, at = importlib.import_module("snn_plasticity"), "snn_plasticity"
    for name in path.split(".")[1:]:
        at = f"{at}.{name}"
        if inspect.ismodule(thing) and not hasattr(thing, name):
            importlib.import_module(at)
        thing = inspect.getattr_static(thing, name)
    thing = getattr(thing, "__func__", thing)
    return thing.fget if isinstance(thing, property) else thing


def rows(page: Page) -> list[tuple[str, str, str]]:
    """(object, argument, default as it is shown or "required") of every row of every table of parameters."""
    found, owner, inside = [], "", False
    piece = re.compile(
        r'<h\d id="(?P<owner>snn_plasticity[^"]*)" class="doc doc-heading">'
        r'|<span class="doc-section-title">(?P<title>\w+)|<tr class="doc-section-item"[^>]*>(?P<row>.*?)</tr>', re.S,
    )  # fmt: skip
    for match in piece.finditer(page.text):
        owner = match["owner"] or owner
        inside = match["title"] == "Parameters" if match["title"] else inside
        if match["row"] and inside:
            cells = re.findall(r"<td[^>]*>(.*?)</td>", match["row"], re.S)
            name, default = (html.unescape(re.sub(r"<[^>]*>", "", cells[k])).strip() for k in (0, -1))
            found.append((owner, name, default))
    return found


def same(default: Any, shown: str, thing: Any, name: str) -> bool:
    """Whether what is shown is the default: a value, written as in its file, or the name of a function or a dtype."""
    if repr(default) == "<factory>":
        made = {field.name: field.default_factory for field in dataclasses.fields(thing)}
        default = made[name]()
    if getattr(default, "__name__", str(default).rpartition(".")[2]) == shown:
        return True
    return repr(eval(shown, dict(vars(sys.modules[inspect.unwrap(thing).__module__])))) == repr(default)


def test_defaults_of_the_api_are_those_of_python(pages: dict[Path, Page]) -> None:
    """Every row of every table: an argument that there is, required where it is, else with its default."""
    wrong, count = [], 0
    for page in api(pages):
        for owner, name, shown in rows(page):
            thing, count = runtime(owner), count + 1
            parameter = inspect.signature(thing).parameters.get(name.lstrip("*"))
            many = parameter is not None and parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if parameter is None:
                wrong.append(f"{owner} has no {name}")
            elif not many and (shown == "required") != (parameter.default is parameter.empty):
                wrong.append(f"{owner}: {name} is {shown}, not {parameter.default}")
            elif shown != "required" and not many and not same(parameter.default, shown, thing, name):
                wrong.append(f"{owner}: {name} is {shown}, not {parameter.default!r}")
    assert not wrong, "\n".join(wrong)
    assert count > 600


gallery = importlib.import_module("gallery")


@pytest.mark.skipif(not gallery.MEASURED.exists(), reason="no run of all demos is stored")
def test_the_gallery_shows_all_that_was_run(site: Path) -> None:
    page, measured = Page(site / "gallery.html"), json.loads(gallery.MEASURED.read_text(encoding="utf-8"))
    assert measured["runs"]
    for run in measured["runs"]:
        assert html.escape(run["command"]) in page.text and run["name"] in page.text
        assert (ROOT / run["command"].split()[-1]).exists(), run["command"]
        assert run["figure"] is None or (ROOT / run["figure"]).exists(), run["figure"]


def test_a_card_of_the_gallery_says_what_was_kept() -> None:
    found = {"one": {"kept": True}, "two": {"kept": False}}
    run = {"name": "cue", "kind": "demo", "sentence": 'It "learns" a < b.', "command": "python demos/cue.py"}
    run |= {"seconds": 95.0, "findings": found, "figure": "docs/figures/gallery/cue.png"}
    card = gallery.card(run)
    assert "[![cue: It &quot;learns&quot; a &lt; b.](figures/gallery/cue.png)](figures/gallery/cue.png)" in card
    assert "`python demos/cue.py`  \n    2 min, 1 of 2 claims kept" in card
    assert "12 s, 1 claim kept" in gallery.card({**run, "seconds": 12.3, "findings": {"one": {"kept": True}}})
