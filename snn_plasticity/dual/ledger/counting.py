"""A mode of torch that counts what runs in it: multiply-accumulates, and synaptic operations of spikes."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .operations import WORTH_A_WORD, formula_of, macs_of

OPERANDS = {
    "mm": (0, 1), "bmm": (0, 1), "_sparse_mm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2),
    "_addmm_activation": (1, 2), "_sparse_addmm": (1, 2), "mkldnn_linear": (0, 1),
}  # fmt: skip
MATRIX_FIRST = {"mv": (1, 0), "dot": (0, 1), "addmv": (2, 1)}
LEARNERS = tuple(f"snn_plasticity.{room}" for room in ("hosts", "learner", "plasticity", "connection"))


class Counting(TorchDispatchMode):
    """Counts within a `with` block, backward passes included; nothing that runs is changed by it.

    Args:
        weights: addresses of storages that hold weights, as `storages` lists them.
        spikes: look at values as well, for synaptic operations: not where only shapes matter.
        learner: leave out what the hooks of a learner and its `step` compute.
    """

    def __init__(self, weights: set[int], *, spikes: bool, learner: bool) -> None:
        super().__init__()
        self.weights, self.spikes, self.learner = weights, spikes, learner
        self.macs = 0
        self.synops: Tensor | int = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled() and func.namespace == "aten":
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs) if kwargs else func(*args)
        formula = formula_of(func)
        if formula is None:
            if func is torch.ops.aten.mul.Tensor and self._is_layer(args, out):
                self.uncounted.add("a weight that is multiplied element by element with every sample")
            return out
        if self.learner and _within_learner():
            return out
        macs = macs_of(formula, args, out)
        if macs is None:
            if any(isinstance(leaf, Tensor) and leaf.numel() >= WORTH_A_WORD for leaf in tree_leaves((args, out))):
                self.uncounted.add(func._schema.name)
        else:
            self.macs += macs
            if self.spikes and torch._C._current_graph_task_id() == -1:  # forward
                self.synops = self.synops + self._synops(func._schema.name.partition("::")[2], args, macs)
        return out

    def _synops(self, name: str, args: Any, macs: int) -> Tensor | int:
        """Products in which the input is not zero; all where nobody can look at it."""
        if name in ("convolution", "_convolution", "convolution_overrideable"):
            return _reached(*args[:9]) if args[0].numel() else 0
        places = OPERANDS.get(name) or MATRIX_FIRST.get(name)
        if places is None:
            return macs
        given, weight = (args[place] for place in places)
        if self._is_weight(given) and not self._is_weight(weight):
            given = weight
        if given.layout is not torch.strided or not given.numel():
            return macs
        return given.count_nonzero() * (macs // given.numel())

    def _is_layer(self, factors: Any, out: Tensor) -> bool:
        """Whether a weight and inputs are spread over each other, as (x[:, None] * weight).sum(-1) does."""
        large = out.numel() >= WORTH_A_WORD and all(isinstance(f, Tensor) and f.numel() < out.numel() for f in factors)
        return large and any(f.dim() > 1 and self._is_weight(f) for f in factors)

    def _is_weight(self, tensor: Tensor) -> bool:
        return tensor.layout is not torch.strided or address(tensor) in self.weights


def address(tensor: Tensor) -> int:
    """Where the numbers of a tensor and of its views lie; 0 where nobody can say."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0


def _reached(x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
             output_padding: Any, groups: int) -> Tensor:  # fmt: skip
    """Σ non-zero inputs · outputs that each reaches: one map of ones for each group stands for all of its outputs."""
    one = weight[:, :1] if transposed else weight[:groups]
    outputs = weight.shape[1] if transposed else weight.shape[0] // groups
    spikes, ones = (x != 0).float(), torch.ones_like(one, dtype=torch.float32)
    reached = torch.ops.aten.convolution.default(
        spikes, ones, None, stride, padding, dilation, transposed, output_padding, groups
    )
    return reached.sum(dtype=torch.float64).round() * outputs


def _within_learner() -> bool:
    frame: Any = sys._getframe(2)
    while frame is not None:
        watches = frame.f_code.co_name == "__torch_function__"  # and hands on what the model computes
        if not watches and str(frame.f_globals.get("__name__")).startswith(LEARNERS):
            return True
        frame = frame.f_back
    return False
