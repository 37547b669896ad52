"""What computing costs: multiply-accumulates of dense hardware, and synaptic operations of event-driven hardware.

    Linear                MACs = outputs · fan-in                  synaptic operations = Σ non-zero inputs · fan-out
    a pass with a graph   MACs × 3: forward, and backward for the inputs and for the weights

Neurons, norms and copying weights are not counted: they grow with the units, not with the synapses.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import require_count, require_kind
from ..hosts.adapter import dense
from ..hosts.index import Neuron, index_model
from .unit_groups import LAYERS

BACKWARD = 2  # passes as large as the forward one: gradients of the inputs, gradients of the weights
MAX_COST = 2**63 - 1


class Cost:
    """What was spent on computing.

    Args:
        macs: multiply-accumulates, of forward and backward passes.
        synops: synaptic operations, Σ non-zero inputs · fan-out, of forward passes. A count that is still on its way
            from the device, as a tensor (), is waited for when `synops` is read.

    >>> macs, synops = Cost(18, 3).plus(Cost(0, 1))
    >>> macs, synops
    (18, 4)
    """

    def __init__(self, macs: int = 0, synops: int | Tensor = 0) -> None:
        self.macs = require_count("macs", macs, 0, MAX_COST)
        if isinstance(synops, Tensor):
            if synops.dim():
                raise ValueError(f"synops has shape {tuple(synops.shape)}; expected one number.")
            self._synops = round(synops.item()) if synops.is_cpu else synops.detach()
        else:
            self._synops = require_count("synops", synops, 0, MAX_COST)

    @property
    def synops(self) -> int:
        """Synaptic operations."""
        if isinstance(self._synops, Tensor):
            self._synops = round(float(self._synops))
        return self._synops

    def plus(self, other: Cost) -> Cost:
        """The sum of two costs."""
        require_kind("other", other, Cost, "As from meter.read().")
        mine, theirs = self._synops, other._synops
        if isinstance(mine, Tensor) and isinstance(theirs, Tensor) and mine.device != theirs.device:
            mine = self.synops
        return Cost(self.macs + other.macs, mine + theirs)

    def __iter__(self) -> Iterator[int]:
        return iter((self.macs, self.synops))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cost) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Cost(macs={self.macs}, synops={self.synops})"


class Meter:
    """Counts what a model computes within a `with` block; outside of it, the model carries no hook.

    Args:
        model: whose layers are watched.

    >>> net = nn.Linear(3, 2)
    >>> with Meter(net) as meter:
    ...     _ = net(torch.tensor([[1.0, 0.0, 1.0]]))
    >>> meter.read()
    Cost(macs=18, synops=4)
    """

    def __init__(self, model: nn.Module) -> None:
        require_kind("model", model, nn.Module, "The net whose layers are counted.")
        self._macs = 0
        self._synops: Tensor | int = 0
        self._fan_outs: dict[tuple, Tensor] = {}
        self._layers = [m for m in model.modules() if isinstance(m, LAYERS)]
        self._recurrent = list(index_model(model).own.values())
        self._handles: list[Any] = []

    def __enter__(self) -> Meter:
        self._handles = [layer.register_forward_hook(self._count_layer) for layer in self._layers]
        for own in self._recurrent:
            self._handles.append(
                own.neuron.proper.register_forward_hook(self._recurrent_counter(own), with_kwargs=True)
            )
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def read(self) -> Cost:
        """What was spent since the last call of `read`; nobody waits for the device before a number is looked at."""
        cost = Cost(self._macs, self._synops)
        self._macs, self._synops = 0, 0
        return cost

    def _count_layer(self, layer: Any, args: Any, output: Tensor) -> None:
        given = args[0].detach()
        self._add(output.numel() * layer.weight[0].numel(), output)  # weight[0]: all that one output is made of
        if isinstance(layer, nn.Linear):
            self._synops = self._synops + given.count_nonzero().double() * layer.out_features
        else:
            self._synops = self._synops + ((given != 0) * self._fan_out(layer, given, output)).sum(dtype=torch.float64)

    def _fan_out(self, layer: Any, given: Tensor, output: Tensor) -> Tensor:
        """How many outputs each input reaches."""
        key = (id(layer), given.shape, given.device)
        if key not in self._fan_outs:
            with torch.enable_grad():  # ∂ Σ conv(x; 1) / ∂x counts, for each input, the products that it takes part in
                probe = torch.zeros_like(given[:1], dtype=torch.float32).requires_grad_()
                ones = torch.ones_like(layer.weight, dtype=torch.float32)
                outputs = layer._conv_forward(probe, ones, None)
                self._fan_outs[key] = torch.autograd.grad(outputs.sum(), probe)[0].detach()
        return self._fan_outs[key]

    def _recurrent_counter(self, own: Any) -> Any:
        neuron: Neuron = own.neuron
        time_major = neuron.kind.time_major

        def count(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            call = neuron.read(args, kwargs, output)
            pre = dense(own.weight.pre(call, time_major))
            weight = getattr(module, own.attribute)
            self._add(prod(pre.shape[:-1]) * weight.numel(), call.spikes)
            self._synops = self._synops + pre.count_nonzero().double() * len(weight)

        return count

    def _add(self, macs: int, output: Tensor) -> None:
        self._macs += macs * (1 + BACKWARD * output.requires_grad)
