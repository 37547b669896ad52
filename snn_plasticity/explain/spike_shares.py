"""What each spike has made of each side of a kernel's products, whatever the kernel.

    f(t) = Σ_k ± post_k(t) · pre_k(t),   pre_k(t) = Σ_r share_k(t, r),   post_k(t) = Σ_q share_k(t, q)

A side that is zero as soon as this step's spike is taken away belongs to that spike, with all that earlier spikes have
made of it (the slow trace of a triplet), and so does one that knows of nothing earlier (ψ). Any other side is a memory.
It is split from the latest spike backwards: a
share is what a spike adds to those after it. In a sum of spikes that is the spike's own term; where the latest spike
takes the place of those before it (nearest pairs) it has all. What is left without any spike is nobody's, at step −1.

The kernel itself is run for that, with trains that lack their first spikes; nothing is known of it but that it
looks at no sample but its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..kernels.kernel_state import batch_axes, careful_step
from ..plasticity.eligibility_vectors import EligibilityVectors

ENTRIES = 1 << 18  # of trains that are stepped together
Key = tuple[int, int]  # sign, and which of the products of that sign
ProductSide = tuple[Key, str]  # of a product, "post" or "pre"


@dataclass(frozen=True)
class Trains:
    """Trains of M members that never meet, and the units of each that are looked at.

    Args:
        pre, post: (T, M, ...), in double precision.
        pre_units, post_units: (P,), counted in a row; unit `p` of member `m` is number m·P + p.
        post_axes: axes between those of members and units on the post side.
        state: of the kernel before the first step, for all members; None: as new.
    """

    pre: Tensor
    post: Tensor
    pre_units: Tensor
    post_units: Tensor
    post_axes: int = 0
    state: Any = None

    def alone(self) -> Trains:
        """Each unit as a member of its own, with one neuron on each side."""
        zero = torch.zeros(1, dtype=torch.long)
        pre = self.pre.flatten(2)[..., self.pre_units].flatten(1, 2).unsqueeze(-1)
        post = self.post.flatten(2 + self.post_axes)[..., self.post_units]
        post = post.movedim(-1, 2).flatten(1, 2).unsqueeze(-1)
        return Trains(pre, post, zero, zero, self.post_axes)

    def between(self, pre: Tensor, post: Tensor, state: Any = None) -> Trains:
        """The same units of other trains."""
        return replace(self, pre=pre, post=post, state=state)

    def at(self, side: str, values: Tensor) -> Tensor:
        """The units (M, P) of one side's values (M, ...)."""
        return values.flatten(1)[:, self.post_units if side == "post" else self.pre_units]


class SpikeShares(NamedTuple):
    """Shares of one side, (n,) each: unit, step, the step of the spike whose it is (−1: nobody's), and how much."""

    unit: np.ndarray
    step: np.ndarray
    origin: np.ndarray
    value: np.ndarray


class SplitProduct(NamedTuple):
    """One product of a kernel."""

    sign: int
    post: SpikeShares
    pre: SpikeShares


class Stepped(NamedTuple):
    """Both sides of all products over time, (T, M, P), and which of them are of the step's own spike alone."""

    sides: dict[ProductSide, Tensor]
    of_now: set[ProductSide]


def products_of(kernel: Any, trains: Trains, dt: float) -> tuple[list[SplitProduct], Tensor]:
    """The products that a kernel makes of trains, each side split by the spikes that made it; and f (T, M·P).

    Raises:
        ValueError: a kernel whose neurons look at one another, and whose trains are too long for that.
    """
    if isinstance(kernel, EligibilityVectors):
        kernel, trains = OfOneSynapse(kernel.of), trains.alone()
    whole = _stepped(kernel, trains, dt)
    alone, single = trains.alone(), None
    found, f = [], torch.zeros(len(trains.pre), alone.pre.shape[1], dtype=torch.float64)
    for key in dict.fromkeys(key for key, _ in whole.sides):
        split = {}
        for side in ("post", "pre"):
            if (key, side) in whole.of_now:
                split[side] = _of_now(whole.sides[key, side].flatten(1), alone.pre if side == "pre" else alone.post)
                continue
            if single is None:
                single = trains.state is None and _runs_alone(kernel, alone, whole, dt)
            split[side] = _of_memory(kernel, alone if single else trains, (key, side), dt)
        found.append(SplitProduct(key[0], split["post"], split["pre"]))
        f += key[0] * (whole.sides[key, "post"] * whole.sides[key, "pre"]).flatten(1)
    return found, f


class OfOneSynapse:
    """`EligibilityVectors` of single synapses, (M, d + 1, d + 1, 1) and (M, 1): f beside a post side of ones."""

    per_synapse = False

    def __init__(self, of: str) -> None:
        from ..layers.dense import Dense

        self.vectors = EligibilityVectors(Dense(1, 1), of)

    def init(self, pre: Tensor, post: Tensor) -> Tensor:
        """As there."""
        return self.vectors.init(pre, post)

    def step(self, pre: Tensor, post: Tensor, state: Tensor, dt: float = 1.0) -> tuple[Any, Tensor]:
        """f as the pre side of a product, for the neuron's step of now."""
        coincidence, state = self.vectors.step(pre, post, state, dt)
        now = post.flatten(1).any(1, keepdim=True).to(pre.dtype)
        return _Said(((now, coincidence.full.flatten(1)),), ()), state


class _Said(NamedTuple):
    ltp: tuple[tuple[Tensor, Tensor], ...]
    ltd: tuple[tuple[Tensor, Tensor], ...]


