"""Tensors without numbers: each element knows which layer outputs it stands for.

A program that was written for torch runs on these unchanged, with `torch`, `nn`, `snn`, ... from `namespace()`. Every
neuron then notes what it was given: by NumPy's own reshape, transpose and index of the numbers of elements, so that
what the program means is known from nothing but its text.

    number of an element    call of its layer · 2³² + its place in that call's output, counted in row-major order
    of a pooled one         2⁶⁰ + its place in a list of windows, whose elements have numbers of their own
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

CALL, POOLED = 1 << 32, 1 << 60
Parts = tuple[tuple[str, np.ndarray], ...]


class Shadow:
    """Where the elements of a tensor come from.

    Args:
        shape: that of the tensor.
        parts: (layer, numbers of elements or -1) as often as something was added; no layers: an input, spikes.
        mixed: (layer, operation) where an element is made of several outputs of a layer.
        soft: whether a statistic over units took part, as in a normalisation by hand.
    """

    def __init__(self, shape, parts: Parts = (), mixed: frozenset = frozenset(), soft: bool = False) -> None:
        self.shape, self.parts, self.mixed, self.soft = tuple(shape), parts, mixed, soft

    @property
    def layers(self) -> set[str]:
        """Those that it is made of, mixed or not."""
        return {layer for layer, _ in (*self.parts, *self.mixed)}

    def _move(self, way: Callable[[np.ndarray], np.ndarray]) -> Shadow:
        moved = tuple((layer, way(numbers)) for layer, numbers in self.parts)
        return Shadow(way(np.zeros(self.shape, np.int8)).shape, moved, self.mixed, self.soft)

    def _mix(self, operation: str, shape=None) -> Shadow:
        found = frozenset((layer, operation) for layer, _ in self.parts)
        return Shadow(self.shape if shape is None else shape, (), self.mixed | found, self.soft)

    def _with(self, other: Any) -> Shadow:
        if not isinstance(other, Shadow):
            return self._move(lambda a: a)
        shape = np.broadcast_shapes(self.shape, other.shape)
        parts = tuple((layer, np.broadcast_to(numbers, shape)) for layer, numbers in (*self.parts, *other.parts))
        return Shadow(shape, parts, self.mixed | other.mixed, self.soft or other.soft)

    def _become(self, other: Shadow) -> Shadow:
        self.shape, self.parts, self.mixed, self.soft = other.shape, other.parts, other.mixed, other.soft
        return self

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = _with

    def _in_place(self, *_: Any) -> Shadow:
        return self

    __imul__ = mul_ = relu_ = _in_place

    def __iadd__(self, other: Any) -> Shadow:
        return self._become(self._with(other))

    def _same(self, *_: Any, **__: Any) -> Shadow:
        return self._move(lambda a: a)

    clone = contiguous = detach = to = float = double = _same
    relu = tanh = sigmoid = clamp = abs = masked_fill = neg = __neg__ = __pow__ = _same

    def __gt__(self, other: Any) -> Shadow:
        return Shadow(self.shape)

    __lt__ = __gt__

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Shadow]:
        return iter(self[i] for i in range(len(self)))

    def __getitem__(self, at: Any) -> Shadow:
        return self._move(lambda a: a[at])

    def __setitem__(self, at: Any, value: Shadow) -> None:
        kept = tuple((layer, numbers.copy()) for layer, numbers in self.parts)
        for _, numbers in kept:
            numbers[at] = -1
        for layer, numbers in value.parts:
            spread = np.full(self.shape, -1, np.int64)
            spread[at] = numbers
            kept = (*kept, (layer, spread))
        self.parts, self.mixed, self.soft = kept, self.mixed | value.mixed, self.soft or value.soft

    def reshape(self, *shape: Any) -> Shadow:
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return self._move(lambda a: a.reshape(tuple(wanted)))

    view = reshape

    def flatten(self, start: int = 0, end: int = -1) -> Shadow:
        last = end % len(self.shape)
        return self.reshape(*self.shape[:start], -1, *self.shape[last + 1 :])

    def unflatten(self, dim: int, sizes: Any) -> Shadow:
        dim %= len(self.shape)
        return self.reshape(*self.shape[:dim], *sizes, *self.shape[dim + 1 :])

    def unsqueeze(self, dim: int) -> Shadow:
        return self._move(lambda a: np.expand_dims(a, dim))

    def squeeze(self, dim: int) -> Shadow:
        return self._move(lambda a: np.squeeze(a, dim))

    def transpose(self, one: int, other: int) -> Shadow:
        return self._move(lambda a: np.swapaxes(a, one, other))

    def permute(self, *dims: int) -> Shadow:
        return self._move(lambda a: np.transpose(a, dims))

    def expand(self, *shape: int) -> Shadow:
        return self._move(lambda a: np.broadcast_to(a, shape))

    def repeat(self, *times: int) -> Shadow:
        return self._move(lambda a: np.tile(a, times))

    def repeat_interleave(self, times: int, dim: int) -> Shadow:
        return self._move(lambda a: np.repeat(a, times, dim))

    def select(self, dim: int, at: int) -> Shadow:
        return self._move(lambda a: np.take(a, at, dim))

    def narrow(self, dim: int, start: int, length: int) -> Shadow:
        return self._move(lambda a: np.take(a, range(start, start + length), dim))

    def index_select(self, dim: int, at: np.ndarray) -> Shadow:
        return self._move(lambda a: np.take(a, at, dim))

    def unbind(self, dim: int = 0) -> list[Shadow]:
        return [self.select(dim, at) for at in range(self.shape[dim])]

    def split(self, size: int, dim: int = 0) -> list[Shadow]:
        return [self.narrow(dim, at, min(size, self.shape[dim] - at)) for at in range(0, self.shape[dim], size)]

    def chunk(self, pieces: int, dim: int = 0) -> list[Shadow]:
        return self.split(-(-self.shape[dim] // pieces), dim)

    def flip(self, dim: int) -> Shadow:
        return self._move(lambda a: np.flip(a, dim))

    def roll(self, by: int, dim: int) -> Shadow:
        return self._move(lambda a: np.roll(a, by, dim))

    def mean(self, dim: int, keepdim: bool = False) -> Shadow:
        if dim == -1 and keepdim:
            return Shadow((*self.shape[:-1], 1), (), self.mixed, True)
        return self.sum(dim, keepdim)

    def sum(self, dim: int, keepdim: bool = False) -> Shadow:
        return self._mix("sum", np.sum(np.zeros(self.shape, np.int8), dim, keepdims=keepdim).shape)

    def cumsum(self, dim: int) -> Shadow:
        return self._mix("cumsum")

    def softmax(self, dim: int) -> Shadow:
        return self._mix("softmax")

    def sort(self, dim: int) -> SimpleNamespace:
        return SimpleNamespace(values=self._mix("sort"))

    def __matmul__(self, other: Shadow) -> Shadow:
        return self._mix("matmul", (*self.shape[:-1], other.shape[-1]))

    def numpy(self) -> Shadow:
        return self._same()

    @property
    def real(self) -> Shadow:
        return self


class Module:
    """A module as a tree of names."""

    name = ""

    def __init__(self) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)  # type: ignore[attr-defined]

    def register_buffer(self, name: str, value: Shadow) -> None:
        setattr(self, name, value)

    def register_forward_hook(self, hook: Any) -> None:
        """Hooks of the programs here keep units where they are."""

    def requires_grad_(self, flag: bool = True) -> Module:
        return self

    def named(self, prefix: str = "") -> Iterator[Module]:
        """Every module below, each told its name."""
        for key, value in vars(self).items():
            if isinstance(value, Module):
                value.name = prefix + key
                yield value
                yield from value.named(f"{prefix}{key}.")


class Same(Module):
    """What keeps every unit where it is: normalisation, dropout, activation."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, x: Shadow) -> Shadow:
        return x._same()


