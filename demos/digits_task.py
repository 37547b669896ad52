"""The world of the demo: it shows handwritten digits and pays for reading them. Only it knows what they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor


class Digits:
    """Some digits, and what they are, which is told to nobody.

    Args:
        images: (N, 64), brightness in [0, 1].
        labels: (N,), kept to pay rewards.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self._labels = images, labels

    def reward(self, choice: Tensor) -> Tensor:
        """1 where the chosen action names the digit, else 0: the only word of the world. choice (N,) -> (N,)."""
        return (choice == self._labels).float()

    def batches(self, size: int, rng: torch.Generator) -> Iterator[Digits]:
        """All digits in random order, `size` at a time (what is left over waits for the next epoch)."""
        order = torch.randperm(len(self.images), generator=rng)
        for rows in order[: len(order) // size * size].split(size):
            yield self[rows]

    def __getitem__(self, rows: Tensor | slice) -> Digits:
        return Digits(self.images[rows], self._labels[rows])

    def __len__(self) -> int:
        return len(self.images)


def split_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """scikit-learn's 1,797 scanned digits and what they are: 1,347 to learn from, 450 never seen while learning."""
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=450, stratify=labels, random_state=0)
    seen, unseen, seen_labels, unseen_labels = map(torch.as_tensor, split)
    return seen.float(), seen_labels, unseen.float(), unseen_labels


def train_and_held_out() -> tuple[Digits, Digits]:
    """Digits to learn from, and those that are never seen while learning."""
    seen, seen_labels, unseen, unseen_labels = split_digits()
    return Digits(seen, seen_labels), Digits(unseen, unseen_labels)
