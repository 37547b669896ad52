"""What a kernel reads on the post side of a synapse, and whether it is given that.

    spikes           z of the post neuron, (B, N_post)
    surrogate        ψ = ∂z/∂I, the surrogate derivative of the spike by this step's current
    above_threshold  v − θ, from which a kernel works ψ out itself, for many steps at once
    gradient         ∂loss/∂I, what arrives at the neuron's current from a loss of this step
    membrane         v
    step             how z and the state depend on the state before and on I, as `EligibilityVectors` reads it
    membrane step    the same of v in place of z

A kernel says so in its attribute `post_side`: a word, or a function of a call of the neuron. Where there is no such
attribute it reads spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .._checks import known_as, require_choice

PostSide = str | Callable[[Any], Tensor]
POST_SIDES = ("spikes", "surrogate", "above_threshold", "gradient", "membrane", "step", "membrane step")
OF_STEPS = ("step", "membrane step")  # several values for each unit: what a neuron's own step depends on


def require_post(post: object, name: str = "post") -> None:
    """Refuse what is neither a word of `POST_SIDES` nor a function; None is what a kernel reads."""
    if post is not None and not callable(post):
        require_choice(name, post, POST_SIDES, "a function of a call of the neuron")


def post_side_of(kernel: Any, given: PostSide | None = None) -> PostSide:
    """What a kernel reads: what it says itself, unless a function is given in its place.

    Args:
        kernel: the kernel.
        given: what the user says is supplied: a word, a function of a call of the neuron, or None.

    Raises:
        ValueError: an unknown word, or another one than the kernel reads.

    >>> from snn_plasticity import Rate
    >>> post_side_of(Rate())
    'spikes'
    """
    read: Any = getattr(kernel, "post_side", "spikes")
    require_post(given)
    require_post(read, f"{type(kernel).__name__}.post_side")
    if given is None or callable(given):
        return read if given is None else given
    if given != read:
        wants = f"{read!r}" if isinstance(read, str) else known_as(read)
        raise ValueError(
            f"post = {given!r}, and the kernel {type(kernel).__name__} reads {wants} on the post side; expected "
            f"post=None for what it reads, or a kernel that reads {given!r}."
        )
    return read
