"""The door of the traces: spikes that do not fit and paths that would not be exact are refused here."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import require_finite, require_real
from .geometry import Geometry
from .rule import EligibilityRule
from .running import PATHS


def check_spikes(
    geometry: Geometry, pre: Tensor, post: Tensor, batch_size: int | None, device: torch.device | None
) -> None:
    """Refuse one step's spikes that do not fit the synapses or the running sequence."""
    require_real("pre", pre)
    require_real("post", post)
    geometry.check(pre, post)
    if batch_size is not None and len(pre) != batch_size:
        raise ValueError(
            f"pre has a batch of {len(pre)} and the running sequence one of {batch_size}; the traces "
            f"belong to those samples. Call reset({len(pre)}), or learner.reset(), before a batch of another size."
        )
    if device is not None and pre.device != device:
        raise ValueError(f"pre is on {pre.device} and the traces on {device}; move one of them, or call reset().")
    if pre.device != post.device:
        raise ValueError(f"pre is on {pre.device} and post on {post.device}; expected one device.")
    require_finite("pre", pre)
    require_finite("post", post)


def check_window(pre: Tensor, post: Tensor) -> None:
    """Refuse what is no window of finite spikes (T, B, ...); its first step is for `check_spikes`."""
    require_real("pre", pre)
    require_real("post", post)
    if pre.dim() < 2 or post.dim() < 2 or len(pre) != len(post) or not len(pre):
        raise ValueError(
            f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; "
            "expected windows (T, B, ...) with the same T >= 1."
        )
    require_finite("pre", pre)
    require_finite("post", post)


def described(value: object) -> str:
    """A value in an error message: type and shape of a tensor, anything else as it is."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def choose_path(path: str, rule: EligibilityRule) -> str:
    """The path that was asked for, or for "auto" the one that suits the trace.

    Raises:
        ValueError: the path is unknown or would not be exact for this trace, with the reason.
    """
    if path not in PATHS:
        raise ValueError(f"path = {path!r}; expected one of {', '.join(map(repr, PATHS))}.")
    trace = rule.trace
    kind = type(trace).__name__.lower()
    if trace.linear and path == "rows":
        raise ValueError(f"path = 'rows' is for traces that are not linear; {kind} ones are folded: path='fold'.")
    if not trace.linear and path in ("fold", "shared"):
        raise ValueError(
            f"path = {path!r} folds steps by a sum, which is not exact for a {kind} trace; use 'rows' or 'plain'."
        )
    return "rows" if path == "auto" and not trace.linear else path