def _steps(kernel: Any, trains: Trains, dt: float, *, rest: bool) -> Iterator[tuple[dict[ProductSide, Tensor], ...]]:
    """The sides (M, P) of each step; with `rest` also without this step's pre, without its post, and with only it."""
    state = kernel.init(trains.pre[0], trains.post[0]) if trains.state is None else trains.state
    for pre, post in zip(trains.pre, trains.post, strict=True):
        before = state
        coincidence, state = careful_step(kernel, pre, post, before, dt)
        said = _sides(trains, coincidence)
        if not rest:
            yield (said,)
            continue
        no_pre = careful_step(kernel, torch.zeros_like(pre), post, before, dt)[0]
        no_post = careful_step(kernel, pre, torch.zeros_like(post), before, dt)[0]
        only = careful_step(kernel, pre, post, kernel.init(pre, post), dt)[0]
        yield said, *(_sides(trains, other) for other in (no_pre, no_post, only))


def _sides(trains: Trains, coincidence: Any) -> dict[ProductSide, Tensor]:
    return {
        ((sign, k), side): trains.at(side, values.to(torch.float64))
        for sign, pairs in ((1, coincidence.ltp), (-1, coincidence.ltd))
        for k, pair in enumerate(pairs)
        for side, values in zip(("post", "pre"), pair, strict=True)
    }


def _stepped(kernel: Any, trains: Trains, dt: float, *, rest: bool = True) -> Stepped:
    sides: dict[ProductSide, Tensor] = {}
    earlier: dict[str, set[ProductSide]] = {"with": set(), "without": set()}  # sides in which earlier spikes are seen
    shape = (len(trains.pre), trains.pre.shape[1], len(trains.pre_units))
    for t, (said, *others) in enumerate(_steps(kernel, trains, dt, rest=rest)):
        for which, values in said.items():
            sides.setdefault(which, values.new_zeros(shape))[t] = values
            if rest:
                left, only = others[which[1] == "post"].get(which), others[2].get(which)
                if left is not None and left.any():
                    earlier["without"].add(which)
                if only is None or not torch.equal(only, values):
                    earlier["with"].add(which)
    return Stepped(sides, sides.keys() - (earlier["with"] & earlier["without"]))


def _runs_alone(kernel: Any, alone: Trains, whole: Stepped, dt: float) -> bool:
    """Whether a synapse between two neurons of their own does what it does among all (else parameters are theirs)."""
    try:
        found = _stepped(kernel, alone, dt, rest=False).sides
    except (ValueError, RuntimeError, IndexError, TypeError):
        return False
    same = found.keys() == whole.sides.keys()
    return same and all(torch.allclose(found[k].flatten(1), v.flatten(1), 1e-12) for k, v in whole.sides.items())


def _of_now(values: Tensor, spikes: Tensor) -> SpikeShares:
    """All of it is that of this step's spike, where there is one; (T, U) and (T, U, ...)."""
    step, unit = values.nonzero().unbind(1)
    origin = torch.where(spikes.flatten(2).any(2)[step, unit], step, -1)
    return SpikeShares(unit.numpy(), step.numpy(), origin.numpy(), values[step, unit].numpy())


def _of_memory(kernel: Any, trains: Trains, which: ProductSide, dt: float) -> SpikeShares:
    """What each spike adds to those after it, for a few members at a time."""
    members, parts = trains.pre.shape[1], []
    own = trains.pre if which[1] == "pre" else trains.post
    steps = own.flatten(1).any(1).nonzero().flatten()
    size = max(trains.pre[0, :1].numel(), trains.post[0, :1].numel())
    each = max(1, ENTRIES // (size * (len(steps) + 1)))
    for few in torch.arange(members).split(each):
        parts += _added(kernel, trains, which, steps, dt, few)
    return SpikeShares(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _added(
    kernel: Any, trains: Trains, which: ProductSide, steps: Tensor, dt: float, few: Tensor
) -> Iterator[tuple[np.ndarray, ...]]:
    """Step by step, of a few members: the shares of spikes at `steps`, and of none."""
    count, units = len(steps) + 1, len(trains.pre_units)
    origins = torch.cat((steps, torch.tensor([-1]))).numpy()
    begins = torch.cat((steps, torch.tensor([len(trains.pre)])))
    kept = torch.arange(len(trains.pre)).unsqueeze(1) >= begins  # (T, R): which steps are left in each train

    def shortened(spikes: Tensor, side: str) -> Tensor:
        wide = spikes[:, few].unsqueeze(2).expand(-1, -1, count, *spikes.shape[2:])
        if side == which[1]:
            wide = wide * kept.view(len(spikes), 1, count, *[1] * (spikes.dim() - 2))
        return wide.flatten(1, 2)

    state = None if trains.state is None else state_of(kernel, trains, few.repeat_interleave(count))
    many = trains.between(shortened(trains.pre, "pre"), shortened(trains.post, "post"), state)
    for t, (said,) in enumerate(_steps(kernel, many, dt, rest=False)):
        if which not in said:
            continue
        values = said[which].view(len(few), count, units)
        values[:, :-1] -= values[:, 1:].clone()
        member, origin, unit = values.nonzero().unbind(1)
        number = (few[member] * units + unit).numpy()
        yield number, np.full(len(number), t), origins[origin.numpy()], values[member, origin, unit].numpy()
    nothing = np.zeros(0, dtype=np.int64)
    yield nothing, nothing, nothing, np.zeros(0)


def state_of(kernel: Any, trains: Trains, members: Tensor) -> Any:
    """The state of the kernel for some members, or for one several times, in double precision."""
    leaves, spec = tree_flatten(trains.state)
    axes = batch_axes(kernel, (trains.pre[0], trains.post[0]))
    chosen = [
        leaf if axis is None or not isinstance(leaf, Tensor) else leaf.index_select(axis, members)
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    wide = [leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf for leaf in chosen]
    return tree_unflatten(wide, spec)
