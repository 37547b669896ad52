"""Some weights of a connection, looked at one by one, and how far all of them move."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import PRECISE
from .._compiled import loops, loops_over_spikes
from ..connection import Connection
from ..notices import notice

SEEN_WHOLE, SEEN_OF_LARGE = 1 << 13, 1 << 11  # weights of which the mean |Δw| is that of all, and how many else


class ChosenWeights:
    """Looks at some weights of a connection, and at how far all of them move.

    Args:
        connection: whose they are.
        indices: of the weight of the geometry.
    """

    def __init__(self, connection: Connection, indices: list[tuple[int, ...]]) -> None:
        self.connection, self.indices = connection, indices
        shape = connection.traces.rule.geometry.shape
        flat = np.ravel_multi_index(tuple(np.array(indices, np.int64).reshape(-1, len(shape)).T), shape)
        self.flat = np.asarray(flat, np.int64).reshape(-1)
        self._held: Tensor | None = None
        self._at, self._values = 0, np.empty(0)
        self._places: Tensor | None = None
        self._parameters, self._attribute = connection.module._parameters, connection.attribute
        self._apart, self._shape = connection.samples is not None, connection.weight.shape
        self._stride = stride_of(connection.weight.shape)
        self.lost = False  # whether edges have come or gone, so that the chosen ones are others by now

    def look(self) -> np.ndarray | Tensor:
        """The chosen weights as they are."""
        weight = self._parameters.get(self._attribute)
        if weight is not None and weight is self._held and weight.data_ptr() == self._at:
            return self._values[self.flat]
        weight = self.connection.weight
        if weight.shape != self._shape:
            return self._missing(weight)
        if weight.is_cpu and weight.dtype in PRECISE and weight.is_contiguous():
            values = weight.detach().numpy()
            if self._apart:
                return values.reshape(len(values), -1)[:, self.flat]
            self._held, self._at, self._values = weight, weight.data_ptr(), values.reshape(-1)
            return self._values[self.flat]
        return self.of(weight)

    def _missing(self, weight: Tensor) -> Tensor:
        """NaN, where the edges are others than those that were chosen from."""
        if not self.lost:
            self.lost = True
            notice(
                f"{self.connection.name}: its edges have changed while it is recorded, and the synapses that were "
                "chosen are others now: their weights and eligibilities are not known from here on. Begin a new record "
                "after edges have changed.",
                stacklevel=6,
            )
        return weight.new_full((len(self.indices),), torch.nan)

    def of(self, values: Tensor) -> Tensor:
        """The chosen entries of what is shaped like the weight, wherever it is."""
        if self.lost:
            return self._missing(values.detach())
        if self._places is None or self._places.device != values.device:
            self._places = torch.from_numpy(self.flat).to(values.device)
        return values.detach().flatten(int(self._apart))[..., self._places]

    def spread(self) -> Any:
        """All weights, or of a large layer some that are spread over it: a copy, to be compared later."""
        values = self._spread()
        return values.copy() if isinstance(values, np.ndarray) else values.clone()

    def moved(self, before: Any) -> Any:
        """Mean |Δw| since then."""
        values = self._spread()
        if type(values) is not type(before) or values.shape != before.shape:
            return torch.nan
        if isinstance(before, np.ndarray):
            if loops() is not None:
                return loops_over_spikes().moved(values, before) / max(1, before.size)
            return np.abs(values - before).mean() if before.size else 0.0
        return (values - before).abs().mean()

    def _spread(self) -> Any:
        held = self._held
        if held is not None and self._parameters.get(self._attribute) is held and held.data_ptr() == self._at:
            return self._values[:: self._stride]
        weight = self.connection.weight.detach()
        flat = weight.reshape(-1)[:: stride_of(weight.shape)]
        return flat.numpy() if flat.is_cpu and flat.dtype in PRECISE else flat


def stride_of(shape: torch.Size) -> int:
    """Every how manieth weight is looked at: all of a small layer, else some 2,000 that meet every row and column."""
    size = shape.numel()
    if size <= SEEN_WHOLE:
        return 1
    stride = size // SEEN_OF_LARGE
    while np.gcd(stride, size // shape[0]) > 1:
        stride += 1
    return stride
