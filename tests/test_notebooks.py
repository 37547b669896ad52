"""Notebooks run from top to bottom, hold their own claims, and show what a run of today shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
run_notebook = __import__("run_notebook")
remake = run_notebook.remake
LARGEST = 150_000  # bytes of a picture
every_notebook = pytest.mark.parametrize("path", remake.NOTEBOOKS, ids=lambda path: path.stem)


@every_notebook
def test_a_fresh_run_shows_what_is_stored(path: Path) -> None:
    stored, fresh = nbformat.read(path, as_version=4), remake.executed(path)
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        if old.cell_type == "code":
            found, kept = run_notebook.printed(new), run_notebook.printed(old)
            assert run_notebook.same(kept, found), (
                f"cell {number} prints\n{found}\nbut stored is\n{kept}\n"
                "If the new one is right: python demos/notebooks/remake.py"
            )
            assert len(run_notebook.figures([new])) == len(run_notebook.figures([old])), f"pictures of cell {number}"


@every_notebook
def test_what_is_stored_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = run_notebook.figures(code)
    assert shown and max(map(len, shown)) <= LARGEST, [len(picture) for picture in shown]
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for cell in code for o in cell.outputs)
    assert not any("\x1b" in run_notebook.printed(cell) or "\r" in run_notebook.printed(cell) for cell in code)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "not run from top to bottom"
    assert notebook.metadata == remake.METADATA
    assert any(re.search(r"^\s*assert ", cell.source, re.M) for cell in code), "it claims nothing that could fail"


def test_a_notebook_that_warns_or_raises_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, source in {"warns": "import warnings; warnings.warn('look')", "raises": "assert 1 == 2"}.items():
        cell = nbformat.v4.new_code_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
        before = (tmp_path / f"{name}.ipynb").read_bytes()
        assert remake.main([str(tmp_path / f"{name}.ipynb")]) == 1
        assert f"{name} is as it was" in capsys.readouterr().out
        assert (tmp_path / f"{name}.ipynb").read_bytes() == before
