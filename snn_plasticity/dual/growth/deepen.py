"""deepen: a larger network with a layer that the base does not have, and the map into it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..._checks import require_choice, require_count, require_kind
from ...hosts.adapter import input_sizes, inserted
from ...hosts.index import Neuron, index_model
from ..nets import clone, preserve_rng, reset_hidden_state, tensors_of
from ..weights_map import Slot, WeightsMap
from .beside import check_deeper
from .relay import next_state, relay_gains
from .widen import INITS, Growth, Init, followed
from .wiring import UnitWiring

SYNAPSES_BY_PLACES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class StackedNeurons(nn.Module):
    """A neuron, a layer of synapses and a second neuron of its kind, in the place of the neuron alone.

    In a forward that passes states along, it takes and returns the states of both.
    """

    def __init__(self, first: nn.Module, synapses: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.synapses, self.second = first, synapses, second

    def forward(self, current: Tensor, *state: Any) -> Any:
        """As the neuron: spikes, and states where it returns them."""
        both = next((part for part in state if isinstance(part, _StackedState)), None)
        if both is None and state:
            reset_hidden_state(self.second)  # a sequence begins; the first was handed its state
        output = self.first(current, *(both.first if both else state))
        spikes = output[0] if isinstance(output, tuple) else output
        inner = self.second(self.synapses(spikes), *(both.second if both else ()))
        if not isinstance(output, tuple):
            return inner
        states = _StackedState(next_state(self.first, output), next_state(self.second, inner))
        return (inner[0], *[states] * (len(output) - 1))

    def __getattr__(self, name: str) -> Any:
        """What the forward asks of the neuron, such as its initial state; resets reach both."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            mine = getattr(self._modules["first"], name)
        if name.startswith(("reset_", "init_")) and callable(mine):
            reset_hidden_state(self._modules["second"])  # type: ignore[arg-type]
        return mine


class _StackedState:
    def __init__(self, first: tuple, second: tuple) -> None:
        self.first, self.second = first, second

    def detach(self) -> _StackedState:
        """The same without graphs."""
        return _StackedState(*(tree_map_only(Tensor, Tensor.detach, part) for part in (self.first, self.second)))


def deepen(base: nn.Module, after: str, *, init: Init = "fresh", sample: Any = None, seed: int = 0) -> Growth:
    """A network with one more hidden layer, and the map into it.

    Args:
        base: a network with layers and neurons of snnTorch or Norse; it is not changed.
        after: the neuron behind which the new layer comes: a Linear from each of its units to each, or a convolution
            with kernels of size 1 where it reads maps, and a neuron of the same kind. A recurrent cell that holds its
            weights itself is followed by another one.
        init: "fresh", or "preserving": one-to-one synapses so strong that every spike is passed on in the same step.
        sample: an input for a dry run; needed where the first layer is no nn.Linear.
        seed: of fresh weights; the global random numbers are not touched.

    Returns:
        The motivated model and the map into it.

    Raises:
        ValueError: `after` is no neuron, its units cannot be told, its kind cannot relay spikes, or the deeper net
            does not answer as the base.

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
    index = index_model(base)
    if after not in index.neurons:
        raise ValueError(f"after = {after!r}; expected a neuron: {', '.join(index.neurons)}.")
    wiring, sample = followed(base, sample)
    units, places = _shape_of(wiring, after)
    motivated = clone(base)
    neuron = index_model(motivated).neurons[after]
    synapses, second = _new_layer(neuron, units, places, init, seed)
    like = next(base.parameters())
    synapses, second = synapses.to(like.device, like.dtype), second.to(like.device, like.dtype)
    moved = _put_behind(motivated, after, synapses, second)
    weights = WeightsMap({name: Slot(_new_name(name, moved)) for name in tensors_of(base)})
    weights.check(base, motivated)
    check_deeper(base, motivated, weights, lambda path: _new_name(f"{path}.", moved)[:-1], sample, init == "preserving")
    return Growth(motivated.train(base.training), weights)


def _shape_of(wiring: UnitWiring, after: str) -> tuple[int, int]:
    """How many units a neuron has, and how many axes of places are behind them."""
    calls = [call for call in wiring.calls if call.path == after and call.made]
    if not calls:
        raise ValueError(f"{after} is not called in the forward; expected a neuron that is, with sample= as its input.")
    found, output = wiring.where(calls[0].made[0]), calls[0].made[0]
    axis = found[0][0][0] if len(found) == 1 and len(found[0][0]) == 1 else output.dim() - 1
    places = output.dim() - 1 - axis
    if not found and output.dim() > 2 or places > 3 or (places and axis > 1):
        raise ValueError(
            f"{after} gives {tuple(output.shape)}, in which its units cannot be told from places or steps; expected "
            "(B, N), (T, B, N) or maps (B, C, ...), with the units of one layer."
        )
    return output.shape[axis], places


def _new_layer(neuron: Neuron, units: int, places: int, init: Init, seed: int) -> tuple[nn.Module, nn.Module]:
    """Synapses and a neuron of the same kind; of one that holds its weights, they are the synapses."""
    second = clone(neuron.proper)
    with preserve_rng(), torch.no_grad():
        torch.manual_seed(seed)
        synapses: nn.Module = nn.Identity()
        if not neuron.kind.weights:
            kind = SYNAPSES_BY_PLACES[places]
            synapses = kind(units, units, 1) if places else kind(units, units)  # type: ignore[call-arg]
        own = [weight for weight in neuron.kind.weights if not weight.recurrent]
        for weight in neuron.kind.weights:
            tensor = nn.Parameter(torch.randn(units, units) * (2.0 / units) ** 0.5)
            setattr(second, weight.attribute, tensor if weight.autapses else nn.Parameter(tensor.fill_diagonal_(0.0)))
        for name in input_sizes() if own else ():
            if name in vars(second):
                size = vars(second)[name]
                setattr(second, name, torch.tensor(units) if isinstance(size, Tensor) else units)
        if init == "preserving":
            _forget_recurrence(second, neuron)
            for weight in own:
                getattr(second, weight.attribute).copy_(torch.eye(units))
            gains = torch.diag(relay_gains(second, units, places))
            for target in [getattr(second, w.attribute) for w in own] or [synapses.weight]:
                target.copy_(gains.reshape(target.shape))  # type: ignore[union-attr]
            if not own:
                synapses.bias.zero_()  # type: ignore[union-attr,operator]
    return synapses, second


def _forget_recurrence(second: nn.Module, neuron: Neuron) -> None:
    """Its units do not hear one another yet."""
    for weight in neuron.kind.weights:
        if weight.recurrent:
            getattr(second, weight.attribute).zero_()
    for child in neuron.kind.inner:
        for tensor in getattr(second, child).parameters():
            tensor.zero_()


def _put_behind(model: nn.Module, after: str, synapses: nn.Module, second: nn.Module) -> dict[str, str]:
    """A new layer in its place; which prefixes of names moved."""
    home, _, own = after.rpartition(".")
    parent = model.get_submodule(home)
    if isinstance(parent, nn.Sequential):
        return _insert(parent, own, [synapses, second], home)
    setattr(parent, own, StackedNeurons(model.get_submodule(after), synapses, second))
    return {f"{after}.": f"{after}.first."}


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
