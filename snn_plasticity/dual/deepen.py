"""deepen: a larger network with a layer that the base does not have, and the map into it.

New neurons can be relays: the synaptic weights at which they pass every spike train through are found by trying.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._checks import require_choice, require_count, require_kind
from ..hosts.adapter import inserted, kind_of
from ..hosts.index import index_model
from .nets import clone, preserve_rng, reset_hidden_state, tensors_of
from .unit_groups import unit_groups_of
from .weights_map import Slot, WeightsMap
from .widen import INITS, Growth, Init


class StackedNeurons(nn.Module):
    """A neuron, a layer of synapses and a second neuron of its kind, in the place of the neuron alone.

    In a forward that passes states along, it takes and returns the states of both.
    """

    def __init__(self, first: nn.Module, synapses: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.synapses, self.second = first, synapses, second

    def forward(self, current: Tensor, *state: Any) -> Any:
        """As the neuron: spikes, and states where it returns them."""
        both = state[0] if len(state) == 1 and isinstance(state[0], _StackedState) else None
        output = self.first(current, *(both.first if both else state))
        spikes, mine = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        inner = self.second(self.synapses(spikes), *(both.second if both else ()))
        if mine is None:
            return inner
        return inner[0], _StackedState(mine, inner[1:])

    def __getattr__(self, name: str) -> Any:
        """What the forward asks of the neuron, such as its initial state."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("first"), name)


class _StackedState:
    def __init__(self, first: tuple, second: tuple) -> None:
        self.first, self.second = first, second


def deepen(base: nn.Module, after: str, *, init: Init = "fresh", sample: Any = None, seed: int = 0) -> Growth:
    """A network with one more hidden layer, and the map into it.

    Args:
        base: a network with layers and neurons of snnTorch or Norse; it is not changed.
        after: the neuron behind which the new layer comes: a Linear from each of its units to each, and a neuron of
            the same kind.
        init: "fresh", or "preserving": one-to-one synapses so strong that every spike is passed on in the same step.
        sample: an input for a dry run; needed where the first layer is no nn.Linear.
        seed: of fresh weights; the global random numbers are not touched.

    Returns:
        The motivated model and the map into it.

    Raises:
        ValueError: `after` is no neuron of a linear layer, or its kind cannot relay spikes.

    >>> import snntorch
    >>> base = nn.Sequential(nn.Linear(4, 3), snntorch.Leaky(0.9, init_hidden=True), nn.Linear(3, 2))
    >>> motivated, weights = deepen(base, "1", init="preserving")
    >>> [type(module).__name__ for module in motivated]
    ['Linear', 'Leaky', 'Linear', 'Leaky', 'Linear']
    >>> weights.slots["2.weight"].name
    '4.weight'
    """
    require_kind("base", base, nn.Module, "The net that becomes deeper.")
    require_kind("after", after, str, "The name of a neuron, as '1'.")
    seed = require_count("seed", seed, 0)
    require_choice("init", init, INITS)
    index, motivated = index_model(base), clone(base)
    if after not in index.neurons or index.own and after in {o.neuron.name for o in index.own.values()}:
        raise ValueError(
            f"after = {after!r}; expected a neuron with no weights of its own: {', '.join(index.neurons)}."
        )
    groups = unit_groups_of(base, sample)
    units = groups.widths[groups.inputs[after].units or ""]
    neuron = motivated.get_submodule(after)
    second, like = clone(neuron), next(base.parameters())
    synapses = _new_synapses(neuron, units, init, seed).to(like.device, like.dtype)
    home, _, own = after.rpartition(".")
    parent = motivated.get_submodule(home)
    if isinstance(parent, nn.Sequential):
        moved = _insert(parent, own, [synapses, second], home)
    else:
        setattr(parent, own, StackedNeurons(neuron, synapses, second))
        moved = {f"{after}.": f"{after}.first."}
    slots = {name: Slot(_new_name(name, moved)) for name in tensors_of(base)}
    weights = WeightsMap(slots)
    weights.check(base, motivated)
    return Growth(motivated.train(base.training), weights)


def _new_synapses(neuron: nn.Module, units: int, init: Init, seed: int) -> nn.Linear:
    with preserve_rng():
        torch.manual_seed(seed)
        layer = nn.Linear(units, units)
    if init == "preserving":
        gains = relay_gains(neuron, units)
        with torch.no_grad():
            layer.weight.copy_(torch.diag(gains))
            layer.bias.zero_()
    return layer


