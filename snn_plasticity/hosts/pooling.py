"""Pools between a synapse and its neuron: a post side goes back to where the pool took its input from, at that step.

    post side of the layer = ∂⟨post, pool(z)⟩ / ∂z,   z the layer's output at that step

so that the Hebbian product is ∂⟨post, pool(layer(pre; W))⟩ / ∂W. Of a maximum all goes to the winner, of an average
each has its share. What a pool has made stands in for a call of the synapse, with rows and units of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .provenance import Layout, Memory, Operand, Origin, SynapseCall, expired, stride_and_offset, summed
from .reading import AS_IT_CAME, Reading, row_selections

_MAXIMA = {f"{kind}max_pool{d}d": d for kind in ("", "adaptive_") for d in (1, 2, 3)}
_AVERAGES = {f"{kind}avg_pool{d}d": d for kind in ("", "adaptive_") for d in (1, 2, 3)}


MAX_WINDOWS = 256  # pools of which it is remembered what belongs to which window


class Winners(NamedTuple):
    """What a maximum hands back: all of it to the place that it took.

    Args:
        pool: which pool.
        given, made: the shape of a row before and after it.
        places: (R, M), of each number of each row, in a row of the pool's input.
    """

    pool: Pool
    given: tuple[int, ...]
    made: tuple[int, ...]
    places: Tensor

    def back(self, post: Tensor, rows: Tensor | None) -> Tensor:
        """Of these rows (R, M), at the places of the input (R, N)."""
        places = self.places if rows is None else self.places[rows.to(self.places.device)]
        return post.new_zeros(len(post), prod(self.given)).scatter_add_(1, places, post.flatten(1))


class Shares(NamedTuple):
    """What an average hands back: its share to each place.

    Args:
        pool: which pool.
        given, made: the shape of a row before and after it.
    """

    pool: Pool
    given: tuple[int, ...]
    made: tuple[int, ...]

    def back(self, post: Tensor, rows: Tensor | None) -> Tensor:
        """Of these rows (R, M), at the places of the input (R, N)."""
        with torch.enable_grad():
            given = post.new_zeros(len(post), *self.given).requires_grad_()
            (shares,) = torch.autograd.grad(self.pool.run(given), given, post.reshape(len(post), *self.made))
        return shares.flatten(1)


class PooledCall(SynapseCall):
    """What a pool has made of rows of a synapse's calls; it takes the place of a call.

    Args:
        source: which rows of which calls the pool was given.
        shares: what it hands back of them.
        output: of the pool; it is not kept alive.
        statistic: its name, where beside its own input it would be a normalisation.
    """

    def __init__(self, source: Reading, shares: Winners | Shares, output: Tensor, statistic: str = "") -> None:
        Memory.__init__(self, output)
        self.synapse, self.reading, self.shares, self.statistic = source.calls[0].synapse, source, shares, statistic
        self.version = -1 if output.is_inference() else output._version
        self.output, self.shape, self.itemsize = weakref.ref(output), output.shape, output.element_size()
        self.place, self.bytes = stride_and_offset(output), output.untyped_storage().nbytes()
        self.sample_dims, self.handed_on = output.dim() - len(source.leading), {}

    @property
    def pre(self) -> Tensor | None:  # type: ignore[override]
        """The activity that went into those rows."""
        return self.reading.pre if self.observed else None

    @property
    def observed(self) -> bool:
        """Whether they learn."""
        return all(call.observed for call in self.reading.calls)

    @property
    def roots(self) -> tuple[SynapseCall, ...]:
        """The calls of the synapse itself."""
        return tuple(root for call in self.reading.calls for root in call.roots)

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one row of the synapse's own output."""
        return self.reading.sample

    @property
    def chosen(self) -> bool:
        """Whether the pool was given a choice of rows or units."""
        return self.reading.chosen

    @property
    def by_channel(self) -> bool:
        """Whether its channels are those of the synapse."""
        alike = len(self.sample) > 1 and self.shape[-self.sample_dims] == self.sample[0]
        return alike and self.sample_dims == len(self.sample) and self.reading.units is None

    def units_of(self, shown: Tensor | None) -> Tensor | None:
        """The units of the synapse behind these units of a row; None: all."""
        if shown is None:
            return self.reading.units
        row, each = self.shape[-self.sample_dims :], prod(self.sample[1:])
        channels = (shown // prod(row[1:])).unique()
        return (channels.unsqueeze(1) * each + torch.arange(each)).flatten()

    @property
    def exclusive(self) -> bool:
        """Whether each place of the synapse's output belongs to one of its own at most."""
        alone = _windows(self.shares.pool, self.shares.given, self.shares.made) is not None
        return alone and all(call.exclusive for call in self.reading.calls)

    def readers(self, readers: Tensor) -> Tensor | None:
        """Who reads each place of the synapse's output, of who reads each place of its own; None where several do."""
        windows, given = _windows(self.shares.pool, self.shares.given, self.shares.made), self.reading.readers
        if windows is None or given is None:
            return None
        behind = torch.where(windows < 0, -1, readers[windows.clamp(min=0)])
        return torch.where(given < 0, -1, behind[given.clamp(min=0)])

    def back(self, post: Tensor, rows: Tensor | None = None, *, copied: bool = False) -> Tensor:
        """Of these of its rows (R, ...), at the places of the synapse's own output (R, ...).

        Args:
            post: values of the rows.
            rows: which these are; None: all.
            copied: each place gets that of its window, rather than what the pool hands back.
        """
        if not copied:
            return self.reading.back(self.shares.back(post, rows), rows)
        windows = _windows(self.shares.pool, self.shares.given, self.shares.made)
        assert windows is not None
        windows = windows.to(post.device)
        given = post.flatten(1)[:, windows.clamp(min=0)] * (windows >= 0)
        return self.reading.back(given, rows, copied=True)

    def credited(self, post: Tensor) -> Tensor:
        """A post side of its own shape, in that of the synapse's output."""
        leading = self.leading
        return self.back(post.reshape(prod(leading), -1)).reshape(*leading, *self.sample)


class Pool(NamedTuple):
    """One way to pool.

    Args:
        name: of the function.
        dims: how many of the last dimensions it pools, at most.
        run: the pool of other rows; the indices of its winners, where it takes the largest.
        largest: whether it does.
        key: its settings.
    """

    name: str
    dims: int
    run: Callable[[Tensor], Tensor]
    largest: bool
    key: str

    def made(self, reading: Reading, given: Tensor, output: Tensor, winners: Tensor | None) -> PooledCall | None:
        """What it made of the rows that it was given; None where it pools across rows."""
        lead, first = len(reading.leading), given.dim() - self.dims
        if lead > first:
            return None
        row, made = tuple(given.shape[lead:]), tuple(output.shape[lead:])
        if winners is None:
            return PooledCall(reading, Shares(self, row, made), output, self.statistic)
        rows, channels, places = prod(given.shape[:lead]), prod(given.shape[lead:first]), prod(given.shape[first:])
        winners = winners.reshape(rows, channels, prod(output.shape[first:]))
        if channels > 1:
            winners = winners + places * torch.arange(channels, device=winners.device).unsqueeze(1)
        return PooledCall(reading, Winners(self, row, made, winners.flatten(1)), output)

    def note(self, layer: str, root: SynapseCall, source: SynapseCall, given: Tensor, output: Tensor) -> bool:
        """Note on a call what a layer has pooled of it, if what it was given is laid out as it was; whether so.

        Args:
            layer: its name.
            root: the synapse's own call.
            source: the same, or what it was pooled to before.
            given, output: of the layer.
        """
        known = root.handed_on.get(layer)
        if given.shape != source.shape or stride_and_offset(given) != source.place:
            return False
        if known is not None and not expired(known.memory):
            return False
        made = self.made(Reading((source,), AS_IT_CAME), given, output, self.winners(given))
        if made is not None:
            made.layer = layer
            root.handed_on[layer] = made
        return made is not None

    @property
    def statistic(self) -> str:
        """Its name where it may be a part of a normalisation."""
        return self.name if self.name == "mean" else ""

    def winners(self, given: Tensor) -> Tensor | None:
        """The indices of what it took, if it takes the largest."""
        return self.run(given.detach()) if self.largest else None


def pooled(pool: Pool, part: Operand, output: Tensor, winners: Tensor | None = None) -> list[Origin]:
    """The origins of what a pool has made of a tensor."""
    given, found = part.tensor, list[Origin]()
    if part.provenance is None:
        return found
    if winners is None and given.layout is torch.strided:
        winners = pool.winners(given)
    for origin in part.origins:
        if origin.places is None or given.layout is not torch.strided:
            found.append(origin.mixed_by(pool.name))
            continue
        for rows in row_selections(origin, Layout.of(given), 0).values():
            made = None
            if not isinstance(rows, str):
                calls = tuple(origin.calls[k] for k in rows.numbers)
                made = pool.made(Reading(calls, rows), given, output, winners)
            found += [origin.mixed_by(pool.name)] if made is None else made.origins
    return summed(found)


_known_windows: dict[tuple[str, str, tuple[int, ...], tuple[int, ...]], Tensor | None] = {}


def _windows(pool: Pool, given: tuple[int, ...], made: tuple[int, ...]) -> Tensor | None:
    """For each place of a row the one that its window gives, -1 for none, (N,); None where windows overlap."""
    key = (pool.name, pool.key, given, made)
    if key not in _known_windows:
        if len(_known_windows) >= MAX_WINDOWS:
            _known_windows.clear()
        find = _windows_of_maximum if pool.largest else _windows_of_average
        _known_windows[key] = find(pool, given, made)
    return _known_windows[key]


def _windows_of_average(pool: Pool, given: tuple[int, ...], made: tuple[int, ...]) -> Tensor | None:
    """A place that hands its share to one window only has no variance in the numbers of its windows."""
    numbers = torch.arange(1.0, prod(made) + 1, dtype=torch.float64)
    weight, first, second = Shares(pool, given, made).back(torch.stack([numbers**0, numbers, numbers**2]), None)
    mean, square = (torch.where(weight > 0, total / weight.where(weight > 0, 1.0), 0.0) for total in (first, second))
    return None if bool((square - mean**2 > 1e-6 * mean**2).any()) else mean.round().long() - 1


def _windows_of_maximum(pool: Pool, given: tuple[int, ...], made: tuple[int, ...]) -> Tensor | None:
    """Axis by axis: which windows take the largest from a hyperplane of ones."""
    plane, found = given[-pool.dims :], torch.zeros((1,) * pool.dims, dtype=torch.long)
    for axis, (size, reach) in enumerate(zip(plane, made[-pool.dims :], strict=True)):
        ones = (
            torch.eye(size).view(size, 1, *(size if a == axis else 1 for a in range(pool.dims))).expand(-1, 1, *plane)
        )
        taken = pool.run(ones.contiguous())
        inside = ones.flatten(2).gather(2, taken.flatten(2)).view(taken.shape).movedim(2 + axis, 1).flatten(2)[..., 0]
        if bool((inside.sum(1) > 1).any()):
            return None
        window = torch.where(inside.any(1), inside.argmax(1), -1).view(
            [-1 if a == axis else 1 for a in range(pool.dims)]
        )
        found = torch.where((found < 0) | (window < 0), -1, found * reach + window)
    channels = torch.arange(prod(given[: -pool.dims])).unsqueeze(1) * prod(made[-pool.dims :])
    return torch.where(found.flatten() < 0, -1, found.flatten() + channels).flatten()


def pool_of_call(name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pool | None:
    """The pool that a function is, called like this; None if it is none."""
    base = name.removesuffix("_with_indices")
    given = args[0] if args else kwargs.get("input")
    if not isinstance(given, Tensor) or base not in (*_MAXIMA, *_AVERAGES, "mean"):
        return None
    how = {key: value for key, value in kwargs.items() if key not in ("input", "return_indices")}
    if base == "mean":
        return _mean(given.dim(), *args[1:], **how)
    if base in _MAXIMA:
        return _largest(base, *args[1:], **how)
    return Pool(base, _AVERAGES[base], lambda rows: func(rows, *args[1:], **how), False, f"{args[1:]}{how}")


def pool_of_module(module: nn.Module) -> Pool | None:
    """The pool that a module is; None if it is none."""
    name, settings = _MODULES.get(type(module), ("", ()))
    if not name:
        return None
    if name in _MAXIMA:
        return _largest(name, **{setting: getattr(module, setting) for setting in settings})
    return Pool(name, _AVERAGES[name], module.forward, False, repr(module))


def _largest(name: str, *args: Any, **kwargs: Any) -> Pool:
    again = getattr(functional, name + "_with_indices")
    return Pool(name, _MAXIMA[name], lambda given: again(given, *args, **kwargs)[1], True, f"{args}{kwargs}")


def _mean(dims: int, dim: Any = None, keepdim: bool = False, **_: Any) -> Pool | None:
    over = (dim,) if type(dim) is int else dim
    if not isinstance(over, (tuple, list)) or not over or not all(type(each) is int for each in over):
        return None  # of everything, or over dimensions by name
    behind = [each % dims - dims for each in over]
    return Pool("mean", -min(behind), lambda rows: rows.mean(behind, keepdim), False, f"{behind}{keepdim}")


_MAX, _ADAPTIVE = ("kernel_size", "stride", "padding", "dilation", "ceil_mode"), ("output_size",)
_MODULES: dict[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    nn.MaxPool1d: ("max_pool1d", _MAX), nn.MaxPool2d: ("max_pool2d", _MAX), nn.MaxPool3d: ("max_pool3d", _MAX),
    nn.AdaptiveMaxPool1d: ("adaptive_max_pool1d", _ADAPTIVE), nn.AdaptiveMaxPool2d: ("adaptive_max_pool2d", _ADAPTIVE),
    nn.AdaptiveMaxPool3d: ("adaptive_max_pool3d", _ADAPTIVE),
    nn.AvgPool1d: ("avg_pool1d", ()), nn.AvgPool2d: ("avg_pool2d", ()), nn.AvgPool3d: ("avg_pool3d", ()),
    nn.AdaptiveAvgPool1d: ("adaptive_avg_pool1d", ()), nn.AdaptiveAvgPool2d: ("adaptive_avg_pool2d", ()),
    nn.AdaptiveAvgPool3d: ("adaptive_avg_pool3d", ()),
}  # fmt: skip
