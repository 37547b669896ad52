"""Which rows of a synapse's output a neuron has read, and its pre and post side by side.

A row is one sample at one step. A neuron's input consists of rows, too; each is read off the places of its elements:
it has to show one row of the synapse, unit after unit in their own order. The units may be some of them only (a layer
cut into two populations), and the neuron may have others beside them (layers put side by side).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .adapter import NeuronCall
from .index import Neuron
from .provenance import SLOT, Layout, Origin, PairingError, SynapseCall

MAX_PATTERNS = 1024  # patterns that are remembered


class RowSelection(NamedTuple):
    """What a neuron's input shows of the calls of one synapse.

    Args:
        numbers: of which calls, counted in the origin.
        leading: the leading shape of the neuron's input, which counts its rows.
        order: the row that each of these shows, over all those calls, −1 for none; None: all of one call, in order.
        units, columns: the units that are shown, and where in the neuron; None: all.
    """

    numbers: tuple[int, ...]
    leading: tuple[int, ...]
    order: Tensor | None
    units: Tensor | None = None
    columns: Tensor | None = None


AS_IT_CAME = RowSelection((0,), (), None)  # the output of one call, in its own shape


class Reading(NamedTuple):
    """RowSelection of the calls of one synapse, read by a neuron."""

    calls: tuple[SynapseCall, ...]
    rows: RowSelection
    layer: str | None = None  # the one that handed the call's output on, where it came so

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one row of the synapse's output."""
        return self.calls[0].sample

    @property
    def leading(self) -> tuple[int, ...]:
        """The leading shape of what was read, which counts rows."""
        return self.calls[0].leading if self.rows is AS_IT_CAME else self.rows.leading

    @property
    def units(self) -> Tensor | None:
        """The units of the synapse that are shown; None: all."""
        return self.calls[0].units_of(self.rows.units)

    @property
    def chosen(self) -> bool:
        """Whether it shows a choice of rows or units, rather than all of one call."""
        chosen = self.rows.order is not None or self.rows.units is not None
        return chosen or len(self.calls) > 1 or any(call.chosen for call in self.calls)

    @property
    def pre(self) -> Tensor:
        """The input of each row."""
        first, order, sample_dims = self.calls[0], self.rows.order, self.calls[0].synapse.sample_dims
        assert first.pre is not None
        if self.rows is AS_IT_CAME:
            return first.pre
        if order is None:
            return first.pre.reshape(*self.leading, *first.pre.shape[-sample_dims:])
        pre = _gathered([call.pre for call in self.calls if call.pre is not None], sample_dims, order)
        return pre.reshape(*self.leading, *pre.shape[1:])

    @property
    def unmoved(self) -> bool:
        """Whether it is one call's own output, as it came."""
        return self.rows is AS_IT_CAME and type(self.calls[0]) is SynapseCall

    @property
    def readers(self) -> Tensor | None:
        """For each place of a row of the synapse's output the unit that reads it, −1 for none, (N,).

        None where pools overlap, so that several read one place.
        """
        first, (_, _, _, units, columns) = self.calls[0], self.rows
        size = prod(first.shape[-first.sample_dims :])
        readers = torch.arange(size)
        if units is not None and columns is not None:
            readers = torch.full((size,), -1).index_copy_(0, units.cpu(), columns.cpu())
        pooled: list[Any] = [call for call in self.calls if type(call) is not SynapseCall]
        found = [call.readers(readers) for call in pooled] if pooled else [readers]
        alike = all(one is not None and found[0] is not None and torch.equal(one, found[0]) for one in found)
        return found[0] if alike else None

    def sides(self, post: Tensor, time_major: bool, *, copied: bool = False) -> tuple[Tensor, Tensor]:
        """Pre and post (T, B, ...) or (B, ...), each place of the post side beside the input that it answers.

        Args:
            post: spikes, or whatever else has their shape.
            time_major: whether that is a whole sequence.
            copied: behind a pool, each place gets the value of its window rather than what the pool hands back.
        """
        pre, post = self.pre, self.credited(post, copied=copied)
        if pre.dim() - self.calls[0].synapse.sample_dims > int(time_major):
            return pre, post
        return pre.unsqueeze(int(time_major)), post.unsqueeze(int(time_major))  # unbatched: a batch of one

    def credited(self, post: Tensor, *, copied: bool = False) -> Tensor:
        """A post side, in the shape of the synapse's output."""
        if self.unmoved:
            return post
        leading = self.leading
        post = self.back(post.reshape(prod(leading), -1) if post.numel() else post.flatten(1), copied=copied)
        return post.reshape(*leading, *self.sample)

    def back(self, post: Tensor, rows: Tensor | None = None, *, copied: bool = False) -> Tensor:
        """Of these rows of what was read (R, ...), at the places of the synapse's output (R, ...)."""
        _, _, order, units, columns = self.rows
        if units is not None and columns is not None:
            shown, first = post.flatten(1)[:, columns.to(post.device)], self.calls[0]
            post = post.new_zeros(len(post), prod(first.shape[-first.sample_dims :]))
            post.index_copy_(1, units.to(post.device), shown)
        if all(type(call) is SynapseCall for call in self.calls):
            return post
        order = rows if order is None else order if rows is None else order[rows]
        if order is None:
            return self.calls[0].back(post, copied=copied)
        whole, before = post.new_zeros(len(post), prod(self.sample)), 0
        for call in self.calls:
            behind = before + prod(call.leading)
            here = ((order >= before) & (order < behind)).nonzero().flatten()
            if len(here):
                at = here.to(post.device)
                whole[at] = call.back(post[at], order[here] - before, copied=copied).flatten(1)
            before = behind
        return whole


