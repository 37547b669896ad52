"""Where traces are worked out: outside inference mode, autograd and autocast, whatever the caller is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor

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
