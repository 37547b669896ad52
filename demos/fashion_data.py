"""The data of two demos: Fashion-MNIST, 70,000 pictures of ten kinds of clothes (Xiao, Rasul & Vollgraf 2017)."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import torch
from seeking_data import Split
from torch import Tensor

NAMED = "FASHION_MNIST"  # an environment variable: the folder of the four idx files, plain or gzipped
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DOWNLOADED = Path("out/FashionMNIST/raw")
MISSING = f"""Fashion-MNIST is not on this machine, and torchvision could not download it ({{reason}}). Either
    apt-get install dataset-fashion-mnist    (Debian, Ubuntu)
or, where there is a network,
    pip install torchvision
and run the demo again; or name a folder with the four idx files in the environment variable {NAMED}."""


def fashion() -> Split:
    """60,000 pictures to learn from, 10,000 that are never learned from; x (N, 1, 28, 28) in [0, 1], y (N,)."""
    folder = found() or downloaded()
    x, unseen_x = (read_idx(folder, f"{part}-images-idx3-ubyte")[:, None] / 255 for part in ("train", "t10k"))
    y, unseen_y = (read_idx(folder, f"{part}-labels-idx1-ubyte").long() for part in ("train", "t10k"))
    return Split(x, y, unseen_x, unseen_y)


def found() -> Path | None:
    """The folder with the data, where there is one."""
    named = os.environ.get(NAMED)
    for place in [Path(named)] if named else [DEBIAN, DOWNLOADED]:
        if any(place.glob("t10k-labels-idx1-ubyte*")):
            return place
    if named:
        raise SystemExit(f"{NAMED} names {named}; expected a folder with the four idx files of Fashion-MNIST.")
    return None


def downloaded() -> Path:
    """The same folder, after torchvision has filled it."""
    try:
        from torchvision.datasets import FashionMNIST

        FashionMNIST(str(DOWNLOADED.parents[1]), download=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise SystemExit(MISSING.format(reason=str(error).splitlines()[0])) from error
    return DOWNLOADED


def read_idx(folder: Path, name: str) -> Tensor:
    """An idx file of bytes: two zeros, the type (8), the number of axes, their sizes, the values."""
    plain = folder / name
    raw = plain.read_bytes() if plain.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    axes = raw[3]
    shape = struct.unpack_from(f">{axes}I", raw, offset=4)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=4 * (1 + axes)).view(shape)
