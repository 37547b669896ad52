"""What the benchmarks compare is the same on both sides, and what they write keeps what others have written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from snn_plasticity import Convention
from snn_plasticity import _checks as checks

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))
import gpu_contests  # noqa: E402
import hops  # noqa: E402
import ours  # noqa: E402
import results  # noqa: E402
import trains as spikes  # noqa: E402
from effort import difference  # noqa: E402
from trains import Rule  # noqa: E402


@pytest.mark.parametrize("work", gpu_contests.WORKS, ids=lambda work: work.name)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_work_is_the_same_work_written_out(work, batch):
    given = gpu_contests.given(gpu_contests.Size(20, batch), "cpu")
    players = work.naive(given), work.ours(given)
    for player in players:
        player.play(0, gpu_contests.STEPS)
    naive, own = (player.result() for player in players)
    assert naive.abs().max() > 0
    assert difference(own.numpy(), naive.numpy()) < 1e-5


@pytest.mark.parametrize("pairing", ["all", "nearest"])
def test_weights_that_are_current_every_ten_steps_are_those_of_the_plain_path(pairing):
    trains, rule = spikes.recurrent(60, 10, n=40, fan_out=5, density=0.1), Rule(pairing=pairing)
    convention = Convention(eligibility_decay="exponential", pairing=pairing)
    found = []
    for path in ("auto", "plain"):
        player = ours.WeightsOften(trains, rule, convention, path=path)
        player.play_all()
        found.append(player.change().copy())
    assert difference(*found) < 1e-5
    by_step = ours.change_by_step(trains, rule, convention, path="plain")
    by_step.play_all()  # a reward at the steps 0, 10, …, and none at the others
    assert difference(found[0], by_step.change()) < 1e-5


def test_a_way_is_counted_call_by_call():
    def never(name: str) -> None:
        len(name)

    assert hops.way(lambda: never("outside of the package")) == (0, 0, 0, 0)
    once = hops.way(lambda: checks.require_number("x", 1.0))
    twice = hops.way(lambda: [checks.require_number("x", 1.0) for _ in range(2)])
    assert once.calls >= 1
    assert twice == once._replace(calls=2 * once.calls)


def test_lines_of_code_are_neither_blank_nor_said(tmp_path):
    path = tmp_path / "file.py"
    path.write_text(
        '"""Said,\n\nat length."""\n\n# aside\nx = 1\n\n\ndef f():\n    """Said."""\n    return x  # counted\n'
    )
    assert hops.lines_of_code([path]) == 3


def test_a_section_is_replaced_alone(tmp_path):
    path = tmp_path / "RESULTS.md"
    results.write("overhead", "## Overhead\n\n| a |\n| --- |\n| 1 |", path)
    results.write("cuda", "## CUDA\n\nabsent", path)
    assert not results.measured("cuda", path)
    results.write("cuda", "## CUDA\n\n" + results.table(("a", "b"), [(1, 2)]), path)
    text = path.read_text(encoding="utf-8")
    assert results.measured("cuda", path)
    assert "absent" not in text
    assert text.index("## Overhead") < text.index("## CUDA")
    assert "| 1 |" in text


@pytest.mark.parametrize("script", ["closed_loop", "cuda"])
def test_a_script_says_what_it_does(script):
    """In a process of its own, where nothing that it needs was imported before."""
    asked = subprocess.run([sys.executable, BENCHMARKS / f"{script}.py", "--help"], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert "--quick" in asked.stdout
    assert "--json" in asked.stdout


def test_the_script_of_that_name_does_not_hide_the_package_cuda(tmp_path):
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "cuda" / "bindings" / "__init__.py").write_text("here = True\n")
    look = f"import sys; sys.path[:0] = [{str(BENCHMARKS)!r}, {str(tmp_path)!r}]; from cuda.bindings import here"
    assert subprocess.run([sys.executable, "-S", "-c", look], check=False).returncode == 0
    look = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import cuda"
    missed = subprocess.run([sys.executable, "-S", "-c", look], check=False, capture_output=True, text=True)
    assert "ModuleNotFoundError: No module named 'cuda'" in missed.stderr
