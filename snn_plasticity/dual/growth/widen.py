"""widen: a larger network with more units in its hidden layers, and the map into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ..._checks import known_as, require_choice, require_count, require_kind, require_number
from ...hosts.index import index_model, unwrap
from ..nets import clone, explain_errors, preserve_rng, tensors_of
from ..weights_map import WeightsMap
from .beside import Beside, does_not_run, silence
from .dry_run import Failed
from .enlarge import enlarge, grown_length, map_of, matched, place_constants
from .labels import FIXED, Mark
from .wiring import Signature, UnitWiring, wiring_of

Init = Literal["fresh", "preserving"]
Place = Literal["first", "spread"] | Mapping[str, Sequence[int]]
INITS = get_args(Init)
EACH_ALONE = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)  # in whose place a BatchNorm could stand


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

    A run is followed to see which axes of which tensors count the same units. Then base and motivated net are run
    side by side: what cannot be preserved is refused, by the name of the first layer that answers otherwise.

    Args:
        base: a network with layers and neurons of snnTorch or Norse, or of torch alone; it is not changed.
        sizes: how many times as many units in every hidden layer, or {layer: units}. The layers that nothing reads,
            such as the readout, keep their size unless they are named. Grouped convolutions, GroupNorm and attention
            get whole groups and heads.
        init: "fresh": new synapses as if the network were new. "preserving": the base's units do not hear the new ones
            yet, so that at the start they spike as in the base.
        place: where the base's units lie: "first", "spread" (evenly), or {layer: indices}.
        sample: an input for a dry run (a tuple: several arguments); needed where the first layer is no nn.Linear.
        seed: of the new weights; the global random numbers are not touched.

    Returns:
        The motivated model and the map into it: `motivated, weights = widen(base, 2)`.

    Raises:
        ValueError: a factor or size that makes nothing larger, an unknown layer, units that would become more and
            that something mixes (LayerNorm, a softmax over units), or a forward with sizes of its own.

    >>> base = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> motivated, weights = widen(base, 2)
    >>> motivated[0].weight.shape, motivated[2].weight.shape
    (torch.Size([6, 4]), torch.Size([2, 6]))

    Chen, Goodfellow & Shlens 2016 (growing a network without changing what it computes).
    """
    require_kind("base", base, nn.Module, "The net that becomes wider.")
    seed = require_count("seed", seed, 0)
    require_choice("init", init, INITS)
    wiring, sample = followed(base, sample)
    wanted = _sizes(base, wiring, sizes)
    _refuse_mixed(base, wiring, wanted)
    positions = {s: _unit_positions(wiring, s, size, place) for s, size in wanted.items()}
    motivated = clone(base)
    enlarge(motivated, wiring, wanted)
    try:
        grown = UnitWiring(motivated, sample)
    except Failed as error:
        raise ValueError(does_not_run(error)) from error.reason
    match = matched(wiring, grown, wanted, positions)
    place_constants(motivated, wiring, grown, match)
    weights = map_of(base, wiring, grown, match)
    Beside(base, motivated, weights, (wiring, grown), match, sample).check()
    _initialise(motivated, weights, seed)
    if init == "preserving":
        silence(motivated, weights, wiring)
    weights.copy_up(base, motivated)
    return Growth(motivated.train(base.training), weights)


def followed(base: nn.Module, sample: Any) -> tuple[UnitWiring, Any]:
    """The wiring of a net, and the sample with which it was found.

    Raises:
        TypeError, ValueError, RuntimeError: a sample that the net does not take.
    """
    with explain_errors("sample= does not run through the net", "an input of its forward, a tuple of several, or None"):
        try:
            return wiring_of(base, sample)
        except Failed as error:
            raise error.reason from None


def _sizes(base: nn.Module, wiring: UnitWiring, sizes: float | Mapping[str, int]) -> dict[Signature, int]:
    """How many units each family gets that gets more."""
    wanted: dict[Signature, int] = {}
    if isinstance(sizes, Mapping):
        for name, size in sizes.items():
            if name not in wiring.layers:
                _refuse_one_unit(base, name)
                raise ValueError(f"sizes names {name!r}; the layers are {', '.join(wiring.layers)}.")
            wanted |= _named(wiring, name, require_count(f"sizes[{name!r}]", size))
    elif isinstance(sizes, (int, float)) and not isinstance(sizes, bool) and sizes > 1:
        require_number("sizes", sizes, 1.0, 1e6, open_low=True)
        for signature in wiring.hidden():
            wanted[signature] = round(len(wiring.families[signature].units) * sizes)
    else:
        raise ValueError(f"sizes = {sizes!r}; expected a factor > 1, or {{layer: units}}.")
    larger = {s: n for s, n in wanted.items() if n > len(wiring.families[s].units)}
    if not larger:
        widths = {name: len(units) for name, units in wiring.layers.items()}
        raise ValueError(f"Nothing becomes larger: {widths}. Which hidden layers are there? Name them in sizes.")
    return larger


