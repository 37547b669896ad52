"""What the weights of a random model should learn, from what its text means and from what hooks of our own saw.

rate       Δw = 1/B Σ_t Σ_b post(t, b) ⊗ pre(t, b)
pair STDP  Δw = 1/B Σ_b e(T),   e = (1 − 1/τ_e) e + A₊ post ⊗ x − A₋ y ⊗ pre
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from . import shadows
from .draw import Spec

TAU_PLUS, TAU_MINUS, TAU_E, A_PLUS, A_MINUS = 7.0, 11.0, 9.0, 0.8, 1.1
Step = tuple[int, np.ndarray, np.ndarray]  # call, numbers of elements, spikes
Given = dict[str, list[shadows.Shadow]]  # what each neuron was given, call by call


class Meaning:
    """What a program does, found without torch: for each pass, what each neuron was given.

    Args:
        spec: the program.
        source: its text.
    """

    def __init__(self, spec: Spec, source: str) -> None:
        space, self.windows = shadows.namespace(), shadows.WINDOWS
        self.windows.clear()
        space["tick"] = self._tick
        exec(source, space)
        net = space["Net"]()
        modules = list(net.named())
        self.layers = [m.name for m in modules if isinstance(m, shadows.Layer)]
        neurons = self._neurons = [m for m in modules if isinstance(m, shadows.Neuron)]
        self.whole = {n.name: n.whole for n in neurons}
        self.passes: list[Given] = []
        self.steps: list[dict[str, list[int]]] = []  # where the learner stepped: calls of each neuron until then
        for one in spec.passes:
            for module in modules:
                if isinstance(module, shadows.Layer):
                    module.calls = 0
            self.windows.largest = 0
            self.steps.append({n.name: [] for n in neurons})
            for _ in range(1 + one.twice):
                space["run"](net, shadows.Shadow(spec.shape(one)), list(one.order))
            self.passes.append({n.name: n.given for n in neurons})
            for neuron in neurons:
                neuron.given = []
            if not spec.online:
                self.steps[-1] = {name: [len(given)] for name, given in self.passes[-1].items()}

    def _tick(self) -> None:
        for neuron in self._neurons:
            self.steps[-1][neuron.name].append(len(neuron.given))

    def _given(self) -> Iterator[shadows.Shadow]:
        return (g for one in self.passes for calls in one.values() for g in calls)

    def must_refuse(self, plastic: set[str]) -> set[tuple[str, str]]:
        """(layer, operation) where outputs of a plastic layer are mixed on their way to a neuron."""
        return {(layer, what) for g in self._given() for layer, what in g.mixed if layer in plastic}

    def may_refuse(self, plastic: set[str], named: set[str]) -> bool:
        """Whether several outputs of a layer come to one place, units are centred, or a named layer feeds nobody."""
        if any(g.soft or len(g.layers & plastic) < sum(n in plastic for n, _ in g.parts) for g in self._given()):
            return True
        fed = [{layer for calls in one.values() for g in calls for layer in g.layers} for one in self.passes]
        return any(named - layers for layers in fed) or not any(layers & plastic for layers in fed)

    @property
    def uneven(self) -> bool:
        """Whether a layer feeds a neuron at some of its calls only, so that it is open what a step is."""
        for one in self.passes:
            for calls in one.values():
                fed = [sorted(layer for layer, _ in g.parts) for g in calls]
                if any(f != fed[0] for f in fed):
                    return True
        return False


class Record:
    """What layers were given and which neurons fired, call by call."""

    def __init__(self, net: nn.Module, meaning: Meaning) -> None:
        self.given: dict[str, list[np.ndarray]] = {name: [] for name in meaning.layers}
        self.fired: dict[str, list[np.ndarray]] = {name: [] for name in meaning.whole}
        self.winners: list[np.ndarray] = []  # of each maximum, where in the plane it was taken
        modules = dict(net.named_modules())
        for name in self.given:
            modules[name].register_forward_hook(self._note(self.given[name], given=True))
        for name in self.fired:
            modules[name].register_forward_hook(self._note(self.fired[name], given=False))
        for module in modules.values():
            if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
                module.register_forward_hook(self._pool)

    def _pool(self, module: Any, args: Any, output: Any) -> None:
        self.pool(type(module).__name__[-2:], args[0], module.kernel_size, module.stride, module.padding)

    def pool(self, kind: str, x: Any, *how: Any) -> None:
        """Note where a maximum was taken."""
        with torch._C.DisableTorchFunction(), torch.no_grad():
            pool = getattr(nn.functional, f"max_pool{kind}_with_indices")
            self.winners.append(pool(x.detach(), *how)[1].numpy().ravel().copy())

    def _note(self, notes: list[np.ndarray], *, given: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen = args[0] if given else output[0] if isinstance(output, tuple) else output
            notes.append(seen.detach().double().numpy().copy())

        return hook

    def clear(self) -> None:
        """Forget."""
        for notes in (*self.given.values(), *self.fired.values(), self.winners):
            notes.clear()


class Unpooling:
    """Steps of pooled numbers as steps of a layer's own outputs, with what falls to each.

    Args:
        windows: what was pooled.
        winners: where each maximum was taken.
    """

    def __init__(self, windows: shadows.Windows, winners: list[np.ndarray]) -> None:
        self.windows, self.winners = windows, winners

    def steps(self, steps: list[Step]) -> list[Step]:
        """All steps of a neuron; those of a row that are the same outputs of the layer stand at the same place."""
        if not any((numbers >= shadows.POOLED).any() for _, numbers, _ in steps):
            return steps
        ends = [[self._ends(row) for row in numbers] for _, numbers, _ in steps]
        size = max(last - first + 1 for one in ends for first, last in one)
        return [self._step(*step, one, size) for step, one in zip(steps, ends, strict=True)]

    def _ends(self, row: np.ndarray) -> tuple[int, int]:
        inside = [n for number in row.ravel() for n in self._candidates(number)]
        return min(inside, default=0), max(inside, default=-1)

    def _step(self, call: int, numbers: np.ndarray, spikes: np.ndarray, ends: list[tuple[int, int]], size: int) -> Step:
        own = np.full((len(numbers), size), -1)
        shares = np.zeros(own.shape)
        for r, (row, fired, (first, last)) in enumerate(zip(numbers, spikes, ends, strict=True)):
            own[r, : last - first + 1] = np.arange(first, last + 1)
            for number, spike in zip(row.ravel(), fired.ravel(), strict=True):
                for n, share in self._shares(number):
                    shares[r, n - first] += share * spike
        return call, own, shares

    def _candidates(self, number: int) -> Iterator[int]:
        if number >= shadows.POOLED:
            for inside in self.windows.of(number)[2]:
                yield from self._candidates(inside)
        elif number >= 0:
            yield int(number)

    def _shares(self, number: int) -> Iterator[tuple[int, float]]:
        if number < 0:
            return
        if number < shadows.POOLED:
            yield int(number), 1.0
            return
        call, place, inside, at = self.windows.of(number)
        taken = inside if call < 0 else inside[at == self.winners[call][place]]
        for one in taken:
            for n, share in self._shares(one):
                yield n, share / len(taken)


def patches(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    """What each output of a call is the weighted sum of: (number of outputs, inputs of one output)."""
    if isinstance(layer, nn.Linear):
        rows = x.reshape(-1, x.shape[-1])
        return np.repeat(rows, layer.out_features, axis=0)
    (pad, *_), (size, *_) = layer.padding, layer.kernel_size  # type: ignore[misc]
    dims = x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0)] + [(pad, pad)] * dims)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (size,) * dims, tuple(range(2, 2 + dims)))
    seen = np.moveaxis(seen, 1, 1 + dims)  # (row, *place, channel, *kernel)
    rows = seen.reshape(len(x), -1, x.shape[1] * size**dims)
    every = np.repeat(rows[:, None], layer.out_channels, axis=1)  # type: ignore[arg-type]
    return every.reshape(-1, rows.shape[-1])


def units(layer: nn.Module, numbers: np.ndarray, outputs: int, rows: int) -> np.ndarray:
    """The row of the weight that each output of a call belongs to."""
    places = outputs // rows  # outputs of one row
    each = layer.weight.shape[0]  # type: ignore[union-attr]
    return numbers % places // (places // each)


def change(layer: nn.Module, name: str, turn: int, meaning: Meaning, record: Record, kernel: str) -> np.ndarray:
    """Δw of one layer in one pass: the sum over the neurons that it feeds."""
    pre = [patches(layer, x) for x in record.given[name]]
    rows = [x.size // x.shape[-1] if isinstance(layer, nn.Linear) else len(x) for x in record.given[name]]
    total = np.zeros((layer.weight.shape[0], layer.weight[0].numel()))  # type: ignore[union-attr, index]
    for neuron, calls in meaning.passes[turn].items():
        fired = record.fired[neuron]
        assert len(calls) == len(fired), "the two runs of the program differ"
        most = max((sum(layer == name for layer, _ in g.parts) for g in calls), default=0)
        for part in range(most):
            steps = list(_steps(calls, fired, name, part, meaning.whole[neuron]))
            steps = Unpooling(meaning.windows, record.winners).steps(steps)
            total += _learned(steps, meaning.steps[turn][neuron], layer, pre, rows, kernel)
    return total.reshape(layer.weight.shape)  # type: ignore[union-attr]


def _steps(calls: list[shadows.Shadow], fired: list[np.ndarray], name: str, turn: int, whole: bool) -> Iterator[Step]:
    """(call, numbers of elements, spikes) of every step at which a layer takes part."""
    for call, (given, spikes) in enumerate(zip(calls, fired, strict=True)):
        assert given.shape == spikes.shape, "the two runs of the program differ"
        mine = [numbers for layer, numbers in given.parts if layer == name]
        if len(mine) > turn:
            once = np.where(_known(mine[:turn], mine[turn]), -1, mine[turn])
            steps = zip(once, spikes, strict=True) if whole else [(once, spikes)]
            yield from ((call, numbers, spike) for numbers, spike in steps)


def _known(before: list[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Where the same output was added before, so that it is only scaled: 2 c is c + c."""
    return np.logical_or.reduce([numbers == other for other in before], axis=0, initial=np.False_)


