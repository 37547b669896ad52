"""widen: a larger network with more units in its hidden layers, and the map into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from .._checks import known_as, require_choice, require_count, require_kind, require_number
from ..hosts.adapter import input_sizes, output_sizes, widen_constants
from ..hosts.index import index_model
from .nets import clone, owner_of, preserve_rng, tensors_of
from .unit_groups import INPUT_SIZES, LAYERS, OUTPUT_SIZES, PER_CHANNEL, Axis, UnitGroups, mixes_units, unit_groups_of
from .weights_map import Slot, WeightsMap

Init = Literal["fresh", "preserving"]
Place = Literal["first", "spread"] | Mapping[str, Sequence[int]]
INITS = get_args(Init)


class Growth(NamedTuple):
    """A motivated network and where the base lies in it."""

    model: nn.Module
    weights: WeightsMap


def widen(
    base: nn.Module,
    sizes: float | Mapping[str, int],
    *,
    init: Init = "fresh",
    place: Place = "first",
    sample: Any = None,
    seed: int = 0,
) -> Growth:
    """A wider network of the same make, and the map into it.

        motivated = [ base  g·U ]     U: fresh weights;  g = 1 "fresh",  g = 0 "preserving"
                    [  U     U  ]

    Args:
        base: a network with layers and neurons of snnTorch or Norse; it is not changed.
        sizes: how many times as many units in every hidden layer, or {layer: units}. The layers that nothing reads,
            such as the readout, keep their size unless they are named.
        init: "fresh": new synapses as if the network were new. "preserving": the base's units do not hear the new ones
            yet, so that at the start they spike as in the base.
        place: where the base's units lie: "first", "spread" (evenly), or {layer: indices}.
        sample: an input for a dry run; needed where the first layer is no nn.Linear.
        seed: of the new weights; the global random numbers are not touched.

    Returns:
        The motivated model and the map into it: `motivated, weights = widen(base, 2)`.

    Raises:
        ValueError: a factor or size that makes nothing larger, an unknown layer, a LayerNorm or GroupNorm over units
            that would become more, or a network whose wiring cannot be told.

    >>> base = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> motivated, weights = widen(base, 2)
    >>> motivated[0].weight.shape, motivated[2].weight.shape
    (torch.Size([6, 4]), torch.Size([2, 6]))

    Chen, Goodfellow & Shlens 2016 (growing a network without changing what it computes).
    """
    require_kind("base", base, nn.Module, "The net that becomes wider.")
    seed = require_count("seed", seed, 0)
    require_choice("init", init, INITS)
    groups = unit_groups_of(base, sample)
    widths = _widths(groups, sizes)
    _refuse_mixing_norms(base, groups, widths)
    positions = {units: _unit_positions(units, groups.widths[units], widths[units], place) for units in widths}
    motivated = clone(base)
    old, slots = tensors_of(base), {}
    for name, axes in groups.axes.items():
        if all(axis.units is None or widths[axis.units] == groups.widths[axis.units] for axis in axes):
            slots[name] = Slot(name)
            continue
        shape = [
            n if a.units is None else widths[a.units] * a.repeat for n, a in zip(old[name].shape, axes, strict=True)
        ]
        slots[name] = Slot(name, tuple(_expand(n, a, positions) for n, a in zip(old[name].shape, axes, strict=True)))
        _enlarge(motivated, name, shape, old[name])
    _update_sizes(motivated, groups, widths)
    weights = WeightsMap(slots)
    _initialise(motivated, weights, init, seed)
    weights.copy_up(base, motivated)
    return Growth(motivated.train(base.training), weights)


def _widths(groups: UnitGroups, sizes: float | Mapping[str, int]) -> dict[str, int]:
    widths = dict(groups.widths)
    if isinstance(sizes, Mapping):
        for name, size in sizes.items():
            if name not in groups.outputs:
                raise ValueError(f"sizes names {name!r}; the layers are {', '.join(groups.outputs)}.")
            widths[groups.outputs[name]] = require_count(f"sizes[{name!r}]", size)
    elif isinstance(sizes, (int, float)) and not isinstance(sizes, bool) and sizes > 1:
        require_number("sizes", sizes, 1.0, 1e6, open_low=True)
        widths |= {units: round(groups.widths[units] * sizes) for units in groups.hidden}
    else:
        raise ValueError(f"sizes = {sizes!r}; expected a factor > 1, or {{layer: units}}.")
    for units, size in widths.items():
        if size < groups.widths[units]:
            raise ValueError(f"{units} has {groups.widths[units]} units and would get {size}; expected no fewer.")
    if widths == groups.widths:
        raise ValueError(f"Nothing becomes larger: {widths}. Which hidden layers are there? Name them in sizes.")
    return widths


def _refuse_mixing_norms(base: nn.Module, groups: UnitGroups, widths: Mapping[str, int]) -> None:
    for name, (units, _) in groups.inputs.items():
        norm = base.get_submodule(name)
        if units and widths[units] != groups.widths[units] and mixes_units(norm, groups.widths[units]):
            raise ValueError(
                f"{name} is a {type(norm).__name__} over the {groups.widths[units]} units of {units}, which would "
                f"become {widths[units]}; expected a norm of each unit alone, since this one would mix the new units "
                f"into the base's. Put BatchNorm or InstanceNorm there, or let {units} keep its size: name other "
                "layers in sizes."
            )


def _unit_positions(units: str, small: int, large: int, place: Place) -> list[int]:
    """Where the units of a group go."""
    if isinstance(place, Mapping):
        given = place.get(units, range(small))
        if not isinstance(given, (list, tuple, range)):
            raise TypeError(f"place[{units!r}] is {known_as(given)}; expected the indices of its {small} units.")
        return [require_count(f"place[{units!r}]", index, 0) for index in given]
    require_choice("place", place, ("first", "spread"))
    return list(range(small)) if place == "first" else [k * large // small for k in range(small)]


def _expand(size: int, axis: Axis, positions: Mapping[str, list[int]]) -> Sequence[int]:
    if axis.units is None:
        return range(size)
    return [unit * axis.repeat + k for unit in positions[axis.units] for k in range(axis.repeat)]


def _enlarge(model: nn.Module, name: str, shape: Sequence[int], old: Tensor) -> None:
    """A tensor of another shape in place of the old one; new entries repeat the old ones until they are initialised."""
    owner, attribute = owner_of(model, name)
    times = [-(-n // max(1, was)) for n, was in zip(shape, old.shape, strict=True)]
    with torch.no_grad():
        wide = old.detach().repeat(*times)[tuple(slice(n) for n in shape)].clone()
    if attribute in owner._parameters:
        owner._parameters[attribute] = nn.Parameter(wide, requires_grad=old.requires_grad)
    else:
        owner._buffers[attribute] = wide


def _update_sizes(model: nn.Module, groups: UnitGroups, widths: Mapping[str, int]) -> None:
    """The sizes that modules say of themselves, and constants of single neurons that are no tensors of the model."""
    homes = {n.proper: n.proper for n in index_model(model).neurons.values()}
    names = {module: name for name, module in model.named_modules()}
    homes |= {child: n for n in list(homes) for child in n.modules()}
    outputs, inputs = (*OUTPUT_SIZES, "num_features", *output_sizes()), (*INPUT_SIZES, *input_sizes())
    for module, name in names.items():
        home = homes.get(module, module)
        name = names[home]
        into = groups.inputs.get(name)
        made = groups.outputs.get(name) or (into.units if into and not isinstance(home, LAYERS) else None)
        inner = module in homes and name not in groups.outputs
        for attribute in outputs if made else ():
            _resize(module, attribute, widths[made])  # type: ignore[index]
        for attribute in inputs if into and into.units else ():
            _resize(module, attribute, widths[into.units] * (1 if inner else into.repeat))  # type: ignore[union-attr,index]
        if isinstance(module, nn.PReLU):
            module.num_parameters = module.weight.numel()
        if made:
            widen_constants(module, groups.widths[made], widths[made])


def _resize(module: nn.Module, attribute: str, size: int) -> None:
    current = vars(module).get(attribute)
    if isinstance(current, (int, Tensor)):
        setattr(module, attribute, size if isinstance(current, int) else torch.tensor(size))


def _initialise(model: nn.Module, weights: WeightsMap, init: Init, seed: int) -> None:
    """Fresh weights everywhere; none from new units onto the base's, if what the base computes shall be preserved."""
    with preserve_rng():
        torch.manual_seed(seed)
        own = {held.layer: held.neuron.kind.weights for held in index_model(model).own.values()}
        for module in model.modules():
            renew = getattr(module, "reset_parameters", None)
            if callable(renew) and isinstance(module, (*LAYERS, *PER_CHANNEL)):
                renew()
            for weight in own.get(module, ()):
                tensor = getattr(module, weight.attribute)
                nn.init.normal_(tensor, std=(2.0 / tensor.shape[1]) ** 0.5)
                if not weight.autapses:
                    with torch.no_grad():
                        tensor.fill_diagonal_(0.0)
    if init == "preserving":
        for slot in weights.slots.values():
            tensor = tensors_of(model)[slot.name].detach()
            if slot.axes is not None and tensor.dim() > 1:
                tensor[torch.tensor(list(slot.axes[0]))] = 0.0