def _gathered(pres: Sequence[Tensor], sample_dims: int, order: Tensor) -> Tensor:
    """RowSelection of several inputs in some order, silence where there is none."""
    flat = [pre.reshape(-1, *pre.shape[-sample_dims:]) for pre in pres]
    rows = flat[0] if len(flat) == 1 else torch.cat(flat)
    order = order.to(rows.device)
    chosen = rows[order.clamp(min=0)]
    if bool((order < 0).any()) if order.device.type == "cpu" else True:
        chosen = chosen * (order >= 0).view(-1, *[1] * sample_dims)
    return chosen


def readings_of(neuron: Neuron, neuron_call: NeuronCall, origin: Origin, wanted: set[str]) -> Iterator[Reading]:
    """The rows of an origin that a neuron shows, of the synapses that want to learn."""
    current, spikes, first = neuron_call.current, neuron_call.spikes, origin.calls[0]
    assert origin.places is not None
    if origin.places.is_own and current.layout is not torch.strided:  # sparse: as it came
        yield Reading(origin.calls, RowSelection((0,), first.leading, None))
        return
    if spikes.numel() != current.numel():
        raise PairingError(no_correspondence(min(wanted), neuron, first.roots[0].shape, spikes))
    for name, rows in row_selections(origin, Layout.of(current), 1 + neuron.kind.time_major).items():
        if name in wanted and isinstance(rows, str):
            raise PairingError(mixed_sentence(name, neuron, rows, first.roots[0].shape, spikes))
        if name in wanted and isinstance(rows, RowSelection):
            yield Reading(tuple(origin.calls[k] for k in rows.numbers), rows)


_patterns: OrderedDict[Hashable, dict[str, RowSelection | str]] = OrderedDict()


def row_selections(origin: Origin, seen: Layout, least: int) -> dict[str, RowSelection | str]:
    """For each synapse in an origin the rows that a tensor shows, or why they are none.

    Args:
        origin: whose memory it is.
        seen: where the tensor lies in that memory.
        least: how many leading dimensions count rows at least.
    """
    assert origin.places is not None
    made = tuple((c.synapse.name, c.sample_dims, c.sample, c.by_channel, c.made) for c in origin.calls)
    known, key = origin.places.patterns, (made, seen, least)  # kept with the places, for as long as those are
    if origin.places.cacheable:
        known, key = _patterns, (origin.places.key, *key)
    if key not in known:
        known[key] = _read(origin, seen, least)
        if len(_patterns) > MAX_PATTERNS:
            _patterns.popitem(last=False)
    return known[key]


def _read(origin: Origin, seen: Layout, least: int) -> dict[str, RowSelection | str]:
    assert origin.places is not None
    try:
        places = seen.view(origin.places.value)
    except (RuntimeError, TypeError, IndexError, ValueError):  # a movement that does not work on whole numbers
        return dict.fromkeys(origin.names, "an operation of which it is not known where it moves what")
    slot, place = places >> SLOT, places & ((1 << SLOT) - 1)
    present = set(slot[slot >= 0].unique().tolist())
    found: dict[str, RowSelection | str] = {}
    for name in dict.fromkeys(call.synapse.name for call in origin.calls):
        numbers = tuple(k for k, call in enumerate(origin.calls) if call.synapse.name == name and k in present)
        if not numbers:
            continue
        first = origin.calls[numbers[0]]
        if len({(origin.calls[k].sample_dims, origin.calls[k].sample) for k in numbers}) > 1:
            found[name] = "a choice among outputs of different sizes"
            continue
        size = prod(first.shape[-first.sample_dims :])
        row, unit, count = _located(origin, numbers, slot, place)
        rows = _rows(row, unit, numbers, first, least)
        if isinstance(rows, RowSelection) and len(numbers) == 1:
            rows = _simplified(rows, count)
        found[name] = rows if size else "nothing"
    return found


def _located(origin: Origin, numbers: tuple[int, ...], slot: Tensor, place: Tensor) -> tuple[Tensor, Tensor, int]:
    """For each place its row, counted over all these calls, and its unit; −1 for none; and how many rows there are."""
    before, alike = 0, dict[Layout, Tensor]()
    for k in numbers:
        call = origin.calls[k]
        firsts = alike.setdefault(call.made, torch.full((len(origin.calls),), -1))
        firsts[k] = before
        before += prod(call.leading)
    row, unit = torch.full_like(place, -1), torch.full_like(place, -1)
    sample_dims = origin.calls[numbers[0]].sample_dims
    for made, firsts in alike.items():
        first = torch.where(slot >= 0, firsts[slot.clamp(min=0)], -1)
        here = first >= 0
        size, logical = prod(made.shape[-sample_dims:]), _logical(made)[place[here]]
        row[here], unit[here] = first[here] + logical // size, logical % size
    return row, unit, before


