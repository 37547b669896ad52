"""What one net costs by itself: a forward pass, and a training step, on a copy that nothing is moved by."""

from __future__ import annotations

import copy
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..nets import USER_ERRORS, TrainableNet, clone, preserve_rng
from ..score import numbers_in
from .energy import Energy
from .meter import Cost, Meter


class NetCost(NamedTuple):
    """Of one net, on one batch.

    Args:
        forward: of a forward pass in evaluation mode.
        seconds: that it took, the least of three times.
        step_macs: of a training step: forward, loss, backward. Of a net without gradients, as forward.
        size: numbers in the batch's input.
    """

    forward: Cost
    seconds: float
    step_macs: int
    size: int

    @property
    def energy(self) -> Energy:
        """Of the forward pass."""
        return Energy.of(self.forward)


def cost_of_net(net: TrainableNet, batch: Any) -> NetCost | None:
    """Look at a net on a batch, in a copy; None where that does not work."""
    twin: Any = copy.copy(net)
    try:
        with preserve_rng():
            twin.model, twin.group = clone(net.model), None
            if isinstance(getattr(net, "objective", None), nn.Module):
                twin.objective = copy.deepcopy(net.objective)  # type: ignore[attr-defined]
            return _look(twin, batch)
    except USER_ERRORS:
        return None


def _look(twin: Any, batch: Any) -> NetCost:
    training, run = twin.model.training, getattr(twin, "output", None) or twin._output
    twin.model.eval()
    with torch.no_grad():
        with Meter(twin.model) as meter:
            run(batch)
        forward, seconds = meter.read(), min(_seconds(run, batch) for _ in range(3))
    size = numbers_in(batch)
    if not hasattr(twin, "optimizer"):
        return NetCost(forward, seconds, forward.macs, size)
    twin.model.train(training)
    with Meter(twin.model, events=False) as meter:
        twin.loss(batch).backward()
    return NetCost(forward, seconds, meter.read().macs, size)


def _seconds(run: Any, batch: Any) -> float:
    start = time.perf_counter()
    _wait(run(batch))
    return time.perf_counter() - start


def _wait(output: Any) -> None:
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor) and not leaf.is_cpu:
            leaf.flatten()[:1].tolist()
