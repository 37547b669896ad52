"""What counts as presynaptic activity: the input of a synapse as it is, or what a user makes of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import Tensor

MAX_LOOKS = 16  # calls that are looked at for a warning; only on the CPU, where looking is free


class Presynaptic:
    """The reading of a synapse's input: "raw" as it is, "binary" every non-zero as one spike, or any function.

    Args:
        choice: "raw", "binary", or a function of the input that keeps its shape.

    Raises:
        ValueError: another word.

    >>> import torch
    >>> Presynaptic("binary")("fc", torch.tensor([0.0, 3.0, -1.0]))
    tensor([0., 1., 1.])
    """

    def __init__(self, choice: str | Callable[[Tensor], Tensor]) -> None:
        if not callable(choice) and choice not in ("raw", "binary"):
            raise ValueError(f"pre = {choice!r}; expected 'raw', 'binary', or a function of a synapse's input.")
        self.function = _binary if choice == "binary" else choice if callable(choice) else None
        self.looks = MAX_LOOKS

    def __call__(self, name: str, activity: Tensor) -> Tensor:
        """The presynaptic activity in an input."""
        if self.function is not None:
            return self.function(activity)
        if self.looks > 0 and activity.device.type == "cpu":
            self.looks -= 1
            self._look(name, activity)
        return activity

    def _look(self, name: str, activity: Tensor) -> None:
        if not ((activity == 0) | (activity == 1) | activity.isnan()).all():  # NaN is refused elsewhere
            self.looks = 0
            warnings.warn(
                f"The input of {name} holds other values than 0 and 1, and each counts as that much presynaptic "
                "activity. If they are spikes of another height or sign, attach with pre='binary'; if they are meant, "
                "with pre=lambda x: x.",
                stacklevel=2,
            )


def _binary(activity: Tensor) -> Tensor:
    return (activity != 0).to(activity.dtype)
