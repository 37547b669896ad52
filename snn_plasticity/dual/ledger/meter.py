"""What computing costs: multiply-accumulates of dense hardware, synaptic operations and spikes of event-driven one.

    Linear       MACs = outputs · fan-in         synaptic operations = Σ non-zero inputs · fan-out
    backward     as many MACs as its own matrix products have

Neurons, norms and copying weights are not counted: they grow with the units, not with the synapses.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import floor, log10
from typing import Any

import torch
from torch import Tensor, nn

from ..._checks import require_count, require_flag, require_kind, require_number
from ...hosts.adapter import dense
from ...hosts.index import Neuron, index_model
from ...layers.sparse_linear import SparseLinear
from ...notices import notice
from .counting import Counting, address

MAX_COST = 2**63 - 1
PREFIXES = ("p", "n", "µ", "m", "", "k", "M", "G", "T")


class Cost:
    """What was spent on computing.

    Args:
        macs: multiply-accumulates, of forward and backward passes.
        synops: synaptic operations, Σ non-zero inputs · fan-out, of forward passes.
        spikes: that neurons sent in forward passes.

    Counts that are still on their way from the device, as tensors (), are waited for when they are read.

    >>> macs, synops, spikes = Cost(18, 3).plus(Cost(0, 1))
    >>> macs, synops, spikes
    (18, 4, 0)
    """

    def __init__(self, macs: int = 0, synops: int | Tensor = 0, spikes: int | Tensor = 0) -> None:
        self.macs = require_count("macs", macs, 0, MAX_COST)
        self._events = [_event("synops", synops), _event("spikes", spikes)]

    @property
    def synops(self) -> int:
        """Synaptic operations."""
        return self._read(0)

    @property
    def spikes(self) -> int:
        """Spikes of neurons."""
        return self._read(1)

    def _read(self, place: int) -> int:
        self._events[place] = found = round(float(self._events[place]))
        return found

    def plus(self, other: Cost) -> Cost:
        """The sum of two costs."""
        require_kind("other", other, Cost, "As from meter.read().")
        devices = {e.device for e in (*self._events, *other._events) if isinstance(e, Tensor)}
        mine = (self.synops, self.spikes) if len(devices) > 1 else self._events
        return Cost(self.macs + other.macs, *(a + b for a, b in zip(mine, other._events, strict=True)))

    def scaled(self, macs: int) -> Cost:
        """Spikes and their operations in proportion to other multiply-accumulates, where they were not looked at."""
        if require_count("macs", macs, 0, MAX_COST) == self.macs:
            return self
        share = macs / self.macs if self.macs else 0.0
        return Cost(macs, *(e.mul(share).round() if isinstance(e, Tensor) else round(e * share) for e in self._events))

    def mixed(self, other: Cost, share: float) -> Cost:
        """Spikes and their operations on the way to those of another cost: this one at 0, the other at 1."""
        require_kind("other", other, Cost, "As from meter.read().")
        share = require_number("share", share, 0.0, 1.0)
        ways = [a + share * (b - a) for a, b in zip(self._events, other._events, strict=True)]
        return Cost(self.macs, *(way.round() if isinstance(way, Tensor) else round(way) for way in ways))

    def __iter__(self) -> Iterator[int]:
        return iter((self.macs, self.synops, self.spikes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cost) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __str__(self) -> str:
        macs, synops, spikes = map(prefixed, self)
        return f"{macs}MAC, {synops.strip()} synaptic operations, {spikes.strip()} spikes"

    def __repr__(self) -> str:
        return f"Cost(macs={self.macs}, synops={self.synops}, spikes={self.spikes})"


def prefixed(number: float) -> str:
    """Four digits and the prefix of a unit that follows.

    >>> prefixed(193_500) + "MAC", prefixed(8.9e-7) + "J"
    ('193.5 kMAC', '890 nJ')
    """
    power = min(max(floor(log10(number) / 3), -4), 4) if number else 0
    return f"{number / 1000.0**power:.4g} {PREFIXES[power + 4]}"


def _event(name: str, count: int | Tensor) -> int | Tensor:
    if not isinstance(count, Tensor):
        return require_count(name, count, 0, MAX_COST)
    if count.dim():
        raise ValueError(f"{name} has shape {tuple(count.shape)}; expected one number.")
    return round(count.item()) if count.is_cpu else count.detach()


class Meter:
    """Counts what is computed within a `with` block: layers, functions, the loss, backward passes.

    Args:
        model, others: whose weights are synapses, and whose neurons send the spikes. Outside of the block they carry
            no hook.
        events: look at values as well, for synaptic operations and spikes.
        learner: a learner is attached; what it computes beside the model is left out.

    What multiplies in a way that is not known here (transforms, libraries of one's own) is named by a warning, once.

    >>> net = nn.Linear(3, 2)
    >>> with Meter(net) as meter:
    ...     _ = net(torch.tensor([[1.0, 0.0, 1.0]]))
    >>> meter.read()
    Cost(macs=6, synops=4, spikes=0)
    """

    def __init__(self, model: nn.Module, *others: nn.Module, events: bool = True, learner: bool = False) -> None:
        for one in (model, *others):
            require_kind("model", one, nn.Module, "The net whose operations are counted.")
        self._models, self._said = (model, *others), set[str]()
        self.events, self._learner = require_flag("events", events), require_flag("learner", learner)
        self._neurons = [n for m in self._models for n in index_model(m).neurons.values() if not n.kind.integrates]
        self._lists = [m for model in self._models for m in model.modules() if isinstance(m, SparseLinear)]
        self._handles: list[Any] = []
        self._counted = Cost()
        self._spikes: Tensor | int = 0

    def __enter__(self) -> Meter:
        weights = {address(p) for model in self._models for p in model.parameters()}
        self._counting = Counting(weights, spikes=self.events, learner=self._learner)
        for neuron in self._neurons if self.events else ():
            counter = self._spike_counter(neuron)
            self._handles.append(neuron.module.register_forward_hook(counter, with_kwargs=True))
        hooks = [layer.register_forward_hook(self._count_edges, with_kwargs=True) for layer in self._lists]
        self._handles += hooks
        self._counting.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        counting = self._counting
        counting.__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._counted = self._counted.plus(Cost(counting.macs, counting.synops, self._spikes))
        self._spikes = 0
        new = sorted(counting.uncounted - self._said)
        if new:
            self._said.update(new)
            notice(f"Not counted, though they may multiply and add: {', '.join(new)}. The ledger is too low.")

    def read(self) -> Cost:
        """What was spent since the last call of `read`; nobody waits for the device before a number is looked at."""
        cost, self._counted = self._counted, Cost()
        return cost

    def _count_edges(self, layer: Any, args: Any, kwargs: Any, output: Tensor) -> None:
        """Synapses in a list, which no product of matrices delivers to."""
        x, (source, _), counting = (args or (kwargs["input"],))[0], layer.connectivity, self._counting
        macs = x[..., 0].numel() * len(source)
        counting.macs += macs
        if output.requires_grad:
            backward = macs * (layer.weight.requires_grad + x.requires_grad)
            output.register_hook(lambda gradient: counting.__setattr__("macs", counting.macs + backward))
        if self.events:
            fan_out = torch.zeros(layer.in_features, dtype=torch.float64, device=source.device)
            fan_out.index_add_(0, source, torch.ones_like(source, dtype=torch.float64))
            counting.synops = counting.synops + ((x.detach() != 0) * fan_out).sum()

    def _spike_counter(self, neuron: Neuron) -> Any:
        def count(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            self._spikes = self._spikes + dense(neuron.read(args, kwargs, output).spikes).count_nonzero()

        return count
