"""Saved traces, looked at whole before anything goes on from them: what `snapshots.pack` wrote, for the same rule."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from .._checks import require_count
from .._saved import (
    UNCHANGED,
    described,
    require_parts,
    require_real_number,
    require_saved_count,
    require_saved_flag,
    require_tensor,
)
from ..config import PlasticityConfig
from ..kernels.operands import units_of_post
from ._engine.engine import PATHS, RunningTraces, Strategy
from ._engine.snapshots import moved, unpack
from .input_checks import places_of
from .rule import EligibilityRule

PARTS = ("like", "kernel", "e", "bound", "pending", "queued", "partial", "strategy", "unmet", "path", "shape")
STRATEGIES = get_args(Strategy)


def require_packed(what: str, saved: Any, rule: EligibilityRule, path: str) -> None:
    """Refuse what is no saved trace of this rule on this path.

    Args:
        what: how it is called.
        saved: what `pack` gave.
        rule, path: what it has to fit.

    Raises:
        TypeError, ValueError: a part is missing, strange, shaped otherwise, or holds NaN; another layer or path.
    """
    require_parts(what, saved, (*PARTS, "places") if isinstance(saved, Mapping) and "places" in saved else PARTS)
    shape = rule.geometry.shape
    if saved["shape"] != list(shape):
        raise ValueError(
            f"{what} has weights of shape {saved['shape']}; expected {list(shape)}: another layer. {UNCHANGED}"
        )
    if saved["path"] not in PATHS or (saved["path"] == "shared") is not (path == "shared"):
        raise ValueError(
            f"{what} is on the path {saved['path']!r} and this one on {path!r}; build with the same. {UNCHANGED}"
        )
    like = _like(what, saved["like"], rule)
    _kernel(what, saved["kernel"], rule, like)
    batch, whole = len(like[1]), (len(like[1]), *shape)
    e = shape if path == "shared" else whole
    for name, expected in (("e", e), ("bound", (batch, rule.geometry.n_post)), ("partial", shape)):
        if saved[name] is not None:
            require_tensor(f"{what}: {name}", saved[name], expected, like=like[1])
    map_shape, steps = places_of(rule, like[1]), _pending(what, saved["pending"], like)
    if saved.get("places") is not None:
        uses = rule.geometry.uses(prod(map_shape[2:])) if map_shape is not None else ()  # type: ignore[attr-defined]
        require_tensor(f"{what}: places", saved["places"], (batch, *uses), like=like[1])
    _queued(what, saved["queued"], steps, like[1].new_empty(batch, rule.geometry.n_post), map_shape)
    require_saved_count(f"{what}: unmet", saved["unmet"])
    if saved["strategy"] not in STRATEGIES:
        raise ValueError(f"{what}: strategy is {saved['strategy']!r}; expected one of {STRATEGIES}. {UNCHANGED}")


def unpacked(
    what: str, saved: Any, rule: EligibilityRule, path: str, device: torch.device | None
) -> RunningTraces | None:
    """The traces that were saved, on a device; None where there were none. Errors as `require_packed`."""
    if saved is None:
        return None
    saved = _renamed(saved)
    require_packed(what, saved, rule, path)
    return unpack(rule, saved if device is None else moved(saved, lambda t: t.to(device)), path)


def read_reset(what: str, saved: Any) -> tuple[int, torch.device | None] | None:
    """The batch size and device that were given to `reset`, as they were saved."""
    if saved is None:
        return None
    if not isinstance(saved, (list, tuple)) or len(saved) != 2 or not isinstance(saved[1], str):
        raise ValueError(f"{what}: asked is {saved!r}; expected [batch size, device]. {UNCHANGED}")
    require_count("batch_size", saved[0])
    return saved[0], torch.device(saved[1]) if saved[1] else None


def _renamed(saved: Any) -> Any:
    """A state of before the strategy was a word: then it was told by how many changes had been worked out."""
    if not isinstance(saved, Mapping) or "recorded" not in saved:
        return saved
    old = dict(saved)
    old["pending"], old["queued"] = old.pop("recorded"), old.pop("asked", None)
    changes, met, path = old.pop("changes", None), old.pop("met", None), old.get("path")
    if type(changes) is int and type(met) is bool:
        often = path == "plain" or (met and changes > 1)
        old["strategy"] = "stepwise" if often else "lazy" if path == "auto" and not changes else "folded"
        old["unmet"] = 0 if met else 1
    return old


def _like(what: str, saved: Any, rule: EligibilityRule) -> tuple[Tensor, Tensor]:
    """Zeros shaped like one step's pre and post."""
    if not isinstance(saved, (list, tuple)) or len(saved) != 2:
        raise TypeError(f"{what}: like is {type(saved).__name__}; expected a pair of tensors. {UNCHANGED}")
    pre, post = (require_tensor(f"{what}: like", side) for side in saved)
    if {pre.dtype, post.dtype} not in ({torch.float32}, {torch.float64}):
        raise TypeError(f"{what}: like has dtypes {pre.dtype}, {post.dtype}; expected float32 or float64. {UNCHANGED}")
    rule.geometry.check(pre, units_of_post(rule.kernel, post))
    return pre, post


