"""Layers drawn at random: the package's geometry and the reference's."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference
import torch
from torch import nn


@dataclass
class Layer:
    """A layer of the package, as a torch module where there is one, and the reference's."""

    kind: str
    reference: reference.layers.Layer
    module: nn.Module | None = None
    connectivity: torch.Tensor | None = None
    spelt: str = ""

    @property
    def pre(self) -> tuple[int, ...]:
        """Shape of one sample's input."""
        return self.reference.pre

    @property
    def post(self) -> tuple[int, ...]:
        """Shape of one sample's output."""
        return self.reference.post


def conv(draw: random.Random, dims: int) -> Layer:
    """A small convolution with any stride, padding, dilation and groups."""
    groups = draw.choice((1, 1, 2))
    n_in, n_out = groups * draw.choice((1, 2) if dims == 1 else (1,)), groups * draw.choice((1, 2))
    size = tuple(draw.choice((4, 5)) for _ in range(dims))
    taps = tuple(draw.choice((2, 3) if dims == 1 else (1, 2)) for _ in range(dims))
    dilation = tuple(draw.choice((1, 1, 2)) if d * (k - 1) < 3 else 1 for d, k in zip((2,) * dims, taps, strict=True))
    same = draw.random() < 0.15
    stride = tuple(1 if same else draw.choice((1, 2)) for _ in range(dims))
    pads: Any = "same" if same else tuple(draw.choice((0, 1)) for _ in range(dims))
    mode = draw.choice(("zeros", "zeros", "zeros", "circular", "replicate"))
    if same:
        total = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
        around = tuple((t // 2, t - t // 2) for t in total)
    else:
        around = tuple((p, p) for p in pads)
    kind = nn.Conv1d if dims == 1 else nn.Conv2d
    module = kind(n_in, n_out, taps, stride, pads, dilation, groups, padding_mode=mode)  # type: ignore[arg-type]
    spelt = f"nn.Conv{dims}d({n_in}, {n_out}, {taps}, {stride}, {pads!r}, {dilation}, {groups}, padding_mode={mode!r})"
    shape = (n_out, n_in // groups, *taps)
    return Layer(
        f"conv{dims}d", reference.Conv(shape, size, stride, around, dilation, groups, mode), module, None, spelt
    )


def edges(draw: random.Random) -> Layer:
    """A list of edges, or a mask."""
    n_pre, n_post = draw.randint(2, 4), draw.randint(1, 4)
    pairs = [(i, j) for j in range(n_post) for i in range(n_pre)]
    if draw.random() < 0.5:
        chosen = draw.sample(pairs, draw.randint(1, len(pairs)))
        connectivity = torch.tensor(chosen).T.contiguous()
    else:
        chosen = sorted(draw.sample(pairs, draw.randint(1, len(pairs))), key=lambda pair: (pair[1], pair[0]))
        connectivity = torch.zeros(n_post, n_pre, dtype=torch.bool)
        for i, j in chosen:
            connectivity[j, i] = True
    source, target = [i for i, _ in chosen], [j for _, j in chosen]
    layer = reference.Edges(source, target, n_pre, n_post)
    spelt = f"{n_pre}, {n_post}, config, connectivity=torch.tensor({connectivity.tolist()})"
    return Layer("edges", layer, None, connectivity, spelt)


def any_layer(draw: random.Random) -> Layer:
    """Dense, diagonal, edges or a convolution."""
    kind = draw.choice(("dense", "dense", "positions", "diagonal", "edges", "conv1d", "conv2d"))
    if kind == "diagonal":
        n = draw.randint(1, 4)
        return Layer(kind, reference.Diagonal(n), None, None, f"{n}, {n}, config")
    if kind == "edges":
        return edges(draw)
    if kind.startswith("conv"):
        return conv(draw, int(kind[4]))
    n_pre, n_post = draw.randint(1, 4), draw.randint(1, 4)
    layer = reference.Dense(n_pre, n_post)
    if kind == "positions":
        layer.pre, layer.post = (2, n_pre), (2, n_post)
    return Layer(kind, layer, nn.Linear(n_pre, n_post, bias=False), None, f"nn.Linear({n_pre}, {n_post}, bias=False)")


def weight_of(layer: Layer) -> np.ndarray:
    """Weights of a layer as numbers."""
    assert layer.module is not None
    return np.asarray(layer.module.weight.detach(), np.float64)  # type: ignore[union-attr]
