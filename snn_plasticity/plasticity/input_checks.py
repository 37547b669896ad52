"""Checks of what traces are given: spikes that do not fit, and paths that would not be exact, are refused here."""

from __future__ import annotations

from types import NoneType

import torch
from torch import Tensor

from .._checks import (
    known_as,
    require_choice,
    require_count,
    require_finite,
    require_number,
    require_real,
)
from .._untracked import untracked
from ..config.eligibility import TracePath
from ..kernels.operands import units_of_post
from ..kernels.parameters import require_decays
from ..layers.dense import Dense, Diagonal
from ..layers.edges import Edges
from ..layers.geometry import Geometry
from ..layers.spike_trains import as_binary
from ._engine.engine import PATHS
from ._engine.snapshots import TraceMark
from ._engine.state import Units, one_step, require_compiled
from .rule import EligibilityRule
from .three_factor import modulator_like


def check_spikes(
    rule: EligibilityRule, pre: Tensor, post: Tensor, like: tuple[Tensor, Tensor] | None, batch_size: int | None
) -> None:
    """Refuse one step's spikes that do not fit the synapses or the running sequence, whatever their values.

    Args:
        rule, pre, post: what has to fit.
        like: pre and post of the sequence's first step, or zeros like them; None at its beginning.
        batch_size: the one given to reset, where there is no sequence yet.
    """
    require_real("pre", pre)
    require_real("post", post)
    if like is None:
        _check_fit(rule, pre, post, batch_size, None)
    elif not (_alike(pre, like[0]) and _alike(post, like[1])):
        _check_fit(rule, pre, post, len(like[0]), like[0].device)


def _alike(spikes: Tensor, before: Tensor) -> bool:
    """Whether they fit where those before them did."""
    return spikes.shape == before.shape and spikes.device == before.device


def _check_fit(
    rule: EligibilityRule, pre: Tensor, post: Tensor, batch_size: int | None, device: torch.device | None
) -> None:
    rule.geometry.check(pre, units_of_post(rule.kernel, post))
    if batch_size is not None and len(pre) != batch_size:
        raise ValueError(
            f"pre has a batch of {len(pre)} and the running sequence one of {batch_size}; the traces "
            f"belong to those samples. Call reset({len(pre)}), or learner.reset(), before a batch of another size."
        )
    if device is not None and pre.device != device:
        raise ValueError(f"pre is on {pre.device} and the traces on {device}; move one of them, or call reset().")
    if pre.device != post.device:
        raise ValueError(f"pre is on {pre.device} and post on {post.device}; expected one device.")


def admitted_step(rule: EligibilityRule, pre: Tensor, post: Tensor, dt: object) -> float:
    """A step length that this trace and this kernel can take between these neurons.

    Raises:
        ValueError: it is no number above zero, or longer than a time constant that decays by Euler's rule; or whatever
            a kernel's own `check_step` refuses.
    """
    step = require_number("dt", dt, 0.0, open_low=True)
    convention = rule.trace.convention
    require_decays({"tau_e": rule.trace.tau_e}, step, convention.eligibility_decay)
    check = getattr(rule.kernel, "check_step", None)
    if check is not None:
        check(pre, post, step)
    return step


def recordable(name: str, spikes: Tensor) -> Tensor:
    """Spikes as booleans of their own if all are zeros and ones, hence finite; NaN and infinity are refused."""
    if spikes.dtype == torch.bool:
        return spikes.clone()
    spikes = spikes.detach() if spikes.requires_grad else spikes
    bits = as_binary(spikes)
    return require_finite(name, spikes) if bits is None else bits


def plain(spikes: Tensor, dtype: torch.dtype) -> Tensor:
    """Spikes without a graph, in the precision of the traces or as booleans; most are so already."""
    spikes = spikes.detach() if spikes.requires_grad else spikes
    return spikes if spikes.dtype in (dtype, torch.bool) else spikes.to(dtype)


