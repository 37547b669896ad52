"""Small snnTorch and Norse nets drawn at random, with hooks of the tests' own that note what every synapse did."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import norse.torch as norse
import numpy as np
import reference
import snntorch
import torch
from torch import nn

SNNTORCH: dict[str, Callable[..., nn.Module]] = {
    "Leaky": lambda n, **k: snntorch.Leaky(beta=0.8, **k),
    "Synaptic": lambda n, **k: snntorch.Synaptic(alpha=0.5, beta=0.8, **k),
    "Alpha": lambda n, **k: snntorch.Alpha(alpha=0.8, beta=0.5, threshold=0.05, **k),
    "Lapicque": lambda n, **k: snntorch.Lapicque(beta=0.8, threshold=0.2, **k),
    "RLeaky": lambda n, **k: snntorch.RLeaky(beta=0.8, linear_features=n, **k),
    "RSynaptic": lambda n, **k: snntorch.RSynaptic(alpha=0.5, beta=0.8, linear_features=n, **k),
}
FAST: dict[str, Any] = {
    "tau_syn_inv": torch.tensor(900.0), "tau_mem_inv": torch.tensor(800.0), "v_th": torch.tensor(0.5),
}  # fmt: skip
NORSE: dict[str, Callable[[], nn.Module]] = {
    "LIFCell": lambda: norse.LIFCell(p=norse.LIFParameters(**FAST)),
    "LIF": lambda: norse.LIF(p=norse.LIFParameters(**FAST)),
    "LIFBoxCell": lambda: norse.LIFBoxCell(p=norse.LIFBoxParameters(FAST["tau_mem_inv"], v_th=FAST["v_th"])),
}


@dataclass
class Site:
    """One plastic weight: which module is its synapse, which its neuron, and what it is to the reference."""

    synapse: str
    neuron: str
    layer: reference.layers.Layer
    autapses: bool = True


@dataclass
class Net:
    """A net, its plastic weights by name, and how it is called."""

    model: nn.Module
    sites: dict[str, Site]
    size: tuple[int, ...]
    sequence: bool = False  # whether a call is a whole (T, B, ...)
    stateful: bool = False  # whether states are passed along (Norse)
    restarts: bool = False  # whether each call is a new sequence
    spelt: str = ""
    kinds: list[str] = field(default_factory=list)


class SpikesOnly(nn.Sequential):
    """Passes on the first of what a neuron returns."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Spikes of the last neuron."""
        for module in self:
            input = module(input)
            input = input if isinstance(input, torch.Tensor) else input[0]
        return input


