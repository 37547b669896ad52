"""Checkpoints: whole or not there, looked at whole before anything goes on from them; the way back from a failure."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..saved import (
    UNCHANGED,
    require_alike,
    require_count,
    require_numbers,
    require_parts,
    require_real_number,
    require_tensor,
)
from .nets import tensors_of
from .report import DualReport

if TYPE_CHECKING:
    from .trainee import Learning


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Replace the file at `path` in one move; whatever interrupts it, the old one or the new one is there, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: str | Path) -> dict[str, Any]:
    """What `write` wrote. No code in the file is run."""
    return torch.load(path, map_location="cpu", weights_only=True)


def rng_state() -> dict[str, Any]:
    """torch's random numbers, on every device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Go on with saved random numbers."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


WHAT = "The saved run"
OURS = "snn_plasticity.dual."


def without_rooms(settings: Any) -> Any:
    """Described settings in which kinds of this package stand without the file they are in, which may move.

    >>> without_rooms({"kind": "snn_plasticity.dual.conditions.Every", "n": 2})
    {'kind': 'snn_plasticity.dual.Every', 'n': 2}
    """
    if isinstance(settings, Mapping):
        return {name: without_rooms(value) for name, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [without_rooms(value) for value in settings]
    if isinstance(settings, str) and settings.startswith(OURS):
        return OURS + settings.rpartition(".")[2]
    return settings


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


def require_optimizer(what: str, optimizer: torch.optim.Optimizer, saved: Any) -> None:
    """Refuse the state of an optimizer of another kind, or for other parameters, and NaN.

    Raises:
        TypeError, ValueError: naming what was read and what was expected.
    """
    own = optimizer.state_dict()
    require_parts(what, saved, ("state", "param_groups"))
    require_alike(f"{what}: param_groups", saved["param_groups"], own["param_groups"])
    for mine, other in zip(own["param_groups"], saved["param_groups"], strict=True):
        if list(other["params"]) != mine["params"]:
            raise ValueError(f"{what} is for the parameters {other['params']}; expected {mine['params']}. {UNCHANGED}")
    held = [p for group in optimizer.param_groups for p in group["params"]]
    state = saved["state"]
    if not isinstance(state, Mapping):
        raise TypeError(f"{what}: state is a {type(state).__name__}; expected one for each parameter. {UNCHANGED}")
    known = next(iter(own["state"].values()), None) or next(iter(state.values()), None)
    for number, part in state.items():
        if type(number) is not int or not 0 <= number < len(held):
            raise ValueError(f"{what} has a state for {number!r}; expected one of {len(held)} parameters. {UNCHANGED}")
        _require_moments(f"{what}: state of parameter {number}", part, known, held[number])
    require_numbers(what, saved)


def _require_moments(what: str, saved: Any, known: Any, parameter: Tensor) -> None:
    """What an optimizer remembers of one parameter: the same of each, as large as it is or a number."""
    require_parts(what, saved, known if isinstance(known, Mapping) else ())
    for name, value in saved.items():
        if not (value is None or isinstance(value, (bool, int, float, Tensor))):
            raise TypeError(f"{what}: {name} is {value!r}; expected a number or a tensor. {UNCHANGED}")
        if isinstance(value, Tensor) and name == "step":
            require_tensor(f"{what}: {name}", value, ())
        elif isinstance(value, Tensor) and value.numel() >= parameter.numel() > 1:
            require_tensor(f"{what}: {name}", value, tuple(parameter.shape))


class Guard:
    """Remembers nets as they are, to put them back.

    Args:
        nets: what may change.
        whole: remember everything; else what changes before a failing step is noticed: buffers, traces, random numbers.
    """

    def __init__(self, nets: Sequence[Learning], *, whole: bool) -> None:
        self.nets = list(nets)
        kept = [tensors_of(net.model) for net in nets]
        self.tensors: list[tuple[Tensor, Tensor]] = [
            (t, t.detach().clone())
            for net, held in zip(nets, kept, strict=True)
            for t in held.values()
            if whole or net.learner is not None or not t.requires_grad
        ]
        self.states = [copy.deepcopy(n.state_dict()) if whole or n.learner is not None else None for n in nets]
        self.rng = rng_state()

    def restore(self) -> None:
        """Put everything back."""
        with torch.no_grad():
            for tensor, value in self.tensors:
                tensor.detach().copy_(value)
        for net, state in zip(self.nets, self.states, strict=True):
            if state is not None:
                net.load_state_dict(state)
        set_rng_state(self.rng)