def _kernel(what: str, saved: Any, rule: EligibilityRule, like: tuple[Tensor, Tensor]) -> None:
    """The leaves of the kernel's state, as its `init` lays them out."""
    if saved is None:
        return
    fresh = tree_flatten(rule.kernel.init(*like))[0]
    if not isinstance(saved, (list, tuple)) or len(saved) != len(fresh):
        raise ValueError(f"{what}: kernel has another number of parts; expected {len(fresh)}. {UNCHANGED}")
    ours = type(rule.kernel).__module__.startswith("snn_plasticity.")  # one of the user's own may grow as it likes
    for now, began in zip(saved, fresh, strict=True):
        if isinstance(began, Tensor):
            require_tensor(f"{what}: kernel", now, tuple(began.shape) if ours else None, like=began)
        elif type(now) is not type(began):
            raise TypeError(f"{what}: kernel holds {now!r}; expected a {type(began).__name__}. {UNCHANGED}")


def _pending(what: str, saved: Any, like: tuple[Tensor, Tensor]) -> int:
    """Steps that wait."""
    steps = 0
    if not isinstance(saved, (list, tuple)):
        raise TypeError(f"{what}: pending is {type(saved).__name__}; expected a list of blocks. {UNCHANGED}")
    for block in saved:
        if not isinstance(block, (list, tuple)) or len(block) != 5:
            raise ValueError(f"{what}: pending holds what is no block of steps. {UNCHANGED}")
        pre, post, dt, grows, restarts = block
        count = len(require_tensor(f"{what}: pending", pre, (None, *like[0].shape)))
        for side, zeros in zip((pre, post), like, strict=True):
            require_tensor(f"{what}: pending", side, (count, *zeros.shape))
            if side.dtype not in (torch.bool, zeros.dtype):
                raise TypeError(f"{what}: pending has dtype {side.dtype}; expected {zeros.dtype} or bool. {UNCHANGED}")
        if require_real_number(f"{what}: dt", dt) <= 0:
            raise ValueError(f"{what}: dt is {dt}; expected a step length > 0. {UNCHANGED}")
        require_saved_flag(f"{what}: grows", grows)
        _restarts(what, restarts, len(like[0]))
        steps += count
    return steps


def _restarts(what: str, saved: Any, batch: int) -> None:
    """After which steps of a block which samples start anew."""
    if not isinstance(saved, (list, tuple)) or not all(isinstance(r, (list, tuple)) and len(r) == 2 for r in saved):
        raise TypeError(f"{what}: restarts are {saved!r}; expected pairs of a step and a mask. {UNCHANGED}")
    for at, mask in saved:
        require_saved_count(f"{what}: restart", at)
        if require_tensor(f"{what}: restart", mask, (batch,)).dtype != torch.bool:
            raise TypeError(f"{what}: restart has dtype {mask.dtype}; expected bool. {UNCHANGED}")


def _queued(what: str, saved: Any, steps: int, each: Tensor, places: tuple[int, ...] | None) -> None:
    """Modulators that wait, each with the number of steps that it met."""
    if not isinstance(saved, (list, tuple)):
        raise TypeError(f"{what}: queued is {type(saved).__name__}; expected a list of modulators. {UNCHANGED}")
    for one in saved:
        if (
            not isinstance(one, (list, tuple))
            or len(one) != 2
            or require_saved_count(f"{what}: queued", one[0]) > steps
        ):
            raise ValueError(f"{what}: queued holds what is no modulator of the {steps} steps that wait. {UNCHANGED}")
        mods = require_tensor(f"{what}: queued", one[1], like=each)
        if not mods.dim() or mods.shape[1:] not in ((), each.shape[:1], each.shape, places):
            raise ValueError(
                f"{what}: queued holds modulators of shape {tuple(mods.shape)}; expected (k, B). {UNCHANGED}"
            )


def read_pending(
    what: str, pending: object, steps: object, frequency: int, shape: tuple[int, ...], device: torch.device
) -> tuple[Tensor | None, int]:
    """A saved change that was not applied yet, of its own memory, and the steps since the last update.

    Args:
        what: how to call it.
        pending, steps: what was saved.
        frequency: steps from update to update.
        shape, device: of the weight.

    Raises:
        TypeError, ValueError: no such change, or a turn that has long been there.
    """
    count = require_saved_count(f"{what}: steps", steps)
    if count >= frequency:
        raise ValueError(
            f"{what} is {count} steps after its last update; expected fewer than update_frequency = {frequency}. "
            "Nothing was changed."
        )
    found = None if pending is None else require_tensor(f"{what}: asked", pending, shape).to(device, copy=True)
    return found, count


def settings_of(config: PlasticityConfig, wired: Any = None) -> dict[str, Any]:
    """What a saved connection has to agree with; the names of the layers say which they are.

    Args:
        config: of the connection.
        wired: its edges, where these come and go.
    """
    settings = described(config)
    settings["three_factor"].pop("target_layers")
    settings.pop("neuromod")  # the gate's, which says so itself
    return settings if wired is None else settings | {"wiring": wired.fingerprint}
