"""Online gradients against autograd through the very host net, with the same paths through time cut, and no others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from snn_plasticity import EligibilityConfig, PlasticityConfig, ThreeFactorConfig, attach

snn = pytest.importorskip("snntorch")

STEPS, BATCH = 24, 2
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def linear(n_in: int, n_out: int) -> nn.Module:
    return nn.Linear(n_in, n_out)


def conv(n_in: int, n_out: int) -> nn.Module:
    return nn.Conv2d(n_in, n_out, 3, padding=1, stride=1)


def recurrent(which: str, **given: object) -> Callable[[int, bool], nn.Module]:
    def build(n: int, in_maps: bool) -> nn.Module:
        inside = {"conv2d_channels": n, "kernel_size": (3, 3)} if in_maps else {"linear_features": n}
        return getattr(snn, which)(**given, **inside)

    return build


def plain(which: str, **given: object) -> Callable[[int, bool], nn.Module]:
    return lambda n, in_maps: getattr(snn, which)(**given)


NEURONS = {
    "Leaky": plain("Leaky", beta=0.9),
    "Leaky none": plain("Leaky", beta=0.8, reset_mechanism="none", threshold=2.0),
    "Synaptic": plain("Synaptic", alpha=0.6, beta=0.85),
    "Synaptic none": plain("Synaptic", alpha=0.5, beta=0.8, reset_mechanism="none", threshold=3.0),
    "Lapicque": plain("Lapicque", beta=0.9, threshold=0.3),
    "RLeaky": recurrent("RLeaky", beta=0.9),
    "RSynaptic": recurrent("RSynaptic", alpha=0.5, beta=0.8),
}


class Net(nn.Module):
    """One or two layers of one kind; states travel as tuples. `keep` names the layer whose own carry has a graph."""

    def __init__(self, neuron: str, synapse: Callable[[int, int], nn.Module], sizes: tuple[int, ...]) -> None:
        super().__init__()
        in_maps = synapse is conv
        self.synapses = nn.ModuleList(synapse(*pair) for pair in zip(sizes, sizes[1:], strict=False))
        self.neurons = nn.ModuleList(NEURONS[neuron](n, in_maps) for n in sizes[1:])

    def start(self) -> list[tuple[Tensor, ...]]:
        states = [neuron.reset_mem() for neuron in self.neurons]
        return [state if isinstance(state, tuple) else (state,) for state in states]

    def forward(self, x: Tensor, states: list, keep: int | None = None) -> tuple[Tensor, list]:
        after = []
        for k, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
            if keep is not None:
                recurs = type(neuron).__name__.startswith("R")  # its first state is the spikes that come back
                states[k] = tuple(
                    s if k == keep and not (recurs and not i) else s.detach() for i, s in enumerate(states[k])
                )
            x, *state = neuron(synapse(x), *states[k])
            x = x.to(synapse.weight.dtype)  # surrogates of snnTorch give float32 whatever they are given
            after.append((x, *state) if type(neuron).__name__.startswith("R") else tuple(state))
        return x, after


def weights_of(net: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in net.named_parameters() if name.endswith("weight")}


def loss_of(spikes: Tensor, state: tuple[Tensor, ...], target: Tensor) -> Tensor:
    """Of one step: the membrane and the spikes of the last layer."""
    return ((state[-1] - target) ** 2).mean() / STEPS + (spikes.flatten(1).mean(1) - 0.3).square().mean() / STEPS


def by_autograd(net: Net, inputs: Tensor, target: Tensor, keep: int | None) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients of the summed loss, with all carries cut but that of layer `keep`; None cuts none. And the spikes."""
    states, loss, seen = net.start(), torch.zeros((), dtype=inputs.dtype), []
    for x in inputs:
        spikes, states = net(x, states, keep)
        loss = loss + loss_of(spikes, states[-1], target)
        seen.append(spikes.detach())
    weights = weights_of(net)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return dict(zip(weights, found, strict=True)), torch.stack(seen)


def chunks(steps: int, size: int) -> Iterator[range]:
    for start in range(0, steps, size):
        yield range(start, min(steps, start + size))


def by_learner(net: Net, inputs: Tensor, target: Tensor, size: int, kernel: str = "online") -> dict[str, Tensor]:
    """What a learner adds to `.grad`, with a loss for every `size` steps; the weights stay as they are."""
    config = PlasticityConfig(
        EligibilityConfig(kernel=kernel), three_factor=ThreeFactorConfig(mode="hybrid", lr=1.0, weight_clamp=None)
    )
    states = net.start()
    with attach(net, config) as learner:
        for steps in chunks(len(inputs), size):
            loss = torch.zeros((), dtype=inputs.dtype)
            for t in steps:
                spikes, states = net(inputs[t], states)
                loss = loss + loss_of(spikes, states[-1], target)
            learner.step(loss=loss)
    return {name: weight.grad for name, weight in weights_of(net).items()}


def task(neuron: str, synapse: Callable, layers: int, dtype: torch.dtype) -> tuple[Net, Tensor, Tensor]:
    torch.manual_seed(0)
    sizes = (6, 5, 4)[: layers + 1]
    net, spread = Net(neuron, synapse, sizes).to(dtype), (4, 4) if synapse is conv else ()
    inputs = (torch.rand(STEPS, BATCH, sizes[0], *spread) < 0.3).to(dtype)
    for gain in [1.0] + 14 * [1.25]:
        with torch.no_grad():
            for layer in net.synapses:
                layer.weight.mul_(gain)
        if 0.05 < by_autograd(copy.deepcopy(net), inputs, torch.zeros(()), 0)[1].mean() < 0.9:
            break
    target = torch.rand(BATCH, sizes[-1], *spread, dtype=dtype)
    return net, inputs, target


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def layer_of(name: str) -> int:
    return int(name.split(".")[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("synapse", [linear, conv])
@pytest.mark.parametrize("neuron", NEURONS)
def test_it_is_the_gradient_with_all_but_its_own_carry_cut(neuron, synapse, layers, dtype):
    net, inputs, target = task(neuron, synapse, layers, dtype)
    whole, spikes = by_autograd(copy.deepcopy(net), inputs, target, None)
    assert 0.02 < spikes.mean() < 0.98
    cut = [by_autograd(copy.deepcopy(net), inputs, target, layer)[0] for layer in range(layers)]
    for size in (1, 7, STEPS) if dtype is torch.float32 else (5,):
        found = by_learner(copy.deepcopy(net), inputs, target, size)
        for name, gradient in found.items():
            assert error(gradient, cut[layer_of(name)][name]) <= TOLERANCE[dtype], (name, size)
    differs = layers == 2 or neuron.startswith("R")
    assert not differs or max(error(cut[layer_of(name)][name], whole[name]) for name in whole) > 0.01
