"""Two nets that share weights by copying them, and their eligibility: up before the large one learns, down after."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ..checks import known_as, require_kind
from ..connection import Connection
from ..learner import PlasticityLearner
from ..plasticity.eligibility import EligibilityTraceModule
from ..plasticity.kernel_state import unit_axes
from ..saved import require_settings
from .nets import TrainableNet, hosts_of, owner_of, tensors_of
from .weights_map import Index, WeightsMap


class NetPair:
    """A base, a motivated net, and what they share: `up()` copies the base's part up, `down()` copies it back.

    Args:
        base, motivated: how each learns, a `Trainee` or a `PlasticTrainee`.
        weights: where the base lies in the motivated net.

    Raises:
        ValueError: the map does not fit, the nets are one and the same or of different hosts, or only one of them has
            a learner.
    """

    def __init__(self, base: TrainableNet, motivated: TrainableNet, weights: WeightsMap) -> None:
        for name, net in (("base", base), ("motivated", motivated)):
            if not isinstance(getattr(net, "model", None), nn.Module) or not callable(getattr(net, "train", None)):
                raise TypeError(f"{name} is {known_as(net)}; expected a Trainee or a PlasticTrainee.")
        require_kind("weights", weights, WeightsMap, "As from widen(base, 2).weights.")
        small, large = hosts_of(base.model), hosts_of(motivated.model)
        if small and large and small != large:
            raise ValueError(
                f"The base has neurons of {_names(small)} and the motivated net of {_names(large)}; expected the same "
                "host: their neurons do not compute the same thing. Build it with widen or deepen."
            )
        if (base.learner is None) != (motivated.learner is None):
            raise ValueError("One net learns by plasticity and the other one by gradients; expected the same for both.")
        if {id(p) for p in base.model.parameters()} & {id(p) for p in motivated.model.parameters()}:
            raise ValueError("The two nets hold the same parameters; expected two nets, which share by copying.")
        weights.check(base.model, motivated.model)
        self.base, self.motivated, self.weights = base, motivated, weights
        old, new = tensors_of(base.model), tensors_of(motivated.model)
        self._shared: list[tuple[tuple[nn.Module, str], tuple[nn.Module, str], Index]] = [
            (owner_of(base.model, n), owner_of(motivated.model, s.name), s.index(old[n], new[s.name]))
            for n, s in weights.slots.items()
        ]

    def shared(self) -> list[tuple[Tensor, Tensor, Index]]:
        """(tensor of the base, tensor of the motivated net, index into it), for every shared tensor."""
        return [(getattr(*mine), getattr(*other), index) for mine, other, index in self._shared]

    def up(self) -> None:
        """Weights, buffers and eligibility of the base into the motivated net."""
        with torch.no_grad():
            for mine, other, index in self.shared():
                other.detach()[index] = mine.detach()
        copy_eligibility(self.base, self.motivated, self.weights, up=True)

    def down(self) -> None:
        """Weights, buffers and eligibility of the shared part back into the base."""
        with torch.no_grad():
            for mine, other, index in self.shared():
                mine.detach().copy_(other.detach()[index])
        copy_eligibility(self.base, self.motivated, self.weights, up=False)


def _names(hosts: set[str]) -> str:
    return " and ".join(sorted(hosts))


UnitIndex = Tensor | slice


def copy_eligibility(base: TrainableNet, motivated: TrainableNet, weights: WeightsMap, *, up: bool) -> None:
    """The traces of every shared weight from one learner to the other; those of extensions stay as they are.

    Raises:
        ValueError: a weight is plastic in one net only or with other settings, a path that keeps no eligibility of
            single samples, or a kernel whose state does not tell what belongs to a neuron.
    """
    if base.learner is None or motivated.learner is None:
        return
    small, large = _by_tensor(base), _by_tensor(motivated)
    for name, connection in small.items():
        slot = weights.slots.get(name)
        if slot is None:
            continue
        if slot.name not in large or slot.entries is not None:
            raise ValueError(
                f"{name} is plastic in the base, and {slot.name} is not in the motivated network, or they are mapped "
                "entry by entry; expected the same plastic layers in both, mapped axis by axis."
            )
        other = large[slot.name]
        post, pre = (_units_along(slot.axes, 0), _units_along(slot.axes, 1))
        if up:
            _copy_traces(connection.traces, other.traces, post, pre, up=True)
        else:
            _copy_traces(other.traces, connection.traces, post, pre, up=False)


def _by_tensor(net: TrainableNet) -> dict[str, Connection]:
    names = {id(tensor): name for name, tensor in tensors_of(net.model).items()}
    learner: Any = net.learner
    assert isinstance(learner, PlasticityLearner)
    return {names[id(c.weight)]: c for c in learner.connections.values() if id(c.weight) in names}


def _units_along(axes: Any, axis: int) -> UnitIndex:
    return slice(None) if axes is None else torch.tensor(list(axes[axis]))


def _copy_traces(
    source: EligibilityTraceModule, target: EligibilityTraceModule, post: UnitIndex, pre: UnitIndex, *, up: bool
) -> None:
    require_settings("The eligibility of the other net", source.settings, target.settings)
    e, given = _read_traces(source)
    if e is None:
        target.reset()
        return
    own, kept = _read_traces(target) if target.batch_size == source.batch_size else (None, {})
    sides, shape = (pre, post), target.rule.geometry.shape
    likes = kept["like"] if kept else _zero_step(given["like"], target)
    state = {**given, "like": list(likes), "shape": list(shape), "bound": None, "asked": []}
    state["partial"] = kept["partial"] if kept else None
    state["e"] = _eligibility(e, own, shape, (post, pre), up)
    axis = _unit_axis(target, likes[0])
    if given["kernel"] is not None:
        mine = kept["kernel"] if kept and kept["kernel"] else tree_flatten(target.rule.kernel.init(*likes))[0]
        axes = _kernel_axes(target.rule.kernel, likes, axis)
        state["kernel"] = [_place_leaf(*leaf, sides, up) for leaf in zip(given["kernel"], mine, *axes, strict=True)]
    state["recorded"] = [
        [_place_recorded(x, like, rows, axis, up) for x, like, rows in zip(block[:2], likes, sides, strict=True)]
        + list(block[2:])
        for block in given["recorded"]
    ]
    _write_traces(target, state)


def _read_traces(traces: EligibilityTraceModule) -> tuple[Tensor | None, dict[str, Any]]:
    """e, with all that waits worked in, and the saved parts of traces; None and nothing before their first step."""
    e = None if traces._running is None else traces.eligibility
    return e, {} if e is None else traces.get_extra_state()["running"]


def _write_traces(traces: EligibilityTraceModule, parts: dict[str, Any]) -> None:
    """Go on from these parts; the settings of the traces stay."""
    traces.set_extra_state({**traces.get_extra_state(), "running": parts})


def _eligibility(
    e: Tensor, own: Tensor | None, shape: tuple[int, ...], rows: tuple[UnitIndex, UnitIndex], up: bool
) -> Tensor:
    """The target's eligibility: with the shared part from below, or the shared part of what is above."""
    where = _synapses_at(*rows)
    if not up:
        return e[where].clone()
    wide = e.new_zeros(len(e), *shape) if own is None else own.clone()
    wide[where] = e
    return wide


