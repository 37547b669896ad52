"""Multiply-accumulates of torch's operations, counted where they run: forward, loss and backward.

    (n, k) @ (k, m)      n·k·m
    convolution          outputs · weights of one output;  backward once for each gradient that is asked for
    attention            queries · keys · (width of a key + width of a value);  backward 2.5 times that
    LSTM, GRU, RNN       steps · samples · (weights into the gates + weights back)

Element by element (neurons, norms, activations, optimizers), sums, pools, look-ups and copies are no part of it: they
grow with the units and not with the synapses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

WORTH_A_WORD = 1024  # numbers in a tensor from which on an operation that is not counted is worth a word
UNKNOWN = {
    "fft", "linalg", "cdist", "conv1d", "conv2d", "conv3d", "conv", "convolution", "rnn", "lstm", "gru", "attention",
    "mm", "linear", "dot", "matmul", "solve", "cholesky", "svd", "inverse", "transformer", "bmm",
}  # fmt: skip


def numbers(tensor: Tensor) -> int:
    """How many numbers a tensor holds; of a sparse one, those that it lists."""
    return tensor.numel() if tensor.layout is torch.strided else tensor._nnz()


def _product(a: Tensor, b: Tensor) -> int:
    return numbers(a) * b.shape[-1] if b.layout is torch.strided else a.shape[-2] * numbers(b)


def _mm(args: Any, out: Any) -> int:
    return _product(args[0], args[1])


def _addmm(args: Any, out: Any) -> int:
    return _product(args[1], args[2])


def _mv(args: Any, out: Any) -> int:
    return numbers(args[0])


def _addmv(args: Any, out: Any) -> int:
    return numbers(args[1])


def _addr(args: Any, out: Any) -> int:
    return out.numel()


def _convolution(args: Any, out: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return (x if transposed else out).numel() * prod(weight.shape[1:])


def _convolution_backward(args: Any, out: Any) -> int:
    grad, x, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
    return (x if transposed else grad).numel() * prod(weight.shape[1:]) * (mask[0] + mask[1])


def _attention(args: Any, out: Any) -> int:
    query, key, value = args[:3]
    return query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _attention_backward(args: Any, out: Any) -> int:
    """q·kᵀ anew, and four gradients: of the values and the weights (as wide as a value), of queries and keys."""
    query, key, value = args[1:4]
    return query[..., 0].numel() * key.shape[-2] * (3 * query.shape[-1] + 2 * value.shape[-1])


def _trilinear(args: Any, out: Any) -> int:
    a, b, c, *expand = args[:6]
    for axes in range(3):
        for axis in sorted(expand[axes]):
            a, b, c = (t.unsqueeze(axis) if k == axes else t for k, t in enumerate((a, b, c)))
    return prod(torch.broadcast_shapes(a.shape, b.shape, c.shape))


def _onednn_rnn(args: Any, out: Any) -> int:
    """One layer, one direction: x (T, B, inputs), and both weights as the second and third argument."""
    x, into, back = args[:3]
    return prod(x.shape[:-1]) * (into.numel() + back.numel())


def _cudnn_rnn(args: Any, out: Any) -> int:
    x, weights = args[0], args[1]
    return prod(x.shape[:-1]) * sum(w.numel() for w in weights if w.dim() == 2)


def _encoder(args: Any, out: Any) -> int:
    """Attention in one call, without its graph: x (B, T, width) first, then weights, and a mask that is none."""
    x, width = args[0], args[0].shape[-1]
    weights = sum(w.numel() for w in args if isinstance(w, Tensor) and w.dim() == 2 and width in w.shape)
    return prod(x.shape[:-1]) * (weights + 2 * x.shape[-2] * width)


ATTENTIONS = ("flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention",
              "fused_attention_overrideable")  # fmt: skip
OWN_SPACES = {"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional", "inductor", "rngprims"}
FORMULAS: dict[str, Callable[[Any, Any], int]] = {
    "mm": _mm, "bmm": _mm, "_sparse_mm": _mm, "_int_mm": _mm, "_scaled_mm": _mm, "dot": _mv, "vdot": _mv, "mv": _mv,
    "addmm": _addmm, "baddbmm": _addmm, "addbmm": _addmm, "_addmm_activation": _addmm, "_sparse_addmm": _addmm,
    "addmv": _addmv, "addr": _addr, "mkldnn_linear": lambda args, out: out.numel() * args[1].shape[-1],
    "convolution": _convolution, "convolution_overrideable": _convolution, "_convolution": _convolution,
    "convolution_backward": _convolution_backward, "convolution_backward_overrideable": _convolution_backward,
    "_trilinear": _trilinear, "mkldnn_rnn_layer": _onednn_rnn, "_cudnn_rnn": _cudnn_rnn, "miopen_rnn": _cudnn_rnn,
    "mkldnn_rnn_layer_backward": lambda args, out: 2 * _onednn_rnn(args, out),
    "_cudnn_rnn_backward": lambda args, out: 2 * _cudnn_rnn(args, out),
    "miopen_rnn_backward": lambda args, out: 2 * _cudnn_rnn(args, out),
    "_native_multi_head_attention": _encoder, "_transformer_encoder_layer_fwd": _encoder,
    **{f"_scaled_dot_product_{kind}": _attention for kind in ATTENTIONS},
    **{f"_scaled_dot_product_{kind}_backward": _attention_backward for kind in ATTENTIONS},
}  # fmt: skip


@cache
def formula_of(func: Any) -> Callable[[Any, Any], int | None] | None:
    """How to count one operation; None for one that is no part of the count."""
    space, _, name = func._schema.name.partition("::")
    if space == "aten" and name in FORMULAS:
        return FORMULAS[name]
    words = set(name.split("_"))
    return None if space in OWN_SPACES and ("norm" in words or not UNKNOWN & words) else _unknown


def macs_of(formula: Callable[[Any, Any], int | None], args: Any, out: Any) -> int | None:
    """Multiply-accumulates of one call; None where that is not known."""
    try:
        return formula(args, out)
    except (AttributeError, IndexError, RuntimeError, TypeError):  # called in a way of its own
        return None


def _unknown(args: Any, out: Any) -> None:
    return None
