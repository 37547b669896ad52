"""What one operation does to the places of a tensor: it keeps them, moves them, writes over them, or mixes them.

Views need nothing: they show the same memory. An operation that is on none of these lists mixes, so that nothing is
taken for unit by unit without being known to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from .pooling import pool_of_call, pooled
from .provenance import Layout, Operand, Origin, Places, compact, elements_of, joined, summed, unit_by_unit


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Every element of the result comes of the elements at the same place: arithmetic, activations, dropout, normalisation.
UNIT_BY_UNIT = _names(
    """add sub rsub radd iadd isub mul rmul imul multiply subtract div rdiv truediv rtruediv itruediv true_divide divide
    floor_divide floordiv neg negative pos positive abs absolute pow rpow ipow float_power exp exp2 expm1 log log1p log2
    log10 sqrt rsqrt square reciprocal sign sgn sin cos tan sinh cosh tanh asin acos atan atan2 erf erfc sigmoid logit
    logsigmoid relu relu6 elu selu celu gelu silu mish leaky_relu rrelu prelu hardtanh hardsigmoid hardswish hardshrink
    softshrink tanhshrink softplus softsign threshold clamp clip clamp_min clamp_max round floor ceil trunc fix frac
    fmod remainder mod maximum minimum fmax fmin lerp addcmul addcdiv copysign hypot nan_to_num heaviside masked_fill
    dropout alpha_dropout feature_dropout dropout1d dropout2d dropout3d feature_alpha_dropout bernoulli
    batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize renorm
    to float double half bfloat16 type type_as clone contiguous detach cpu cuda requires_grad gt lt ge le eq ne greater
    less greater_equal less_equal logical_not logical_and logical_or logical_xor bool xor and or invert"""
)
# Every element of the result is one of the first argument, at another place.
MOVES_ONE = _names(
    """getitem index_select gather take take_along_dim masked_select repeat repeat_interleave tile roll flip fliplr
    flipud rot90 reshape flatten unflatten view reshape_as view_as permute transpose swapaxes swapdims movedim moveaxis
    t squeeze unsqueeze expand expand_as broadcast_to ravel narrow narrow_copy select select_copy slice_copy unfold_copy
    pixel_shuffle pixel_unshuffle channel_shuffle diagonal_copy permute_copy view_copy expand_copy"""
)
# Every element of the result is one of the tensors in the arguments.
MOVES_MANY = _names("cat concat concatenate stack hstack vstack dstack column_stack row_stack where")
# What is read out here may come back by ways that nobody can watch: through these.
VALUES_READ = _names("numpy tolist array dlpack to_dlpack data_ptr untyped_storage storage share_memory")
FROM_OUTSIDE = _names("tensor as_tensor asarray from_numpy frombuffer from_dlpack")
# Only shape, kind and device of the first argument matter.
LIKE_FIRST = _names(
    """zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty new_full
    new_tensor new_empty_strided"""
)
# Something is written over the first argument, or a part of it: from the last argument, or from nowhere.
WRITES = _names("copy setitem index_put")
ERASES = _names("zero fill fill_diagonal uniform normal random exponential geometric cauchy log_normal")


class Operation:
    """One call of a torch function.

    Args:
        name, func, args, kwargs: the call.
        parts: the tensors in its arguments.
        written: those that it has written into.
    """

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        parts: Sequence[Operand],
        written: Sequence[Operand],
    ) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.parts, self.written = parts, written
        self.name = name.split(".")[0].strip("_") or name

    def origins(self, out: Tensor) -> list[Origin]:
        """Of a tensor that it has made."""
        if self.name in LIKE_FIRST:
            return []
        if self.name in UNIT_BY_UNIT or (
            self.name == "where" and sum(part.provenance is not None for part in self.parts) < 2
        ):
            return unit_by_unit(self.parts, out, self.name)
        if self.name in MOVES_ONE:
            return self._moved(out, self.parts[:1])
        if self.name in MOVES_MANY:
            return self._moved(out, self.parts[1:] if self.name == "where" else self.parts)
        if self.name == "pad" and self._pads_with_a_constant():
            return self._moved(out, self.parts[:1])
        pool = pool_of_call(self.name, self.func, self.args, self.kwargs) if out.is_floating_point() else None
        if pool is not None:
            return pooled(pool, self.parts[0], out)
        return self.mixed_by()

    def mixed_by(self) -> list[Origin]:
        """What is left of all parts where they are mixed."""
        return summed([origin.mixed_by(self.name) for part in self.parts for origin in part.origins])

    def _pads_with_a_constant(self) -> bool:
        mode = self.kwargs.get("mode", self.args[2] if len(self.args) > 2 else "constant")
        return mode == "constant"

    def _moved(self, out: Tensor, data: Sequence[Operand]) -> list[Origin]:
        """The same movement of the places: term by term, with none where a part has no such term."""
        found: list[Origin] = []
        whole = [origin for part in data for origin in part.origins if origin.places is None]
        terms = [[origin for origin in part.origins if origin.places is not None] for part in data]
        for k in range(max(map(len, terms), default=0)):
            chosen = [origins[k] if k < len(origins) else None for origins in terms]
            calls, places = joined(chosen)
            moved = self._replayed(out, data, places)
            found.append(compact(Origin(calls, moved)) if moved else Origin(calls, None, self.name))
        return summed([*found, *(origin.mixed_by(self.name) for origin in whole)])

    def _replayed(self, out: Tensor, data: Sequence[Operand], places: Sequence[Places | None]) -> Places | None:
        """The call again, with the places instead of the data; None where it does not work on them."""
        if any(part.tensor.layout is not torch.strided for part in data):
            return None
        seen, size, func = Layout.of(out), elements_of(out), self.func
        stand_ins = {
            id(part.tensor): StandIn(place, Layout.of(part.tensor)) for part, place in zip(data, places, strict=True)
        }
        kwargs = {**self.kwargs, "value": -1} if self.name == "pad" else dict(self.kwargs)
        call = tree_map_only(Tensor, lambda tensor: stand_ins.get(id(tensor), tensor), (tuple(self.args), kwargs))

        def make() -> Tensor:
            args, kwargs = tree_map_only(StandIn, StandIn.value, call)
            memory = torch.full((size,), -1)
            seen.view(memory).copy_(func(*args, **kwargs).to(memory.device))
            return memory

        key = None if any(id(part.tensor) not in stand_ins for part in self.parts) else _key(call)
        if key is not None:
            cacheable = all(place is None or place.cacheable for place in places)
            return Places((self.name, key, seen, size), size, make, cacheable=cacheable)
        try:  # tensors that say where to may change afterwards
            return Places.fixed(make())
        except (RuntimeError, TypeError, IndexError, ValueError):
            return None


class StandIn:
    """What a tensor shows of places, in its stead."""

    __slots__ = ("layout", "places")

    def __init__(self, places: Places | None, layout: Layout) -> None:
        self.places, self.layout = places, layout

    def value(self) -> Tensor:
        """The places; −1 where there are none."""
        if self.places is None:
            return torch.full(self.layout.shape, -1)
        return self.layout.view(self.places.value)


def _key(value: Any) -> Any:
    """What tells one call from another; None where nothing does."""
    if isinstance(value, StandIn):
        return (value.layout, value.places and value.places.key)
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    if isinstance(value, Mapping):
        value = tuple(sorted(value.items()))
    if isinstance(value, (tuple, list)):
        keys = tuple(_key(item) for item in value)
        return None if any(key is None and item is not None for key, item in zip(keys, value, strict=True)) else keys
    try:
        hash(value)
    except TypeError:
        return None
    return value
