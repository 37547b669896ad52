"""What kernels, traces and bounds are given: parameters that are numbers, spikes that are tensors, states that fit.

The first look is a few comparisons of types and shapes, because kernels step at every step of a simulation; only what
does not pass it is looked at again, for the sentence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import known_as, require_finite, require_kind, require_number, require_real, require_within
from ..conventions import Convention


def require_parameters(owner: object, taus: tuple[str, ...] = (), amplitudes: tuple[str, ...] = ()) -> None:
    """Refuse time constants that are not above zero, amplitudes that are no finite numbers, and another convention.

    Raises:
        TypeError: no number and no real tensor, no `Convention`.
        ValueError: out of range.
    """
    for name in (*taus, *amplitudes):
        value, label = getattr(owner, name), f"{type(owner).__name__}.{name}"
        if isinstance(value, Tensor):
            require_real(label, value)
            require_finite(label, value)
            if name in taus:
                require_within(label, value, 0.0)
        elif name in taus:
            number = value if type(value) is float and value > 0.0 else None
            found = number or require_number(label, value, 0.0, open_low=True, infinite=True)
            object.__setattr__(owner, name, found)
        elif type(value) is not float or value - value != 0.0:
            object.__setattr__(owner, name, require_number(label, value))
    convention = getattr(owner, "convention", None)
    if not isinstance(convention, Convention):
        how = "For instance Convention.preset('nest')."
        require_kind(f"{type(owner).__name__}.convention", convention, Convention, how)


def require_spikes(pre: object, post: object) -> None:
    """Refuse spikes that are no tensors of real numbers."""
    require_real("pre", pre)
    require_real("post", post)


def require_window(pre: object, post: object) -> None:
    """Refuse what are no windows (T, B, ...) of one length."""
    require_real("pre", pre)
    require_real("post", post)
    assert isinstance(pre, Tensor) and isinstance(post, Tensor)
    if pre.dim() < 2 or post.dim() < 2 or len(pre) != len(post) or not len(pre):
        raise ValueError(
            f"pre has shape {tuple(pre.shape)} and post {tuple(post.shape)}; "
            "expected windows (T, B, ...) with the same T >= 1."
        )


def require_state(
    state: object, kind: type, fields: tuple[tuple[str, Tensor], ...], *, steps: int | None = None, alike: bool = False
) -> None:
    """Refuse a kernel's state of another kind, or one whose fields are not shaped as the spikes beside them.

    Args:
        state: to be looked at.
        kind: what it has to be.
        fields: name of a field, and the spikes whose shape it has.
        alike: whether their precision has to be that of the spikes.
        steps: of a history, an axis behind the batch; None where there is none.
    """
    if type(state) is not kind and not isinstance(state, kind):
        raise TypeError(f"state is {known_as(state)}; expected the {kind.__name__} of init(pre, post).")
    for name, side in fields:
        held = getattr(state, name)
        if not isinstance(side, Tensor) or side.layout is not torch.strided or side.is_complex():
            require_real("pre or post", side)
        if not isinstance(held, Tensor) or held.layout is not torch.strided or held.is_complex():
            require_real(f"state.{name}", held)
        if alike and held.dtype != side.dtype:
            raise TypeError(f"state.{name} is {held.dtype} and the spikes {side.dtype}; expected the same.")
        shape = side.shape if steps is None else torch.Size((*side.shape[:1], steps, *side.shape[1:]))
        if held.shape != shape or held.device != side.device:
            raise ValueError(
                f"state.{name} has shape {tuple(held.shape)} on {held.device} beside spikes {tuple(side.shape)} on "
                f"{side.device}; expected {tuple(shape)} on one device. Start anew with init(pre, post)."
            )


def units_of_post(kernel: object, post: Tensor) -> Tensor:
    """The post side with one value for each unit, as layers know it, where a kernel reads several: the first of them.

    Raises:
        ValueError: it lacks the axes, behind the batch, that the kernel reads (`kernel.post_axes` of them).
    """
    axes = getattr(kernel, "post_axes", 0)
    if not axes:
        return post
    if post.dim() < axes + 2 or not all(post.shape[1 : 1 + axes]):
        raise ValueError(
            f"post has shape {tuple(post.shape)}; expected {axes} axes of values between the batch and the units, as "
            f"{type(kernel).__name__} reads them."
        )
    return post[(slice(None), *[0] * axes)]
