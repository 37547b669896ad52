"""Which synapses of a layer are looked at one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .._checks import known_as, shown
from ..connection import Connection
from .chosen_weights import ChosenWeights

STRONGEST, SPREAD = 4, 4  # synapses that are chosen where none are named


def choose(connection: Connection, wanted: list[tuple[int, ...]] | None = None) -> ChosenWeights:
    """The synapses that were named; else the largest weights of now, and some that are spread over the layer."""
    if wanted is not None:
        return ChosenWeights(connection, wanted)
    shape = connection.traces.rule.geometry.shape
    weight = connection.weight.detach()
    weight = weight[0] if connection.samples is not None else weight
    sizes = weight.abs().flatten().to("cpu", torch.float32).numpy()
    free = np.arange(sizes.size)
    if connection.fixed is not None:
        free = np.flatnonzero(~connection.fixed.expand(weight.shape).flatten().cpu().numpy())
    strongest = free[np.argsort(-sizes[free], kind="stable")[:STRONGEST]]
    spread = free[np.linspace(0, max(0, free.size - 1), SPREAD + 2).astype(int)[1:-1]] if free.size else free
    flat = list(dict.fromkeys([*strongest.tolist(), *spread.tolist()]))
    return ChosenWeights(connection, [tuple(map(int, np.unravel_index(one, shape))) for one in flat])


def require_indices(name: str, wanted: object, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Indices of weights of this shape.

    Raises:
        TypeError, ValueError: something else, or a weight that is not there.
    """
    pair = "(post, pre)" if len(shape) == 2 else f"tuples of {len(shape)} numbers"
    how = f"a list of {pair}, which say where in the weight {tuple(shape)} they are"
    if not isinstance(wanted, (list, tuple)) or not wanted:
        raise TypeError(f"synapses[{name!r}] is {known_as(wanted)}; expected {how}.")
    found = []
    for one in wanted:
        index = (one,) if isinstance(one, (int, np.integer)) and len(shape) == 1 else one
        whole = isinstance(index, (list, tuple)) and len(index) == len(shape)
        if not whole or not all(isinstance(k, (int, np.integer)) and not isinstance(k, bool) for k in index):  # type: ignore
            raise TypeError(f"synapses[{name!r}] holds {shown(one)}; expected {how}.")
        if not all(0 <= k < size for k, size in zip(index, shape, strict=True)):  # type: ignore[arg-type]
            raise ValueError(
                f"synapses[{name!r}] holds {shown(one)}; expected numbers within the weight {tuple(shape)}."
            )
        found.append(tuple(map(int, index)))  # type: ignore[arg-type]
    return found
