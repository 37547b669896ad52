"""The loop of one fit: batches into steps, then who is to know of them, and when it is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import RandomSampler, SequentialSampler

from .._saved import described
from ..notices import notice
from .batches import grouped
from .callbacks import Callbacks
from .distributed import group_of, is_first, mean_over_ranks
from .fitting import DataOrder, Progress, StopCriteria, total_steps

if TYPE_CHECKING:
    from .trainer import DualModelTrainer


class FitPlan(NamedTuple):
    """What one `fit` was asked for; see there."""

    loader: Iterable[Any]
    epochs: int
    validation: Iterable[Any] | None
    validate_every: int | None
    checkpoint: str | Path | None
    checkpoint_every: int | None
    stop: StopCriteria
    callbacks: Callbacks
    accumulate: int
    progress: bool


def run_fit(trainer: DualModelTrainer, plan: FitPlan) -> Any:
    """Train as planned; the last batch. Ctrl-C waits for the end of a step; pressed once more, it breaks it off."""
    group: Any = [None]
    _say_what_is_unlikely(trainer, plan)
    spent = trainer.report.cost.macs
    shown = plan.progress and is_first(trainer.base.model)
    steps = total_steps(plan.loader, plan.epochs, plan.accumulate)
    bar = Progress(steps, trainer.report.history.motivated, show=shown)
    try:
        with interrupts_between_steps() as whole_step:
            while trainer.epoch < plan.epochs and not _over(trainer, plan, spent):
                for group in grouped(
                    DataOrder(plan.loader, trainer.seed).epoch(trainer.epoch, trainer.batch), plan.accumulate
                ):
                    with whole_step():
                        result = trainer.step(group if plan.accumulate > 1 else group[0])
                        trainer.batch += len(group)
                    spent += result.cost.macs
                    bar.step(result.loss, result.motivated, spent)
                    plan.callbacks.after_step(trainer, result)
                    at = trainer.report.history.step
                    _validate_and_save(
                        trainer, plan, _is_due(plan.validate_every, at), _is_due(plan.checkpoint_every, at)
                    )
                    if _over(trainer, plan, spent):
                        return group[0]
                _end_epoch(trainer, plan)
    finally:
        bar.close()
    return group[0]


def _over(trainer: DualModelTrainer, plan: FitPlan, spent: int) -> bool:
    if plan.stop.max_macs is not None:
        spent = round(mean_over_ranks([spent], trainer.base.model)[0])
    return trainer.stopping or plan.stop.reached(trainer.report, spent)


def _end_epoch(trainer: DualModelTrainer, plan: FitPlan) -> None:
    for net in trainer.nets:
        net.end_epoch()
    if plan.validation is None:
        _observe_training(trainer, -(-trainer.batch // plan.accumulate))
    trainer.epoch, trainer.batch = trainer.epoch + 1, 0
    plan.callbacks.after_epoch(trainer)
    _validate_and_save(trainer, plan, plan.validate_every is None, plan.checkpoint_every is None)


def _validate_and_save(trainer: DualModelTrainer, plan: FitPlan, validate: bool, save: bool) -> None:
    if validate and plan.validation is not None:
        point = trainer.validate(plan.validation)
        trainer.report.curve.append(point)
        for net, score in zip(trainer.nets, (point.base, point.motivated), strict=False):
            if score is not None and hasattr(net, "observe"):
                net.observe(score.loss)  # type: ignore[attr-defined]
        plan.callbacks.after_validation(trainer, point)
    if save and plan.checkpoint is not None:
        trainer.save(plan.checkpoint)


def _observe_training(trainer: DualModelTrainer, steps: int) -> None:
    """Without validation, a scheduler that follows a loss is told the mean of the steps in which its net learned."""
    history = trainer.report.history
    last = list(zip(history.losses[-steps:], history.motivated[-steps:], strict=True))
    for net in trainer.nets:
        base = net is trainer.base
        losses = [loss for loss, motivated in last if motivated is not base or (base and trainer.coupling.base_first)]
        if losses and hasattr(net, "observe"):
            net.observe(fmean(losses))  # type: ignore[attr-defined]


def _is_due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _say_what_is_unlikely(trainer: DualModelTrainer, plan: FitPlan) -> None:
    for name, net in zip(("base", "motivated net"), trainer.nets, strict=False):
        if not net.model.training:
            notice(
                f"The {name} is in evaluation mode and will be trained in it: dropout and norms act as such. Call "
                "model.train() before fit, unless that is meant.",
                stacklevel=4,
            )
        if plan.validation is None and getattr(net, "follows_loss", False):
            notice(
                f"The scheduler of the {name} follows a loss, and there is no validation; it is told the mean training "
                "loss of each epoch. Give fit validation=batches.",
                stacklevel=4,
            )
    shuffled = isinstance(getattr(plan.loader, "sampler", None), (RandomSampler, SequentialSampler))
    if group_of(trainer.base.model) is not None and shuffled:
        notice(
            "Every rank goes through all of the loader's batches, in the same order; none learns what the others do "
            "not. Give the DataLoader sampler=DistributedSampler(data).",
            stacklevel=4,
        )
    if plan.validation is None and _reads_validations(described(trainer.condition)):
        notice(
            f"{trainer.condition!r} reads validations, and there are none; it never holds. Give fit validation=batches "
            "and validate_every=.",
            stacklevel=4,
        )


def _reads_validations(settings: Any) -> bool:
    if not isinstance(settings, dict):
        return False
    return settings.get("on") == "validation" or any(_reads_validations(inner) for inner in settings.values())


@contextmanager
def interrupts_between_steps() -> Iterator[Any]:
    """Within it, `with whole_step():` ends before the KeyboardInterrupt of a Ctrl-C pressed in it is raised."""
    running, pressed = [False], [False]
    ordinary = signal.default_int_handler
    watched = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is ordinary

    def wait(number: int, frame: Any) -> None:
        if not running[0] or pressed[0]:
            pressed[0] = False
            ordinary(number, frame)
        pressed[0] = True

    @contextmanager
    def whole_step() -> Iterator[None]:
        running[0] = True
        try:
            yield
        finally:
            running[0] = False
        if pressed[0]:
            pressed[0] = False
            raise KeyboardInterrupt

    if watched:
        signal.signal(signal.SIGINT, wait)
    try:
        yield whole_step
    finally:
        if watched:
            signal.signal(signal.SIGINT, ordinary)