def described(value: object) -> str:
    """A value in an error message: type and shape of a tensor, anything else as it is."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def choose_path(path: TracePath, rule: EligibilityRule) -> TracePath:
    """The path that was asked for, or for "auto" the one that suits the trace.

    Raises:
        ValueError: the path is unknown or would not be exact for this trace, with the reason.
    """
    require_choice("path", path, PATHS)
    if getattr(rule.kernel, "per_synapse", False):
        if path not in ("auto", "plain", "torch"):
            raise ValueError(
                f"path = {path!r}, but {type(rule.kernel).__name__} follows each synapse step by step, which no other "
                "way does; expected path='auto'."
            )
        return path
    trace = rule.trace
    kind = type(trace).__name__.lower()
    if trace.linear and path == "rows":
        raise ValueError(f"path = 'rows' is for traces that are not linear; {kind} ones are folded: path='fold'.")
    if path == "compiled":
        require_compiled(rule, one_step(rule.geometry))
    if not trace.linear and path in ("fold", "shared"):
        raise ValueError(
            f"path = {path!r} folds steps by a sum, which is not exact for a {kind} trace; use 'rows' or 'plain'."
        )
    return "rows" if path == "auto" and not trace.linear else path


def layout_of(n_pre: object, n_post: object, connectivity: object, *, diagonal: bool) -> Geometry:
    """A full matrix, a diagonal, or the edges that there are.

    Raises:
        TypeError: connectivity that is no tensor.
        ValueError: numbers of neurons that are none, or that differ where synapses are diagonal; edges that are none.
    """
    pre, post = require_count("n_pre", n_pre), require_count("n_post", n_post)
    if diagonal and pre != post:
        raise ValueError(f"n_pre = {pre} and n_post = {post}; diagonal synapses need as many pre as post neurons.")
    if connectivity is None:
        return Diagonal(pre) if diagonal else Dense(pre, post)
    require_real("connectivity", connectivity)
    assert isinstance(connectivity, Tensor)
    return Edges.of(connectivity, pre, post)


def require_reduction(reduction: str | None) -> None:
    """Refuse what is neither "mean" nor "sum"; None is the convention's."""
    if reduction is not None:
        require_choice("reduction", reduction, ("mean", "sum"), "None for the convention's")


def require_mark(mark: object) -> None:
    """Refuse what is no mark of traces."""
    if not isinstance(mark, tuple) or len(mark) != 2 or not isinstance(mark[0], (TraceMark, NoneType)):
        raise TypeError(f"mark is {known_as(mark)}; expected what mark(safe=...) gave.")


def units_of(there: Geometry, here: Geometry, pre: Tensor | None, post: Tensor | None) -> Units:
    """Where the neurons of a layer lie in another: indices (N,), −1 for new ones; None: they are the same.

    Raises:
        TypeError: what is no tensor of whole numbers.
        ValueError: layers of another kind, or indices that do not fit their populations.
    """
    if type(there) is not type(here) or isinstance(here, Edges) or there.shape[2:] != here.shape[2:]:
        raise ValueError(f"source is of {there} and these traces of {here}; expected layers of one kind, and no edges.")
    for name, origin, axis in (("pre", pre, min(1, len(here.shape) - 1)), ("post", post, 0)):
        size, found = here.shape[axis], there.shape[axis]
        if origin is None:
            if size != found:
                raise ValueError(f"{name} is None, with {found} neurons there and {size} here; say where they lie.")
            continue
        require_real(name, origin)
        if origin.is_floating_point() or origin.dtype == torch.bool or origin.is_meta:
            raise TypeError(f"{name} is {described(origin)}; expected whole numbers, -1 for new neurons.")
        if origin.shape != (size,) or int(origin.min()) < -1 or int(origin.max()) >= found:
            raise ValueError(
                f"{name} is {described(origin)}; expected ({size},) with the indices of {found} neurons, or -1."
            )
    return Units(*(None if origin is None else origin.long() for origin in (pre, post)))


def places_of(rule: EligibilityRule, post: Tensor) -> tuple[int, ...] | None:
    """(B, C, *places) of one step's post side, where a convolution tells its places apart; else None."""
    geometry, axes = rule.geometry, getattr(rule.kernel, "post_axes", 0)
    units = (*post.shape[:1], *post.shape[1 + axes :])
    return units if len(units) > 2 and geometry.closed_form and geometry.neuron_axis == 2 else None


def zeros_of(pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros shaped like one step's spikes, in the precision that their traces are to have."""
    wide = torch.float64 if torch.float64 in (pre.dtype, post.dtype) else torch.float32
    with untracked(pre):
        return torch.zeros_like(pre, dtype=wide), torch.zeros_like(post, dtype=wide)


def modulator_for(mod: float | Tensor, like: Tensor, batch: int, rule: EligibilityRule, *, shared: bool) -> Tensor:
    """A modulator beside the traces of a batch, (), (B,) or (B, N_post); one number where their sum is all there is.

    Args:
        mod: the modulator; of a convolution each place may have one of its own, (B, C, *places).
        like: one step's post side.
        batch: how many samples there are.
        rule: of the traces.
        shared: whether the sum of all samples is all there is.

    Raises:
        ValueError: any other shape, naming both.
    """
    if shared and isinstance(mod, Tensor) and batch and mod.shape == (batch,):
        mod = mod[0] if batch == 1 or mod.stride(0) == 0 else mod  # an expanded number is one number
    mod = modulator_like(mod, like, (batch, rule.geometry.n_post), places_of(rule, like))
    if mod.dim() and shared and not batch:
        return mod.new_zeros(())
    if mod.dim() and shared:
        raise ValueError(
            f"The path is 'shared' and the modulator has one value for each of {batch} samples; expected one "
            "number for the whole batch. Use path='auto'."
        )
    return mod
