"""Every paper that is named is in the list, every paper of the list is named, and its address looks like one."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs" / "hooks"))
references = importlib.import_module("references")

PAPERS = references.papers()
UNFOUND = {"roelfsema2005"}  # no other source at hand states their DOI: rather none than one from memory


def test_every_paper_that_is_named_is_in_the_list() -> None:
    named = [(words, where, references.paper_of(authors, year, short)) for where, text in references.places()
             for words, authors, year, short in references.citations(text)]  # fmt: skip
    assert len(named) > 100
    assert not [f"{words} ({where})" for words, where, paper in named if paper is None]


def test_every_paper_of_the_list_is_named() -> None:
    assert not [paper.key for paper in PAPERS if paper.key not in references.used()]


def test_keys_and_names_are_unique() -> None:
    assert len({paper.key for paper in PAPERS}) == len(PAPERS) == references.BIB.read_text("utf-8").count("\n@")
    assert len({(*paper.authors, paper.fields["year"]) for paper in PAPERS}) == len(PAPERS)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.key)
def test_entries_are_whole(paper) -> None:
    assert paper.fields.keys() >= {"author", "title", "year"} and paper.key.endswith(paper.fields["year"])
    if "doi" in paper.fields:
        assert re.fullmatch(r"10\.\d{4,9}/\S+", paper.fields["doi"])
    if "eprint" in paper.fields:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", paper.fields["eprint"]) and paper.fields["archiveprefix"] == "arXiv"
    assert paper.address or paper.source.startswith(("@book", "@incollection")) or paper.key in UNFOUND


NAMES = {
    "After Song, Miller & Abbott 2000.": "song2000",
    "Bellec et al. (2020), figure 4": "bellec2020",
    "mean ratings of Russell & Mehrabian's (1977) readers": "russell1977",
    "von der Malsburg 1973, Oja 1982": "malsburg1973",
    "Russell 1980": "russell1980",
    "Frémaux, Sprekeler\n    & Gerstner 2013": "fremaux2013",
    "Miller & Abbott 2000": None,
}


@pytest.mark.parametrize(("text", "paper"), NAMES.items(), ids=NAMES)
def test_names_are_read(text: str, paper: str | None) -> None:
    _, authors, year, shortened = next(references.citations(text))
    found = references.paper_of(authors, year, shortened)
    assert (found and found.key) == paper
