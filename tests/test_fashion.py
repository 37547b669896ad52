"""The two demos on Fashion-MNIST: their data, and what each of them claims."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
data, cnn, reward = map(import_module, ("fashion_data", "quickstart_cnn", "fashion_reward"))
with_data = pytest.mark.skipif(data.found() is None, reason="needs apt-get install dataset-fashion-mnist")


def write_idx(path, values):
    """An idx file of bytes, gzipped where its name says so."""
    raw = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape) + bytes(values.flatten().tolist())
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_plain_and_gzipped(tmp_path, monkeypatch, suffix):
    rng = torch.Generator().manual_seed(0)
    pictures, kinds = torch.randint(256, (2, 3, 28, 28), generator=rng), torch.randint(10, (2, 3), generator=rng)
    for k, part in enumerate(("train", "t10k")):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}", pictures[k])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", kinds[k])
    monkeypatch.setenv(data.NAMED, str(tmp_path))
    read = data.fashion()
    for k, (x, y) in enumerate([(read.x, read.y), (read.unseen_x, read.unseen_y)]):
        assert torch.equal(x, pictures[k][:, None].float() / 255)
        assert torch.equal(y, kinds[k])


def test_data_that_is_nowhere_is_missed_in_a_sentence_that_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv(data.NAMED, str(tmp_path))
    with pytest.raises(SystemExit, match="expected a folder with the four idx files"):
        data.fashion()
    monkeypatch.delenv(data.NAMED)
    monkeypatch.setattr(data, "DEBIAN", tmp_path)
    monkeypatch.setattr(data, "DOWNLOADED", tmp_path / "out" / "FashionMNIST" / "raw")
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(SystemExit, match="(?s)apt-get install dataset-fashion-mnist.*pip install torchvision"):
        data.fashion()


def gradients(net):
    return {name: weight.grad.flatten() for name, weight in net.named_parameters() if name.endswith("weight")}


def test_both_ways_are_taught_alike_but_for_what_reaches_over_time():
    """The gradient of the last layer is exact; below it, paths through the carries of later layers are left out."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(16, 1, 28, 28, generator=rng), torch.arange(16) % 10
    students = {way: cnn.Student(way, 0, 10, x[:1]) for way in cnn.WAYS}
    for student in students.values():
        student.learn(x, y, 6)
    online, exact = (gradients(students[way].net) for way in ("online", "bptt"))
    torch.testing.assert_close(online["7.weight"], exact["7.weight"], rtol=1e-5, atol=1e-7)
    for name in ("0.weight", "3.weight"):
        assert float(torch.cosine_similarity(online[name], exact[name], 0)) > 0.5


@with_data
def test_the_quickstart_writes_its_numbers_and_its_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cnn, "MEASURED", (2, 12))
    numbers, picture = tmp_path / "numbers.json", tmp_path / "figure.png"
    cnn.main(["--pictures", "512", "--steps", "3", "--json", str(numbers), "--figure", str(picture)])
    read = json.loads(numbers.read_text())
    assert set(read) >= {"accuracy", "bptt", "seconds", "peak_mib", "peak_mib_bptt"}
    assert read["peak_mib"] < read["peak_mib_bptt"]
    assert 0.05 < read["accuracy"] < 1 and 0.05 < read["bptt"] < 1
    assert picture.stat().st_size > 10_000
    assert "steps" in capsys.readouterr().out


@with_data
def test_reward_alone_teaches_clothes_some_steps_late(monkeypatch):
    monkeypatch.setattr(reward, "LOOKS", 2)
    order = ["--pictures", "3840", "--epochs", "1", "--delay", "5"]
    life = reward.lived(reward.LATE, reward.arguments(order), 0, tqdm(disable=True))
    assert life.accuracy[-1] > 0.65
    assert life.seen[-1] == 3840 and len(life.accuracy) == len(life.seen) == 2


@with_data
def test_the_quickstart_net_learns_from_reward_as_well(monkeypatch):
    monkeypatch.setattr(reward, "LOOKS", 1)
    order = ["--net", "quickstart", "--pictures", "640", "--epochs", "1", "--feedback", "random"]
    life = reward.lived(reward.EPROP, reward.arguments(order), 0, tqdm(disable=True))
    assert len(life.accuracy) == 1


@with_data
def test_the_twin_of_norse_learns_from_reward(monkeypatch, capsys):
    monkeypatch.setattr(reward, "LOOKS", 1)
    monkeypatch.setattr(reward, "HIDDEN", 50)
    order = ["--host", "norse", "--pictures", "3840", "--epochs", "1"]
    life = reward.lived(reward.EPROP, reward.arguments(order), 0, tqdm(disable=True))
    assert life.accuracy[-1] > 0.5
    with pytest.raises(SystemExit):
        reward.arguments([*order, "--net", "quickstart"])
    assert "--net quickstart is a net of snnTorch; expected --net two-layers" in capsys.readouterr().err


def test_the_verdict_on_reward_and_its_numbers(tmp_path):
    def lives(*finals):
        return [reward.Life([128, 256], [0.1, final], 2.0, 100.0) for final in finals]

    found = {reward.EPROP: lives(0.86, 0.88), reward.LATE: lives(0.85, 0.86), reward.BPTT: lives(0.9)}
    assert [finding.kept for finding in reward.judge(found).values()] == [True, True, True]
    assert reward.report(found) == {
        "accuracy": 0.87, "bptt": 0.9, "seconds": 2.0, "peak_mib": 100.0, "accuracy_delayed": 0.855,
    }  # fmt: skip
    found[reward.EPROP], found[reward.LATE] = lives(0.86), lives(0.84)
    assert [finding.kept for finding in reward.judge(found).values()] == [False, False, True]
    reward.draw(found).savefig(tmp_path / "figure.png")