class Layer(Module):
    """A layer with a weight: what it gives out is numbered, and what went in is crossed out."""

    def __init__(self, into: int, out: int, kernel: int = 0, stride: int = 1, padding: int = 0, bias: bool = True):
        self.out, self.kernel, self.stride, self.padding, self.calls = out, kernel, stride, padding, 0
        self.weight = Shadow((out, into))

    def forward(self, x: Shadow) -> Shadow:
        shape = self._shape(x.shape)
        numbers = self.calls * CALL + np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
        self.calls += 1
        return Shadow(shape, ((self.name, numbers),))

    def _shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self.kernel:
            return (*shape[:-1], self.out)
        places = ((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in shape[2:])
        return (shape[0], self.out, *places)


class Neuron(Module):
    """Notes what it was given, call by call; nothing of it comes out again.

    Args:
        states: how many it returns beside the spikes; None: it keeps them.
        whole: whether a call is a whole sequence.
    """

    def __init__(self, states: int | None, whole: bool = False) -> None:
        self.states, self.whole, self.given = states, whole, list[Shadow]()

    def reset_mem(self) -> Any:
        states = tuple(Shadow((0,)) for _ in range(self.states or 1))
        return states[0] if len(states) == 1 else states

    def forward(self, *args: Any, input_: Shadow | None = None, mem: Any = None, state: Any = None) -> Any:
        x = args[0] if input_ is None else input_
        self.given.append(x._same())
        spikes = Shadow(x.shape)
        return spikes if self.states is None else (spikes, *(Shadow(x.shape) for _ in range(self.states)))


class Recurrent(Neuron):
    """One that feeds itself through a layer of its own."""

    def __init__(self, size: int) -> None:
        super().__init__(None)
        self.recurrent = Layer(size, size)

    def forward(self, x: Shadow) -> Shadow:
        return super().forward(x + self.recurrent(Shadow(x.shape)))


class Readout(Module):
    """What gives voltages, which nobody learns from."""

    def forward(self, x: Shadow, state: Any = None) -> Any:
        return Shadow(x.shape), state


class Sequential(Module):
    """One after the other; `stateful`: as Norse does, with a list of states beside."""

    stateful = False

    def __init__(self, *modules: Module) -> None:
        for place, module in enumerate(modules):
            setattr(self, str(place), module)

    def __iter__(self) -> Iterator[Module]:
        return (module for module in vars(self).values() if isinstance(module, Module))

    def forward(self, x: Shadow, state: Any = None) -> Any:
        for module in self:
            x = module(x)
            x = x[0] if isinstance(x, tuple) and self.stateful else x
        return (x, ()) if self.stateful else x


class Flatten(Module):
    """As torch's."""

    def __init__(self, start: int) -> None:
        self.start = start

    def forward(self, x: Shadow) -> Shadow:
        return x.flatten(self.start)


class StatefulSequential(Sequential):
    """Norse's."""

    stateful = True


class Lift(Module):
    """A module repeated over the leading axis."""

    def __init__(self, module: Module) -> None:
        self.lifted_module = module

    def forward(self, x: Shadow) -> Any:
        steps = [self.lifted_module(step) for step in x]
        if isinstance(steps[0], tuple):
            return stack([spikes for spikes, _ in steps]), ()
        return stack(steps)


def stack(tensors: list[Shadow], dim: int = 0) -> Shadow:
    return cat([tensor.unsqueeze(dim) for tensor in tensors], dim)


def cat(tensors: list[Shadow], dim: int = 0) -> Shadow:
    """Each part stays a part of its own, with -1 where the others are; equal layers share one."""
    edges = np.cumsum([0] + [t.shape[dim] for t in tensors])
    blank = np.concatenate([np.full(t.shape, -1, np.int64) for t in tensors], dim)
    joined: dict[tuple[str, int], np.ndarray] = {}
    for tensor, start, stop in zip(tensors, edges, edges[1:], strict=False):
        at = (*[slice(None)] * (dim % blank.ndim), slice(start, stop))
        seen: Counter[str] = Counter()
        for layer, numbers in tensor.parts:
            joined.setdefault((layer, seen[layer]), blank.copy())[at] = numbers
            seen[layer] += 1
    parts = tuple((layer, numbers) for (layer, _), numbers in joined.items())
    mixed = frozenset().union(*(t.mixed for t in tensors))
    return Shadow(blank.shape, parts, mixed, any(t.soft for t in tensors))


class Windows:
    """Every element that a pool has made in a program: what it was made of.

    In `calls`, for each pool and part: the number of its first element, the numbers of its call among those that take
    the largest (-1 for an average), the numbers in each window (n, K), and where these lie in the plane (n, K).
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget."""
        self.calls: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        self.count = self.largest = 0

    def pool(self, x: Shadow, kernel: int, stride: int | None = None, padding: int = 0, *, dims: int, largest: bool):
        """As torch's."""
        step, plane = kernel if stride is None else stride, x.shape[-dims:]
        at = np.pad(np.arange(np.prod(plane)).reshape(plane), padding, constant_values=-1)
        at = np.lib.stride_tricks.sliding_window_view(at, (kernel,) * dims)[(slice(None, None, step),) * dims]
        made, at = (*x.shape[:-dims], *at.shape[:dims]), at.reshape(-1, kernel**dims)
        parts: list[tuple[str, np.ndarray]] = []
        for layer, numbers in x.parts:
            before = zip(x.parts, parts, strict=False)  # of the same output comes the same: 2 c is c + c
            alike = (out for (_, given), (name, out) in before if name == layer and (given == numbers).all())
            known = next(alike, None)
            parts.append((layer, self._part(numbers, at, made, largest) if known is None else known))
        self.largest += largest
        mixed = frozenset((layer, "pool") for layer, numbers in x.parts if _across_calls(numbers, dims))
        return Shadow(made, tuple(parts), x.mixed | mixed, x.soft)

    def _part(self, numbers: np.ndarray, at: np.ndarray, made: tuple[int, ...], largest: bool) -> np.ndarray:
        flat = numbers.reshape(int(np.prod(made)) // len(at), -1)
        inside = np.where(at >= 0, flat[:, at], -1).reshape(-1, at.shape[1])
        first, self.count = self.count, self.count + len(inside)
        everywhere = np.broadcast_to(at, (len(flat), *at.shape)).reshape(inside.shape)
        self.calls.append((first, self.largest if largest else -1, inside, everywhere))
        new = POOLED + first + np.arange(len(inside))
        return np.where((inside >= 0).any(1), new, -1).reshape(made)

    def of(self, number: int) -> tuple[int, int, np.ndarray, np.ndarray]:
        """Of one element: its call among those that take the largest, its place there, numbers and places inside."""
        index = int(number) - POOLED
        first, call, inside, at = next(c for c in reversed(self.calls) if c[0] <= index)
        return call, index - first, inside[index - first], at[index - first]


WINDOWS = Windows()


def _across_calls(numbers: np.ndarray, dims: int) -> bool:
    """Whether a plane shows several calls of a layer."""
    planes = numbers.reshape(-1, int(np.prod(numbers.shape[-dims:])))
    return any(len(np.unique(plane[(plane >= 0) & (plane < POOLED)] // CALL)) > 1 for plane in planes)


def _pool_function(dims: int, largest: bool) -> Callable[..., Shadow]:
    return lambda x, *how: WINDOWS.pool(x, *how, dims=dims, largest=largest)


def _pool_module(dims: int, largest: bool) -> type[Module]:
    class Pool(Module):
        def __init__(self, *how: int) -> None:
            self.how = how

        def forward(self, x: Shadow) -> Shadow:
            return WINDOWS.pool(x, *self.how, dims=dims, largest=largest)

    return Pool


def _blank(*shape: int) -> Shadow:
    return Shadow(shape)


def _like(x: Shadow) -> Shadow:
    return Shadow(x.shape)


def _soft(x: Shadow, **_: Any) -> Shadow:
    return Shadow(x.shape, x.parts, x.mixed, True)


def _parameter(x: Shadow, requires_grad: bool = True) -> Shadow:
    return x


def _same(x: Shadow, *_: Any, **__: Any) -> Shadow:
    return x._same()


def _where(condition: Shadow, one: Shadow, other: Any) -> Shadow:
    return one._same()  # programs here choose between a tensor and a multiple of it


def _pad(x: Shadow, by: tuple[int, int]) -> Shadow:
    front, back = Shadow((*x.shape[:-1], by[0])), Shadow((*x.shape[:-1], by[1]))
    return cat([front, x, back], -1)


def _softmax(x: Shadow, dim: int) -> Shadow:
    return x.softmax(dim)


def _leaky(states: int) -> Callable[..., Neuron]:
    return lambda *_, init_hidden=False, **__: Neuron(None if init_hidden else states)


def _recurrent(*_: Any, linear_features: int, **__: Any) -> Neuron:
    return Recurrent(linear_features)


def _cell(*_: Any, **__: Any) -> Neuron:
    return Neuron(1)


def _sequence(*_: Any, **__: Any) -> Neuron:
    return Neuron(1, whole=True)


_SAME = (
    "BatchNorm1d", "BatchNorm2d", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm2d", "Dropout", "Dropout1d",
    "Dropout2d", "AlphaDropout", "Identity", "ReLU", "PReLU",
)  # fmt: skip


def namespace() -> dict[str, Any]:
    """What a program finds under the names it uses."""
    kinds = [(kind, dims) for kind in ("Avg", "Max") for dims in (1, 2)]
    pools = {f"{kind}Pool{dims}d": _pool_module(dims, kind == "Max") for kind, dims in kinds}
    torch = {
        "stack": stack, "cat": cat, "zeros_like": _like, "rand_like": _like, "where": _where, "tensor": float,
        "arange": np.arange,
        "no_grad": contextlib.nullcontext, "vmap": lambda function: _same, "softmax": _softmax,
        "fft": SimpleNamespace(fft=lambda x: x._mix("fft")),
        "ops": SimpleNamespace(aten=SimpleNamespace(mul=SimpleNamespace(Tensor=_same))),
        **dict.fromkeys(("rand", "zeros", "ones"), _blank),
        **dict.fromkeys(("relu", "tanh", "sigmoid", "add", "from_numpy"), _same),
    }  # fmt: skip
    functional = {
        "normalize": _soft, "softmax": _softmax, "linear": lambda x, w: x._mix("linear", (*x.shape[:-1], w.shape[0])),
        **{f"{kind.lower()}_pool{dims}d": _pool_function(dims, kind == "Max") for kind, dims in kinds},
        "conv1d": lambda x, w, padding: x._mix("conv1d"),
        "pad": _pad,
        **dict.fromkeys(("relu", "leaky_relu", "gelu", "dropout", "layer_norm", "batch_norm"), _same),
    }  # fmt: skip
    nn = {
        "Module": Module, "Sequential": Sequential, "Flatten": Flatten, "Parameter": _parameter,
        **dict.fromkeys(("Linear", "Conv1d", "Conv2d"), Layer), **dict.fromkeys(_SAME, Same), **pools,
    }  # fmt: skip
    snn = {
        "StateLeaky": _sequence,
        "Leaky": _leaky(1),
        "Lapicque": _leaky(1),
        "Synaptic": _leaky(2),
        "RLeaky": _recurrent,
    }
    norse = {"SequentialState": StatefulSequential, "Lift": Lift, "LIFCell": _cell, "LIF": _sequence}
    norse |= dict.fromkeys(("LICell", "LI"), Readout)
    spaces = {"torch": torch, "nn": nn, "F": functional, "snn": snn, "norse": norse}
    made = {name: SimpleNamespace(**space) for name, space in spaces.items()}
    return {"FAST": None, "Twice": SimpleNamespace(apply=_same), **made}
