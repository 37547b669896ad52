"""The program that runs all demos: a failure stops no other, what was measured is written down, the table is true."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "demos"))
import run_all as program  # noqa: E402
import run_list  # noqa: E402
import run_page  # noqa: E402

LITTLE = """
import base64, json, sys

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


def close(findings):
    where = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    with open(where["--json"], "w") as numbers, open(where["--figure"], "wb") as figure:
        json.dump({"findings": findings}, numbers)
        figure.write(base64.b64decode(PICTURE))
    return 0 if all(finding["kept"] for finding in findings.values()) else 1
"""  # what a demo's command line does, without the seconds that importing torch takes
GOOD = '''"""Two is more than one."""
from command_line import close

if __name__ == "__main__":
    raise SystemExit(close({"two": {"measured": "2", "expected": "> 1", "kept": True}}))
'''
WORSE = '''"""Nought is more than one."""
from command_line import close

if __name__ == "__main__":
    raise SystemExit(close({"nought": {"measured": "0", "expected": "> 1", "kept": False}}))
'''
BROKEN = '"""It cannot even begin."""\nfrom command_line import nothing\nif __name__ == "__main__":\n    pass\n'


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A folder of three demos: one keeps its claim, one does not, one breaks; nothing of the real table is touched."""
    demos = tmp_path / "demos"
    demos.mkdir()
    for name, text in (("good", GOOD), ("worse", WORSE), ("broken", BROKEN)):
        (demos / f"{name}.py").write_text(text)
    (demos / "command_line.py").write_text(LITTLE)
    for module, places in (
        (run_list, {"ROOT": tmp_path, "DEMOS": demos, "MEASURED": demos / "results.json"}),
        (run_page, {"ROOT": tmp_path, "GALLERY": tmp_path / "docs" / "gallery", "MEASURED": demos / "results.json"}),
        (run_page, {"PAGE": demos / "RESULTS.md"}),
        (program, {"ROOT": tmp_path, "OUT": tmp_path / "out"}),
    ):
        for name, place in places.items():
            monkeypatch.setattr(module, name, place)
    return demos


def test_a_demo_that_fails_stops_no_other_and_is_told(three, capsys):
    assert program.main([]) == 1
    printed = capsys.readouterr().out
    assert "3 of 3" in printed and "Not kept: " in printed and "broken.log" in printed
    told = json.loads((three / "results.json").read_text(encoding="utf-8"))
    runs = {run["name"]: run for run in told["runs"]}
    assert [runs[name]["kept"] for name in ("good", "worse", "broken")] == [True, False, False]
    assert runs["good"]["sentence"] == "Two is more than one." and runs["good"]["command"] == "python demos/good.py"
    assert runs["worse"]["findings"] == {"nought": {"measured": "0", "expected": "> 1", "kept": False}}
    assert (three.parent / runs["good"]["figure"]).exists() and runs["broken"]["figure"] is None
    page = (three / "RESULTS.md").read_text(encoding="utf-8")
    assert "| two | 2 | > 1 | yes |" in page and "| nought | 0 | > 1 | **no** |" in page and "did not run" in page
    assert "nothing" in (three.parent / "out" / "broken.log").read_text()
    assert program.main(["good"]) == 0
    again = json.loads((three / "results.json").read_text(encoding="utf-8"))
    assert {run["name"] for run in again["runs"]} == set(runs) and again["about"] == told["about"]


def test_names_and_numbers_that_make_no_sense_are_refused(three, capsys):
    for options, said in ((["nobody"], "nobody is no demo"), (["--processes", "0"], "expected 1 or more")):
        with pytest.raises(SystemExit):
            program.main(options)
        assert said in capsys.readouterr().err


def test_time_left_follows_the_pace_of_today():
    runs = [run_list.Run(name, Path(f"{name}.py"), "") for name in "abcd"]
    guess = dict(zip(runs, (600.0, 300.0, 300.0, 60.0), strict=True))
    twice_as_slow = {runs[0]: program.Ended(runs[0], 0, 600.0, 1200.0)}
    assert program.left(guess, twice_as_slow, processes=2) == "; about 11 min left"
    assert program.left(guess, {run: program.Ended(run, 0, 1.0, 1.0) for run in runs}, processes=2) == ""


def test_small_pictures_are_small_and_as_the_large_ones(tmp_path):
    large = Image.linear_gradient("L").resize((2000, 1000))
    large.convert("RGBA").save(tmp_path / "large.png")
    with Image.open(run_page.small(tmp_path / "large.png", tmp_path / "new" / "small.png")) as found:
        assert found.width in run_page.WIDTHS and found.width / found.height == pytest.approx(2.0, abs=0.01)
    assert (tmp_path / "new" / "small.png").stat().st_size <= run_page.LARGEST
    Image.new("RGBA", (1500, 900), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    with Image.open(run_page.small(tmp_path / "clear.png", tmp_path / "small.png")) as clear:
        assert clear.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_words_of_a_notebook_have_to_be_the_same_and_numbers_near():
    pytest.importorskip("nbclient")
    from run_notebook import same

    assert same("accuracy 0.97 after 3 epochs", "accuracy  0.96 after 3\nepochs")
    assert not same("accuracy 0.97", "accuracy 0.90") and not same("right 1", "wrong 1")
    assert not same("8 layers of fc1", "9 layers of fc1") and not same("layer fc1", "layer fc2")


def test_the_table_is_about_the_demos_that_are_there():
    """Every demo has a sentence, and what the table says of it is what its file says."""
    demos = {run.name: run for run in run_list.demos()}
    assert {"delayed_reward", "cue", "seeking", "your_net", "agent"} <= set(demos)
    assert "plots_gallery" not in demos, "it makes the pictures of a page, and has no criterion"
    assert all(run.sentence.endswith(".") for run in demos.values())
    table = json.loads(run_list.MEASURED.read_text(encoding="utf-8"))
    for run in table["runs"]:
        if run["kind"] == "demo":
            assert run["sentence"] == demos[run["name"]].sentence and run["command"] == demos[run["name"]].command
            assert run["kept"] and run["findings"]
        if run["figure"] and (ROOT / run["figure"]).exists():
            assert (ROOT / run["figure"]).stat().st_size <= run_page.LARGEST
    assert (ROOT / "demos" / "RESULTS.md").read_text(encoding="utf-8") == run_page.page(table["runs"], table["about"])
