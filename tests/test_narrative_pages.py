"""Tables and numbers of the written pages are those of the code and of the results."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from snn_plasticity.conventions import PRESETS, Convention

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_table_of_conventions_is_that_of_the_presets():
    words = {
        "exact": "exponential", "Euler": "euler", "e(t)": 0, "e(t−1)": 1, "both signs": "both", "no pair": "none",
        "pre came first": "causal", "yes": True, "no": False,
    }  # fmt: skip
    fields = "eligibility_decay", "spike_trace_decay", "lag", "coincidence", "normalize_trace", "pairing", "reduction"
    rows = re.findall(r"^\| (`\"\w+\"`.*|the default.*) \|$", (DOCS / "conventions.md").read_text("utf-8"), re.M)
    told = {}
    for row in rows:
        names, *cells = row.split(" | ")
        if len(cells) == len(fields):
            choices = Convention(**{f: words.get(cell, cell) for f, cell in zip(fields, cells, strict=True)})
            told.update(dict.fromkeys(re.findall(r'"(\w+)"', names) or ["default"], choices))
    assert told.pop("default") == Convention()
    assert told == PRESETS


@pytest.fixture
def benchmarks(monkeypatch):
    """Scripts of benchmarks/, importable."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in ("results", "speed_figure"):
        sys.modules.pop(name, None)


def test_the_numbers_of_the_page_of_speed_are_measured_ones(benchmarks):
    import speed_figure as of
    from results import tables

    def span(values, form):
        return f"{min(values):{form}} to {max(values):{form}}"

    page = " ".join((DOCS / "speed.md").read_text("utf-8").split())
    theirs, each, episode = zip(*of.simulators().values(), strict=True)
    loops = of.closed_loops()
    alone = [pair for name, pair in loops.items() if name.endswith("B1")]
    large = [pair for name, pair in loops.items() if name.endswith("500 B16")]
    overhead = [row for row in tables("overhead")[0] if row["plasticity"] == "no clamp on e"]
    forward, training = ({row["ratio"] for row in overhead if row["run"] == run} for run in ("forward", "training"))
    brian = next(row for row in tables("against_others")[-1] if row["Brian2"] == "C++ standalone, reward each step")
    grows, speeds = tables("online_gradient")[:2]
    slow = next(row for row in speeds if row["way"] == "online, a loss for each step")
    slow = next(cell for cell in slow.values() if cell.endswith("×"))
    sentences = [
        f"takes {span(theirs, ',.0f')} µs",
        f"takes {span(each, '.0f')} µs where",
        f"and {span(episode, '.0f')} µs a step where",
        f"takes {span([ours for _, ours in alone], '.1f')} times as long as without learning",
        f"takes {span([hand for hand, _ in alone], '.1f')} times.",
        f"it is {span([ours for _, ours in large], '.1f')} times; by hand, {span([hand for hand, _ in large], '.1f')}.",
        f"takes {forward.pop().rstrip('×')} times as long as without, and "
        f"{span([of.number(ratio) for ratio in training], '')} times where",
        f"needs {of.memory()['observed step by step, one reward at the end']:g} of what",
        f"{brian['its µs/step']} µs a step, and {brian['ours, edges']} here",
        f"edges are read: {brian['ours, full matrix']}.)",
        f"reaches {slow.rstrip('×')} times its speed",
        f"grows by {grows[-1]['e-prop'].partition('+')[2].rstrip('%')} %",
    ]
    assert not forward and not [sentence for sentence in sentences if sentence not in page]


def test_every_section_of_the_results_is_on_the_site(benchmarks):
    from results import RESULTS, sections

    known = set(sections(RESULTS.read_text("utf-8")))
    asked = re.findall(r"<!-- results: (\w+) -->", (DOCS / "benchmarks.md").read_text("utf-8"))
    assert len(asked) == len(set(asked)) and set(asked) == known


def test_the_page_of_benchmarks_names_scripts_that_are_there():
    named = re.findall(r"`python (benchmarks/\w+\.py)`", (DOCS / "benchmarks.md").read_text("utf-8"))
    assert len(named) > 10 and all((ROOT / name).exists() for name in named)


def test_the_citation_file_says_what_the_project_says():
    cff = (DOCS / "CITATION.cff").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    author = re.search(r'authors = \[\{ name = "(.+?)" \}\]', project)
    assert author and f'- name: "{author[1]}"' in cff
    assert re.search(r"^cff-version: 1\.2\.0$", cff, re.M) and re.search(r"^license: MIT$", cff, re.M)
    assert all(re.search(rf"^{key}: ", cff, re.M) for key in ("message", "title", "type", "abstract"))


def test_python_on_every_page_fits_its_column():
    for page in DOCS.glob("*.md"):
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
        wide = [line for block in blocks for line in block.splitlines() if len(line) > 100]
        assert not wide, f"{page.name}: {wide[0]}"


def test_code_on_the_pages_that_newcomers_read_fits_a_narrow_column():
    for name in (
        "index", "tutorial_snntorch", "tutorial_norse", "troubleshooting", "conventions", "extending", "speed",
    ):  # fmt: skip
        blocks = re.findall(r"^```\w*\n(.*?)^```", (DOCS / f"{name}.md").read_text("utf-8"), re.S | re.M)
        wide = [line for block in blocks for line in block.splitlines() if len(line) > 88]
        assert not wide, f"{name}: {wide[0]}"
