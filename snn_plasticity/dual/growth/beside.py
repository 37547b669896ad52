"""Base and larger net side by side: every unit of the base answers as it did, or the first layer where one does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..nets import clone, preserve_rng, tensors_of
from ..weights_map import WeightsMap
from .dry_run import Call, Failed, WatchedNet, as_double
from .enlarge import place_of
from .labels import CPU
from .wiring import UnitWiring

SCALES = (1.0, 8.0, 64.0)  # of the noise of each step: some neurons fire at the first, nearly all at the last
CLOSE_ENOUGH = 1e-9


class Beside:
    """Two nets with the same weights where they share them, and silence from new units to the base's.

    Args:
        base, motivated: they are not changed.
        weights: the map.
        wirings: of both.
        match: for each unit of the base the one of the larger net.
        sample: an input of their forward.
    """

    def __init__(
        self, base: nn.Module, motivated: nn.Module, weights: WeightsMap, wirings: tuple[UnitWiring, UnitWiring],
        match: Mapping[int, int], sample: Any,
    ) -> None:  # fmt: skip
        self.small, self.large = as_double(clone(base)), as_double(clone(motivated))
        self.wirings, self.match, self.sample = wirings, match, sample
        with preserve_rng():
            torch.manual_seed(0)
            _randomise(self.small)
            _randomise(self.large)
        weights.copy_up(self.small, self.large)
        silence(self.large, weights, wirings[0])
        self.watched = WatchedNet(self.small), WatchedNet(self.large)
        self._places: dict[tuple[int, int], list[tuple[tuple[int, ...], list[int] | None]]] = {}

    def check(self) -> None:
        """Run both.

        Raises:
            ValueError: with the name of the first layer that answers otherwise, or whose forward fails.
        """
        shown, before = self._shown(), list[Call]()
        for training in (False, True):
            self.small.train(training)
            self.large.train(training)
            try:
                self.watched[0].run(shown)
            except Failed:
                continue  # one sample in a batch norm that learns, say
            if training and _alike(before, self.watched[0].calls):
                continue
            before = self.watched[0].calls
            try:
                self.watched[1].run(shown)
            except Failed as error:
                raise ValueError(does_not_run(error)) from error.reason
            self._compare(training)

    def _shown(self) -> list[Any]:
        """Noise; the sample itself where the base makes nothing of noise."""
        self.small.eval()
        reason: Exception | None = None
        for shown in (_shown(self.sample, torch.Generator().manual_seed(1)), [self.sample] * len(SCALES)):
            try:
                outputs = [leaf for leaf in tree_leaves(self.watched[0].run(shown)) if isinstance(leaf, Tensor)]
            except Failed as error:
                reason = error.reason
                continue
            if not any(bool(leaf.isnan().any()) for leaf in outputs):
                return shown
        raise ValueError(
            f"The base makes no numbers of noise, nor of sample= with other weights ({reason or 'NaN'}): whether a "
            "larger net preserves its function cannot be seen. Expected a forward that takes any numbers of that shape."
        )

    def _compare(self, training: bool) -> None:
        for k, (mine, theirs) in enumerate(zip(self.watched[0].calls, self.watched[1].calls, strict=False)):
            if k < len(self.wirings[0].calls) and mine.path == self.wirings[0].calls[k].path == theirs.path:
                for number, (a, b) in enumerate(zip(mine.made, theirs.made, strict=False)):
                    if not self._same(a, b, k, number):
                        raise ValueError(self._otherwise(mine, training))

    def _same(self, small: Tensor, large: Tensor, call: int, number: int) -> bool:
        labelled = [wiring.calls[call].made[number] for wiring in self.wirings]
        if self.wirings[0].ignores(labelled[0]) or not self.wirings[0].knows(labelled[0]):
            return True
        if (call, number) not in self._places:
            self._places[call, number] = self._places_in(*labelled)
        for axes, places in self._places[call, number]:
            if places is None:
                return False
            moved = _units_last(large, axes)[..., places].unflatten(-1, [small.shape[a] for a in axes])
            large = moved.movedim(tuple(range(-len(axes), 0)), axes)
        return _close(small, large)

    def _places_in(self, small: Tensor, large: Tensor) -> list[tuple[tuple[int, ...], list[int] | None]]:
        """Along which axes which entries of the larger net's tensor are the base's; None: they cannot be found."""
        mine, theirs = self.wirings[0].where(small), self.wirings[1].where(large)
        return [
            (axes, place_of(units, larger, self.match) if axes == others else None)
            for (axes, units), (others, larger) in zip(mine, theirs, strict=False)
        ]

    def _otherwise(self, call: Call, training: bool) -> str:
        module = self.small.get_submodule(call.path)
        when = " while it learns" if training else ""
        return (
            f"{call.path or 'The net'} ({type(module).__name__}) answers otherwise for the base's units in the larger "
            f"net{when}, although those hear no new ones: it uses how many units there are, or what all of them do (a "
            "scale, a norm, a reshape or a slice with a fixed number). Let the layers before it keep their size: name "
            "others in sizes."
        )


def check_deeper(
    base: nn.Module, motivated: nn.Module, weights: WeightsMap, moved: Callable[[str], str], sample: Any, relayed: bool
) -> None:
    """Run a deeper net; where it relays every spike, each layer answers as it does in the base.

    Args:
        base, motivated: they are not changed.
        weights: the map.
        moved: from a path in the base to that in the deeper net.
        sample: an input of their forward.
        relayed: whether the new layer relays.

    Raises:
        ValueError: the name of the first layer that answers otherwise, or whose forward fails.
    """
    small, large = as_double(clone(base)).eval(), as_double(clone(motivated)).eval()
    with preserve_rng():
        torch.manual_seed(0)
        _randomise(small, matrices_only=True)
    weights.copy_up(small, large)
    one, other = WatchedNet(small), WatchedNet(large)
    shown = _shown(sample, torch.Generator().manual_seed(1))
    with contextlib.suppress(Failed):
        one.run(shown)
    try:
        other.run(shown)
    except Failed as error:
        raise ValueError(does_not_run(error)) from error.reason
    if relayed:
        _compare_deeper(one.calls, other.calls, moved)


def _compare_deeper(calls: list[Call], deeper: list[Call], moved: Callable[[str], str]) -> None:
    theirs: dict[str, list[Call]] = {}
    for each in deeper:
        theirs.setdefault(each.path, []).append(each)
    for mine in calls:
        other = theirs[moved(mine.path)].pop(0)
        for a, b in zip(mine.made[:1], other.made[:1], strict=True):
            if not _close(a, b):
                raise ValueError(
                    f"{mine.path or 'The net'} answers otherwise in the deeper net, although the new layer relays: "
                    'what passes there are no spikes of zero and one, or a neuron forgets. Use init="fresh".'
                )


def does_not_run(error: Failed) -> str:
    """The sentence for a larger net whose forward fails."""
    first = (str(error.reason).splitlines() or [""])[0]
    return (
        f"{error.path or 'The net'} does not run with more units ({type(error.reason).__name__}: {first}); expected a "
        "forward whose sizes follow from its tensors, not from numbers or attributes of its own, as x.flatten(1) or "
        "x.view(len(x), -1, 4). Name layers in sizes that may grow."
    )


def silence(model: nn.Module, weights: WeightsMap, wiring: UnitWiring) -> None:
    """Nothing goes from new units to the base's."""
    consumed, silenced = wiring.consumed(), wiring.silenced()
    tensors = tensors_of(model)
    for base_name, slot in weights.slots.items():
        if slot.axes is None:
            continue
        tensor = tensors[slot.name].detach()
        new = []
        for axis, (size, places) in enumerate(zip(tensor.shape, slot.axes, strict=True)):
            mask = torch.ones(size, dtype=torch.bool, device=CPU)
            mask[list(places)] = False
            new.append(mask.reshape(-1, *[1] * (tensor.dim() - axis - 1)))
        for read in consumed.get(base_name, ()):
            silent = torch.zeros(tensor.shape, dtype=torch.bool, device=CPU)
            for axis in read:
                silent |= new[axis]
            for axis in set(range(tensor.dim())) - read:
                silent &= ~new[axis]
            tensor[silent.to(tensor.device)] = 0.0
        summed = frozenset().union(*consumed.get(base_name, ()))
        for axis in set(range(tensor.dim())) - summed:
            if any(base_name in m and u & set(wiring.axes[base_name][axis].tolist()) for u, m in silenced):
                tensor[new[axis].expand(tensor.shape).to(tensor.device)] = 0.0


