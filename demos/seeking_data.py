"""The data of the demo: scanned digits in three codes, MNIST-1D, wines, and squares of two photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 8
DARK = 0.25  # darker pixels never fire where the others tell by when
SQUARE, APART = 8, 12  # pixels of a photograph


class Split(NamedTuple):
    """What is learned from, and what is never learned from; x (N, inputs) or (N, steps, inputs), y (N,)."""

    x: Tensor
    y: Tensor
    unseen_x: Tensor
    unseen_y: Tensor


class Task(NamedTuple):
    """Data, hidden units of the base, epochs, and samples in a batch."""

    data: Callable[[], Split]
    hidden: int
    epochs: int
    batch: int = 64


def digits() -> Split:
    """scikit-learn's 1,797 scanned digits, 1,347 to learn from."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return split(images / 16, labels, 450)


def rows() -> Split:
    """The same digits, a row of pixels at each step."""
    return coded(digits(), lambda x: x.reshape(-1, STEPS, 8))


def latencies() -> Split:
    """The same digits in spikes: each pixel fires once, the brighter the sooner; dark ones do not."""
    return coded(digits(), first_spikes)


def first_spikes(brightness: Tensor) -> Tensor:
    """Brightness (N, inputs) in 0 .. 1 as spikes (N, steps, inputs)."""
    when = ((1 - brightness) / (1 - DARK) * (STEPS - 1)).round().long()
    return F.one_hot(when.clamp(max=STEPS), STEPS + 1)[..., :STEPS].mT.float()


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


def photographs() -> Split:
    """Grey squares of scikit-learn's two photographs: which of the two, and which third of it from above."""
    from sklearn.datasets import load_sample_images

    squares, labels = [], []
    for number, image in enumerate(load_sample_images().images):
        views = np.lib.stride_tricks.sliding_window_view(image.mean(-1), (SQUARE, SQUARE))[::APART, ::APART]
        squares.append(views.reshape(-1, SQUARE * SQUARE))
        labels.append(np.repeat(3 * number + np.arange(len(views)) * 3 // len(views), views.shape[1]))
    x, y = np.concatenate(squares), np.concatenate(labels)
    return standardized(split(x, y, len(x) // 3))


def wines() -> Split:
    """scikit-learn's 178 wines of three growers, by 13 measurements; 89 to learn from."""
    from sklearn.datasets import load_wine

    return standardized(split(*load_wine(return_X_y=True), 89))


def split(x: np.ndarray, y: np.ndarray, unseen: int) -> Split:
    """So many samples never to learn from, the same ones each time."""
    from sklearn.model_selection import train_test_split

    seen, rest, labels, rest_labels = train_test_split(x, y, test_size=unseen, stratify=y, random_state=0)
    return Split(
        torch.tensor(seen).float(), torch.tensor(labels), torch.tensor(rest).float(), torch.tensor(rest_labels)
    )


def standardized(data: Split) -> Split:
    """Mean 0 and variance 1 of each input, over the samples to learn from."""
    spread, mean = torch.std_mean(data.x, 0)
    return coded(data, lambda x: (x - mean) / spread)


def coded(data: Split, code: Callable[[Tensor], Tensor]) -> Split:
    """The same samples, shown in another way."""
    return data._replace(x=code(data.x), unseen_x=code(data.unseen_x))


TASKS = {
    "digits": Task(digits, 16, 15),
    "mnist1d": Task(mnist1d, 32, 7),
    "rows": Task(rows, 32, 15),
    "latencies": Task(latencies, 16, 15),
    "photographs": Task(photographs, 16, 10),
    "wines": Task(wines, 4, 20, batch=16),
}


class Shuffled:
    """Batches in an order that torch's random numbers decide."""

    def __init__(self, x: Tensor, y: Tensor, batch: int) -> None:
        self.x, self.y, self.batch = x, y, batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x))
        for rows in order.split(self.batch):
            yield self.x[rows], self.y[rows]

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch)
