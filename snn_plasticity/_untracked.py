"""Where traces are worked out: outside inference mode, autograd and autocast, and unseen by the compiler.

`torch.compiler.disable` wraps a function in another one that switches the compiler off and on again, which takes a
microsecond at every call. `untraced` marks the function itself: the tracer does not look into it, and where it is
called from compiled code, the interpreter leaves it alone, with everything that it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])

AS_IT_IS = nullcontext()
casting_anywhere = torch._C._is_any_autocast_enabled  # type: ignore[attr-defined]


def untracked(like: Tensor) -> AbstractContextManager[object]:
    """Plain arithmetic on the device of `like`; what is off already is not switched off again (that takes time).

    >>> with torch.inference_mode(), untracked(torch.ones(1)):
    ...     torch.ones(1).is_inference()
    False
    """
    if not (torch.is_grad_enabled() or torch.is_inference_mode_enabled()) and _surely_not_casting(like):
        return AS_IT_IS
    device_type = like.device.type
    inference, casting = torch.is_inference_mode_enabled(), torch.is_autocast_enabled(device_type)
    if not (inference or casting):
        return torch.no_grad() if torch.is_grad_enabled() else AS_IT_IS
    return _outside(inference, device_type if casting else None)


def without_gradients() -> AbstractContextManager[object]:
    """Gradients off, unless they are; entering `torch.no_grad` takes longer than a look."""
    return torch.no_grad() if torch.is_grad_enabled() else AS_IT_IS


@contextmanager
def _outside(inference: bool, casting: str | None) -> Iterator[None]:
    """Gradients off, after inference mode was left, which switches them on; and autocast off."""
    with ExitStack() as stack:
        if inference:
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if casting is not None:
            stack.enter_context(torch.autocast(casting, enabled=False))
        yield


def uncast(like: Tensor) -> AbstractContextManager[object]:
    """Plain arithmetic, whatever autocast is on, with gradients as they are."""
    if _surely_not_casting(like) or like.is_meta:
        return AS_IT_IS
    return torch.autocast(like.device.type, enabled=False)


def _surely_not_casting(like: Tensor) -> bool:
    """Whether autocast is off for a device of a usual kind, as far as one quick question tells (others it forgets)."""
    return (like.is_cpu or like.is_cuda) and not casting_anywhere()


def untraced(function: Function) -> Function:
    """Mark a function; where this PyTorch has no such marks, wrap it."""
    try:
        from torch._C._dynamo import eval_frame

        leave = eval_frame._FrameAction.SKIP
        eval_frame.set_code_exec_strategy(function.__code__, eval_frame._FrameExecStrategy(leave, leave))
    except (ImportError, AttributeError, TypeError):
        return torch.compiler.disable(function)  # type: ignore[return-value]
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    function._torchdynamo_disable_msg = None  # type: ignore[attr-defined]
    function._torchdynamo_disable_recursive = True  # type: ignore[attr-defined]
    return function