def _alike(one: list[Call], other: list[Call]) -> bool:
    """Whether two runs went the same way, to the bit."""
    pairs = [pair for a, b in zip(one, other, strict=False) for pair in zip(a.made, b.made, strict=False)]
    return len(one) == len(other) and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    return torch.allclose(a.double(), b.double(), CLOSE_ENOUGH, CLOSE_ENOUGH, equal_nan=True)


def _units_last(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    return tensor.movedim(axes, tuple(range(-len(axes), 0))).flatten(-len(axes))


def _randomise(model: nn.Module, matrices_only: bool = False) -> None:
    with torch.no_grad():
        for tensor in tensors_of(model).values():
            if not tensor.is_floating_point() or not tensor.dim():
                continue
            if tensor.dim() > 1:
                tensor.normal_(0.0, (2.0 / max(1, tensor[0].numel())) ** 0.5)
            elif not matrices_only:
                tensor.mul_(0.7 + 0.6 * torch.rand_like(tensor))
                if not bool(tensor.any()):
                    tensor.add_(0.2 * torch.randn_like(tensor))


def _shown(sample: Any, generator: torch.Generator) -> list[Any]:
    return [tree_map(lambda leaf, s=scale: _noise(leaf, s, generator), sample) for scale in SCALES]


def _noise(leaf: Any, scale: float, generator: torch.Generator) -> Any:
    if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
        return leaf
    noise = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype, device=CPU)
    return scale * noise.to(leaf.device)
