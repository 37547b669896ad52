"""What the benchmarks compare is the same on both sides, and what they write keeps what others have written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from snn_plasticity import Convention, checks

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import cuda_contests  # noqa: E402
import hops  # noqa: E402
import ours  # noqa: E402
import results  # noqa: E402
import trains as spikes  # noqa: E402
from effort import difference  # noqa: E402
from trains import Rule  # noqa: E402


@pytest.mark.parametrize("work", cuda_contests.WORKS, ids=lambda work: work.name)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_work_is_the_same_work_written_out(work, batch):
    given = cuda_contests.given(cuda_contests.Size(20, batch), "cpu")
    players = work.naive(given), work.ours(given)
    for player in players:
        player.play(0, cuda_contests.STEPS)
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
