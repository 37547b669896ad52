"""The demos of e-prop: their worlds are what they say, their nets learn, and their verdicts are drawn and written."""

from __future__ import annotations

import copy
import json
import sys
from importlib import import_module as load
from pathlib import Path

import pytest
import torch

pytest.importorskip("tqdm")
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
demo_of_curves, curves, cue, cues = map(load, ("pattern_generation", "pattern_task", "cue", "cue_task"))
norses, rows = map(load, ("cue_norse", "rows"))
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


@pytest.mark.parametrize("kind", norses.CELLS)
def test_a_net_of_norse_has_the_gradient_of_what_its_neurons_keep(kind, monkeypatch):
    """Through 315 steps, the spikes that come back detached."""
    monkeypatch.setattr(norses, "BATCH", 4)
    learner = norses.NorseLearner(kind, cue.feedback_of("symmetric"), 0, batches=5)
    net, rng = copy.deepcopy(learner.net), torch.Generator().manual_seed(0)
    learner.learn()
    inputs, side = cues.trials(4, rng)
    state, loss = None, 0.0
    for t, x in enumerate(inputs):
        _, seen, state = net(x, state and (state[0].detach(), *state[1:]))
        if t >= cues.STEPS - cues.RECALL:
            loss = loss + rows.cross_entropy(net.readout(seen), side) / cues.RECALL
    loss.backward()
    for name, exact in net.named_parameters():
        found = learner.net.get_parameter(name).grad
        assert exact.grad.norm() > 0
        assert float((found - exact.grad).norm() / exact.grad.norm()) < 1e-4, name


def stories_of(unseen):
    """Two nets of each kind, which end there."""
    nothing = cue.Course(*torch.zeros(4, 3, 1, 2))
    return {(kind, word): [cue.Story(torch.zeros(1), unseen[kind], nothing, 0)] * 2 for kind, word in cue.NETS}


def test_the_verdict_on_cues():
    def kept(alif, lif, enough=0.95):
        return [finding.kept for finding in cue.judge(stories_of({"ALIF": alif, "LIF": lif}), enough).values()]

    assert kept(0.96, 0.5) == [True] * 4
    assert kept(0.94, 0.5) == [False] * 3 + [True]
    assert kept(0.96, 0.8) == [True] * 3 + [False]
    assert kept(0.94, 0.5, enough=0.9) == [True] * 4


@pytest.mark.parametrize("kind", rows.NETS)
def test_rows_are_read_from_above_and_learned(kind):
    digits = rows.load()
    assert (len(digits.seen), len(digits.unseen)) == (1347, 450)
    seen, net = [], rows.NETS[kind]()
    net.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(digits.unseen[:5])
    assert len(seen) == 8 * rows.STEPS and all(torch.equal(row[:, 8], torch.ones(5)) for row in seen)
    read = torch.stack(seen)[:: rows.STEPS, :, :8].transpose(0, 1).flatten(1)
    assert torch.equal(read, digits.unseen[:5])
    assert float(rows.life(kind, "e-prop", 7, 2, digits, BAR).curve[-1]) > 0.5


@pytest.mark.parametrize("kind", rows.NETS)
def test_eprop_of_rows_is_most_of_the_gradient_and_all_that_the_neurons_keep_themselves(kind):
    digits = rows.load()
    for recurrent, least in ((True, 0.9), (False, 1 - 1e-5)):
        torch.manual_seed(3)
        net = rows.NETS[kind]()
        if not recurrent:
            net.get_parameter(f"{net.back}.weight").requires_grad_(False).zero_()
        images, labels = digits.seen[:20], digits.labels[:20]
        rows.cross_entropy(net.readout(net(images)), labels).backward()
        through_time = net.fc.weight.grad.flatten()
        net.zero_grad()
        learner = rows.attach(net, rows.PlasticityConfig.eprop(1.0, mode="hybrid"), pairs={"readout": ()})
        rows.by_eprop(net, learner, images, labels)
        local = net.fc.weight.grad.flatten()
        assert float(torch.cosine_similarity(local, through_time, 0)) > least
        assert float(local.norm() / through_time.norm()) == pytest.approx(1.0, abs=0.3 if recurrent else 1e-5)


def test_the_verdict_on_rows():
    def kept(*ends):
        told = {
            ("ALIF", way): [rows.Story(torch.tensor([end]), 1.0)] * 2 for way, end in zip(rows.WAYS, ends, strict=True)
        }
        return [finding.kept for finding in rows.judge(told).values()]

    assert kept(0.95, 0.96, 0.8) == [True] * 3
    assert kept(0.93, 0.96, 0.94) == [False, True, False]


LITTLE = {
    "curves": (demo_of_curves, ["--seconds", "10"]),
    "cue": (cue, ["--batches", "1", "--seeds", "1"]),
    "cue, norse": (cue, ["--batches", "1", "--seeds", "1", "--host", "norse"]),
}


@pytest.mark.parametrize(("demo", "arguments"), LITTLE.values(), ids=list(LITTLE))
def test_a_net_that_has_hardly_begun_is_reported_with_numbers_and_a_figure(
    demo, arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cue, "UNSEEN", 32)
    monkeypatch.setattr(norses, "BATCH", 4)
    numbers, figure = tmp_path / "numbers.json", tmp_path / "figures" / "figure.png"
    assert demo.main([*arguments, "--json", str(numbers), "--figure", str(figure)]) == 0
    assert "Not judged" in capsys.readouterr().out
    assert json.loads(numbers.read_text())["seconds"] > 0
    assert figure.stat().st_size > 30_000


@pytest.mark.parametrize(("host", "kinds"), [("snntorch", ["LIF"]), ("norse", ["ALIF"])])
def test_a_host_reads_rows_by_its_own_neurons(host, kinds, tmp_path, capsys, monkeypatch):
    few = rows.load()
    few = rows.Digits(few.seen[:130], few.labels[:130], few.unseen[:40], few.unseen_labels[:40])
    monkeypatch.setattr(rows, "load", lambda: few)
    numbers, figure = tmp_path / "numbers.json", tmp_path / "figures" / "figure.png"
    where = ["--json", str(numbers), "--figure", str(figure)]
    assert rows.main(["--host", host, "--epochs", "2", "--seeds", "2", *where]) == 0
    assert "--seeds 2 (default: 3), --epochs 2 (default: 0)" in capsys.readouterr().out
    told = json.loads(numbers.read_text())["accuracy"]
    assert list(told) == [f"{kind}, {way}" for kind in kinds for way in rows.WAYS]
    assert all(len(ends) == 2 and min(ends) >= 0 and max(ends) <= 1 for ends in told.values())
    assert figure.stat().st_size > 30_000
