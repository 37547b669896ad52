"""A GPU that is not there: tensors that say they are on cuda:0, compute on the CPU, and notice who waits for them.

Inside `pretending()` whatever is created on "cuda", moved to it or computed from what is there counts as being there.
Its `device` says so, so that code takes the way that it takes on a GPU, and its numbers are true. Noted are

    waits      the host waits for the device: item, bool, tolist, nonzero, equal, a copy to the CPU, a mask as an index
    uploads    values go to the device by a copy that waits: tensor(..., device="cuda"), to("cuda"), a list as an index

each with the function of the package that asked for it. An operation on tensors of both devices is refused, as torch
refuses it: a CPU tensor without dimensions is a number, all else must lie together.

`FakeTensorMode` of torch knows devices too, but not without CUDA's own libraries (no indexing), and has no numbers to
go on with after somebody waited; hooks skip its tensors, because an export is tracing with them.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # before anything is patched: it looks at signatures
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
PACKAGE = str(Path(__file__).parent.parent / "snn_plasticity") + "/"
WAITING = {
    "item", "tolist", "numpy", "cpu", "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "equal",
    "allclose", "bincount", "is_nonzero", "__bool__", "__int__", "__float__", "__index__", "__contains__", "__array__",
}  # fmt: skip
WAITING_WITHIN = (
    "aten._local_scalar_dense",
    "aten.equal",
    "aten.nonzero",
    "aten._unique",
    "aten.unique",
    "aten.allclose",
)
EITHER_DEVICE = {
    "copy_", "to", "type_as", "__set__", "new_tensor", "expand_as", "view_as", "reshape_as", "result_type",
    "_has_compatible_shallow_copy_type",
}  # fmt: skip
INDEXING = {"__getitem__", "__setitem__"}
FROM_VALUES = {"to", "cuda", "tensor", "as_tensor", "asarray", "new_tensor"}


class Pretence(TorchFunctionMode):
    """Knows what is on the device, and who waited or uploaded: a count for each place in the package."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "__get__":
            known = _told(func, args[0])
            if known is not None:
                return known
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(map(on_device, given))
        if there:
            self._refuse_strangers(name, given, args)
        waits = there and _waits(name, args, kwargs)
        if waits:
            note(self.waits, name)
        target = _target(name, args, kwargs)
        watching = _Within(self.waits) if there and not waits else contextlib.nullcontext()
        with watching:
            result = _called(func, name, args, kwargs)
        if name in {"copy_", "__set__", "__setitem__"}:
            self._took_in(name, args)
        if name in {"copy_", "__set__", "__setitem__"} or isinstance(result, torch.Size):
            return result
        if target is None:
            stays = there and name not in {"cpu", "numpy"}
            return tree_map_only(Tensor, lambda t: _placed(t, stays, given), result)
        if target.type == "cuda" and not there and name in FROM_VALUES or name == "new_tensor":
            note(self.uploads, name)
        if target.type == "cpu" and there and name == "to":
            note(self.waits, name)
        return tree_map_only(Tensor, lambda t: _placed(t, target.type == "cuda", given), result)

    def _refuse_strangers(self, name: str, given: list[Tensor], args: Any) -> None:
        if name in EITHER_DEVICE or all(on_device(tensor) or not tensor.dim() for tensor in given):
            return
        if name in INDEXING and on_device(args[0]):
            note(self.uploads, name)
            return
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu.")

    def _took_in(self, name: str, args: Any) -> None:
        """`into` keeps its place whatever is written into it; `x.data = y` takes that of y."""
        into, other = args[0], args[2 if name == "__setitem__" else 1]
        if not isinstance(other, Tensor):
            return
        if name == "__set__":
            _mark(into, on_device(other))
        elif on_device(into) != on_device(other) and (name == "copy_" or other.dim()):
            note(self.uploads if on_device(into) else self.waits, name)


