"""The state of a run: looked at whole before anything goes on from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._saved import (
    FORMAT,
    UNCHANGED,
    described,
    require_format,
    require_parts,
    require_real_number,
    require_saved_count,
    require_settings,
    require_tensor,
)
from ..hosts.index import unwrap
from .nets import TrainableNet
from .report import DualReport
from .snapshot import Snapshot, rng_state, set_rng_state

if TYPE_CHECKING:
    from .trainer import DualModelTrainer


SAVED_RUN = "The saved run"
RUN_PARTS = ("settings", "models", "nets", "weights", "report", "position", "rng", "signals", "callbacks")
DUAL_MODULE = "snn_plasticity.dual."
RENAMED = {"After": "FromStep", "several": "multiple_updates"}  # in files saved before they were
ADDED: dict[str, dict[str, Any]] = {  # what files saved before there was such a choice did
    "Plateau": {"on": "training", "at_least": None},
    "Curiosity": {"share": None, "window": 100, "at_least": None},
    "Seeking": {"share": None, "window": 100, "at_least": None},
}


def run_state(trainer: DualModelTrainer) -> dict[str, Any]:
    """Everything that going on with a run needs, as plain tensors and values."""
    signals = trainer.signals
    return {
        "format": FORMAT,
        "settings": _settings(trainer),
        "models": [unwrap(net.model).state_dict() for net in trainer.nets],
        "nets": [net.state_dict() for net in trainer.nets],
        "weights": None if trainer.weights is None else trainer.weights.to_dict(),
        "report": trainer.report.to_dict(),
        "position": [trainer.epoch, trainer.batch, trainer.seed],
        "rng": rng_state(),
        "signals": signals.state_dict() if hasattr(signals, "state_dict") else None,  # type: ignore[attr-defined]
        "callbacks": trainer.callback_states(),
    }


def load_run(trainer: DualModelTrainer, state: Any) -> None:
    """Go on from a saved run, or refuse it; then nothing is changed. Errors as `DualModelTrainer.load_state_dict`."""
    commits = read_run(trainer, state)
    snapshot, held = (
        Snapshot(trainer.nets).take(whole=True),
        (trainer.report, trainer.epoch, trainer.batch, trainer.seed),
    )
    signals: Any = None if state["signals"] is None else trainer.signals
    before = None if signals is None else copy.deepcopy(signals.state_dict())
    try:
        for commit in commits:
            commit()
    except BaseException:
        snapshot.restore()
        trainer.report, trainer.epoch, trainer.batch, trainer.seed = held
        if signals is not None:
            signals.load_state_dict(before)
        raise


def read_run(trainer: DualModelTrainer, state: Any) -> list[Callable[[], object]]:
    """Look at a saved run whole; what is returned, called one after the other, goes on from it."""
    require_format(SAVED_RUN, state, RUN_PARTS)
    if state["weights"] != (None if trainer.weights is None else trainer.weights.to_dict()):
        raise ValueError(f"{SAVED_RUN} shares other weights; build the same nets and the same map, then load.")
    require_settings(SAVED_RUN, stable_kinds(state["settings"]), _settings(trainer))
    commits = _read_nets(trainer.nets, state)
    report, position = read_report(state["report"]), read_position(state["position"])
    require_rng(state["rng"])
    signals: Any = trainer.signals
    if (state["signals"] is None) is hasattr(signals, "state_dict"):
        raise ValueError(
            f"{SAVED_RUN} has {'no' if state['signals'] is None else 'a'} state of signals=; build it likewise."
        )

    if not isinstance(state["callbacks"], (list, tuple)):
        raise TypeError(f"{SAVED_RUN}: callbacks is {state['callbacks']!r}; expected a list. {UNCHANGED}")

    def commit() -> None:
        trainer.report, (trainer.epoch, trainer.batch, trainer.seed) = report, position
        trainer.saved_callbacks = list(state["callbacks"])
        set_rng_state(state["rng"])

    if state["signals"] is not None:
        commits.append(partial(signals.load_state_dict, state["signals"]))
    return [*commits, commit]


def _read_nets(nets: Sequence[TrainableNet], state: Any) -> list[Callable[[], object]]:
    for name in ("models", "nets"):
        if not isinstance(state[name], (list, tuple)) or len(state[name]) != len(nets):
            raise ValueError(f"{SAVED_RUN}: {name} are not of {len(nets)} nets; build as many first. {UNCHANGED}")
    commits: list[Callable[[], object]] = []
    for k, (net, model, rest) in enumerate(zip(nets, state["models"], state["nets"], strict=True)):
        bare = unwrap(net.model)
        require_saved_model(f"{SAVED_RUN}: {('base', 'motivated net')[k]}", bare, model)
        commits += [partial(bare.load_state_dict, model), partial(net.load_state_dict, rest)]
        if hasattr(net, "read_state"):
            commits[-1] = net.read_state(rest)  # type: ignore[attr-defined]
    return commits


def _settings(trainer: DualModelTrainer) -> dict[str, Any]:
    """What a saved run has to agree with; objects of the user's own by their kind."""
    return stable_kinds({"condition": described(trainer.condition, 0), "coupling": described(trainer.coupling, 0)})


