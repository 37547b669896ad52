"""Notebooks run from top to bottom, hold their own claims, and show what a run of today shows."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
FOLDER = Path(__file__).parent.parent / "demos" / "notebooks"
sys.path.insert(0, str(FOLDER))
remake = __import__("remake")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
LARGEST = 150_000  # bytes of a picture
every_notebook = pytest.mark.parametrize("path", remake.NOTEBOOKS, ids=lambda path: path.stem)


def printed(outputs: list[Any]) -> str:
    """What a cell prints or returns; of figures, that they are there."""
    return "".join(output.get("text") or output.data["text/plain"] + "\n" for output in outputs)


def pictures(notebook: Any) -> list[bytes]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]


def nearly(text: str, stored: str) -> bool:
    """The same words and whole numbers; numbers with a point within 5 % and 0.02, as other machines sum otherwise."""
    ours, theirs = NUMBER.findall(text), NUMBER.findall(stored)
    return (
        NUMBER.sub("#", text) == NUMBER.sub("#", stored)
        and len(ours) == len(theirs)
        and all(
            one == other or ("." in one + other and abs(float(one) - float(other)) <= 0.05 * abs(float(other)) + 0.02)
            for one, other in zip(ours, theirs, strict=True)
        )
    )


@every_notebook
def test_a_fresh_run_shows_what_is_stored(path: Path) -> None:
    stored, fresh = nbformat.read(path, as_version=4), remake.executed(path)
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        if old.cell_type == "code":
            assert nearly(printed(new.outputs), printed(old.outputs)), (
                f"cell {number} prints\n{printed(new.outputs)}\nbut stored is\n{printed(old.outputs)}\n"
                "If the new one is right: python demos/notebooks/remake.py"
            )


@every_notebook
def test_what_is_stored_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = pictures(notebook)
    assert shown and max(map(len, shown)) <= LARGEST, [len(picture) for picture in shown]
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for cell in code for o in cell.outputs)
    assert not any("\x1b" in printed(cell.outputs) or "\r" in printed(cell.outputs) for cell in code)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "not run from top to bottom"
    assert notebook.metadata == remake.METADATA
    assert any(re.search(r"^\s*assert ", cell.source, re.M) for cell in code), "it claims nothing that could fail"


def test_other_numbers_and_other_words_are_told_apart() -> None:
    assert nearly("memory 0.02 MiB, 0.94 right", "memory 0.02 MiB, 0.93 right")
    assert not nearly("0.94 right", "0.80 right")
    assert not nearly("8 layers", "9 layers")
    assert not nearly("with affect", "without")


def test_a_notebook_that_warns_or_raises_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, source in {"warns": "import warnings; warnings.warn('look')", "raises": "assert 1 == 2"}.items():
        cell = nbformat.v4.new_code_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
        before = (tmp_path / f"{name}.ipynb").read_bytes()
        assert remake.main([str(tmp_path / f"{name}.ipynb")]) == 1
        assert f"{name} is as it was" in capsys.readouterr().out
        assert (tmp_path / f"{name}.ipynb").read_bytes() == before
