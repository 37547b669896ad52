"""The demos of affect meet their criteria, and say so; the Iowa gambling task is what the literature says it is."""

from __future__ import annotations

import sys
from importlib import import_module as load
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from snn_plasticity.config.affect import AffectiveConfig

pytest.importorskip("tqdm")
sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
demos = pytest.mark.parametrize("name", ["affect_plane", "iowa_gambling", "mood_momentum"])


@demos
def test_demo_meets_its_criterion_and_draws_its_figure(name, tmp_path, capsys):
    assert load(name).main(["--seed", "3", "--figure", str(tmp_path / "figure.png")]) == 0
    printed = capsys.readouterr().out
    assert "expected" in printed and "FAILED" not in printed
    assert (tmp_path / "figure.png").stat().st_size > 30_000


def test_decks_lose_and_win_as_published():
    iowa = load("iowa_gambling")
    gains, losses = torch.tensor(iowa.GAIN)[:, None], iowa.schedule()
    assert losses.shape == (4, 40)
    net = (gains - losses).reshape(4, 4, 10).sum(-1)
    assert torch.equal(net, torch.tensor([-250.0, -250.0, 250.0, 250.0])[:, None].expand(4, 4))


@pytest.mark.parametrize("seed", range(3))
def test_markers_turn_agents_to_the_good_decks_and_nothing_else_does(seed):
    """Bechara et al. 1994, means of 100 agents: the criterion of the demo at other seeds."""
    iowa = load("iowa_gambling")
    scores = {name: iowa.net_scores(iowa.play(100, *group, seed)).mean(1) for name, group in iowa.GROUPS.items()}
    healthy = scores.pop("with markers")
    assert healthy[-1] > 5.0 and bool((healthy[:4].diff() > 0).all())
    assert all(score[-1] < 0.0 for score in scores.values())


def test_the_agents_are_those_of_an_independent_implementation():
    """Plain NumPy tables for greed and feeling; the same distribution of choices, within sampling error."""
    iowa = load("iowa_gambling")
    assert AffectiveConfig().marker_rate == 0.1 and AffectiveConfig().marker_tau == 1000.0
    rng, agents = np.random.default_rng(0), 400
    nets = np.array(iowa.GAIN)[:, None] - iowa.schedule().numpy()
    greed, feeling = np.zeros((agents, 4)), np.zeros((agents, 4))
    drawn, who, good = np.zeros((agents, 4), int), np.arange(agents), []
    for _ in range(100):
        drive = np.exp(1.5 * (greed + 0.75 * feeling))
        choice = (drive.cumsum(1) / drive.sum(1, keepdims=True) < rng.random((agents, 1))).sum(1)
        net = nets[choice, drawn[who, choice] % 40]
        drawn[who, choice] += 1
        felt = np.where(net < 0, -2.25, 1.0) * (np.abs(net) / 100) ** 0.88
        greed[who, choice] += 0.2 * (np.array(iowa.GAIN)[choice] / 100 - greed[who, choice])
        feeling *= np.exp(-1 / 1000)
        feeling[who, choice] += 0.1 * (felt - feeling[who, choice])
        good.append(np.where(choice >= 2, 1.0, -1.0))
    expected = np.reshape(good, (5, 20, agents)).sum(1)
    found = iowa.net_scores(iowa.play(agents, 0.75, False, seed=0)).numpy()
    error = np.sqrt(expected.var(1) / agents + found.var(1) / agents)
    assert (np.abs(expected.mean(1) - found.mean(1)) < 4 * error).all()


def test_the_criterion_can_fail():
    iowa = load("iowa_gambling")
    still = torch.zeros(5, 10)
    assert not any(finding.kept for finding in iowa.judge(dict.fromkeys(iowa.GROUPS, still)).values())


def test_one_claim_that_is_not_kept_is_printed_and_is_the_exit_code(tmp_path, capsys):
    line = load("command_line")
    kept, broken = line.Finding("2", "2", True), line.Finding("1", "2", False)
    args = line.settings("A demo.", ["--figure", str(tmp_path / "a.png")], figure="a", seed=line.Number("of it"))
    assert (
        line.close(args, {"a": kept}, {}, Figure) == 0 and line.close(args, {"a": kept, "b": broken}, {}, Figure) == 1
    )
    assert capsys.readouterr().out.splitlines()[-6:-3] == [
        "   measured   expected",
        "a         2   2          ok",
        "b         1   2          FAILED",
    ]


@demos
def test_settings_that_make_no_sense_are_refused(name, capsys):
    with pytest.raises(SystemExit) as refused:
        load(name).main(["--seed", "-1"])
    assert refused.value.code == 2
    assert "--seed is -1; expected 0 or more." in capsys.readouterr().err


def test_a_group_needs_agents_for_its_standard_error(capsys):
    with pytest.raises(SystemExit):
        load("iowa_gambling").main(["--agents", "1"])
    assert "--agents is 1; expected 2 or more." in capsys.readouterr().err