def stable_kinds(settings: Any) -> Any:
    """Described settings under names that last: a class of this package without its file, and as it is called now.

    >>> stable_kinds({"kind": "snn_plasticity.dual.schedule.After", "step": 2})
    {'kind': 'snn_plasticity.dual.FromStep', 'step': 2}
    """
    if isinstance(settings, Mapping):
        now = {RENAMED.get(name, name): stable_kinds(value) for name, value in settings.items()}
        return ADDED.get(str(now.get("kind")).removeprefix(DUAL_MODULE), {}) | now
    if isinstance(settings, (list, tuple)):
        return [stable_kinds(value) for value in settings]
    if isinstance(settings, str) and settings.startswith(DUAL_MODULE):
        name = settings.rpartition(".")[2]
        return DUAL_MODULE + RENAMED.get(name, name)
    return settings


def require_saved_model(what: str, model: nn.Module, saved: Any) -> None:
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


def read_report(saved: Any) -> DualReport:
    """The report in a saved run.

    Raises:
        ValueError: it is none.
    """
    saved = _with_books(saved)
    require_parts(f"{SAVED_RUN}: report", saved, DualReport().to_dict())
    try:
        report = DualReport.from_dict(saved)
        steps, history = len(report.history.losses), report.history
        fits = len(history.motivated) == len(report.costs) == steps and isinstance(report.condition, str)
        fits = fits and all(type(one) is bool for one in history.motivated)
        told = report.to_dict()
        fits = fits and saved["alone"] == told["alone"] and saved["energy"] in (None, told["energy"])
        fits = fits and sum(kind.times for kind in report.books.kinds.values()) in (0, steps)
        for number in (*history.losses, *(n for cost in report.costs for n in cost), report.seconds):
            require_real_number("a number", number)
        for values in history.signals.values():
            fits = fits and len(values) in (steps, steps + 1) and all(isinstance(n, (int, float)) for n in values)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{SAVED_RUN}: report cannot be read ({error}); expected what a run saved. {UNCHANGED}"
        ) from None
    if not fits:
        raise ValueError(
            f"{SAVED_RUN}: report has parts that do not go together; expected one entry for each step. {UNCHANGED}"
        )
    return report


def _with_books(saved: Any) -> Any:
    """A report that was saved before there were books, which had two numbers for each step."""
    old = isinstance(saved, Mapping) and "books" not in saved and isinstance(saved.get("costs"), list)
    if old and all(isinstance(cost, list) and len(cost) == 2 for cost in saved["costs"]):
        new = DualReport().to_dict()
        return {**saved, **{name: new[name] for name in ("books", "alone")}, "energy": None}
    return saved


def read_position(saved: Any) -> tuple[int, int, int]:
    """Epoch, batch and seed in a saved run."""
    if not isinstance(saved, (list, tuple)) or len(saved) != 3 or type(saved[2]) is not int:
        raise ValueError(f"{SAVED_RUN}: position is {saved!r}; expected epoch, batch and seed. {UNCHANGED}")
    return (
        require_saved_count(f"{SAVED_RUN}: epoch", saved[0]),
        require_saved_count(f"{SAVED_RUN}: batch", saved[1]),
        saved[2],
    )


def require_rng(saved: Any) -> None:
    """Refuse what are no random numbers of torch."""
    require_parts(f"{SAVED_RUN}: rng", saved, ("cpu", "cuda"))
    now = torch.get_rng_state()
    require_tensor(f"{SAVED_RUN}: rng", saved["cpu"], tuple(now.shape), like=now)
    if not isinstance(saved["cuda"], (list, tuple)):
        raise TypeError(f"{SAVED_RUN}: rng of CUDA is {saved['cuda']!r}; expected a list of tensors. {UNCHANGED}")
    for one in saved["cuda"]:
        require_tensor(f"{SAVED_RUN}: rng", one, like=now)
    if torch.cuda.is_available() and len(saved["cuda"]) > torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(
            f"{SAVED_RUN}: rng is of {len(saved['cuda'])} CUDA devices; expected at most {count}. {UNCHANGED}"
        )