class ByHand(nn.Module):
    """States passed by hand over (T, B, N), anew at each call."""

    def __init__(self, kind: str, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        self.lif2, self.fc2 = SNNTORCH[kind](sizes[2]), nn.Linear(sizes[1], sizes[2])
        self.lif1, self.fc1 = SNNTORCH[kind](sizes[1]), nn.Linear(sizes[0], sizes[1])

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        """Spikes of the last layer, (T, B, N)."""
        first, second = (
            [s] if isinstance(s, torch.Tensor) else list(s) for s in (self.lif1.reset_mem(), self.lif2.reset_mem())
        )  # type: ignore[operator]
        out = []
        for x in xs:
            spikes, *first = self.lif1(self.fc1(x), *first)
            spikes, *second = self.lif2(self.fc2(spikes), *second)
            out.append(spikes)
        return torch.stack(out)


def snntorch_net(draw: random.Random) -> Net:
    """A net of snnTorch."""
    n_in, n_hidden, n_out = (draw.randint(2, 4) for _ in range(3))
    kind = draw.choice(list(SNNTORCH))
    form = draw.choice(("sequential", "sequential", "conv", "by hand", "state"))
    if form == "by hand":
        kind = draw.choice(("Leaky", "Synaptic", "Alpha", "Lapicque"))
        sites = {"fc1": Site("fc1", "lif1", reference.Dense(n_in, n_hidden)),
                 "fc2": Site("fc2", "lif2", reference.Dense(n_hidden, n_out))}  # fmt: skip
        return Net(ByHand(kind, (n_in, n_hidden, n_out)), sites, (n_in,), sequence=True, kinds=[form, kind])
    if form == "conv":
        return convolutional(lambda: snntorch.Leaky(beta=0.8, init_hidden=True), nn.Sequential, n_out)
    if form == "state":
        neurons = [snntorch.StateLeaky(beta=0.8, channels=n) for n in (n_hidden, n_out)]
        model = SpikesOnly(nn.Linear(n_in, n_hidden), neurons[0], nn.Linear(n_hidden, n_out), neurons[1])
        sites = {
            "0": Site("0", "1", reference.Dense(n_in, n_hidden)),
            "2": Site("2", "3", reference.Dense(n_hidden, n_out)),
        }
        return Net(model, sites, (n_in,), sequence=True, restarts=True, kinds=["StateLeaky"])
    sizes = (n_in, n_hidden, n_out)[: draw.choice((2, 2, 3))]
    modules: list[nn.Module] = []
    sites = {}
    for before, after in zip(sizes, sizes[1:], strict=False):
        at = len(modules)
        modules += [nn.Linear(before, after), SNNTORCH[kind](after, init_hidden=True)]
        sites[str(at)] = Site(str(at), str(at + 1), reference.Dense(before, after))
        if kind.startswith("R"):
            sites[f"{at + 1}.recurrent"] = Site(f"{at + 1}.recurrent", str(at + 1), reference.Dense(after, after))
    return Net(nn.Sequential(*modules), sites, (n_in,), kinds=[form, kind])


def convolutional(neuron: Callable[[], nn.Module], container: Callable[..., nn.Module], n_out: int, **how: Any) -> Net:
    """A convolution, then a matrix."""
    model = container(nn.Conv2d(1, 2, 2, stride=2, padding=1), neuron(), nn.Flatten(), nn.Linear(18, n_out), neuron())
    first = reference.Conv((2, 1, 2, 2), (4, 4), (2, 2), ((1, 1), (1, 1)), (1, 1), 1)
    sites = {"0": Site("0", "1", first), "3": Site("3", "4", reference.Dense(18, n_out))}
    return Net(model, sites, (1, 4, 4), kinds=["conv"], **how)


def norse_net(draw: random.Random) -> Net:
    """A net of Norse."""
    n_in, n_hidden, n_out = (draw.randint(2, 4) for _ in range(3))
    form = draw.choice(("cells", "cells", "box", "conv", "recurrent cell", "sequence", "recurrent sequence"))
    sequence = "sequence" in form
    sites: dict[str, Site] = {}
    if form == "conv":
        return convolutional(NORSE["LIFCell"], norse.SequentialState, n_out, stateful=True)
    if form.startswith("recurrent"):
        kind = norse.LIFRecurrent if sequence else norse.LIFRecurrentCell
        hidden = kind(n_in, n_hidden, p=norse.LIFParameters(**FAST))
        model = norse.SequentialState(hidden, nn.Linear(n_hidden, n_out), NORSE["LIF" if sequence else "LIFCell"]())
        sites["0.input_weights"] = Site("", "0", reference.Dense(n_in, n_hidden))
        sites["0.recurrent_weights"] = Site("", "0", reference.Dense(n_hidden, n_hidden), autapses=False)
        sites["1"] = Site("1", "2", reference.Dense(n_hidden, n_out))
    else:
        name = {"cells": "LIFCell", "box": "LIFBoxCell", "sequence": "LIF"}[form]
        model = norse.SequentialState(
            nn.Linear(n_in, n_hidden), NORSE[name](), nn.Linear(n_hidden, n_out), NORSE[name]()
        )
        sites["0"] = Site("0", "1", reference.Dense(n_in, n_hidden))
        sites["2"] = Site("2", "3", reference.Dense(n_hidden, n_out))
    return Net(model, sites, (n_in,), sequence=sequence, stateful=True, kinds=[form])


def excite(model: nn.Module, seed: int) -> None:
    """Weights at which neurons fire now and then."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.data.copy_(0.7 * torch.rand(parameter.shape, generator=generator))
        elif "bias" in name:
            parameter.data.zero_()
    for module in model.modules():
        if isinstance(module, (norse.LIFRecurrent, norse.LIFRecurrentCell)):
            module.recurrent_weights.data.fill_diagonal_(0.0)  # type: ignore[operator, union-attr]


class Notes:
    """What every synapse was given and every neuron answered, call by call: told to the reference as it happens."""

    def __init__(self, net: Net, tell: Callable[[str, np.ndarray, np.ndarray], None], begin: Callable[[str], None]):
        self.net, self.tell, self.begin, self.listening = net, tell, begin, False
        self.given: dict[str, torch.Tensor] = {}
        modules = dict(net.model.named_modules())
        for path in {site.synapse for site in net.sites.values() if site.synapse}:
            modules[path].register_forward_hook(self.synapse(path))
        for path in {site.neuron for site in net.sites.values()}:
            modules[path].register_forward_hook(self.neuron(path), with_kwargs=True)

    def synapse(self, path: str) -> Callable[..., None]:
        """Note what goes in."""

        def hook(module: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> None:
            self.given[path] = args[0].detach().clone()

        return hook

    def neuron(self, path: str) -> Callable[..., None]:
        """Tell every synapse of this neuron what came out."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            if not self.listening:
                return
            spikes = (out if isinstance(out, torch.Tensor) else out[0]).detach()
            state = args[1] if len(args) > 1 else kwargs.get("state")
            for name, site in self.net.sites.items():
                if site.neuron != path:
                    continue
                if self.net.restarts or (self.net.stateful and state is None):
                    self.begin(name)
                pre = self.given.pop(site.synapse) if site.synapse else own(name, args[0], spikes, state, self.net)
                trains = (pre, spikes) if self.net.sequence and pre.dim() > 2 else (pre[None], spikes[None])
                self.tell(name, *(np.asarray(train.detach(), np.float64) for train in trains))

        return hook

    def forget(self) -> None:
        """Half-done calls lead nowhere."""
        self.given.clear()


def own(name: str, current: torch.Tensor, spikes: torch.Tensor, state: Any, net: Net) -> torch.Tensor:
    """What drives a weight that the neuron holds itself: its input, or its own spikes one step earlier."""
    if name.endswith("input_weights"):
        return current.detach().clone()
    before = torch.zeros_like(spikes[0] if net.sequence else spikes) if state is None else state.z.detach()
    return torch.cat((before[None], spikes[:-1])) if net.sequence else before.clone()
