"""The two demos on Fashion-MNIST: their data, and what each of them claims."""

from __future__ import annotations

import gzip
import struct
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "demos"))
data = import_module("fashion_data")


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
