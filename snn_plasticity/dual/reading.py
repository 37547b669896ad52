"""Saved runs, looked at whole before anything goes on from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..saved import UNCHANGED, require_count, require_parts, require_real_number, require_tensor
from .report import DualReport

WHAT = "The saved run"


def require_model(what: str, model: nn.Module, saved: Any) -> None:
    """Refuse weights and buffers that are not those of this net, or parameters that hold NaN."""
    own, parameters = model.state_dict(), {name for name, _ in model.named_parameters()}
    require_parts(what, saved, own)
    for name, mine in own.items():
        if not isinstance(mine, Tensor):
            continue
        value = saved[name] if name not in parameters else require_tensor(f"{what}: {name}", saved[name])
        if not isinstance(value, Tensor) or value.shape != mine.shape or value.dtype != mine.dtype:
            found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ValueError(f"{what}: {name} is {found}; expected {mine.dtype} {tuple(mine.shape)}. {UNCHANGED}")


def report_of(saved: Any) -> DualReport:
    """The report in a saved run.

    Raises:
        ValueError: it is none.
    """
    require_parts(f"{WHAT}: report", saved, DualReport().to_dict())
    try:
        report = DualReport.from_dict(saved)
        steps, history = len(report.history.losses), report.history
        fits = len(history.motivated) == len(report.costs) == steps and isinstance(report.condition, str)
        fits = fits and all(type(one) is bool for one in history.motivated)
        for number in (*history.losses, *(n for cost in report.costs for n in cost), report.seconds):
            require_real_number("a number", number)
        for values in history.signals.values():
            fits = fits and len(values) in (steps, steps + 1) and all(isinstance(n, (int, float)) for n in values)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{WHAT}: report cannot be read ({error}); expected what a run saved. {UNCHANGED}") from None
    if not fits:
        raise ValueError(
            f"{WHAT}: report has parts of different lengths; expected one entry for each step. {UNCHANGED}"
        )
    return report


def position_of(saved: Any) -> tuple[int, int, int]:
    """Epoch, batch and seed in a saved run."""
    if not isinstance(saved, (list, tuple)) or len(saved) != 3 or type(saved[2]) is not int:
        raise ValueError(f"{WHAT}: position is {saved!r}; expected epoch, batch and seed. {UNCHANGED}")
    return require_count(f"{WHAT}: epoch", saved[0]), require_count(f"{WHAT}: batch", saved[1]), saved[2]


def require_rng(saved: Any) -> None:
    """Refuse what are no random numbers of torch."""
    require_parts(f"{WHAT}: rng", saved, ("cpu", "cuda"))
    now = torch.get_rng_state()
    require_tensor(f"{WHAT}: rng", saved["cpu"], tuple(now.shape), like=now)
    if not isinstance(saved["cuda"], (list, tuple)):
        raise TypeError(f"{WHAT}: rng of CUDA is {saved['cuda']!r}; expected a list of tensors. {UNCHANGED}")
    for one in saved["cuda"]:
        require_tensor(f"{WHAT}: rng", one, like=now)
    if torch.cuda.is_available() and len(saved["cuda"]) > torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"{WHAT}: rng is of {len(saved['cuda'])} CUDA devices; expected at most {count}. {UNCHANGED}")
