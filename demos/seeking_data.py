"""The data of the demo: scanned digits, or MNIST-1D, which a formula makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BATCH = 64


class Split(NamedTuple):
    """What is learned from, and what is never learned from; x (N, inputs), y (N,)."""

    x: Tensor
    y: Tensor
    unseen_x: Tensor
    unseen_y: Tensor


def digits() -> Split:
    """scikit-learn's 1,797 scanned digits, 1,347 to learn from."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    seen, unseen, y, unseen_y = train_test_split(images / 16, labels, test_size=450, stratify=labels, random_state=0)
    return Split(torch.tensor(seen).float(), torch.tensor(y), torch.tensor(unseen).float(), torch.tensor(unseen_y))


def mnist1d() -> Split:
    """5,000 one-dimensional digits (Greydanus & Kobak 2024), 4,000 to learn from."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise SystemExit('--data mnist1d needs the package mnist1d: pip install -e ".[mnist1d]"') from error
    made = make_dataset(get_dataset_args())
    x, y = torch.tensor(made["x"]).float(), torch.tensor(made["y"]).long()
    unseen_x, unseen_y = torch.tensor(made["x_test"]).float(), torch.tensor(made["y_test"]).long()
    return Split(x, y, unseen_x, unseen_y)


DATA = {"digits": digits, "mnist1d": mnist1d}


class Shuffled:
    """Batches in an order that torch's random numbers decide."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x))
        for rows in order.split(BATCH):
            yield self.x[rows], self.y[rows]

    def __len__(self) -> int:
        return -(-len(self.x) // BATCH)
