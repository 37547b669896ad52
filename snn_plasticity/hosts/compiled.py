"""Functions that torch.compile neither traces nor compiles, at no cost per call.

`torch.compiler.disable` wraps a function in another one that switches the compiler off and on again, which takes a
microsecond at every call. Here the function itself is marked instead: the tracer does not look into it, and where it is
called from compiled code, the interpreter leaves it alone, with everything that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Method = TypeVar("Method", bound=Callable[..., Any])


def untraced(function: Method) -> Method:
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