def _refuse_one_unit(base: nn.Module, name: str) -> None:
    module = dict(unwrap(base).named_modules()).get(name)
    if 1 in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0)):
        raise ValueError(
            f"{name} has a single unit, which looks like something that is the same for all; expected two or more "
            "where a layer shall grow."
        )


def _named(wiring: UnitWiring, name: str, size: int) -> dict[Signature, int]:
    """What a layer of another size asks of the families that it makes."""
    units = wiring.layers[name].tolist()
    if size < len(units):
        raise ValueError(f"{name} has {len(units)} units and would get {size}; expected no fewer.")
    if FIXED in units and size > len(units):
        raise ValueError(
            f"{name} makes units that meet something of a fixed size, an input say; it cannot become larger."
        )
    found = {}
    for signature in dict.fromkeys(wiring.family_of[u] for u in units if u in wiring.family_of):
        old = len(wiring.families[signature].units)
        if old * size % len(units):
            raise ValueError(
                f"{name} has {len(units)} units in {old} equal parts that stay whole (groups, heads); sizes asks for "
                f"{size}, expected a multiple of {len(units) // old}."
            )
        found[signature] = old * size // len(units)
    return found


def _refuse_mixed(base: nn.Module, wiring: UnitWiring, sizes: Mapping[Signature, int]) -> None:
    for mark in wiring.marks:
        units = set(wiring.roots(mark.labels).tolist())
        for signature, size in sizes.items():
            family = wiring.families[signature]
            if units & set(family.units):
                raise ValueError(_mixed(base, wiring, mark, signature, size))


def _mixed(base: nn.Module, wiring: UnitWiring, mark: Mark, signature: Signature, size: int) -> str:
    name = wiring.families[signature].name
    layer = wiring.layers.get(name)
    old = len(wiring.families[signature].units) if layer is None else len(layer)
    new = size if layer is None else grown_length(wiring, layer, {signature: size})
    units = f"the {old} units of {name}, which would become {new}"
    keep = f"let {name} keep its size: name other layers in sizes."
    norm = unwrap(base).get_submodule(mark.where)
    if isinstance(norm, EACH_ALONE):
        return (
            f"{mark.where} is a {type(norm).__name__} over {units}; expected a norm of each unit alone, since this one "
            f"would mix the new units into the base's. Put BatchNorm or InstanceNorm there, or {keep}"
        )
    where = f"{mark.where} ({type(norm).__name__})" if mark.where else "The net's forward"
    operation = mark.operation.strip("_")
    if not mark.followed:
        return f"{where} calls {operation} on {units}: what that makes of single units is not known. Please {keep}"
    return (
        f"{where} takes {operation} over {units}; expected nothing that mixes units, since new ones would change what "
        f"it makes of the base's. Please {keep}"
    )


def _unit_positions(wiring: UnitWiring, signature: Signature, large: int, place: Place) -> list[int]:
    """Where the units of a family go."""
    name, small = wiring.families[signature].name, len(wiring.families[signature].units)
    if isinstance(place, Mapping):
        given = place.get(name, range(small))
        if not isinstance(given, (list, tuple, range)):
            raise TypeError(f"place[{name!r}] is {known_as(given)}; expected the indices of its {small} units.")
        indices = [require_count(f"place[{name!r}]", index, 0) for index in given]
        if len(set(indices)) != small or max(indices) >= large or len(indices) != small:
            raise ValueError(
                f"place[{name!r}] = {indices}; expected {small} different indices, one for each unit, below {large}."
            )
        return indices
    require_choice("place", place, ("first", "spread"))
    return list(range(small)) if place == "first" else [k * large // small for k in range(small)]


def _initialise(model: nn.Module, weights: WeightsMap, seed: int) -> None:
    """Fresh weights everywhere."""
    grown = {slot.name for slot in weights.slots.values() if slot.axes is not None}
    with preserve_rng(), torch.no_grad():
        torch.manual_seed(seed)
        own = {held.layer: held.neuron.kind.weights for held in index_model(model).own.values()}
        for path, module in model.named_modules():
            held = [f"{path}.{name}" if path else name for name in {**module._parameters, **module._buffers}]
            renew = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
            if callable(renew) and module._parameters and not grown.isdisjoint(held):
                renew()
                grown.difference_update(held)
            for weight in own.get(module, ()):
                tensor = getattr(module, weight.attribute)
                nn.init.normal_(tensor, std=(2.0 / tensor.shape[1]) ** 0.5)
                if not weight.autapses:
                    tensor.fill_diagonal_(0.0)
                grown.discard(f"{path}.{weight.attribute}" if path else weight.attribute)
        tensors = tensors_of(model)
        for name in sorted(grown):
            _renew(tensors[name])


def _renew(tensor: Tensor) -> None:
    """Weights of a matrix that no layer knows how to begin: as scattered as they are; others stay repeated."""
    if tensor.is_floating_point() and tensor.dim() > 1 and isinstance(tensor, nn.Parameter):
        mean, spread = float(tensor.mean()), float(tensor.std())
        if spread:
            tensor.normal_(mean, spread)
