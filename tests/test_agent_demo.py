"""The agent of the demo: its place cells, the same life in both hosts, and what its ablations leave out."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

pytest.importorskip("gymnasium")
sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
demo = import_module("agent")


def test_one_place_cell_of_each_grid_fires_and_neighbours_share_some():
    places = demo.Places()
    seen = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.03, 0.0], [2.4, 3.0, 0.21, 3.5], [9.0, 9.0, 9.0, 9.0]])
    fired = places(seen)
    assert fired.shape == (4, places.cells)
    assert (fired.unflatten(1, (places.grids, -1)).sum(2) == 1).all()
    assert 0 < (fired[0] * fired[1]).sum() < places.grids
    assert (fired[0] * fired[2]).sum() == 0
    assert torch.equal(fired[2], fired[3])  # beyond the ends of its world everything is at the end


@pytest.mark.parametrize("condition", ["agent", *demo.ABLATIONS])
def test_both_hosts_live_the_same_life(condition):
    lives = [demo.life(host, condition, seed=1, episodes=5) for host in demo.HOSTS]
    assert lives[0] == lives[1] != demo.life("snntorch", condition, seed=2, episodes=5)


@pytest.mark.slow
def test_it_learns_and_noise_does_not():
    lived, noise = (demo.life("snntorch", name, seed=0, episodes=50) for name in ("agent", "noise"))
    assert sum(lived[-20:]) / 20 > 150 > 60 > sum(noise[-20:]) / 20


def test_the_command_writes_what_it_found(tmp_path, capsys):
    file, figure = tmp_path / "agent.json", tmp_path / "agent.png"
    told = ["--seeds", "1", "--ablated", "1", "--episodes", "4", "--json", str(file), "--figure", str(figure)]
    assert demo.main(told) == 0  # four episodes are too few to judge
    found = json.loads(file.read_text(encoding="utf-8"))
    assert len(found["last50"]) == 1 and set(found["ablations"]) == set(demo.ABLATIONS) and found["seconds"] > 0
    assert figure.stat().st_size > 10_000 and "of 1 agents" in capsys.readouterr().out