def _zero_step(likes: Any, target: EligibilityTraceModule) -> tuple[Tensor, Tensor]:
    """Zeros shaped like one step of the other net's spikes."""
    shape = target.rule.geometry.shape
    sizes = (shape[min(1, len(shape) - 1)], shape[0])  # a diagonal has one size for both
    made = []
    for like, size in zip(likes, sizes, strict=True):
        wanted = list(like.shape)
        wanted[_unit_axis(target, like)] = size
        made.append(like.new_zeros(wanted))
    return made[0], made[1]


def _unit_axis(traces: EligibilityTraceModule, like: Tensor) -> int:
    return like.dim() - 1 if len(traces.rule.geometry.shape) <= 2 else like.dim() - len(traces.rule.geometry.shape) + 1


def _synapses_at(post: UnitIndex, pre: UnitIndex) -> tuple[Any, ...]:
    """Where e (B, N_post, N_pre, ...) of one net lies in that of the other."""
    if isinstance(post, Tensor) and isinstance(pre, Tensor):
        return (slice(None), post[:, None], pre[None, :])
    return (slice(None), post, pre)


def _place_units(a: Tensor, b: Tensor, rows: UnitIndex, axis: int, up: bool) -> Tensor:
    """A trace of one side: into its units of `b`, or out of them."""
    where = (slice(None),) * axis + (rows,)
    if not up:
        return a[where].clone()
    b = b.clone()
    b[where] = a
    return b


def _place_recorded(a: Tensor, like: Tensor, rows: UnitIndex, axis: int, up: bool) -> Tensor:
    """Recorded spikes (T, B, ...), one side of them."""
    wide = like.new_zeros(len(a), *like.shape)
    return _place_units(a, wide, rows, axis + 1, up)


def _kernel_axes(kernel: Any, likes: tuple[Tensor, Tensor], axis: int) -> tuple[list[int | None], list[int | None]]:
    """Where the pre and the post units lie in each part of a kernel's state; None where they do not."""
    return unit_axes(kernel, likes, 0, axis), unit_axes(kernel, likes, 1, axis)


def _place_leaf(a: Any, b: Any, pre: int | None, post: int | None, sides: tuple[UnitIndex, UnitIndex], up: bool) -> Any:
    """One part of a kernel's state: into its units of `b`, or out of them; what belongs to no unit goes as it is."""
    if not isinstance(a, Tensor):
        return a
    if pre is None and post is None:
        return a.clone()
    if pre is None or post is None:
        side, axis = (1, post) if pre is None else (0, pre)
        assert axis is not None
        return _place_units(a, b, sides[side], axis, up)
    if not up:
        return _place_units(_place_units(a, b, sides[0], pre, up), b, sides[1], post, up)
    inner = _place_units(a, b.index_select(post, _indices(sides[1], b.shape[post])), sides[0], pre, up)
    return _place_units(inner, b, sides[1], post, up)


def _indices(rows: UnitIndex, count: int) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.arange(count)[rows]
