"""The demos of e-prop: their worlds are what they say, their nets learn, and their verdicts are drawn and written."""

from __future__ import annotations

import json
import sys
from importlib import import_module as load
from pathlib import Path

import pytest
import torch

pytest.importorskip("tqdm")
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
demo_of_curves, curves, cue, cues, rows = map(load, ("pattern_generation", "pattern_task", "cue", "cue_task", "rows"))
BAR = tqdm(disable=True)


@pytest.mark.parametrize(("word", "tenth"), [("random", 107.4), ("symmetric", 93.3), ("adaptive", 106.2)])
def test_each_feedback_draws_the_curve_as_an_independent_program_does(word, tenth):
    """The tenth loss; chance takes over after about fifty."""
    story = demo_of_curves.learn(curves.nest_task(seed=1), word, 10, BAR)
    assert float(story.losses[-1]) == pytest.approx(tenth, abs=0.06)
    assert float(story.losses[0]) == pytest.approx(101.964356999041, rel=1e-12)


def test_cues_are_counted_and_silence_is_silent():
    inputs, side = cues.trials(200, torch.Generator().manual_seed(0))
    left, right, recall, noise = inputs.unflatten(2, (4, 10)).sum(3).unbind(2)
    shown = cues.CUES * (cues.CUE + cues.GAP)
    assert inputs.shape == (cues.STEPS, 200, 40)
    assert torch.equal((right.sum(0) > left.sum(0)).long(), side)  # 40 spikes of a cue, give or take 5
    assert not left[shown:].any() and not right[shown:].any() and not recall[: -cues.RECALL].any()
    assert 0.4 < float(side.float().mean()) < 0.6 and 0.9 < float(noise.mean()) < 1.1
    assert recall[-cues.RECALL :].mean() == pytest.approx(4.0, abs=0.1)


def test_a_net_that_adapts_soon_remembers_more_than_chance():
    learner = cue.Learner("ALIF", cue.feedback_of("symmetric"), 0, batches=300)
    right = [learner.learn() for _ in range(20)]
    assert sum(right[-5:]) / 5 > 0.65


def stories_of(unseen):
    """Two nets of each kind, which end there."""
    nothing = cue.Course(*torch.zeros(4, 3, 1, 2))
    return {
        (kind, word): [cue.Story(torch.zeros(1), right, nothing, 0)] * 2
        for kind, right in unseen.items()
        for word in cue.COLORS
    }


def test_the_verdict_on_cues():
    def kept(alif, lif):
        return [finding.kept for finding in cue.judge(stories_of({"ALIF": alif, "LIF": lif})).values()]

    assert kept(0.96, 0.5) == [True] * 6
    assert kept(0.94, 0.5) == [False] * 3 + [True] * 3
    assert kept(0.96, 0.8) == [True] * 3 + [False] * 3


def test_rows_are_read_from_above_and_learned():
    digits = rows.load()
    assert (len(digits.seen), len(digits.unseen)) == (1347, 450)
    seen = []
    net = rows.Net(recurrent=True)
    net.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(digits.unseen[:5].float())
    read = torch.stack(seen)[:: rows.STEPS_PER_ROW].transpose(0, 1).flatten(1)
    assert torch.equal(read, digits.unseen[:5].float())
    assert float(rows.life("e-prop", 7, 2, digits, BAR).curve[-1]) > 0.5


def test_the_verdict_on_rows():
    def kept(local, through_time, alone):
        curves = dict(zip(rows.WAYS, (local, through_time, alone), strict=True))
        told = {way: [rows.Story(torch.tensor([end]), 1.0)] * 2 for way, end in curves.items()}
        return [finding.kept for finding in rows.judge(told).values()]

    assert kept(0.95, 0.96, 0.8) == [True] * 3
    assert kept(0.93, 0.96, 0.94) == [False, True, False]


LITTLE = {demo_of_curves: ["--seconds", "10"], cue: ["--batches", "1", "--seeds", "1"]}


@pytest.mark.parametrize("demo", LITTLE, ids=lambda demo: demo.__name__)
def test_a_net_that_has_hardly_begun_fails_with_numbers_and_a_figure(demo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cue, "UNSEEN", 32)
    numbers, figure = tmp_path / "numbers.json", tmp_path / "figures" / "figure.png"
    assert demo.main([*LITTLE[demo], "--json", str(numbers), "--figure", str(figure)]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert json.loads(numbers.read_text())["seconds"] > 0
    assert figure.stat().st_size > 30_000
