"""The larger net: longer axes, sizes that modules say of themselves, and where the base's units come to lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...hosts.adapter import input_sizes, output_sizes, widen_constants
from ...hosts.index import index_model
from ..nets import owner_of, tensors_of
from ..weights_map import Slot, WeightsMap
from .constants import constants_of, replace_constants
from .labels import FIXED
from .wiring import Signature, UnitWiring

Sizes = Mapping[Signature, int]
OUTPUT_SIZES = ("out_features", "out_channels", "num_features", "num_channels", "embedding_dim")
INPUT_SIZES = ("in_features", "in_channels")


def grown_length(wiring: UnitWiring, units: np.ndarray, sizes: Sizes) -> int:
    """How long an axis becomes."""
    length = len(units)
    for signature, size in sizes.items():
        old = len(wiring.families[signature].units)
        length += int(np.isin(units, wiring.families[signature].units).sum()) // old * (size - old)
    return length


def enlarge(model: nn.Module, wiring: UnitWiring, sizes: Sizes) -> None:
    """Longer axes in a copy of the base; new entries repeat the old ones until they are initialised."""
    _update_sizes(model, wiring, sizes)
    shapes = {name: [grown_length(wiring, a, sizes) for a in axes] for name, axes in wiring.axes.items()}
    tensors, constants = tensors_of(model), constants_of(model)
    replace_constants(
        model, {name: _repeated(tensor, shapes[name]) for name, tensor in constants.items() if name in shapes}
    )
    for name, tensor in tensors.items():
        if list(tensor.shape) != shapes[name]:
            wide = _repeated(tensor, shapes[name])
            new = nn.Parameter(wide, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else wide
            _replace(model, name, tensor, new)


def _repeated(old: Tensor, shape: Sequence[int]) -> Tensor:
    if list(old.shape) == list(shape):
        return old
    times = [-(-n // max(1, was)) for n, was in zip(shape, old.shape, strict=True)]
    return old.detach().repeat(*times)[tuple(slice(n) for n in shape)].clone()


def _replace(model: nn.Module, name: str, old: Tensor, new: Tensor) -> None:
    """Wherever it is held: tied weights stay tied."""
    owner, attribute = owner_of(model, name)
    held = owner._parameters if attribute in owner._parameters else owner._buffers
    if old is not held[attribute]:
        raise RuntimeError(f"{name} is not what its module holds")
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for key in [key for key, value in store.items() if value is old]:
                setattr(module, key, new)


def _update_sizes(model: nn.Module, wiring: UnitWiring, sizes: Sizes) -> None:
    """What modules say of their sizes, and constants of single neurons that are no tensors of the model."""
    neurons = {neuron.proper for neuron in index_model(model).neurons.values()}
    for path, module in model.named_modules():
        calls = [call for call in wiring.calls if call.path == path]
        into, made = (_first_along(wiring, tensors) for tensors in ([c.given for c in calls], [c.made for c in calls]))
        for attribute, size in list(_changes(module, wiring, sizes, path, into, made)):
            current = vars(module).get(attribute)
            if isinstance(current, (int, Tensor)) and not isinstance(current, bool):
                setattr(module, attribute, size if isinstance(current, int) else torch.tensor(size))
        if module in neurons and into is not None:
            large = grown_length(wiring, into, sizes)
            if large != len(into):
                widen_constants(module, len(into), large)


def _first_along(wiring: UnitWiring, calls: Sequence[Sequence[Tensor]]) -> np.ndarray | None:
    """The units along the first tensor of a call, of the first call that tells."""
    told = (wiring.along(tensors[0]) for tensors in calls if tensors)
    return next((units for units in told if units is not None), None)


def _changes(
    module: nn.Module, wiring: UnitWiring, sizes: Sizes, path: str, into: np.ndarray | None, made: np.ndarray | None
) -> Iterator[tuple[str, int]]:
    def axis(name: str, number: int) -> int | None:
        axes = wiring.axes.get(f"{path}.{name}" if path else name)
        return None if axes is None else grown_length(wiring, axes[number], sizes)

    outputs, inputs = (*OUTPUT_SIZES, *output_sizes()), (*INPUT_SIZES, *input_sizes())
    for names, units in ((outputs, made), (inputs, into)):
        for name in names:
            if units is not None and vars(module).get(name) == len(units):
                yield name, grown_length(wiring, units, sizes)
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1 and into is not None:
        yield "groups", grown_length(wiring, into, sizes) // (module.in_channels // module.groups)
    elif isinstance(module, nn.GroupNorm) and module.num_groups > 1 and into is not None:
        yield "num_groups", grown_length(wiring, into, sizes) // (module.num_channels // module.num_groups)
    elif isinstance(module, nn.MultiheadAttention) and (size := axis("in_proj_weight", 1)):
        yield from ((name, size) for name in ("embed_dim", "kdim", "vdim"))
        yield "num_heads", size // module.head_dim
    rows = (
        (nn.Linear, (("out_features", "weight", 0), ("in_features", "weight", 1))),
        (nn.PReLU, (("num_parameters", "weight", 0),)),
        (nn.RNNBase, (("input_size", "weight_ih_l0", 1), ("hidden_size", "weight_hh_l0", 1))),
        (nn.RNNCellBase, (("input_size", "weight_ih", 1), ("hidden_size", "weight_hh", 1))),
    )
    for kind, table in rows:
        for name, tensor, number in table if isinstance(module, kind) else ():
            size = axis(tensor, number)
            if size is not None:
                yield name, size


def matched(
    base: UnitWiring, grown: UnitWiring, sizes: Sizes, positions: Mapping[Signature, Sequence[int]]
) -> dict[int, int]:
    """For each unit of the base, which one of the larger net it is.

    Raises:
        ValueError: the units of the larger net are not wired as those of the base.
    """
    found = {FIXED: FIXED, -1: -1}
    for signature, family in base.families.items():
        larger = grown.families.get(signature)
        if larger is None or len(larger.units) != sizes.get(signature, len(family.units)):
            raise ValueError(_differently(base, grown, sizes, signature))
        places = positions.get(signature, range(len(family.units)))
        found.update({unit: larger.units[k] for unit, k in zip(family.units, places, strict=True)})
    return found


def _differently(base: UnitWiring, grown: UnitWiring, sizes: Sizes, signature: Signature) -> str:
    name = signature[0][0].rpartition(".")[0] or signature[0][0]
    layer = base.families[signature].name or name
    return (
        f"{name}: with more units in {layer}, its indices are not those of the same units as before (a reshape or a "
        "slice with a fixed number, or groups of another size); expected a forward whose sizes follow from its "
        "tensors. Name other layers in sizes."
    )


def place_of(units: np.ndarray, larger: np.ndarray, match: Mapping[int, int]) -> list[int] | None:
    """For each index of an axis where it lies in the longer one: the same unit, and as many of it before."""
    where: dict[int, list[int]] = {}
    for k, unit in enumerate(larger.tolist()):
        where.setdefault(unit, []).append(k)
    seen: dict[int, int] = {}
    places = []
    for unit in units.tolist():
        k = seen[unit] = seen.get(unit, -1) + 1
        mine = where.get(match.get(unit, unit), [])
        if k >= len(mine):
            return None
        places.append(mine[k])
    return places


def map_of(model: nn.Module, base: UnitWiring, grown: UnitWiring, match: Mapping[int, int]) -> WeightsMap:
    """Where each tensor of the base lies."""
    return WeightsMap({name: Slot(name, _axes_of(name, base, grown, match)) for name in tensors_of(model)})


def _axes_of(
    name: str, base: UnitWiring, grown: UnitWiring, match: Mapping[int, int]
) -> tuple[Sequence[int], ...] | None:
    axes = []
    for units, larger in zip(base.axes[name], grown.axes[name], strict=True):
        places = place_of(units, larger, match)
        if places is None:
            raise ValueError(f"{name}: its indices cannot be found in the larger net; name other layers in sizes.")
        axes.append(places)
    sizes = [len(larger) for larger in grown.axes[name]]
    if all(places == list(range(size)) for places, size in zip(axes, sizes, strict=True)):
        return None
    return tuple(axes)


def place_constants(model: nn.Module, base: UnitWiring, grown: UnitWiring, match: Mapping[int, int]) -> None:
    """Constants of the base's units where those lie in the larger net."""
    new = {}
    for name, value in constants_of(model).items():
        axes = _axes_of(name, base, grown, match) if name in base.axes and name in grown.axes else None
        if axes is not None:
            small = value[tuple(slice(len(units)) for units in base.axes[name])]
            new[name] = value.clone()
            new[name][np.ix_(*axes)] = small
    replace_constants(model, new)