def _logical(made: Layout) -> Tensor:
    """For each place of an output the number of its element, counted row by row."""
    reach = made.offset + 1 + sum((n - 1) * step for n, step in zip(made.shape, made.stride, strict=True))
    table = torch.full((max(reach, 0),), -1)
    made.view(table).copy_(torch.arange(prod(made.shape)).reshape(made.shape))
    return table


def _rows(row: Tensor, unit: Tensor, numbers: tuple[int, ...], call: SynapseCall, least: int) -> RowSelection | str:
    """The first way to count rows under which each shows units of one row, in order, and all the same ones."""
    sample = call.shape[-call.sample_dims :]
    size, turned = prod(sample), False
    for lead in _leads(tuple(row.shape), sample, least):
        leading = tuple(row.shape[:lead])
        rows, units = row.reshape(prod(leading), -1), unit.reshape(prod(leading), -1)
        there = units >= 0
        full = there.any(1)
        first = int(full.nonzero()[0])
        columns = there[first].nonzero().flatten()
        chosen = units[first, columns]
        if not bool((there[full] == there[first]).all() and (units[full][:, columns] == chosen).all()):
            continue
        if not bool((rows[full][:, columns] == rows[full][:, columns[:1]]).all()):
            continue
        if not bool((chosen.diff() > 0).all()):
            turned = True
            continue
        if len(sample) > 1 and len(chosen) < size and not _whole_channels(chosen, sample):
            return "a choice of places in a feature map"
        if len(chosen) < size and not call.by_channel:
            return "a choice of units behind a pool"
        order = torch.where(full, rows[:, columns[0]], -1)
        everything = len(chosen) == size and units.shape[1] == size
        return RowSelection(numbers, leading, order, *((None, None) if everything else (chosen, columns)))
    return (
        "a change of the order of units (a permutation, flip or transposition)"
        if turned
        else "a slice or view that leaves no whole samples"
    )


def _whole_channels(units: Tensor, sample: tuple[int, ...]) -> bool:
    """Whether of each channel of a convolution all places are there, or none."""
    each = prod(sample[1:])
    return bool((torch.bincount(units // each) % each == 0).all())


def _leads(shape: tuple[int, ...], sample: tuple[int, ...], least: int) -> Iterator[int]:
    """How many leading dimensions may count rows: first those that leave all units of a sample."""
    tail = len(shape) - len(sample)
    exact = [lead for lead in range(len(shape) + 1) if prod(shape[lead:]) == prod(sample)]
    first = [tail] if tail >= 0 and shape[tail:] == sample else []
    first += [lead for lead in exact if lead >= least] + [lead for lead in reversed(exact) if lead < least]
    first += range(len(shape) - 1, least - 1, -1)
    yield from dict.fromkeys(first)


def _simplified(rows: RowSelection, count: int) -> RowSelection:
    """Without an order where it is that of the call itself."""
    assert rows.order is not None
    if len(rows.order) == count and bool((rows.order == torch.arange(count)).all()):
        return rows._replace(order=None)
    return rows


def mixed_sentence(synapse: str, neuron: Neuron, operation: str, made: Sequence[int], spikes: Tensor) -> str:
    """Says that units are not what they were."""
    return (
        f"Between {synapse} and {neuron.name} there is {operation}: the output of {synapse} has shape {tuple(made)}, "
        f"the spikes of {neuron.name} have {tuple(spikes.shape)}, and expected is one unit of {synapse} for each "
        "neuron, in the same order (normalisation, dropout, scaling, views, samples and steps in any order, max and "
        "average pools are fine). "
        f"Move it behind {neuron.name}, or leave {synapse} out with target_layers=."
    )


def no_correspondence(synapse: str, neuron: Neuron, made: Sequence[int], spikes: Tensor) -> str:
    """Says that there is not one spike for each output."""
    return (
        f"The output of {synapse} has shape {tuple(made)}, and the spikes of {neuron.name} have {tuple(spikes.shape)}: "
        f"expected one spike per output. Let the neuron follow its layer, or leave {synapse} out with target_layers=."
    )


def unwatchable(synapse: str, neuron: Neuron, operation: str = "") -> str:
    """Says that something was done which no operation of torch tells of."""
    which = f" ({operation})" if operation else ""
    return (
        f"Between {synapse} and {neuron.name} there is something that cannot be watched{which}: NumPy, a "
        "torch.func transform, compiled, scripted or foreign code. If it works unit by unit, say "
        f"so with attach(..., pairs={{{synapse!r}: {neuron.name!r}}}); else leave {synapse} out with target_layers=."
    )


def changed_pattern(synapse: str, neuron: Neuron) -> str:
    """Says that a known pattern is another now."""
    return (
        f"{neuron.name} was given something else than before, and what was done to the output of {synapse} on the way "
        "was not watched any more, since so far all outputs were read as they came. Nothing was learned from this "
        "step; from now on operations are watched: run it again."
    )