def _learned(
    steps: list[Step], ends: list[int], layer: nn.Module, pre: list[np.ndarray], rows: list[int], kernel: str
) -> np.ndarray:
    """Mean over the samples of e, summed over the learner's steps: each element of a neuron has its own traces."""
    size, elements = pre[0].shape[-1], steps[0][1].size
    e = np.zeros((layer.weight.shape[0], size))  # type: ignore[union-attr]
    total, x, y = np.zeros_like(e), np.zeros((elements, size)), np.zeros((elements, 1))
    for index, (number, numbers, spikes) in enumerate(steps):
        flat, fired = numbers.ravel(), spikes.reshape(-1, 1)
        there = flat >= 0
        call, place = flat // shadows.CALL, flat % shadows.CALL
        seen, unit = np.zeros_like(x), np.zeros(len(flat), np.int64)
        for k in np.unique(call[there]):
            at = there & (call == k)
            seen[at] = pre[k][place[at]]
            unit[at] = units(layer, place[at], len(pre[k]), rows[k])
        if kernel == "rate":
            f = fired * seen
        else:
            x, y = x * np.exp(-1 / TAU_PLUS) + seen, y * np.exp(-1 / TAU_MINUS)
            f = A_PLUS * fired * x - A_MINUS * y * seen
            y = y + fired
            e *= 1 - 1 / TAU_E
        np.add.at(e, unit[there], f[there])
        following = steps[index + 1][0] if index + 1 < len(steps) else np.inf
        total += e * sum(number < end <= following for end in ends)
    return total / len(steps[0][1])
