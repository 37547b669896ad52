"""The demo of an unmodified net: it learns in all its layers, controls do not, and its books are right."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
import your_net as demo  # noqa: E402
import your_net_figure as picture  # noqa: E402

SEED = 61


def accuracy(name, host="snntorch", epochs=2):
    return demo.life(host, demo.MANNERS[name], SEED, epochs, tqdm(disable=True)).accuracy


@pytest.mark.parametrize("host", ["snntorch", "norse"])
def test_all_layers_learn_within_an_epoch(host):
    curve = accuracy(demo.ALL, host, epochs=1)
    assert len(curve) == 2 and curve[0] < 0.2 and curve[-1] > 0.25


def test_it_learns_from_late_reward_and_the_controls_do_not():
    assert accuracy(demo.LATE)[-1] > 0.45
    assert accuracy(demo.OTHERS, epochs=1)[-1] < 0.25
    assert accuracy(demo.NO_TRACE, epochs=1)[-1] < 0.25


def test_a_life_is_the_same_for_the_same_seed():
    assert accuracy(demo.READOUT, epochs=1) == accuracy(demo.READOUT, epochs=1)


def test_the_net_is_the_one_of_the_tutorial_and_a_user_adds_at_most_twelve_lines():
    net = demo.Net()
    assert [tuple(p.shape) for p in net.parameters()] == [(100, 64), (100,), (10, 100), (10,)]
    assert (
        float(net.lif1.beta) == float(net.lif2.beta) == pytest.approx(0.95) and net.lif1._reset_mechanism == "subtract"
    )
    assert inspect.getsource(demo).count("  # +") <= 12
    spikes, membranes = net(torch.rand(3, 64))
    assert spikes.shape == membranes.shape == (25, 3, 10)


def lives(**last):
    """Two made-up nets of each manner that end at these accuracies."""
    return {name: [demo.Life([0.1, last[name] + d], 2.0) for d in (-0.01, 0.01)] for name in demo.MANNERS}


GOOD = {demo.ALL: 0.97, demo.LATE: 0.95, demo.READOUT: 0.7, demo.OTHERS: 0.1, demo.NO_TRACE: 0.12}


def test_report_verdict_page_and_figure():
    made = lives(**GOOD)
    report = demo.report(made)
    assert report["accuracy"] == pytest.approx(0.97) and report["accuracy_delayed"] == pytest.approx(0.95)
    assert report["readout_only"] == pytest.approx(0.7) and report["seconds"] == 2.0
    assert report["controls"] == {"shuffled_reward": pytest.approx(0.1), "no_trace": pytest.approx(0.12)}
    assert all(finding.kept for finding in demo.judge(made, "snntorch").values())
    for name, worse in ((demo.ALL, 0.93), (demo.LATE, 0.91), (demo.OTHERS, 0.4), (demo.NO_TRACE, 0.4)):
        assert not demo.judge(lives(**{**GOOD, name: worse}), "snntorch")[name].kept
    assert demo.judge(lives(**{**GOOD, demo.ALL: 0.93}), "norse")[demo.ALL].kept
    page = demo.page(report["each"], "snntorch", 12)
    assert "| all layers, rewarded at once | 2 | 97.00 | 1.00 | 1.41 | 96.00–98.00 |" in page
    figure = picture.draw({name: [one.accuracy for one in each] for name, each in made.items()}, "snntorch")
    figure.draw_without_rendering()
    assert len(figure.axes) == 2


def test_the_command_writes_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "all_lives", lambda host, seeds, epochs: lives(**GOOD))
    files = [tmp_path / name for name in ("numbers.json", "page.md", "figure.png")]
    where = [
        text for flag, path in zip(("--json", "--page", "--figure"), files, strict=True) for text in (flag, str(path))
    ]
    assert demo.main(where) == 0
    assert set(json.loads(files[0].read_text())) >= {
        "accuracy",
        "accuracy_delayed",
        "readout_only",
        "controls",
        "seconds",
    }
    assert all(path.exists() for path in files) and "FAILED" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        demo.main(["--seeds", "0"])
    assert "expected 1 or more" in capsys.readouterr().err