def _insert(parent: nn.Sequential, own: str, new: list[nn.Module], home: str) -> dict[str, str]:
    """New modules behind one of a Sequential, numbered anew; which prefixes moved."""
    modules, prefix = list(parent), f"{home}." if home else ""
    at = list(parent._modules).index(own) + 1
    moved = {f"{prefix}{k}.": f"{prefix}{k + len(new)}." for k in range(at, len(modules))}
    grown = [*modules[:at], *new, *modules[at:]]
    parent._modules.clear()
    for k, module in enumerate(grown):
        parent.add_module(str(k), module)
    inserted(parent, at)
    return moved


def _new_name(name: str, moved: dict[str, str]) -> str:
    return next((new + name[len(old) :] for old, new in moved.items() if name.startswith(old)), name)


TRAIN_LENGTH = 8  # all 2^8 spike trains of this length are tried, and some long ones
LONG_TRAIN = 200
N_MARGINS = 60


def relay_gains(neuron: nn.Module, units: int) -> Tensor:
    """The weights of one-to-one synapses at which each neuron fires exactly when it gets a spike.

    Args:
        neuron: what is tried, as a copy.
        units: how many there are.

    Returns:
        (units,): weights that work, with a margin to either side, at most twice what a single spike needs.

    Raises:
        ValueError: none does: it fires late, more than once, or forgets to.
    """
    neuron = clone(neuron).cpu()  # a small search: many tiny steps, each read at once
    least = _firing_current(neuron, units)
    # From just above the least current to twice it: a stronger synapse would leave so much in a membrane that resets by
    # subtraction that it fires again, unasked.
    gains = least * (1.0 + torch.logspace(-4, 0, N_MARGINS)[:, None])  # (N_MARGINS, units)
    short = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * TRAIN_LENGTH).T
    uniform = torch.rand(LONG_TRAIN, 8, generator=torch.Generator().manual_seed(0))
    long = (uniform < torch.linspace(0.1, 1.0, 8)).float()
    fits = torch.isfinite(gains)
    for trains in (short, long):
        wanted = trains[:, :, None, None]
        answers = _spikes_of(neuron, (wanted * gains).flatten(1, 2)).reshape(*trains.shape, *gains.shape)
        fits &= (answers == wanted).all(0).all(0)
    if not bool(fits.any(0).all()):
        raise ValueError(
            f"{type(neuron).__name__} passes no spike train through unchanged, whatever the weight (a synaptic current "
            "that outlasts the step? a membrane that never leaks?); expected a neuron that can relay. Use "
            'init="fresh".'
        )
    return torch.stack([gains[_middle_of_longest_run(fits[:, unit]), unit] for unit in range(units)])


def _firing_current(neuron: nn.Module, units: int) -> Tensor:
    """The smallest current that fires each neuron at once, by bisection; NaN where none does."""
    low, high = torch.full((units,), -7.0), torch.full((units,), 9.0)  # logarithms: currents from 0.001 to 8000
    for _ in range(48):  # 16 · 2^−48 is below the resolution of fp32 everywhere
        middle = (low + high) / 2
        fires = _spikes_of(neuron, middle.exp()[None, None])[0, 0] > 0
        low, high = torch.where(fires, low, middle), torch.where(fires, middle, high)
    return torch.where(high < 9.0, high, torch.nan).exp()


def _spikes_of(neuron: nn.Module, inputs: Tensor) -> Tensor:
    """Spikes (T, B, units) for currents (T, B, units)."""
    reset_hidden_state(neuron)
    kind = kind_of(neuron)
    with torch.no_grad():
        if kind is not None and kind.time_major:
            output = neuron(inputs)
            return output[0] if isinstance(output, tuple) else output
        state: tuple[Any, ...] = ()
        spikes = []
        for x in inputs:
            output = neuron(x, *state)
            output = output if isinstance(output, tuple) else (output,)
            spikes.append(output[0])
            state = output[1:]
    return torch.stack(spikes)


def _middle_of_longest_run(fits: Tensor) -> int:
    """The middle of the longest run of True."""
    best, start = (0, 0), None
    for k, fit in enumerate([*fits.tolist(), False]):
        if fit and start is None:
            start = k
        elif not fit and start is not None:
            best, start = max(best, (start, k), key=lambda run: run[1] - run[0]), None
    return (best[0] + best[1] - 1) // 2