class _Within(TorchDispatchMode):
    """What an operation on the device does inside: `allclose` asks for an item."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(WAITING_WITHIN):
            note(self.waits, str(func))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def pretending() -> Iterator[Pretence]:
    """A GPU of 80 GiB, for as long as the context lasts."""
    pretence, as_subclass = Pretence(), Tensor._make_subclass

    def made(cls: type, data: Tensor, *rest: Any, **named: Any) -> Tensor:
        return _mark(as_subclass(cls, data, *rest, **named), on_device(data))

    @contextlib.contextmanager
    def unwatched() -> Iterator[None]:
        """Instead of `DisableTorchFunction`: the other modes are off, the pretence goes on."""
        modes = _get_current_function_mode_stack()
        for _ in modes:
            _pop_mode()
        _push_mode(pretence)
        try:
            with mock.patch.object(torch._C, "_is_torch_function_enabled", lambda: False):
                yield
        finally:
            _pop_mode()
            for mode in modes:
                _push_mode(mode)

    with (
        mock.patch.object(torch.cuda, "mem_get_info", lambda device=None: (64 << 30, 80 << 30)),
        mock.patch.object(torch.cuda, "device_count", lambda: 1),
        mock.patch.object(torch.cuda, "synchronize", lambda device=None: None),
        mock.patch.object(Tensor, "_make_subclass", staticmethod(made)),
        mock.patch.object(torch._C, "DisableTorchFunction", unwatched),
        pretence,
    ):
        yield pretence


def on_device(tensor: Tensor) -> bool:
    """Whether it pretends to be on the GPU."""
    return "_pretended" in tensor.__dict__


def note(counts: Counter[str], what: str) -> None:
    """One more, by the place in the package that asked; what a test asks for and modules that move are not counted."""
    frame, asking = sys._getframe(1), None
    while frame is not None and frame.f_code.co_name != "_apply":
        if asking is None and frame.f_code.co_filename.startswith(PACKAGE):
            asking = frame.f_code
        frame = frame.f_back
    if frame is None and asking is not None:
        counts[f"{asking.co_filename.removeprefix(PACKAGE)}:{asking.co_name}: {what}"] += 1


def _told(func: Any, tensor: Tensor) -> Any:
    """What a property says of a tensor on the device; None for properties that say nothing of devices."""
    there, prop = on_device(tensor), getattr(func, "__self__", None)
    if prop is Tensor.device:  # type: ignore[comparison-overlap]
        return CUDA if there else None
    if prop is Tensor.is_cuda:  # type: ignore[comparison-overlap]
        return there
    if prop is Tensor.is_cpu and there:  # type: ignore[comparison-overlap]
        return False
    return None


def _waits(name: str, args: Any, kwargs: Any) -> bool:
    if name in INDEXING:
        masked = any(isinstance(i, Tensor) and i.dtype == torch.bool and i.dim() for i in tree_leaves(args[1]))
        return masked and not (name == "__setitem__" and not (isinstance(args[2], Tensor) and args[2].dim()))
    if name == "where":
        return len(args) == 1 and not kwargs
    if name == "repeat_interleave":
        return "output_size" not in kwargs and any(isinstance(n, Tensor) for n in (*args[1:], kwargs.get("repeats")))
    return name in WAITING


def _target(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """The device that a call asks for."""
    if name in {"cuda", "cpu"}:
        return CUDA if name == "cuda" else None
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    if name == "new_tensor":
        return CUDA if on_device(args[0]) else CPU
    if name in {"to", "type_as"}:
        for value in (*args[1:], kwargs.get("other")):
            if isinstance(value, Tensor):
                return CUDA if on_device(value) else CPU
            if isinstance(value, (str, torch.device)):
                return torch.device(value)
    return None


def _called(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """The call itself, on the CPU."""
    if name == "cuda":
        return args[0].clone()
    if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
        kwargs["device"] = CPU
    if name == "to":
        args = tuple(CPU if isinstance(v, (str, torch.device)) and torch.device(v).type == "cuda" else v for v in args)
    if name in {"numpy", "__array__"} and on_device(args[0]):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")
    return func(*args, **kwargs)


def _placed(tensor: Tensor, there: bool, given: list[Tensor]) -> Tensor:
    """A result where it belongs; a copy where the CPU needed none and a device would have made one."""
    if on_device(tensor) == there:
        return tensor
    return _mark(tensor.clone() if any(tensor is one for one in given) else tensor, there)


def _mark(tensor: Tensor, there: bool) -> Tensor:
    if there:
        tensor.__dict__["_pretended"] = True
    else:
        tensor.__dict__.pop("_pretended", None)
    return tensor
