"""Where traces are worked out: outside inference mode, autograd and autocast, whatever the caller is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor


@contextmanager
def untracked(like: Tensor) -> Iterator[None]:
    """Plain arithmetic on the device of `like`; what is off already is not switched off again (that takes time).

    >>> with torch.inference_mode(), untracked(torch.ones(1)):
    ...     torch.ones(1).is_inference()
    False
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if _autocasting(like.device.type):
            stack.enter_context(torch.autocast(like.device.type, enabled=False))
        yield


def _autocasting(device_type: str) -> bool:
    """Whether autocast is on there; torch before 2.4 cannot be asked about one device, and is taken to say yes."""
    try:
        return torch.is_autocast_enabled(device_type)
    except TypeError:
        return True
